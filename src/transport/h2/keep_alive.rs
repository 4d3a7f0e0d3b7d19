//! Decides whether a connection is still useful: keep-alive detects a peer that
//! has vanished, and the idle timeout ends a connection without streams.
//!
//! Both compare the connection's counts when their timer expires and never in
//! between, so a turn of the driver costs nothing extra and does not read the
//! clock. In return, silence is detected up to one interval late.

use std::time::Duration;

use tokio::time::Instant;

use super::Http2Config;
use super::frame_counter::FrameCounts;
use crate::clock::later;

/// Number of steps in which the idle time is measured. An unused connection
/// lives for the idle time plus at most one step.
const STEPS: u32 = 4;

/// The action to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Continue,
    /// Nothing was received for an interval: send a PING.
    SendPing,
    /// A PING was sent and nothing was received in time.
    Dead,
    /// Unused for the idle time.
    Idle,
}

#[derive(Debug)]
pub(super) struct Liveness {
    keep_alive: Option<KeepAlive>,
    idle: Option<Idle>,
}

#[derive(Debug)]
struct KeepAlive {
    interval: Duration,
    timeout: Duration,
    at: Instant,
    /// Bytes received at the last check.
    bytes: u64,
    /// Deadline for the peer's answer, while a PING is outstanding.
    answer_by: Option<Instant>,
}

#[derive(Debug)]
struct Idle {
    step: Duration,
    at: Instant,
    /// HEADERS frames received at the last check.
    headers: u64,
    /// Number of steps since the connection was first found unused.
    unused: Option<u32>,
}

impl Liveness {
    pub(super) fn new(config: &Http2Config, idle: Option<Duration>, now: Instant) -> Self {
        let keep_alive = config.keep_alive_interval.and_then(|interval| {
            Some(KeepAlive {
                interval,
                timeout: config.keep_alive_timeout,
                at: now.checked_add(interval)?,
                bytes: 0,
                answer_by: None,
            })
        });
        let idle = idle.and_then(|time| {
            // Never zero: the timer would expire endlessly.
            let step = (time / STEPS).max(Duration::from_millis(1));
            Some(Idle {
                step,
                at: now.checked_add(step)?,
                headers: 0,
                unused: None,
            })
        });
        Self { keep_alive, idle }
    }

    /// Returns when to [`check`](Self::check) next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let keep_alive = self.keep_alive.as_ref().map(|k| k.at);
        let idle = self.idle.as_ref().map(|i| i.at);
        keep_alive.into_iter().chain(idle).min()
    }

    /// Notes that a PING was sent for another reason. Its answer is required
    /// just as that of a keep-alive PING.
    pub(super) fn ping_sent(&mut self, now: Instant, received: &FrameCounts) {
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.ping_sent(now, received);
        }
    }

    /// Checks a connection by what was `received` so far; `used` is whether it
    /// has streams.
    pub(super) fn check(&mut self, now: Instant, received: &FrameCounts, used: bool) -> Verdict {
        if let Some(idle) = &mut self.idle
            && idle.at <= now
            && idle.check(now, received, used)
        {
            return Verdict::Idle;
        }
        match &mut self.keep_alive {
            Some(keep_alive) if keep_alive.at <= now => keep_alive.check(now, received, used),
            _ => Verdict::Continue,
        }
    }
}

impl KeepAlive {
    fn ping_sent(&mut self, now: Instant, received: &FrameCounts) {
        if self.answer_by.is_none() {
            let end = later(now, self.timeout);
            self.bytes = received.bytes;
            self.answer_by = Some(end);
            self.at = self.at.min(end);
        }
    }

    fn check(&mut self, now: Instant, received: &FrameCounts, used: bool) -> Verdict {
        let silent = received.bytes == self.bytes;
        self.bytes = received.bytes;
        let next = later(now, self.interval);
        let (verdict, answer_by) = match self.answer_by {
            _ if !silent => (Verdict::Continue, None),
            None if !used => (Verdict::Continue, None),
            None => (Verdict::SendPing, Some(later(now, self.timeout))),
            Some(end) if end <= now => return Verdict::Dead,
            // The answer may come at any time; the next period of silence is
            // measured from about then.
            waiting => (Verdict::Continue, waiting),
        };
        self.answer_by = answer_by;
        self.at = answer_by.map_or(next, |end| end.min(next));
        verdict
    }
}

impl Idle {
    fn check(&mut self, now: Instant, received: &FrameCounts, used: bool) -> bool {
        let quiet = !used && received.headers == self.headers;
        self.headers = received.headers;
        self.at = later(now, self.step);
        self.unused = quiet.then(|| self.unused.map_or(0, |steps| steps + 1));
        if self.unused.is_some_and(|steps| steps >= STEPS) {
            self.unused = None;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn counts(bytes: u64, headers: u64) -> FrameCounts {
        FrameCounts {
            bytes,
            headers,
            ..FrameCounts::default()
        }
    }

    fn keep_alive(now: Instant) -> Liveness {
        let config = Http2Config::default()
            .keep_alive_interval(10 * SECOND)
            .keep_alive_timeout(5 * SECOND);
        Liveness::new(&config, None, now)
    }

    #[test]
    fn a_silent_peer_gets_a_ping_and_is_then_dead() {
        let start = Instant::now();
        let mut liveness = keep_alive(start);
        let at = |liveness: &mut Liveness, second: u32, bytes| {
            liveness.check(start + second * SECOND, &counts(bytes, 0), true)
        };
        assert_eq!(at(&mut liveness, 9, 0), Verdict::Continue);
        assert_eq!(at(&mut liveness, 10, 100), Verdict::Continue);
        assert_eq!(at(&mut liveness, 20, 100), Verdict::SendPing);
        assert_eq!(liveness.deadline(), Some(start + 25 * SECOND));
        assert_eq!(at(&mut liveness, 24, 100), Verdict::Continue);
        // Any byte counts, whether or not it belongs to the answer.
        assert_eq!(at(&mut liveness, 25, 117), Verdict::Continue);
        assert_eq!(at(&mut liveness, 35, 117), Verdict::SendPing);
        assert_eq!(at(&mut liveness, 40, 117), Verdict::Dead);
    }

    #[test]
    fn no_ping_is_sent_without_streams() {
        let start = Instant::now();
        let mut liveness = keep_alive(start);
        for step in 1..10 {
            let now = start + step * 10 * SECOND;
            assert_eq!(liveness.check(now, &counts(0, 0), false), Verdict::Continue);
        }
    }

    /// Short-lived requests may leave the connection without streams at each
    /// check.
    #[test]
    fn an_outstanding_ping_must_be_answered_even_if_all_streams_end() {
        let start = Instant::now();
        let mut liveness = keep_alive(start);
        let at = |liveness: &mut Liveness, second: u32, used| {
            liveness.check(start + second * SECOND, &counts(0, 0), used)
        };
        assert_eq!(at(&mut liveness, 10, true), Verdict::SendPing);
        assert_eq!(at(&mut liveness, 15, false), Verdict::Dead);
        // A PING for another reason, without streams, between two checks.
        let mut liveness = keep_alive(start);
        liveness.ping_sent(start + 2 * SECOND, &counts(0, 0));
        assert_eq!(liveness.deadline(), Some(start + 7 * SECOND));
        liveness.ping_sent(start + 4 * SECOND, &counts(0, 0));
        assert_eq!(at(&mut liveness, 7, false), Verdict::Dead);
        let mut liveness = keep_alive(start);
        liveness.ping_sent(start + 2 * SECOND, &counts(50, 0));
        let answered = liveness.check(start + 7 * SECOND, &counts(67, 0), false);
        assert_eq!(answered, Verdict::Continue);
        assert_eq!(liveness.deadline(), Some(start + 17 * SECOND));
    }

    #[test]
    fn none_and_huge_intervals_turn_it_off() {
        let config = Http2Config::default().keep_alive_interval(None);
        let mut liveness = Liveness::new(&config, None, Instant::now());
        assert_eq!(liveness.deadline(), None);
        let later = Instant::now() + 100_000 * SECOND;
        assert_eq!(
            liveness.check(later, &counts(0, 0), false),
            Verdict::Continue
        );
        // Too far in the future for the clock.
        let config = config.keep_alive_interval(Duration::MAX);
        let liveness = Liveness::new(&config, Some(Duration::MAX), Instant::now());
        assert!(liveness.deadline().is_none_or(|at| at > later));
    }

    #[test]
    fn an_unused_connection_lives_for_the_idle_time_and_one_step() {
        let start = Instant::now();
        let config = Http2Config::default().keep_alive_interval(None);
        let mut liveness = Liveness::new(&config, Some(8 * SECOND), start);
        let mut verdicts = (1..=10).map(|step| {
            // A request and its response pass unnoticed within step 3.
            let headers = u64::from(step >= 3);
            let used = step < 2;
            liveness.check(start + step * 2 * SECOND, &counts(0, headers), used)
        });
        assert!(verdicts.by_ref().take(7).all(|v| v == Verdict::Continue));
        assert_eq!(verdicts.next(), Some(Verdict::Idle));
    }

    #[test]
    fn a_used_connection_is_never_idle() {
        let start = Instant::now();
        let config = Http2Config::default().keep_alive_interval(None);
        let mut liveness = Liveness::new(&config, Some(SECOND), start);
        for step in 1..100 {
            let now = start + step * SECOND;
            assert_eq!(liveness.check(now, &counts(0, 0), true), Verdict::Continue);
        }
    }
}
