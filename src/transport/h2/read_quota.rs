//! How much a turn of the driver reads.
//!
//! Two ends that take all there is, answer it and wait for each other work one
//! at a time. What is read in portions keeps both at work, is in the
//! processor's caches on its whole way through, and lets nobody wait behind
//! more than a portion. But each costs system calls and wake-ups, and two or
//! three are worse than one (docs/performance.md).

/// Bytes of a portion, at most: bounds what `h2` parses, and what it therefore
/// holds, before received messages are handed on.
pub(super) const MOST: usize = 32 * 1024;

/// Portions that one message to each busy stream would make.
const PORTIONS: u32 = 4;

/// Streams that are worth a portion.
const FEWEST: u32 = 10;

/// Streams of a portion: more of them gain little.
const ENOUGH: u32 = 32;

/// Readers that are woken in a round. Enough to tell how many streams are busy,
/// as far as that matters.
const ROUND: u32 = 2 * PORTIONS * ENOUGH;

/// Bytes of a round, at most. Where it takes so many, [`FEWEST`] messages fill
/// the largest portion; or they are for somebody else, the body of a request.
const ROUND_BYTES: u64 = ROUND as u64 * MOST as u64 / FEWEST as u64;

/// Learns, round by round, how many streams are busy, and what they receive at
/// a time.
#[derive(Debug)]
pub(super) struct ReadQuota {
    round: u8,
    woken: u32,
    /// Different streams among them.
    streams: u32,
    /// Bytes that had been received when the round began.
    before: u64,
    bytes: u64,
}

impl ReadQuota {
    pub(super) fn new() -> Self {
        Self {
            round: 0,
            woken: 0,
            streams: 0,
            before: 0,
            bytes: MOST as u64,
        }
    }

    /// What a stream is marked with when its reader is woken.
    pub(super) fn round(&self) -> u8 {
        self.round
    }

    /// A reader was woken; `first`: its stream had no mark of this round.
    pub(super) fn woke_reader(&mut self, first: bool) {
        self.woken += 1;
        self.streams += u32::from(first);
    }

    /// Bytes that the next turn may read, when `received` is what came in all.
    pub(super) fn bytes(&mut self, received: u64) -> u64 {
        let in_round = received - self.before;
        if self.woken >= ROUND || in_round >= ROUND_BYTES {
            let streams = self.streams / PORTIONS;
            let at_a_time = in_round / u64::from(self.woken.max(1));
            let portion = at_a_time * u64::from(streams.min(ENOUGH));
            let most = MOST as u64;
            self.bytes = match streams {
                ..FEWEST => most,
                _ => portion.clamp(1, most),
            };
            self.round = self.round.wrapping_add(1);
            (self.woken, self.streams) = (0, 0);
            self.before = received;
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The portion after a round in which `streams` received `bytes` each, in turn.
    fn after(portion: &mut ReadQuota, streams: u32, bytes: u64) -> u64 {
        let woken = ROUND.next_multiple_of(streams.max(1));
        for n in 0..woken {
            portion.woke_reader(n < streams);
        }
        portion.bytes(portion.before + u64::from(woken) * bytes)
    }

    #[test]
    fn busy_streams_are_served_in_four_portions() {
        let mut portion = ReadQuota::new();
        assert_eq!(portion.bytes(0), MOST as u64, "nothing is known");
        assert_eq!(after(&mut portion, 40, 79), 10 * 79);
        assert_eq!(after(&mut portion, 100, 79), 25 * 79);
        assert_eq!(after(&mut portion, 10_000, 79), 32 * 79);
        assert_eq!(after(&mut portion, 100, 1_000), 25_000);
        assert_eq!(after(&mut portion, 100, 1 << 20), MOST as u64);
    }

    #[test]
    fn few_streams_are_served_together() {
        let mut portion = ReadQuota::new();
        assert_eq!(after(&mut portion, 100, 79), 25 * 79);
        assert_eq!(after(&mut portion, 39, 79), MOST as u64);
        assert_eq!(after(&mut portion, 1, 79), MOST as u64);
    }

    #[test]
    fn what_is_not_for_sockets_is_not_read_in_their_portions() {
        let mut portion = ReadQuota::new();
        assert_eq!(after(&mut portion, 100, 79), 25 * 79);
        let upload = portion.before + ROUND_BYTES;
        assert_eq!(portion.bytes(upload - 1), 25 * 79);
        assert_eq!(portion.bytes(upload), MOST as u64);
        assert_eq!(after(&mut portion, 100, 79), 25 * 79, "and back");
    }

    #[test]
    fn a_portion_is_never_nothing() {
        // Readers are also woken by what came before the round.
        assert_eq!(after(&mut ReadQuota::new(), 100, 0), 1);
    }

    #[test]
    fn a_round_is_over_when_enough_was_served() {
        let mut portion = ReadQuota::new();
        for _ in 1..ROUND {
            portion.woke_reader(true);
        }
        assert_eq!((portion.bytes(9_999), portion.round()), (MOST as u64, 0));
        portion.woke_reader(true);
        assert_eq!(portion.bytes(u64::from(ROUND)), u64::from(ENOUGH));
        assert_eq!(portion.round(), 1);
    }
}
