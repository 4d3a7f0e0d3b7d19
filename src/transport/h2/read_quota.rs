//! Decides how much the driver reads per turn.
//!
//! If both ends read everything available, reply to it and wait for each other,
//! only one of them works at a time. Reading in portions keeps both at work,
//! keeps the data in the processor's caches, and lets no message wait behind
//! more than a portion. But each portion costs system calls and wake-ups, and
//! two or three portions are worse than one (docs/performance.md).

use super::frame_counter::FrameCounts;

/// Maximum size of a portion, in bytes, unless few streams are known to be
/// busy. It bounds what `h2` parses, and therefore holds, before received
/// messages are delivered.
pub(super) const MOST: usize = 32 * 1024;

/// Maximum size of a portion of few busy streams, in bytes: two of the largest
/// frames that h2ws accepts by default. Smaller portions cut them in pieces.
pub(super) const MOST_OF_FEW: usize = 128 * 1024;

/// Number of portions in which one message per busy stream is read.
const PORTIONS: u32 = 4;

/// Minimum number of streams in a portion; fewer are read together.
const FEWEST: u32 = 10;

/// Maximum number of streams in a portion: more gain little.
const ENOUGH: u32 = 32;

/// Number of woken readers that make up a round: enough to estimate how many
/// streams are busy, as far as that matters.
const ROUND: u32 = 2 * PORTIONS * ENOUGH;

/// Number of bytes from which on an unfinished round needs large portions: either
/// [`FEWEST`] messages fill one, or the bytes do not belong to WebSockets, such as
/// the body of a request.
const ROUND_BYTES: u64 = ROUND as u64 * MOST as u64 / FEWEST as u64;

/// Estimates, round by round, how many streams are busy and how much they
/// receive at a time. A request or a response counts as a woken reader of a
/// stream of its own.
#[derive(Debug)]
pub(super) struct ReadQuota {
    round: u8,
    woken: u32,
    /// Number of distinct streams among them.
    streams: u32,
    /// What was received before the round began.
    before: FrameCounts,
    bytes: u64,
}

impl ReadQuota {
    pub(super) fn new() -> Self {
        Self {
            round: 0,
            woken: 0,
            streams: 0,
            before: FrameCounts::default(),
            bytes: MOST as u64,
        }
    }

    /// Returns the mark that a stream gets when its reader is woken.
    pub(super) fn round(&self) -> u8 {
        self.round
    }

    /// Notes that a reader was woken; `first` if its stream did not have this
    /// round's mark.
    pub(super) fn woke_reader(&mut self, first: bool) {
        self.woken += 1;
        self.streams += u32::from(first);
    }

    /// Returns how many bytes the next turn may read, given the counts of all
    /// frames `received` so far.
    pub(super) fn bytes(&mut self, received: &FrameCounts) -> u64 {
        let in_round = received.bytes - self.before.bytes;
        let opened = received.headers - self.before.headers;
        let opened = u32::try_from(opened).unwrap_or(u32::MAX);
        let woken = self.woken.saturating_add(opened);
        if woken >= ROUND {
            let streams = self.streams.saturating_add(opened) / PORTIONS;
            let at_a_time = in_round / u64::from(woken);
            let portion = at_a_time * u64::from(streams.min(ENOUGH));
            self.bytes = match streams {
                ..FEWEST => MOST_OF_FEW as u64,
                _ => portion.clamp(1, MOST as u64),
            };
            self.round = self.round.wrapping_add(1);
            (self.woken, self.streams) = (0, 0);
            self.before = *received;
        } else if in_round >= ROUND_BYTES {
            self.bytes = self.bytes.max(MOST as u64);
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: u64 = 10;

    fn received(bytes: u64, headers: u64) -> FrameCounts {
        FrameCounts {
            bytes,
            headers,
            ..FrameCounts::default()
        }
    }

    /// Returns the portion after a round in which `streams` received `bytes`
    /// each, in turn.
    fn after(portion: &mut ReadQuota, streams: u32, bytes: u64) -> u64 {
        let woken = ROUND.next_multiple_of(streams.max(1));
        for n in 0..woken {
            portion.woke_reader(n < streams);
        }
        let before = portion.before;
        let bytes = before.bytes + u64::from(woken) * bytes;
        portion.bytes(&received(bytes, before.headers))
    }

    #[test]
    fn busy_streams_are_read_in_four_portions() {
        let mut portion = ReadQuota::new();
        assert_eq!(
            portion.bytes(&received(0, 0)),
            MOST as u64,
            "no estimate yet"
        );
        assert_eq!(after(&mut portion, 40, 79), 10 * 79);
        assert_eq!(after(&mut portion, 100, 79), 25 * 79);
        assert_eq!(after(&mut portion, 10_000, 79), 32 * 79);
        assert_eq!(after(&mut portion, 100, 1_000), 25_000);
        assert_eq!(after(&mut portion, 100, 1 << 20), MOST as u64);
    }

    #[test]
    fn few_streams_are_read_together() {
        let mut portion = ReadQuota::new();
        assert_eq!(after(&mut portion, 100, 79), 25 * 79);
        assert_eq!(after(&mut portion, 39, 79), MOST_OF_FEW as u64);
        assert_eq!(after(&mut portion, 1, 79), MOST_OF_FEW as u64);
    }

    #[test]
    fn request_bodies_are_read_in_the_largest_portions() {
        let mut portion = ReadQuota::new();
        assert_eq!(after(&mut portion, 100, 79), 25 * 79);
        let upload = portion.before.bytes + ROUND_BYTES;
        assert_eq!(portion.bytes(&received(upload - 1, 0)), 25 * 79);
        assert_eq!(portion.bytes(&received(upload, 0)), MOST as u64);
        assert_eq!(after(&mut portion, 100, 79), 25 * 79, "and back");
    }

    #[test]
    fn many_streams_with_large_messages_are_not_few() {
        let mut portion = ReadQuota::new();
        assert_eq!(after(&mut portion, 10, 64 << 10), MOST_OF_FEW as u64);
        portion.woke_reader(true);
        let more = portion.before.bytes + ROUND_BYTES;
        assert_eq!(portion.bytes(&received(more, 0)), MOST_OF_FEW as u64);
        assert_eq!(after(&mut portion, 1_000, 64 << 10), MOST as u64);
        portion.woke_reader(true);
        let more = portion.before.bytes + ROUND_BYTES;
        assert_eq!(portion.bytes(&received(more, 0)), MOST as u64);
    }

    #[test]
    fn many_responses_are_read_in_portions() {
        let mut portion = ReadQuota::new();
        let all = u64::from(ROUND);
        let some = received((all - 1) * RESPONSE, all - 1);
        assert_eq!(portion.bytes(&some), MOST as u64, "no estimate yet");
        let enough = u64::from(ENOUGH);
        assert_eq!(
            portion.bytes(&received(all * RESPONSE, all)),
            enough * RESPONSE
        );
        assert_eq!(portion.round(), 1);
        assert_eq!(after(&mut portion, 1, 79), MOST_OF_FEW as u64, "and back");
    }

    #[test]
    fn a_portion_is_never_zero() {
        // Readers may be woken by bytes received before the round.
        assert_eq!(after(&mut ReadQuota::new(), 100, 0), 1);
    }

    #[test]
    fn a_round_ends_after_enough_woken_readers() {
        let mut portion = ReadQuota::new();
        for _ in 1..ROUND {
            portion.woke_reader(true);
        }
        assert_eq!(portion.bytes(&received(9_999, 0)), MOST as u64);
        assert_eq!(portion.round(), 0);
        portion.woke_reader(true);
        let all = received(u64::from(ROUND), 0);
        assert_eq!(portion.bytes(&all), u64::from(ENOUGH));
        assert_eq!(portion.round(), 1);
    }
}
