//! The number of streams that a client has claimed on a connection.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use super::ConnectionHandle;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Stands for the number of slots of a connection that gives out no more. No
/// peer's limit is larger.
const RETIRED: usize = usize::MAX;

/// Counts the streams that are requested or open. For clients.
#[derive(Default)]
pub(in crate::transport::h2) struct Slots {
    used: AtomicUsize,
    /// Notified when another stream may be claimed.
    room: OnceLock<Arc<Notify>>,
}

impl Slots {
    /// Returns whether any stream is requested or open.
    pub(in crate::transport::h2) fn are_used(&self) -> bool {
        !matches!(self.used.load(Ordering::Acquire), 0 | RETIRED)
    }

    /// Gives out no more slots, unless some are used. Returns whether it does.
    pub(in crate::transport::h2) fn retire(&self) -> bool {
        let retired = self
            .used
            .compare_exchange(0, RETIRED, Ordering::AcqRel, Ordering::Acquire);
        retired.is_ok()
    }

    /// Returns whether no more slots are given out.
    pub(in crate::transport::h2) fn are_retired(&self) -> bool {
        self.used.load(Ordering::Acquire) == RETIRED
    }

    fn claim(&self, max: usize) -> bool {
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                (used < max).then_some(used + 1)
            })
            .is_ok()
    }

    pub(super) fn free(&self) {
        self.used.fetch_sub(1, Ordering::AcqRel);
        if let Some(room) = self.room.get() {
            room.notify_one();
        }
    }

    /// Sets what to notify when a stream may have become available: one waiter
    /// for each stream that ends, all waiters if the peer has changed what it
    /// allows. To be called once, before the first claim.
    pub(in crate::transport::h2) fn notify_room(&self, room: Arc<Notify>) {
        let _ = self.room.set(room);
    }

    /// Notes that the peer has changed what it allows.
    pub(in crate::transport::h2) fn limit_changed(&self) {
        if let Some(room) = self.room.get() {
            room.notify_waiters();
        }
    }
}

/// A claim to one of the streams that the peer allows at a time. Dropping it
/// frees the slot.
pub(crate) struct Slot {
    handle: Option<Arc<ConnectionHandle>>,
}

impl Slot {
    /// Claims a slot if fewer than `max` are used.
    pub(in crate::transport::h2) fn claim(
        handle: &Arc<ConnectionHandle>,
        max: usize,
    ) -> Option<Self> {
        handle.slots.claim(max).then(|| Self {
            handle: Some(handle.clone()),
        })
    }

    /// Leaves it to the end of the stream to free the slot.
    pub(in crate::transport::h2) fn keep(&mut self) {
        self.handle = None;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            handle.slots.free();
        }
    }
}
