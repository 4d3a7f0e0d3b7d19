//! What the streams of a connection hold of what was received, all together.
//!
//! Each is bounded by its window and by the largest message; the product of
//! that with the number of streams is more than one peer should be able to take.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Bytes by which a stream's share may be off: sockets with little to read are
/// not counted at all, which would cost them two atomic operations a message.
const STEP: usize = 16 * 1024;

/// How long the reader of a stream that was picked out has to close it, before
/// it is reset.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// The sum of a connection's shares, in bytes.
pub(super) struct Held {
    bytes: AtomicUsize,
    limit: usize,
}

impl Held {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            limit,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.limit
    }
}

/// A stream's share, in bytes.
#[derive(Default)]
pub(super) struct Share {
    /// Received, and not taken by the application: a window at most.
    unread: u32,
    /// Taken, as a part of a message that is not complete.
    assembled: usize,
    /// As far as it is in the sum.
    counted: usize,
    /// The stream was picked out, or is over: it does not count any more.
    excepted: bool,
}

impl Share {
    pub(super) fn counted(&self) -> usize {
        self.counted
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.unread += bytes as u32;
    }

    pub(super) fn taken(&mut self, bytes: usize) {
        self.unread -= bytes as u32;
    }

    pub(super) fn assembled(&mut self, bytes: usize) {
        self.assembled = bytes;
    }

    /// Brings the sum up to date.
    pub(super) fn settle(&mut self, held: &Held) {
        let now = self.unread as usize + self.assembled;
        if self.excepted || (now.abs_diff(self.counted) < STEP && now != 0) {
            return;
        }
        self.count(now, held);
    }

    /// Takes the stream out of the sum, for good.
    pub(super) fn except(&mut self, held: &Held) {
        self.excepted = true;
        self.count(0, held);
    }

    fn count(&mut self, now: usize, held: &Held) {
        if now > self.counted {
            held.bytes.fetch_add(now - self.counted, Ordering::Relaxed);
        } else if now < self.counted {
            held.bytes.fetch_sub(self.counted - now, Ordering::Relaxed);
        }
        self.counted = now;
    }
}

/// Whether a change of an assembled message is worth telling.
pub(super) fn is_notable(before: usize, now: usize) -> bool {
    before.abs_diff(now) >= STEP || (now == 0 && before != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_to_within_a_step() {
        let held = Held::new(100_000);
        let sum = || held.bytes.load(Ordering::Relaxed);
        let (mut one, mut other) = (Share::default(), Share::default());
        one.received(STEP - 1);
        one.settle(&held);
        assert_eq!(sum(), 0);
        one.received(1);
        one.settle(&held);
        assert_eq!(sum(), STEP);
        other.assembled(90_000);
        other.settle(&held);
        assert_eq!((sum(), held.is_over()), (STEP + 90_000, true));
        other.except(&held);
        other.assembled(95_000);
        other.settle(&held);
        assert_eq!((sum(), held.is_over()), (STEP, false));
        one.taken(STEP);
        one.settle(&held);
        assert_eq!(sum(), 0, "nothing is left of what was read");
    }
}
