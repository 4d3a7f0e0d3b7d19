//! The health of an upstream, as determined by its requests and active checks. The
//! current time is passed in.

use std::time::{Duration, Instant};

use http::StatusCode;

use crate::clock::later;

/// Passive health checking: an upstream that fails several times in a row gets no
/// requests for a time that grows with each ejection.
///
/// Only failures that the bridge itself observes count: no connection, a new
/// connection that ended without a response, a WebSocket handshake that timed out.
/// A response with any status is a success, and a slow response to a plain HTTP
/// request does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ejection {
    /// Number of failures in a row after which an upstream is ejected; 0 disables
    /// ejection. Default 3.
    pub failures: u32,
    /// Duration of the first ejection. Each further one is twice as long, until the
    /// upstream has been healthy for as long as it was last ejected. Default 5 s.
    pub base_ejection_time: Duration,
    /// Maximum duration of an ejection. Default 5 minutes.
    pub max_ejection_time: Duration,
    /// Whether responses with 502, 503 or 504 count as failures. Default false: a
    /// healthy application may send one of them to a single user.
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

    /// Sets [`base_ejection_time`](Self::base_ejection_time).
    #[must_use]
    pub fn base_ejection_time(self, base_ejection_time: Duration) -> Self {
        Self {
            base_ejection_time,
            ..self
        }
    }

    /// Sets [`max_ejection_time`](Self::max_ejection_time).
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

    /// Whether a response with this status counts as a failure.
    pub(super) fn counts_as_failure(&self, status: StatusCode) -> bool {
        let is_gateway_error = matches!(
            status,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        );
        self.gateway_errors && is_gateway_error
    }

    /// Duration of the `nth` ejection, counted from 1.
    fn duration(&self, nth: u32) -> Duration {
        let factor = 2_u32.saturating_pow(nth.saturating_sub(1));
        self.base_ejection_time
            .saturating_mul(factor)
            .min(self.max_ejection_time)
    }
}

/// Numbers of checks in a row that change the state of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thresholds {
    pub(super) healthy: u32,
    pub(super) unhealthy: u32,
}

/// A change of an upstream's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It gets no requests for this long.
    Ejected(Duration),
    /// A request succeeded for the first time since it was ejected.
    Returned,
    /// Checks fail.
    Down,
    /// Checks succeed.
    Up,
}

/// The health of one upstream.
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
    /// Whether its end was reported.
    is_over: bool,
}

#[derive(Debug)]
struct Checked {
    up: bool,
    /// Number of checks in a row with the opposite result.
    against: u32,
}

impl Health {
    /// Whether the upstream should get requests.
    pub(super) fn is_healthy(&self, now: Instant) -> bool {
        let ejected = self.ejected.is_some_and(|ejected| now < ejected.until);
        let down = self.checked.as_ref().is_some_and(|checked| !checked.up);
        !ejected && !down
    }

    /// Records a failed request.
    pub(super) fn failed(&mut self, now: Instant, policy: &Ejection) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        // Requests that were in progress when it was ejected add nothing.
        let ejected = self.ejected.is_some_and(|ejected| now < ejected.until);
        if policy.failures == 0 || self.failures < policy.failures || ejected {
            return None;
        }
        self.ejections = self.ejections.saturating_add(1);
        // After the ejection, the first failure ejects it again.
        self.failures = policy.failures - 1;
        let lasts = policy.duration(self.ejections);
        let until = later(now.into(), lasts).into_std();
        self.ejected = Some(Ejected {
            until,
            lasts,
            is_over: false,
        });
        Some(Change::Ejected(lasts))
    }

    /// Records a successful request. A success during an ejection, when all
    /// upstreams are ejected, ends it.
    pub(super) fn succeeded(&mut self, now: Instant) -> Option<Change> {
        self.failures = 0;
        let ejected = self.ejected.as_mut()?;
        let was_over = std::mem::replace(&mut ejected.is_over, true);
        if now < ejected.until {
            ejected.until = now;
        } else if now.saturating_duration_since(ejected.until) >= ejected.lasts {
            self.ejected = None;
            self.ejections = 0;
        }
        (!was_over).then_some(Change::Returned)
    }

    /// Records the result of an active check. The first result takes effect at once.
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

    /// Forgets the results of active checks, which have been disabled.
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
    fn only_failures_in_a_row_eject() {
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
            assert!(health.is_healthy(now), "one more failure ejects it");
        }
    }

    #[test]
    fn requests_in_progress_do_not_prolong_an_ejection() {
        let (mut health, now) = (Health::default(), Instant::now());
        health.failed(now, &policy());
        health.failed(now, &policy());
        for _ in 0..100 {
            assert_eq!(health.failed(now, &policy()), None);
        }
        assert!(health.is_healthy(now + SECOND));
    }

    #[test]
    fn ejections_are_forgotten_after_being_healthy_as_long() {
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
        // Too early to be forgotten: the next ejection is longer still.
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
    fn a_success_during_an_ejection_ends_it() {
        let (mut health, now) = (Health::default(), Instant::now());
        health.failed(now, &policy());
        health.failed(now, &policy());
        assert!(!health.is_healthy(now));
        health.succeeded(now);
        assert!(health.is_healthy(now));
    }

    #[test]
    fn the_first_success_after_an_ejection_is_reported_once() {
        let (mut health, now) = (Health::default(), Instant::now());
        assert_eq!(health.succeeded(now), None);
        for later in [Duration::ZERO, SECOND] {
            let mut health = Health::default();
            health.failed(now, &policy());
            health.failed(now, &policy());
            assert_eq!(health.succeeded(now + later), Some(Change::Returned));
            assert_eq!(health.succeeded(now + later), None);
        }
    }

    #[test]
    fn an_ejection_may_last_forever() {
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
    fn checks_take_effect_after_their_thresholds() {
        let thresholds = Thresholds {
            healthy: 2,
            unhealthy: 3,
        };
        let (mut health, now) = (Health::default(), Instant::now());
        assert!(health.is_healthy(now), "healthy by default");
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
