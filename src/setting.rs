//! Validates the values of settings.
//!
//! A value that would later panic, hang or spin is rejected when the configuration is
//! complete, with an error that contains the setting's name, its value and the allowed
//! values. Each configuration has a `validate` method beside its fields; the code that builds
//! something from the configuration calls it, and later code relies on it.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::time::Duration;

/// A setting with a value that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSetting {
    name: &'static str,
    value: String,
    allowed: String,
}

impl InvalidSetting {
    /// Name of the setting, such as `Http2Config::max_frame_size`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl Display for InvalidSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            value,
            allowed,
        } = self;
        write!(f, "{name} is {value}; it must be {allowed}")
    }
}

impl std::error::Error for InvalidSetting {}

const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Checks that a number is within a range.
pub(crate) fn number<T>(
    name: &'static str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), InvalidSetting>
where
    T: PartialOrd + Display + Copy,
{
    if range.contains(&value) {
        return Ok(());
    }
    Err(InvalidSetting {
        name,
        value: value.to_string(),
        allowed: format!("from {} to {}", range.start(), range.end()),
    })
}

/// Checks that a number is not zero.
pub(crate) fn some(name: &'static str, value: usize) -> Result<(), InvalidSetting> {
    if value > 0 {
        return Ok(());
    }
    Err(InvalidSetting {
        name,
        value: value.to_string(),
        allowed: "1 or more".to_owned(),
    })
}

/// Checks that a duration is at least a millisecond.
pub(crate) fn time(name: &'static str, value: Duration) -> Result<(), InvalidSetting> {
    between(name, value, Duration::MAX, "1 ms or more")
}

/// As [`time`], for a duration that is added to a point in time.
pub(crate) fn finite(name: &'static str, value: Duration) -> Result<(), InvalidSetting> {
    between(name, value, LONGEST, "from 1 ms to 100 years")
}

/// As [`finite`], for a duration that may not be shorter than `least`.
pub(crate) fn finite_from(
    name: &'static str,
    value: Duration,
    least: Duration,
) -> Result<(), InvalidSetting> {
    if (least..=LONGEST).contains(&value) {
        return Ok(());
    }
    Err(InvalidSetting {
        name,
        value: format!("{value:?}"),
        allowed: format!("from {least:?} to 100 years"),
    })
}

fn between(
    name: &'static str,
    value: Duration,
    longest: Duration,
    allowed: &str,
) -> Result<(), InvalidSetting> {
    if (Duration::from_millis(1)..=longest).contains(&value) {
        return Ok(());
    }
    Err(InvalidSetting {
        name,
        value: format!("{value:?}"),
        allowed: allowed.to_owned(),
    })
}
