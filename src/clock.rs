//! Arithmetic on points in time.

use std::time::Duration;

use tokio::time::Instant;

/// Returns `now + duration`, or a time ten years away if the clock cannot
/// represent that. So a setting such as `Duration::MAX` means "never".
pub(crate) fn later(now: Instant, duration: Duration) -> Instant {
    let far = Duration::from_secs(10 * 365 * 24 * 60 * 60);
    now.checked_add(duration).unwrap_or_else(|| now + far)
}
