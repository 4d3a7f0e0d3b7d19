//! Parsers of option values. Their errors follow "invalid value ... for option ...: ".

use std::time::Duration;

use h2ws::handshake::{Target, UrlError};
use http::{HeaderName, HeaderValue};

pub(super) fn target(text: &str) -> Result<Target, UrlError> {
    text.parse()
}

pub(super) fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected 'NAME: VALUE'")?;
    let name = name.trim().parse::<HeaderName>();
    let value = value.trim().parse::<HeaderValue>();
    Ok((
        name.map_err(|error| error.to_string())?,
        value.map_err(|error| error.to_string())?,
    ))
}

/// A time limit, or `none`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecondsOrNone(Option<f64>);

impl SecondsOrNone {
    pub(crate) fn duration(self) -> Option<Duration> {
        self.0.map(Duration::from_secs_f64)
    }
}

pub(super) fn seconds_or_none(text: &str) -> Result<SecondsOrNone, String> {
    if text == "none" {
        return Ok(SecondsOrNone(None));
    }
    let seconds = seconds(text).map_err(|error| format!("{error}, or none"))?;
    Ok(SecondsOrNone(Some(seconds)))
}

/// The name of a header field, or `none`.
#[derive(Clone, Debug)]
pub(crate) struct FieldOrNone(pub(crate) Option<HeaderName>);

pub(super) fn field_or_none(text: &str) -> Result<FieldOrNone, String> {
    if text == "none" {
        return Ok(FieldOrNone(None));
    }
    let name = text.parse::<HeaderName>();
    let name = name.map_err(|error| format!("{error}; expected a name, or none"))?;
    Ok(FieldOrNone(Some(name)))
}

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let seconds: Option<f64> = text.parse().ok();
    seconds
        .filter(|seconds| (0.0..=1e6).contains(seconds))
        .ok_or_else(|| "expected a number of seconds from 0 to 1000000".into())
}

pub(super) fn positive_seconds(text: &str) -> Result<f64, String> {
    let seconds: Option<f64> = text.parse().ok();
    seconds
        .filter(|seconds| (0.001..=1e6).contains(seconds))
        .ok_or_else(|| "expected a number of seconds from 0.001 to 1000000".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields_are_split_at_the_first_colon() {
        let field = (
            HeaderName::from_static("a"),
            HeaderValue::from_static("b:c"),
        );
        assert_eq!(header("A: b:c"), Ok(field));
        for wrong in ["A", "A b: c", ": c", "a: b\nc"] {
            assert!(header(wrong).is_err(), "{wrong}");
        }
    }
}
