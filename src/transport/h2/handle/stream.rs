//! A stream of an HTTP/2 connection: what the application's [half](app_half)
//! and the driver share, and the driver's side of it.

mod app_half;
#[cfg(all(test, h2ws_loom))]
mod models;
mod send_buf;
mod state;
mod waiters;

use std::sync::{Arc, PoisonError};
use std::task::{Context, Wake, Waker};

use h2::Reason;
use tokio::time::Instant;

use super::{ConnectionHandle, Side};
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::transport::StreamError;
use crate::transport::h2::recv_memory::{Counted, STEP};

pub(crate) use self::app_half::H2Stream;
pub(crate) use self::send_buf::SendBuf;
pub(in crate::transport::h2) use self::state::{Bounds, Handles};
use self::state::{End, Fed, State};
use self::waiters::Waiters;

/// Flag: the stream is in the handle's list for the driver.
const LISTED: u8 = 1;

/// Flag: `h2` has received something, or has an event to report.
const WOKEN: u8 = 2;

pub(in crate::transport::h2) struct Shared {
    handle: Arc<ConnectionHandle>,
    /// Key in the handle's list of all streams.
    key: u32,
    /// [`LISTED`] and [`WOKEN`], in one atomic: a task that sets the second and
    /// finds the first already set relies on the driver taking both at once.
    flags: AtomicU8,
    /// Memory of the pieces that `h2` holds, in bytes: of less than
    /// [`QUEUED`](state::QUEUED) bytes plus one [`PIECE`](state::PIECE).
    queued: AtomicU32,
    /// The bytes that the stream counts for.
    counted: Counted,
    /// The stream has something to do once `h2` has sent what it holds.
    more: AtomicBool,
    /// Whether it is in the driver's queue of streams with much to send. Used
    /// by the driver only.
    queues: AtomicBool,
    /// The last round of the
    /// [`ReadQuota`](crate::transport::h2::read_quota::ReadQuota) in which it
    /// counted.
    round: AtomicU8,
    state: Mutex<State>,
}

/// The outcome of servicing a stream.
#[derive(Default)]
pub(in crate::transport::h2) struct Serviced {
    /// Set if the stream is over. The handles are kept until what they queued
    /// is written, because `h2` discards the rest of a stream whose handles
    /// were dropped.
    pub(in crate::transport::h2) over: Option<Handles>,
    /// The stream has data to send and was not given the chance.
    pub(in crate::transport::h2) unfed: bool,
    /// The stream has much to send and has to wait for its turn.
    pub(in crate::transport::h2) queues: bool,
    /// A reader was woken, which is likely to reply.
    pub(in crate::transport::h2) woke_reader: bool,
    /// The time at which the stream must be over, if it was set just now.
    pub(in crate::transport::h2) until: Option<Instant>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists the stream for the driver. Not to be called with the state locked.
    fn list(self: &Arc<Self>) {
        self.list_with(0);
    }

    fn list_with(self: &Arc<Self>, flags: u8) {
        if self.set(LISTED | flags) && self.handle.list(self.clone()).is_err() {
            self.fail(&StreamError::Closed);
        }
    }

    /// Sets flags. Returns whether the stream was not listed before.
    fn set(&self, flags: u8) -> bool {
        self.flags.fetch_or(flags, Ordering::AcqRel) & LISTED == 0
    }

    /// As [`list`](Self::list), for calls from within `h2`, whose locks are
    /// held. If the driver is gone, it has already failed all streams that `h2`
    /// knew.
    fn list_from_h2(self: Arc<Self>, flags: u8) {
        if self.set(LISTED | flags) {
            let handle = self.handle.clone();
            let _ = handle.list(self);
        }
    }

    /// Notes that `h2` has released a piece.
    pub(in crate::transport::h2) fn piece_left(self: Arc<Self>, held: usize) {
        let queued = self.queued.fetch_sub(held as u32, Ordering::AcqRel) as usize;
        // The bytes that the stream counts for may drop to zero.
        let settles = queued >= STEP && queued - held < STEP;
        if settles || self.more.load(Ordering::Relaxed) {
            self.list_from_h2(0);
        }
    }

    /// Has the stream listed at the next release of a piece. Returns the memory of the pieces that
    /// `h2` still holds.
    fn list_at_release(&self) -> u32 {
        self.more.store(true, Ordering::Relaxed);
        // Adds, instead of loading, so that this and the subtraction in
        // `piece_left` are in one order: either that one comes later and sees
        // `more`, or this one does and sees what is left.
        self.queued.fetch_add(0, Ordering::AcqRel)
    }

    /// Returns whether `h2` holds nothing of this stream; if it does, the
    /// stream is listed once that changes.
    fn has_left(&self) -> bool {
        self.list_at_release() == 0
    }

    /// Marks the stream with a round. Returns whether it did not have that
    /// mark.
    pub(in crate::transport::h2) fn mark(&self, round: u8) -> bool {
        self.round.swap(round, Ordering::Relaxed) != round
    }

    pub(in crate::transport::h2) fn wake_reader(&self) {
        let mut woken = Waiters::default();
        self.lock().waiters.take_reader(&mut woken);
        woken.wake();
    }

    /// Notes that the stream is in the driver's queue. Returns whether it was
    /// not.
    pub(in crate::transport::h2) fn enqueue(&self) -> bool {
        !self.queues.swap(true, Ordering::Relaxed)
    }

    /// Notes that the stream has left the driver's queue.
    pub(in crate::transport::h2) fn dequeue(&self) {
        self.queues.store(false, Ordering::Relaxed);
    }

    pub(in crate::transport::h2) fn is_open(&self) -> bool {
        self.lock().handles.is_some()
    }

    /// Services the stream, in the driver's task: takes what `h2` received,
    /// returns window to the peer and, within `bounds` if given, hands to `h2`
    /// what the application wrote.
    pub(in crate::transport::h2) fn service(
        self: &Arc<Self>,
        bounds: Option<Bounds<'_>>,
    ) -> Serviced {
        let news = self.flags.swap(0, Ordering::AcqRel) & WOKEN != 0;
        let mut serviced = Serviced::default();
        let mut woken = Waiters::default();
        let mut state = self.lock();
        let s = &mut *state;
        if s.handles.is_none() {
            return serviced;
        }
        if news {
            let waker = Waker::from(self.clone());
            let readable = s.receive(&mut Context::from_waker(&waker), &self.handle);
            serviced.woke_reader = readable && s.waiters.take_reader(&mut woken);
        }
        s.release(self.handle.release_step);
        s.decide_end();
        if s.wants_to_send() {
            let fed = bounds.map_or(Fed::Held, |bounds| s.feed(self, bounds, &mut woken));
            serviced.unfed = fed == Fed::Held;
            serviced.queues = fed == Fed::Queues;
        }
        s.settle(self);
        if s.broken().is_some() {
            s.waiters.take_both(&mut woken);
        }
        let over = s.is_over(self);
        if over {
            s.outgoing.clear();
            s.share.except(&self.counted, &self.handle.held);
            serviced.over = s.handles.take();
            serviced.unfed = false;
            serviced.queues = false;
        } else {
            serviced.until = s.linger(self);
        }
        drop(state);
        if over {
            self.handle.closed(self.key);
        }
        woken.wake();
        serviced
    }

    /// Returns the bytes that the stream counts for.
    pub(in crate::transport::h2) fn held(&self) -> usize {
        self.lock().share.with_elsewhere(&self.counted)
    }

    /// Discards what was received, now and from here on. The reader gets an
    /// error and closes; the writer can still send. If the stream also holds
    /// unsent bytes, the peer would not read a Close frame either, so it is
    /// reset.
    pub(in crate::transport::h2) fn overload(&self) {
        let mut state = self.lock();
        state.ending().overloaded = true;
        state.share.except(&self.counted, &self.handle.held);
        state.drop_incoming();
        let waiters = std::mem::take(&mut state.waiters);
        let unread = if state.unsent(self) >= STEP {
            state.outgoing.clear();
            state.handles.take()
        } else {
            None
        };
        drop(state);
        if let Some(mut handles) = unread {
            handles.send.send_reset(Reason::ENHANCE_YOUR_CALM);
            self.handle.closed(self.key);
        }
        waiters.wake();
    }

    /// Resets an overloaded stream that was not closed in time.
    pub(in crate::transport::h2) fn expire_overloaded(&self) {
        let mut state = self.lock();
        if state.finish().is_none()
            && let Some(mut handles) = state.handles.take()
        {
            drop(state);
            handles.send.send_reset(Reason::ENHANCE_YOUR_CALM);
            self.handle.closed(self.key);
        }
    }

    /// Resets a stream that was not over in time after
    /// [`finish`](H2Stream::finish).
    pub(in crate::transport::h2) fn expire(&self, now: Instant) {
        let mut state = self.lock();
        let until = state.ending.as_ref().and_then(|ending| ending.until);
        if until.is_some_and(|until| until <= now)
            && let Some(mut handles) = state.handles.take()
        {
            state.outgoing.clear();
            state.share.except(&self.counted, &self.handle.held);
            let reason = match self.handle.side {
                // The response was complete, and the rest of the request is
                // not needed (RFC 9113 §8.1).
                Side::Server if state.end == End::Sent && self.has_left() => Reason::NO_ERROR,
                _ => Reason::CANCEL,
            };
            drop(state);
            handles.send.send_reset(reason);
            self.handle.closed(self.key);
        }
    }

    /// Fails the stream because the connection has ended.
    pub(in crate::transport::h2) fn fail(&self, error: &StreamError) {
        let mut state = self.lock();
        if let Some(handles) = state.handles.take() {
            state.outgoing.clear();
            state.share.except(&self.counted, &self.handle.held);
            state.received(Err(self.handle.why(error.clone())));
            let waiters = std::mem::take(&mut state.waiters);
            drop(state);
            drop(handles);
            self.handle.closed(self.key);
            waiters.wake();
        }
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.list_from_h2(WOKEN);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.clone().wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_small() {
        let size = size_of::<Shared>();
        assert!(size <= 208, "{size} bytes, once per socket");
    }
}
