//! How many short DATA frames the peer may be sent at a time.
//!
//! Peers built on the `h2` crate (hyper, axum, we) count each DATA frame under
//! 256 bytes that their application has not read against a budget of half the
//! connection window they advertise, and give up the whole connection with
//! ENHANCE_YOUR_CALM when it is spent. Packing helps a socket that says much,
//! not a thousand sockets that say one word each. So short frames are counted
//! here likewise, and before they could be too many a PING is sent: its answer
//! shows that the peer has taken in all that came before it. Where the peer is
//! far away, a moment is held to be enough.

use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

use super::frame_counter::FrameCounts;
use super::ping::{NEAR, Pings};

/// A frame this long is not counted, and longer ones make good for short ones.
const SHORT: usize = 256;

/// The connection window before WINDOW_UPDATE (RFC 9113 §6.9.2), in bytes.
const INITIAL_WINDOW: u64 = 65_535;

/// How long an answer from afar is waited for. It bounds what a long way to the
/// peer costs: some 30 of the shortest frames in this time to a peer with
/// default settings, while what waits is packed. From nearby the answer itself
/// is waited for, however long it takes: the peer is busy then.
const PATIENCE: Duration = NEAR;

/// The least budget that any peer is known to have.
const LEAST: u64 = 25_600;

/// The part of the peer's budget that is spent before an answer: the rest is
/// for what the peer has taken in and its application has not read yet. A
/// thousand tasks may stand before the one that a frame has woken, and the
/// peer answers many PINGs until that one has its turn.
const PART: u64 = 16;

pub(super) struct ShortFrameBudget {
    /// What may be spent until the peer answers.
    limit: usize,
    spent: usize,
    asked: Option<Asked>,
    /// The largest connection window that the peer can be seen to have.
    window: u64,
    /// Something was held back.
    held: bool,
    far: bool,
}

/// An answer that is waited for.
struct Asked {
    /// What was spent before.
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
            asked: None,
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

    /// Learns the peer's connection window: it grows by WINDOW_UPDATE, of which
    /// only as much as we sent gives back what was there before.
    pub(super) fn learn(&mut self, received: &FrameCounts, sent: &FrameCounts) {
        let window = (INITIAL_WINDOW + received.window).saturating_sub(sent.data_bytes);
        if window > self.window {
            self.widen(window);
        }
    }

    /// Whether a frame of `len` bytes may be sent now; counts it if so.
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

    /// From afar an answer gives applications time to read meanwhile.
    fn limit(&self) -> usize {
        let times = if self.far { 4 } else { 1 };
        self.limit.saturating_mul(times)
    }

    /// Whether something waits for the peer's answer.
    pub(super) fn is_holding(&self) -> bool {
        self.held
    }

    /// When waiting for the answer is over, for what is held back.
    pub(super) fn deadline(&self, pings: &Pings) -> Option<Instant> {
        let waiting = self.asked.as_ref().filter(|_| self.held && pings.is_far());
        Some(waiting?.at + PATIENCE)
    }

    /// Asks the peer in time, and heeds its answer. Returns whether what was
    /// held back may be sent now.
    pub(super) fn poll(&mut self, pings: &mut Pings, cx: &mut Context<'_>) -> bool {
        let mut freed = false;
        if let Some(asked) = &self.asked
            && (pings.is_answered(asked.ping) || (pings.is_far() && asked.at.elapsed() >= PATIENCE))
        {
            self.spent = self.spent.saturating_sub(asked.spent);
            self.asked = None;
            freed = std::mem::take(&mut self.held);
        }
        self.far = pings.is_far();
        if self.asked.is_none() && self.spent > self.limit() / 2 {
            let at = Instant::now();
            self.asked = Some(Asked {
                spent: self.spent,
                at,
                ping: pings.ask(cx, at),
            });
        }
        freed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_what_cannot_have_been_given_back() {
        let mut budget = ShortFrameBudget::new();
        assert_eq!(budget.limit, 32_767 / PART as usize);
        let counts = |window, data_bytes| FrameCounts {
            window,
            data_bytes,
            ..FrameCounts::default()
        };
        // A megabyte more, and then half of what was sent handed back.
        budget.learn(&counts(1 << 20, 0), &counts(0, 100));
        let wide = budget.limit;
        assert_eq!(wide, ((65_535 + (1 << 20) - 100) / 2) / PART as usize);
        budget.learn(&counts((1 << 20) + 5_000, 0), &counts(0, 10_000));
        assert_eq!(budget.limit, wide);
    }

    #[test]
    fn long_frames_make_good_for_short_ones() {
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
