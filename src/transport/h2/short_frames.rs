//! Limits how many short DATA frames are sent to the peer at a time.
//!
//! Peers built on the `h2` crate (hyper, axum, h2ws) charge each DATA frame
//! under 256 bytes that their application has not read against a budget of half
//! the connection window they advertise. When it is used up, they close the
//! whole connection with ENHANCE_YOUR_CALM. Packing messages into frames helps
//! a WebSocket that sends much, but not a thousand WebSockets that send one
//! word each. So short frames are counted here in the same way, and before the
//! budget could be used up a PING is sent: its answer shows that the peer has
//! processed everything sent before it. If the peer is far away, a short wait
//! replaces the answer.

use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::frame_counter::FrameCounts;
use super::ping::{NEAR, Pings};

/// Frames of at least this many bytes are not charged; longer ones make up for
/// short ones.
const SHORT: usize = 256;

/// The connection window before WINDOW_UPDATE (RFC 9113 §6.9.2), in bytes.
const INITIAL_WINDOW: u64 = 65_535;

/// How long to wait for the answer of a far peer. It bounds the cost of a long
/// round trip: with a peer's default settings some 30 of the shortest frames
/// are sent in this time, while what waits is packed. For a near peer the
/// answer itself is waited for, however long it takes, because the peer is then
/// busy.
const PATIENCE: Duration = NEAR;

/// The smallest budget of any known peer.
const LEAST: u64 = 25_600;

/// The divisor for the part of the peer's budget that is used before an answer.
/// The rest is for frames that the peer has processed and its application has
/// not read yet: a thousand tasks may run before the one that a frame has
/// woken, and the peer answers many PINGs meanwhile.
const PART: u64 = 16;

pub(super) struct ShortFrameBudget {
    /// What may be spent until the peer answers.
    limit: usize,
    spent: usize,
    pending: Option<PendingPing>,
    /// The largest connection window that the peer must have advertised.
    window: u64,
    /// Whether a frame was held back.
    held: bool,
    far: bool,
}

/// A PING whose answer is outstanding.
struct PendingPing {
    /// What was spent before it.
    spent: usize,
    at: Instant,
    /// The number of the PING.
    ping: u64,
}

impl ShortFrameBudget {
    pub(super) fn new() -> Self {
        let mut budget = Self {
            limit: 0,
            spent: 0,
            pending: None,
            window: 0,
            held: false,
            far: false,
        };
        budget.widen(INITIAL_WINDOW);
        budget
    }

    fn widen(&mut self, window: u64) {
        self.window = window;
        let budget = (window / 2).max(LEAST) / PART;
        self.limit = usize::try_from(budget).unwrap_or(usize::MAX);
    }

    /// Estimates the peer's connection window from below: WINDOW_UPDATE frames
    /// increase it, except for as much as they may return of what was sent.
    pub(super) fn learn(&mut self, received: &FrameCounts, sent: &FrameCounts) {
        let window = (INITIAL_WINDOW + received.window).saturating_sub(sent.data_bytes);
        if window > self.window {
            self.widen(window);
        }
    }

    /// Charges a frame of `len` bytes. Returns false, without charging, if it
    /// may not be sent now.
    pub(super) fn spend(&mut self, len: usize) -> bool {
        if len >= SHORT {
            self.spent = self.spent.saturating_sub(len - SHORT);
            return true;
        }
        let cost = SHORT - len;
        if self.spent + cost > self.limit() {
            self.held = true;
            return false;
        }
        self.spent += cost;
        true
    }

    /// A far peer's applications have time to read while the answer travels, so
    /// its limit is higher.
    fn limit(&self) -> usize {
        let times = if self.far { 4 } else { 1 };
        self.limit.saturating_mul(times)
    }

    /// Returns whether a frame is held back until the peer answers.
    pub(super) fn is_holding(&self) -> bool {
        self.held
    }

    /// Returns when to stop waiting for the answer, if a frame is held back.
    pub(super) fn deadline(&self, pings: &Pings) -> Option<Instant> {
        let waiting = self
            .pending
            .as_ref()
            .filter(|_| self.held && pings.is_far());
        Some(waiting?.at + PATIENCE)
    }

    /// Sends a PING in time and processes its answer. Returns whether frames
    /// that were held back may be sent now.
    pub(super) fn poll(&mut self, pings: &mut Pings, cx: &mut Context<'_>) -> bool {
        let mut freed = false;
        if let Some(pending) = &self.pending
            && (pings.is_answered(pending.ping)
                || (pings.is_far() && pending.at.elapsed() >= PATIENCE))
        {
            self.spent = self.spent.saturating_sub(pending.spent);
            self.pending = None;
            freed = std::mem::take(&mut self.held);
        }
        self.far = pings.is_far();
        if self.pending.is_none() && self.spent > self.limit() / 2 {
            let at = Instant::now();
            self.pending = Some(PendingPing {
                spent: self.spent,
                at,
                ping: pings.request(cx, at),
            });
        }
        freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_estimated_from_below() {
        let mut budget = ShortFrameBudget::new();
        assert_eq!(budget.limit, 32_767 / PART as usize);
        let counts = |window, data_bytes| FrameCounts {
            window,
            data_bytes,
            ..FrameCounts::default()
        };
        // A megabyte more, and then half of what was sent returned.
        budget.learn(&counts(1 << 20, 0), &counts(0, 100));
        let wide = budget.limit;
        assert_eq!(wide, ((65_535 + (1 << 20) - 100) / 2) / PART as usize);
        budget.learn(&counts((1 << 20) + 5_000, 0), &counts(0, 10_000));
        assert_eq!(budget.limit, wide);
    }

    #[test]
    fn long_frames_make_up_for_short_ones() {
        let mut budget = ShortFrameBudget::new();
        assert!(budget.spend(6));
        assert!(budget.spend(255));
        assert_eq!(budget.spent, 251);
        assert!(budget.spend(300));
        assert_eq!(budget.spent, 207);
        assert!(budget.spend(100_000));
        assert_eq!(budget.spent, 0);
    }
}
