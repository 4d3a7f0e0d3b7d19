//! Values that settings may have.
//!
//! The rule: whatever would panic, hang or spin later is refused where the
//! configuration is complete, by an error with the setting's name, its value
//! and what is allowed. Each configuration has a `validate` beside its fields, and
//! who builds something of it calls that; nothing behind it looks again.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::time::Duration;

/// A setting whose value is not one that it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidSetting {
    name: &'static str,
    value: String,
    allowed: String,
}

impl InvalidSetting {
    /// The setting, such as `Http2Config::max_frame_size`.
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

/// A number within a range.
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

/// A number that is not zero.
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

/// A time that is not over as soon as it begins.
pub(crate) fn time(name: &'static str, value: Duration) -> Result<(), InvalidSetting> {
    between(name, value, Duration::MAX, "1 ms or more")
}

/// As [`time`], for those who add it to the clock.
pub(crate) fn finite(name: &'static str, value: Duration) -> Result<(), InvalidSetting> {
    let longest = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    between(name, value, longest, "from 1 ms to 100 years")
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
