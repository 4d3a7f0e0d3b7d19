//! Whether an upstream is fit for more sockets: what their openings and the
//! checks say of it. No clock: the time is passed in.

use std::time::{Duration, Instant};

use http::StatusCode;

use crate::clock::later;

/// When an upstream that fails is left out: after so many openings that failed
/// in a row, and for a time that grows with each ejection.
///
/// Only what the bridge itself saw fail counts: no connection, a new connection
/// that ended without an answer, no answer in time to the opening of a socket.
/// An answer is none of these, whatever its status, nor is a slow answer to a
/// plain HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ejection {
    /// Failures in a row before an upstream is left out; 0 for never. Default 3.
    pub failures: u32,
    /// How long it is left out the first time; doubled with each further one,
    /// until it has been well for as long as it was left out. Default 5 s.
    pub base_ejection_time: Duration,
    /// How long at most. Default 5 minutes.
    pub max_ejection_time: Duration,
    /// Whether answers with 502, 503 or 504 count as failures, too. Default
    /// false: an application may give such an answer to one user, and be well.
    pub gateway_errors: bool,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: 3,
            base_ejection_time: Duration::from_secs(5),
            max_ejection_time: Duration::from_secs(300),
            gateway_errors: false,
        }
    }
}

impl Ejection {
    /// Sets [`failures`](Self::failures).
    #[must_use]
    pub fn failures(self, failures: u32) -> Self {
        Self { failures, ..self }
    }

    /// Sets [`first`](Self::first).
    #[must_use]
    pub fn base_ejection_time(self, base_ejection_time: Duration) -> Self {
        Self {
            base_ejection_time,
            ..self
        }
    }

    /// Sets [`longest`](Self::longest).
    #[must_use]
    pub fn max_ejection_time(self, max_ejection_time: Duration) -> Self {
        Self {
            max_ejection_time,
            ..self
        }
    }

    /// Sets [`gateway_errors`](Self::gateway_errors).
    #[must_use]
    pub fn gateway_errors(self, gateway_errors: bool) -> Self {
        Self {
            gateway_errors,
            ..self
        }
    }

    /// Whether an answer with this status counts as a failure.
    pub(super) fn counts(&self, status: StatusCode) -> bool {
        let is_gateway_error = matches!(
            status,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        );
        self.gateway_errors && is_gateway_error
    }

    /// How long the `nth` ejection lasts, counted from 1.
    fn lasts(&self, nth: u32) -> Duration {
        let factor = 2_u32.saturating_pow(nth.saturating_sub(1));
        self.base_ejection_time
            .saturating_mul(factor)
            .min(self.max_ejection_time)
    }
}

/// How many checks in a row change what is thought of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thresholds {
    pub(super) healthy: u32,
    pub(super) unhealthy: u32,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is left out for this long.
    Ejected(Duration),
    /// Checks fail.
    Down,
    /// Checks succeed.
    Up,
}

/// What is known of one upstream.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: u32,
    ejections: u32,
    ejected: Option<Ejected>,
    checked: Option<Checked>,
}

#[derive(Clone, Copy, Debug)]
struct Ejected {
    until: Instant,
    lasts: Duration,
}

#[derive(Debug)]
struct Checked {
    up: bool,
    /// Checks in a row that say the opposite.
    against: u32,
}

impl Health {
    /// Whether it is to be used.
    pub(super) fn is_healthy(&self, now: Instant) -> bool {
        let ejected = self.ejected.is_some_and(|ejected| now < ejected.until);
        let down = self.checked.as_ref().is_some_and(|checked| !checked.up);
        !ejected && !down
    }

    /// An opening failed.
    pub(super) fn failed(&mut self, now: Instant, policy: &Ejection) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        // What was under way when it was ejected says nothing new.
        let ejected = self.ejected.is_some_and(|ejected| now < ejected.until);
        if policy.failures == 0 || self.failures < policy.failures || ejected {
            return None;
        }
        self.ejections = self.ejections.saturating_add(1);
        // Back from it, the first failure decides.
        self.failures = policy.failures - 1;
        let lasts = policy.lasts(self.ejections);
        let until = later(now.into(), lasts).into_std();
        self.ejected = Some(Ejected { until, lasts });
        Some(Change::Ejected(lasts))
    }

    /// An opening succeeded. One that was tried as the last resort ends the
    /// ejection.
    pub(super) fn succeeded(&mut self, now: Instant) {
        self.failures = 0;
        let Some(ejected) = &mut self.ejected else {
            return;
        };
        if now < ejected.until {
            ejected.until = now;
        } else if now.saturating_duration_since(ejected.until) >= ejected.lasts {
            self.ejected = None;
            self.ejections = 0;
        }
    }

    /// A check was made. The first one decides alone.
    pub(super) fn checked(&mut self, up: bool, thresholds: Thresholds) -> Option<Change> {
        let change = if up { Change::Up } else { Change::Down };
        let Some(checked) = &mut self.checked else {
            self.checked = Some(Checked { up, against: 0 });
            return (!up).then_some(change);
        };
        if checked.up == up {
            checked.against = 0;
            return None;
        }
        checked.against += 1;
        let enough = if up {
            thresholds.healthy
        } else {
            thresholds.unhealthy
        };
        if checked.against < enough {
            return None;
        }
        *checked = Checked { up, against: 0 };
        Some(change)
    }

    /// Nobody checks any more.
    pub(super) fn forget_checks(&mut self) {
        self.checked = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> Ejection {
        let policy = Ejection::default().failures(2).base_ejection_time(SECOND);
        policy.max_ejection_time(3 * SECOND)
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_does_not() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert_eq!(health.failed(now, &policy()), None);
        health.succeeded(now);
        assert_eq!(health.failed(now, &policy()), None);
        assert!(health.is_healthy(now));
        let change = health.failed(now, &policy());
        assert_eq!(change, Some(Change::Ejected(SECOND)));
        assert!(!health.is_healthy(now));
        assert!(health.is_healthy(now + SECOND));
    }

    #[test]
    fn each_ejection_is_longer_up_to_a_limit() {
        let (mut health, mut now) = (Health::default(), Instant::now());
        health.failed(now, &policy());
        for seconds in [1, 2, 3, 3] {
            let lasts = seconds * SECOND;
            assert_eq!(health.failed(now, &policy()), Some(Change::Ejected(lasts)));
            now += lasts;
            assert!(
                health.is_healthy(now),
                "tried again, with one failure to go"
            );
        }
    }

    #[test]
    fn stragglers_do_not_make_an_ejection_longer() {
        let (mut health, now) = (Health::default(), Instant::now());
        health.failed(now, &policy());
        health.failed(now, &policy());
        for _ in 0..100 {
            assert_eq!(health.failed(now, &policy()), None);
        }
        assert!(health.is_healthy(now + SECOND));
    }

    #[test]
    fn ejections_are_forgotten_after_as_much_health() {
        let (mut health, mut now) = (Health::default(), Instant::now());
        for _ in 0..3 {
            health.failed(now, &policy());
        }
        now += SECOND;
        assert_eq!(
            health.failed(now, &policy()),
            Some(Change::Ejected(2 * SECOND))
        );
        now += 2 * SECOND;
        health.succeeded(now);
        // Too early: the next is still counted on.
        health.failed(now, &policy());
        assert_eq!(
            health.failed(now, &policy()),
            Some(Change::Ejected(3 * SECOND))
        );
        now += 6 * SECOND;
        health.succeeded(now);
        health.failed(now, &policy());
        assert_eq!(health.failed(now, &policy()), Some(Change::Ejected(SECOND)));
    }

    #[test]
    fn a_success_as_the_last_resort_ends_the_ejection() {
        let (mut health, now) = (Health::default(), Instant::now());
        health.failed(now, &policy());
        health.failed(now, &policy());
        assert!(!health.is_healthy(now));
        health.succeeded(now);
        assert!(health.is_healthy(now));
    }

    #[test]
    fn an_ejection_may_last_for_ever() {
        let policy = policy()
            .base_ejection_time(Duration::MAX)
            .max_ejection_time(Duration::MAX);
        let (mut health, now) = (Health::default(), Instant::now());
        health.failed(now, &policy);
        assert!(health.failed(now, &policy).is_some());
        assert!(!health.is_healthy(now + 1_000_000 * SECOND));
        health.succeeded(now);
        assert!(health.is_healthy(now));
    }

    #[test]
    fn ejection_can_be_off() {
        let (mut health, now) = (Health::default(), Instant::now());
        for _ in 0..100 {
            assert_eq!(health.failed(now, &policy().failures(0)), None);
        }
        assert!(health.is_healthy(now));
    }

    #[test]
    fn checks_change_it_after_their_thresholds() {
        let thresholds = Thresholds {
            healthy: 2,
            unhealthy: 3,
        };
        let (mut health, now) = (Health::default(), Instant::now());
        assert!(health.is_healthy(now), "nothing is known against it");
        assert_eq!(health.checked(false, thresholds), Some(Change::Down));
        assert_eq!(health.checked(true, thresholds), None);
        assert_eq!(health.checked(false, thresholds), None);
        assert_eq!(health.checked(true, thresholds), None);
        assert!(!health.is_healthy(now), "not two in a row");
        assert_eq!(health.checked(true, thresholds), Some(Change::Up));
        assert!(health.is_healthy(now));
        let changes = [(); 3].map(|()| health.checked(false, thresholds));
        assert_eq!(changes, [None, None, Some(Change::Down)]);
        health.forget_checks();
        assert!(health.is_healthy(now));
    }
}
