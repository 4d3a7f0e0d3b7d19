//! Parsers of option values. Their errors follow "invalid value ... for option ...: ".

use std::net::{SocketAddr, ToSocketAddrs};
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

/// Parses the address to listen on, or resolves a host name. Of several addresses the first IPv4
/// one is used, because more clients reach it.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let form = || "expected an address such as 0.0.0.0:443, [::]:443 or localhost:8443".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
    let port: u16 = port.parse().map_err(|_| form())?;
    if host.is_empty() || host.contains(['/', ':', '[', ']', ' ']) {
        return Err(form());
    }
    let found = (host, port).to_socket_addrs();
    let found: Vec<_> = found
        .map_err(|error| format!("cannot resolve {host}: {error}"))?
        .collect();
    let ipv4 = found.iter().find(|address| address.is_ipv4());
    ipv4.or(found.first())
        .copied()
        .ok_or_else(|| format!("cannot resolve {host}: it has no address"))
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

pub(super) fn seconds(text: &str) -> Result<f64, String> {
    let seconds: Option<f64> = text.parse().ok();
    seconds
        .filter(|seconds| (0.0..=1e6).contains(seconds))
        .ok_or_else(|| "expected a number of seconds from 0 to 1000000".into())
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
