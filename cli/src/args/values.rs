//! Parsers of option values. Their errors follow "invalid value ... for option ...: ".

use std::convert::Infallible;
use std::time::Duration;

use clap::ValueEnum;
use h2ws::handshake::HostPort;
use http::{HeaderName, HeaderValue};

/// Returns the URL of a server, with `wss://` if it has no scheme. A secure default must not depend on
/// the host, so that of `localhost` is the same.
///
/// It is not parsed here: clap would quote an invalid URL, which may contain a password.
pub(super) fn url(text: &str) -> Result<String, Infallible> {
    let end = text.find(['/', '?', '#']).unwrap_or(text.len());
    let (begin, rest) = text.split_at(end);
    let is_unix = ["ws+unix:", "wss+unix:"].contains(&begin);
    if is_unix || begin.ends_with(':') && rest.starts_with("//") {
        return Ok(text.to_owned());
    }
    Ok(format!("wss://{text}"))
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

// The variants have no doc comments: clap would print those below the option.
/// When to use colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    Auto,
    Always,
    Never,
}

impl ColorChoice {
    /// Whether to use colors, where the output is a terminal or not (<https://no-color.org>).
    pub(crate) fn at(self, is_terminal: bool) -> bool {
        match self {
            Self::Auto => {
                let no_color = std::env::var_os("NO_COLOR");
                is_terminal && no_color.is_none_or(|value| value.is_empty())
            }
            Self::Always => true,
            Self::Never => false,
        }
    }
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

pub(super) fn host_and_port(text: &str) -> Result<HostPort, String> {
    let place: Option<HostPort> = text.parse().ok();
    place
        .filter(|place| place.port().is_some_and(|port| port > 0))
        .ok_or_else(|| "expected HOST:PORT, such as 127.0.0.1:8443 or [::1]:8443".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use h2ws::handshake::{Target, UrlError};

    fn target(text: &str) -> Result<Target, UrlError> {
        url(text).expect("infallible").parse()
    }

    #[test]
    fn a_url_without_a_scheme_is_wss() {
        for (text, expected) in [
            ("example.com", "wss://example.com/"),
            ("localhost", "wss://localhost/"),
            ("127.0.0.1:80", "wss://127.0.0.1:80/"),
            ("localhost:8443/chat", "wss://localhost:8443/chat"),
            ("[::1]:8443", "wss://[::1]:8443/"),
            ("a.example?next=ws://b", "wss://a.example/?next=ws://b"),
            ("ws://a.example", "ws://a.example/"),
            ("https://a.example", "wss://a.example/"),
            ("ws+unix:/run/app.sock:/path", "ws+unix:/run/app.sock:/path"),
        ] {
            assert_eq!(target(text).expect("a URL").to_string(), expected, "{text}");
        }
        for wrong in ["", "ftp://a.example", "/path", "mailto:me@a.example"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }

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
