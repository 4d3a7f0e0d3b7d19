//! Limits how much useless work a peer can cause.
//!
//! **The rule.** A connection is shared, so what one stream does must not end
//! it for the others, and what the peer as a whole does must not stall this
//! process. Each frame that carries no message has a price, in [one
//! table](price), by what it costs to process. Frames that do carry messages
//! earn credit, and so does time. A peer that owes more than [`CREDIT`] gets
//! GOAWAY(ENHANCE_YOUR_CALM) (RFC 9113 §7, §10.5), whether it is a client or a
//! server. Nothing here accumulates over a connection's lifetime; the counters
//! of `h2` that do (resets of streams that were not accepted, resets after
//! errors) are set out of reach.
//!
//! Resetting a stream that got its response is cheap: that is how WebSockets
//! are cancelled, and as many may end at once as may be open. A request that is
//! reset before its response, or that makes this side reset it, is expensive
//! (CVE-2023-44487, CVE-2025-8671).

use std::time::Duration;

use tokio::time::Instant;

use super::frame_counter::FrameCounts;

/// Maximum debt of a peer, in units of about a tenth of a microsecond: ten
/// thousand PINGs, or half as many requests that it resets before their
/// response.
const CREDIT: u64 = 100_000;

/// Credit earned by time, in units per second: 500 PINGs, or half as many
/// requests that are reset before their response. Keep-alive alone is one PING
/// every few seconds.
const PER_SECOND: u64 = 5_000;

/// Prices in units, per received frame unless noted otherwise.
mod price {
    /// PING, PRIORITY, unknown frames, acknowledgements of SETTINGS, and
    /// CONTINUATION, which a header list within its limits rarely needs.
    pub(super) const IDLE: u64 = 10;

    /// WINDOW_UPDATE. Peers may send two for each message.
    pub(super) const WINDOW_UPDATE: u64 = 4;

    /// RST_STREAM of a stream that got its response.
    pub(super) const RESET: u64 = 1;

    /// RST_STREAM of any other stream: before its response or after its end.
    pub(super) const WASTED: u64 = 20;

    /// RST_STREAM sent because the peer broke a rule or a limit.
    pub(super) const BLAME: u64 = 30;

    /// SETTINGS and GOAWAY, plus the walk over all streams that they cause.
    pub(super) const WALK: u64 = 10;

    /// Number of streams that are walked over for one unit.
    pub(super) const STREAMS_PER_UNIT: u64 = 20;
}

/// Credit in units, per frame.
mod earned {
    /// DATA or HEADERS received.
    pub(super) const RECEIVED: u64 = 10;

    /// DATA sent, for which the peer may send two WINDOW_UPDATEs.
    pub(super) const SENT: u64 = 16;

    /// Bytes of DATA sent that earn one unit: a peer may accept them in very
    /// small pieces.
    pub(super) const BYTES_PER_UNIT: u64 = 4;
}

/// The account of one peer.
pub(super) struct Flood {
    owed: u64,
    /// When time was last credited, which happens only when the credit is used
    /// up.
    since: Instant,
    received: FrameCounts,
    sent: FrameCounts,
    /// Streams that got their response and were not reset since, up to
    /// `open_at_most`.
    answered: u64,
    open_at_most: u64,
}

impl Flood {
    /// `open_at_most` is the number of streams that can be open at a time.
    pub(super) fn new(open_at_most: u64, now: Instant) -> Self {
        Self {
            owed: 0,
            since: now,
            received: FrameCounts::default(),
            sent: FrameCounts::default(),
            answered: 0,
            open_at_most,
        }
    }

    /// Charges the frames since the last call. Returns whether the peer owes
    /// too much. `streams` returns the number of open streams; called only if
    /// needed.
    pub(super) fn charge(
        &mut self,
        received: &FrameCounts,
        sent: &FrameCounts,
        streams: impl FnOnce() -> u64,
    ) -> bool {
        let earned = self.earned(received, sent);
        let price = self.price(received, sent, streams);
        self.received = *received;
        self.sent = *sent;
        self.owed = self.owed.saturating_sub(earned) + price;
        self.owed > CREDIT && self.is_over(Instant::now())
    }

    fn earned(&self, received: &FrameCounts, sent: &FrameCounts) -> u64 {
        let taken =
            (received.data - self.received.data) + (received.headers - self.received.headers);
        taken * earned::RECEIVED
            + (sent.data - self.sent.data) * earned::SENT
            + (sent.data_bytes - self.sent.data_bytes) / earned::BYTES_PER_UNIT
    }

    fn price(
        &mut self,
        received: &FrameCounts,
        sent: &FrameCounts,
        streams: impl FnOnce() -> u64,
    ) -> u64 {
        let before = &self.received;
        let idle = received.idle - before.idle;
        let continuations = received.continuations - before.continuations;
        let updates = received.window_updates - before.window_updates;
        let resets = received.resets - before.resets;
        let walks = (received.settings - before.settings) + (received.goaways - before.goaways);
        let blames = sent.blames - self.sent.blames;
        // Answers, or at a client its requests: either was worth a stream.
        let answers = sent.headers - self.sent.headers;
        self.answered = (self.answered + answers).min(self.open_at_most);
        let regular = resets.min(self.answered);
        self.answered -= regular;
        let mut price = (idle + continuations) * price::IDLE
            + updates * price::WINDOW_UPDATE
            + regular * price::RESET
            + (resets - regular) * price::WASTED
            + blames * price::BLAME;
        if walks > 0 {
            price += walks * (price::WALK + streams() / price::STREAMS_PER_UNIT);
        }
        price
    }

    /// Pays with the time that has passed.
    fn is_over(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since);
        self.since = now;
        let paid = passed.as_micros() * u128::from(PER_SECOND) / Duration::from_secs(1).as_micros();
        let paid = u64::try_from(paid).unwrap_or(u64::MAX);
        self.owed = self.owed.saturating_sub(paid);
        self.owed > CREDIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAMS: u64 = 1_000;

    /// The frames of one direction in a turn.
    type Frames = fn(&mut FrameCounts);

    /// Returns after how many turns with these frames the peer owes too much.
    fn turns(
        received: impl Fn(&mut FrameCounts),
        sent: impl Fn(&mut FrameCounts),
        most: usize,
    ) -> usize {
        let mut flood = Flood::new(STREAMS, Instant::now());
        let mut counts = (FrameCounts::default(), FrameCounts::default());
        for turn in 0..most {
            received(&mut counts.0);
            sent(&mut counts.1);
            if flood.charge(&counts.0, &counts.1, || 9_000) {
                return turn;
            }
        }
        most
    }

    #[test]
    fn each_flood_exceeds_the_credit_after_some_thousand_frames() {
        let nothing = |_: &mut FrameCounts| {};
        let floods: [(&str, Frames, Frames); 10] = [
            ("PING", |r| r.idle += 1, |_| {}),
            ("CONTINUATION", |r| r.continuations += 1, |_| {}),
            ("WINDOW_UPDATE", |r| r.window_updates += 1, |_| {}),
            ("GOAWAY", |r| r.goaways += 1, |_| {}),
            ("SETTINGS", |r| r.settings += 1, |_| {}),
            (
                "SETTINGS among DATA",
                |r| (r.settings, r.data) = (r.settings + 1, r.data + 20),
                |_| {},
            ),
            ("resets after the end", |r| r.resets += 1, |_| {}),
            (
                "rapid reset",
                |r| (r.headers, r.resets) = (r.headers + 1, r.resets + 1),
                |_| {},
            ),
            (
                "MadeYouReset",
                |r| (r.headers, r.window_updates) = (r.headers + 1, r.window_updates + 1),
                |s| s.blames += 1,
            ),
            (
                "MadeYouReset behind an answer",
                |r| (r.headers, r.idle) = (r.headers + 1, r.idle + 1),
                |s| (s.headers, s.blames) = (s.headers + 1, s.blames + 1),
            ),
        ];
        for (name, received, sent) in floods {
            let turns = turns(received, sent, 100_000);
            assert!(turns < 30_000, "{name}: {turns}");
        }
        assert_eq!(turns(nothing, nothing, 10), 10);
    }

    #[test]
    fn frames_that_carry_messages_are_never_a_flood() {
        let uses: [(&str, Frames, Frames); 4] = [
            (
                "an echo with two WINDOW_UPDATEs per message",
                |r| (r.data, r.window_updates) = (r.data + 1, r.window_updates + 2),
                |s| (s.data, s.data_bytes) = (s.data + 1, s.data_bytes + 7),
            ),
            (
                "a broadcast that is taken byte by byte",
                |r| r.window_updates += 16,
                |s| (s.data, s.data_bytes) = (s.data + 1, s.data_bytes + 256),
            ),
            (
                "a thousand sockets opened, answered and dropped at once",
                |r| (r.headers, r.resets) = (r.headers + 1_000, r.resets + 1_000),
                |s| s.headers += 1_000,
            ),
            (
                "requests with a PRIORITY each, some given up unanswered",
                |r| {
                    (r.headers, r.idle, r.resets) = (r.headers + 20, r.idle + 20, r.resets + 1);
                },
                |s| (s.headers, s.data) = (s.headers + 19, s.data + 19),
            ),
        ];
        for (name, received, sent) in uses {
            assert_eq!(turns(received, sent, 200_000), 200_000, "{name}");
        }
    }

    #[test]
    fn all_open_streams_that_got_their_response_may_be_reset_at_once() {
        let mut flood = Flood::new(STREAMS, Instant::now());
        let (mut received, mut sent) = (FrameCounts::default(), FrameCounts::default());
        sent.headers = 100 * STREAMS;
        assert!(!flood.charge(&received, &sent, || 0));
        received.resets = STREAMS;
        assert!(!flood.charge(&received, &sent, || 0));
        assert_eq!(flood.owed, STREAMS * price::RESET);
        received.resets += CREDIT / price::WASTED;
        assert!(flood.charge(&received, &sent, || 0));
    }

    #[test]
    fn slow_frames_are_paid_for_by_time() {
        let start = Instant::now();
        let mut flood = Flood::new(STREAMS, start);
        flood.owed = CREDIT + 10 * PER_SECOND;
        assert!(flood.is_over(start + Duration::from_secs(9)));
        assert!(!flood.is_over(start + Duration::from_secs(10)));
        flood.owed = CREDIT * 1_000_000;
        assert!(!flood.is_over(start + Duration::from_secs(60 * 60 * 24 * 365)));
    }
}
