//! How much may be in the hands of `h2`, for the connection as a whole.
//!
//! `h2` sends one frame of each stream in turn, so a short message waits for a
//! frame of every stream that has bytes there. Bounded per stream alone, that
//! is a hundred megabytes once thousands of streams send in bulk, and streams
//! of one connection may belong to clients that know nothing of each other.
//! Therefore streams that have much to send queue here, first come, first
//! served, and a stream that was served queues again behind the others. A
//! short message never queues: nobody can make it wait for more than the quota
//! and what the path to the peer holds.
//!
//! What `h2` still has once the connection is dry, when it wrote all that it
//! may, is held back by windows that the peer keeps closed. It delays nobody,
//! so it no longer counts: sockets that the peer does not read cannot use the
//! quota up. The connection's window is different, as it holds everybody back:
//! while it is closed, only what left makes room.

use super::frame_counter::FrameCounts;

/// Bytes in the hands of `h2`, at most, and one piece.
const QUOTA: usize = 512 * 1024;

/// What a stream has to send is short up to this, in bytes.
const SHORT: usize = 4 * 1024;

/// Bytes that a stream is served at a time, at least: a frame of the default
/// size (RFC 9113 §6.5.2).
const LEAST: usize = 16 * 1024;

/// The connection window before WINDOW_UPDATE (RFC 9113 §6.9.2), in bytes.
const INITIAL_WINDOW: u64 = 65_535;

#[derive(Debug, Default)]
pub(super) struct SendQuota {
    /// Bytes that `h2` was given and that may still delay others.
    handed: usize,
    /// DATA bytes that had been sent when this was last looked at.
    sent: u64,
    /// Streams that queue.
    queued: usize,
}

impl SendQuota {
    /// Whether a stream that queues may be served.
    pub(super) fn has_room(&self) -> bool {
        self.handed < QUOTA
    }

    /// Bytes that a stream with `waiting` bytes to send may give `h2` now.
    pub(super) fn portion(&self, waiting: usize) -> usize {
        if waiting <= SHORT {
            waiting
        } else if self.has_room() {
            (QUOTA / (self.queued + 1)).max(LEAST)
        } else {
            0
        }
    }

    /// So many streams queue.
    pub(super) fn queues(&mut self, streams: usize) {
        self.queued = streams;
    }

    /// `h2` was given `len` bytes.
    pub(super) fn hand(&mut self, len: usize) {
        self.handed += len;
    }

    /// Takes note of what left. `dry`: `h2` wrote all that it may.
    pub(super) fn look(&mut self, received: &FrameCounts, sent: &FrameCounts, dry: bool) {
        let left = sent.data_bytes - self.sent;
        self.sent = sent.data_bytes;
        self.handed = match usize::try_from(left) {
            Ok(left) => self.handed.saturating_sub(left),
            Err(_) => 0,
        };
        if dry && INITIAL_WINDOW + received.window > sent.data_bytes {
            self.handed = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(window: u64) -> FrameCounts {
        FrameCounts {
            window,
            ..FrameCounts::default()
        }
    }

    fn sent(data_bytes: u64) -> FrameCounts {
        FrameCounts {
            data_bytes,
            ..FrameCounts::default()
        }
    }

    fn full() -> SendQuota {
        let mut quota = SendQuota::default();
        assert!(quota.portion(1 << 20) >= QUOTA, "nobody else sends");
        quota.hand(QUOTA);
        quota
    }

    #[test]
    fn a_short_message_never_queues() {
        let quota = full();
        assert_eq!(quota.portion(SHORT), SHORT);
        assert_eq!(quota.portion(SHORT + 1), 0);
    }

    #[test]
    fn what_left_makes_room() {
        let mut quota = full();
        quota.look(&received(1 << 30), &sent(0), false);
        assert!(!quota.has_room());
        quota.look(&received(1 << 30), &sent(1), false);
        assert!(quota.has_room());
        quota.hand(1);
        quota.look(&received(1 << 30), &sent(1), false);
        assert!(!quota.has_room(), "the same bytes left once");
    }

    #[test]
    fn what_closed_windows_hold_back_counts_no_more_once_dry() {
        let mut quota = full();
        quota.look(&received(1 << 30), &sent(0), true);
        assert_eq!(quota.handed, 0);
    }

    #[test]
    fn behind_a_closed_connection_window_only_what_left_makes_room() {
        let mut quota = full();
        quota.look(&received(0), &sent(INITIAL_WINDOW), true);
        assert_eq!(quota.handed, QUOTA - INITIAL_WINDOW as usize);
        quota.hand(INITIAL_WINDOW as usize);
        quota.look(&received(10), &sent(INITIAL_WINDOW + 10), true);
        assert_eq!(quota.handed, QUOTA - 10);
        quota.look(&received(11), &sent(INITIAL_WINDOW + 10), true);
        assert_eq!(quota.handed, 0, "open, and nobody sends");
    }

    #[test]
    fn many_share_the_quota_in_frames() {
        let mut quota = SendQuota::default();
        quota.queues(7);
        assert_eq!(quota.portion(1 << 20), QUOTA / 8);
        quota.queues(2_000);
        assert_eq!(quota.portion(1 << 20), LEAST);
    }
}
