//! Limits how much data `h2` holds for sending, for the connection as a whole.
//!
//! `h2` sends one frame of each stream in turn, so a short message waits for
//! one frame of every stream that has data queued there. Limited per stream
//! alone, that is a hundred megabytes once thousands of streams send bulk data,
//! and the streams of one connection may belong to unrelated clients. Therefore
//! streams that have much to send queue here, first come, first served, and a
//! stream that was served queues again behind the others. `h2` thus holds pieces
//! of a few streams rather than a piece of each. A short message never queues;
//! it waits for two or three pieces at most, and for what the path to the peer
//! holds.
//!
//! Part of that path is what the peer has sent and this end has not read yet:
//! megabytes, if it writes faster than it reads. So while there is more to read,
//! queued streams send no more per turn than is read. What they have to send then
//! waits in their own queues, where it delays no other stream. With many queued
//! streams that would take much memory, so theirs stays in the path.
//!
//! Once `h2` has written everything it may, what it still holds is blocked by
//! stream windows that the peer keeps closed. That data delays no other stream,
//! so it no longer counts: WebSockets that the peer does not read cannot use up
//! the quota. The connection's window is different, since it blocks all
//! streams: while it is closed, only sent data makes room.

use super::frame_counter::FrameCounts;
use super::read_quota;

/// Maximum number of bytes held by `h2`, plus one piece: enough for the turn
/// that follows when the kernel takes them at once.
const QUOTA: usize = 128 * 1024;

/// Up to this many bytes are a short message.
const SHORT: usize = 4 * 1024;

/// Minimum number of bytes that a stream may hand over at a time: the largest
/// frame that h2ws accepts by default. Smaller pieces cost more frames and
/// system calls.
const LEAST: usize = 64 * 1024;

/// How many bytes per turn queued streams may hand over while there is more to
/// read.
const BEHIND: usize = read_quota::MOST_OF_FEW / 4;

/// Maximum number of queued streams to which that limit applies.
const FEW: usize = 16;

/// The connection window before WINDOW_UPDATE (RFC 9113 §6.9.2), in bytes.
const INITIAL_WINDOW: u64 = 65_535;

#[derive(Debug, Default)]
pub(super) struct SendQuota {
    /// Bytes held by `h2` that may still delay other streams.
    handed: usize,
    /// DATA bytes sent at the last [`update`](Self::update).
    sent: u64,
    /// Number of queued streams.
    queued: usize,
    /// Whether there was more to read at the last [`update`](Self::update).
    behind: bool,
    /// Bytes handed over since then, beyond [`BEHIND`] per turn.
    ahead: usize,
}

impl SendQuota {
    /// Returns whether a queued stream may be served.
    pub(super) fn has_room(&self) -> bool {
        self.handed < QUOTA && self.ahead == 0
    }

    /// Returns how many bytes a stream with `waiting` bytes may hand to `h2`
    /// now.
    pub(super) fn portion(&self, waiting: usize) -> usize {
        if waiting <= SHORT {
            waiting
        } else if self.has_room() {
            (QUOTA / (self.queued + 1)).max(LEAST)
        } else {
            0
        }
    }

    /// Sets the number of queued streams.
    pub(super) fn queues(&mut self, streams: usize) {
        self.queued = streams;
    }

    /// Notes that `len` bytes were handed to `h2`.
    pub(super) fn hand(&mut self, len: usize) {
        self.handed += len;
        if self.behind {
            self.ahead += len;
        }
    }

    /// Updates the quota after a turn by what was sent. `drained` is whether
    /// `h2` has written everything it may, and `behind` whether there is more
    /// to read.
    pub(super) fn update(
        &mut self,
        received: &FrameCounts,
        sent: &FrameCounts,
        drained: bool,
        behind: bool,
    ) {
        let left = sent.data_bytes - self.sent;
        self.sent = sent.data_bytes;
        self.handed = match usize::try_from(left) {
            Ok(left) => self.handed.saturating_sub(left),
            Err(_) => 0,
        };
        if drained && INITIAL_WINDOW + received.window > sent.data_bytes {
            self.handed = 0;
        }
        self.behind = behind && self.queued <= FEW;
        self.ahead = if self.behind {
            self.ahead.saturating_sub(BEHIND)
        } else {
            0
        };
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
        assert!(quota.portion(1 << 20) >= QUOTA, "no other stream sends");
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
    fn sent_bytes_make_room() {
        let mut quota = full();
        quota.update(&received(1 << 30), &sent(0), false, false);
        assert!(!quota.has_room());
        quota.update(&received(1 << 30), &sent(1), false, false);
        assert!(quota.has_room());
        quota.hand(1);
        quota.update(&received(1 << 30), &sent(1), false, false);
        assert!(!quota.has_room(), "bytes make room only once");
    }

    #[test]
    fn bytes_blocked_by_stream_windows_stop_counting_once_h2_is_drained() {
        let mut quota = full();
        quota.update(&received(1 << 30), &sent(0), true, false);
        assert_eq!(quota.handed, 0);
    }

    #[test]
    fn while_the_connection_window_is_closed_only_sent_bytes_make_room() {
        let mut quota = full();
        quota.update(&received(0), &sent(INITIAL_WINDOW), true, false);
        assert_eq!(quota.handed, QUOTA - INITIAL_WINDOW as usize);
        quota.hand(INITIAL_WINDOW as usize);
        quota.update(&received(10), &sent(INITIAL_WINDOW + 10), true, false);
        assert_eq!(quota.handed, QUOTA - 10);
        quota.update(&received(11), &sent(INITIAL_WINDOW + 10), true, false);
        assert_eq!(quota.handed, 0, "the window is open and nothing was sent");
    }

    #[test]
    fn queued_streams_share_the_quota() {
        let mut quota = SendQuota::default();
        assert_eq!(quota.portion(1 << 20), QUOTA, "it is the only stream");
        quota.queues(1);
        assert_eq!(quota.portion(1 << 20), QUOTA / 2);
        quota.queues(2_000);
        assert_eq!(quota.portion(1 << 20), LEAST);
    }

    #[test]
    fn while_there_is_more_to_read_a_piece_takes_several_turns() {
        let turn = |quota: &mut SendQuota, behind| {
            quota.update(&received(1 << 30), &sent(0), true, behind);
            quota.has_room()
        };
        let mut quota = full();
        assert!(turn(&mut quota, true), "handed over before");
        quota.hand(LEAST);
        for n in 1..LEAST.div_ceil(BEHIND) {
            assert!(!turn(&mut quota, true), "turn {n}");
            assert_eq!(quota.portion(SHORT), SHORT);
        }
        assert!(turn(&mut quota, true));
        quota.hand(LEAST);
        assert!(turn(&mut quota, false), "nothing is left to read");
        quota.queues(FEW + 1);
        assert!(turn(&mut quota, true));
        quota.hand(LEAST);
        assert!(turn(&mut quota, true), "many streams");
    }
}
