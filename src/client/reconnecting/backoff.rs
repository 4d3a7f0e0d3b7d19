//! How long to wait before the next attempt.
//!
//! Many clients lose their server at the same moment, and so do the WebSockets of one client that
//! share a connection. The delay is therefore random over a range whose upper end doubles with
//! each attempt (RFC 6455 §7.2.3).

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    pub(super) min: Duration,
    pub(super) max: Duration,
    pub(super) max_retry_after: Duration,
}

impl Backoff {
    /// Returns the delay of the attempt that follows `attempts` others. A server that asks for a
    /// pause gets it, and the delay on top, because it asks all its clients for the same one.
    pub(super) fn delay(&self, attempts: u32, retry_after: Option<Duration>) -> Duration {
        let random = getrandom::u64().unwrap_or_default() as f64 / u64::MAX as f64;
        let pause = retry_after.unwrap_or_default().min(self.max_retry_after);
        self.spread(attempts, random).saturating_add(pause)
    }

    /// `random` is from 0 to 1.
    fn spread(&self, attempts: u32, random: f64) -> Duration {
        let upper = self.upper(attempts);
        let range = upper.saturating_sub(self.min);
        (self.min + range.mul_f64(random)).min(upper)
    }

    /// The longest delay: twice the shortest one at first.
    fn upper(&self, attempts: u32) -> Duration {
        let doubled = attempts.saturating_add(1);
        let factor = 1_u32.checked_shl(doubled).unwrap_or(u32::MAX);
        self.min.saturating_mul(factor).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        min: Duration::from_secs(1),
        max: Duration::from_secs(60),
        max_retry_after: Duration::from_secs(3600),
    };

    #[test]
    fn the_range_doubles_up_to_the_maximum() {
        let upper = [2, 4, 8, 16, 32, 60, 60];
        for (attempts, seconds) in (0..).zip(upper) {
            let seconds = Duration::from_secs(seconds);
            assert_eq!(BACKOFF.spread(attempts, 0.0), BACKOFF.min);
            assert_eq!(BACKOFF.spread(attempts, 1.0), seconds, "{attempts}");
        }
        for attempts in [30, 31, 32, u32::MAX] {
            assert_eq!(BACKOFF.spread(attempts, 1.0), BACKOFF.max);
        }
    }

    /// A thousand WebSockets that ended at once come back over the whole range.
    #[test]
    fn delays_are_spread_and_within_bounds() {
        let mut tenths = [0; 10];
        for _ in 0..1000 {
            let delay = BACKOFF.delay(0, None);
            assert!(
                (BACKOFF.min..=2 * BACKOFF.min).contains(&delay),
                "{delay:?}"
            );
            let tenth = (delay - BACKOFF.min).as_millis() as usize / 100;
            tenths[tenth.min(9)] += 1;
        }
        // 100 are expected in each.
        assert!(tenths.iter().all(|&count| count > 30), "{tenths:?}");
    }

    #[test]
    fn a_pause_that_the_server_asks_for_is_kept_up_to_the_maximum() {
        let hour = BACKOFF.max_retry_after;
        for (asked, least) in [(30, 30), (3600, 3600), (u64::MAX, 3600)] {
            let delay = BACKOFF.delay(0, Some(Duration::from_secs(asked)));
            let least = Duration::from_secs(least);
            assert!(delay >= least + BACKOFF.min, "{delay:?}");
            assert!(delay <= hour + 2 * BACKOFF.min, "{delay:?}");
        }
    }

    #[test]
    fn the_longest_settings_do_not_overflow() {
        let century = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        let backoff = Backoff {
            min: century,
            max: century,
            max_retry_after: century,
        };
        assert_eq!(backoff.spread(u32::MAX, 1.0), century);
        assert_eq!(backoff.delay(3, Some(Duration::MAX)), 2 * century);
    }
}
