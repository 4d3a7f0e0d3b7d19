//! One stream of an HTTP/2 connection: what the application's [`app_half`] and the
//! connection's driver have in common, and the driver's side of it.

mod app_half;
mod send_buf;
mod state;
mod waiters;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

use h2::Reason;
use tokio::time::Instant;

use super::{ConnectionHandle, Side};
use crate::transport::StreamError;
use crate::transport::h2::recv_memory::STEP;

pub(crate) use self::app_half::H2Stream;
pub(crate) use self::send_buf::SendBuf;
pub(in crate::transport::h2) use self::state::{Bounds, Handles};
use self::state::{End, Fed, State};
use self::waiters::Waiters;

/// In the handle's list of those that have something to do.
const LISTED: u8 = 1;

/// `h2` has received something, or has something to say.
const WOKEN: u8 = 2;

pub(in crate::transport::h2) struct Shared {
    handle: Arc<ConnectionHandle>,
    /// In the handle's list of all streams.
    key: u32,
    /// [`LISTED`] and [`WOKEN`]: in one place, for who sets the second one and
    /// finds the first one set relies on the look that takes both.
    flags: AtomicU8,
    /// Bytes of memory in the hands of `h2`: of less than [`QUEUED`] and a
    /// [`PIECE`].
    queued: AtomicU32,
    /// What the stream counts for at present, to be read without the lock.
    counted: AtomicU32,
    /// There is more to send once `h2` has sent what it has.
    more: AtomicBool,
    /// In the driver's queue of those that have much to send. The driver's own.
    queues: AtomicBool,
    /// The [`ReadQuota`](super::read_quota::ReadQuota)'s round that it counted in.
    round: AtomicU8,
    state: Mutex<State>,
}

/// What came of a look at a stream.
#[derive(Default)]
pub(in crate::transport::h2) struct Serviced {
    /// The stream is over. The handles are kept until what they queued is
    /// written: `h2` drops the tail of a stream whose handles are gone.
    pub(in crate::transport::h2) over: Option<Handles>,
    /// Was not fed, and has something for the peer.
    pub(in crate::transport::h2) hungry: bool,
    /// Has much for the peer, and waits for its turn.
    pub(in crate::transport::h2) queues: bool,
    /// A reader was woken, who may well answer.
    pub(in crate::transport::h2) woke_reader: bool,
    /// The stream must be over at this time, as far as is known now.
    pub(in crate::transport::h2) until: Option<Instant>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the driver to look at this stream. Not to be called with the
    /// state locked.
    fn list(self: &Arc<Self>) {
        self.list_with(0);
    }

    fn list_with(self: &Arc<Self>, flags: u8) {
        if self.set(LISTED | flags) && self.handle.list(self.clone()).is_err() {
            self.fail(&StreamError::Closed);
        }
    }

    /// Returns whether the stream was not listed.
    fn set(&self, flags: u8) -> bool {
        self.flags.fetch_or(flags, Ordering::AcqRel) & LISTED == 0
    }

    /// As [`list`](Self::list), from inside `h2`, whose locks are held. A
    /// driver that is gone has failed all streams that `h2` knew.
    fn list_from_h2(self: Arc<Self>, flags: u8) {
        if self.set(LISTED | flags) {
            let handle = self.handle.clone();
            let _ = handle.list(self);
        }
    }

    /// `h2` is done with a piece.
    pub(in crate::transport::h2) fn piece_left(self: Arc<Self>, held: usize) {
        // With `more` set and then this looked at, in `has_left` and where a
        // stream is fed: one of the two sees the other.
        let queued = self.queued.fetch_sub(held as u32, Ordering::SeqCst) as usize;
        // What counted as held counts no more.
        let settles = queued >= STEP && queued - held < STEP;
        if settles || self.more.load(Ordering::SeqCst) {
            self.list_from_h2(0);
        }
    }

    /// Whether `h2` has nothing of this stream's left; if not, it is listed
    /// when that is so.
    fn has_left(&self) -> bool {
        self.more.store(true, Ordering::SeqCst);
        self.queued.load(Ordering::SeqCst) == 0
    }

    /// Returns whether the stream was not marked with this round before.
    pub(in crate::transport::h2) fn mark(&self, round: u8) -> bool {
        self.round.swap(round, Ordering::Relaxed) != round
    }

    pub(in crate::transport::h2) fn wake_reader(&self) {
        let mut woken = Waiters::default();
        self.lock().waiters.take_reader(&mut woken);
        woken.wake();
    }

    /// Notes that it is in the driver's queue. Returns whether it was not.
    pub(in crate::transport::h2) fn enqueue(&self) -> bool {
        !self.queues.swap(true, Ordering::Relaxed)
    }

    /// Notes that it has left the driver's queue.
    pub(in crate::transport::h2) fn dequeue(&self) {
        self.queues.store(false, Ordering::Relaxed);
    }

    pub(in crate::transport::h2) fn is_open(&self) -> bool {
        self.lock().handles.is_some()
    }

    /// The driver's look at a stream: takes what `h2` received, hands window
    /// back, and, given the `bounds` to do so within, gives it what the
    /// application wrote.
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
            serviced.hungry = fed == Fed::Held;
            serviced.queues = fed == Fed::Queues;
        }
        s.settle(self);
        if s.broken().is_some() {
            s.waiters.take_both(&mut woken);
        }
        let over = s.is_over(self);
        if over {
            s.outgoing.clear();
            s.share.except(&self.handle.held);
            serviced.over = s.handles.take();
            serviced.hungry = false;
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

    /// Bytes that it holds, as far as they are counted.
    pub(in crate::transport::h2) fn held(&self) -> usize {
        self.lock().share.with_elsewhere()
    }

    /// Drops what was received, now and from here on. The reader is told, and
    /// closes; the writer is not held up by it. Where it holds unsent bytes, too,
    /// the peer would not take a Close frame either: the stream is reset.
    pub(in crate::transport::h2) fn overload(&self) {
        let mut state = self.lock();
        state.ending().overloaded = true;
        state.share.except(&self.handle.held);
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

    /// Nobody closed an overloaded stream.
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

    /// A time after [`finish`](H2Stream::finish) is up.
    pub(in crate::transport::h2) fn expire(&self, now: Instant) {
        let mut state = self.lock();
        let until = state.ending.as_ref().and_then(|ending| ending.until);
        if until.is_some_and(|until| until <= now)
            && let Some(mut handles) = state.handles.take()
        {
            state.outgoing.clear();
            state.share.except(&self.handle.held);
            let reason = match self.handle.side {
                // Our answer was complete, the peer's leftovers are unwanted
                // (RFC 9113 §8.1).
                Side::Server if state.end == End::Sent && self.has_left() => Reason::NO_ERROR,
                _ => Reason::CANCEL,
            };
            drop(state);
            handles.send.send_reset(reason);
            self.handle.closed(self.key);
        }
    }

    /// The connection is gone.
    pub(in crate::transport::h2) fn fail(&self, error: &StreamError) {
        let mut state = self.lock();
        if let Some(handles) = state.handles.take() {
            state.outgoing.clear();
            state.share.except(&self.handle.held);
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
        assert!(size <= 216, "{size} bytes, once per socket");
    }
}
