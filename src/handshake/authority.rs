//! Hosts and ports: what a client says it talks to, and which of these names are ours.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use http::header::HOST;
use http::{Version, request};

use super::Rejection;
use super::syntax::{self, Field};

/// A host with an optional port, as in `Host` and `:authority` (RFC 3986 §3.2, no user info).
///
/// The host is lower case; an IPv6 address is in its canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: Option<u16>,
}

impl HostPort {
    /// A name or an address, the latter without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if one is named.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether both name the same place, if `default_port` is meant where none is named.
    #[must_use]
    pub fn is_same(&self, other: &Self, default_port: u16) -> bool {
        let port = |it: &Self| it.port.unwrap_or(default_port);
        bare(&self.host) == bare(&other.host) && port(self) == port(other)
    }

    pub(super) fn without_port(mut self, default: u16) -> Self {
        self.port = self.port.filter(|port| *port != default);
        self
    }

    pub(super) fn into_host(self) -> String {
        self.host
    }

    /// Whether `text`, which this was parsed from, is just how it would be shown. A port may
    /// have gone since; an IPv6 address counts as written otherwise, whether it is or not.
    pub(super) fn is_written(&self, text: &str) -> bool {
        match (text.strip_prefix(self.host.as_str()), self.port) {
            (Some(rest), None) => rest.is_empty(),
            (Some(rest), Some(_)) => rest.starts_with(':') && !rest.starts_with(":0"),
            (None, _) => false,
        }
    }
}

/// The host without the dot that ends a fully qualified name: it is the same host.
fn bare(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

impl FromStr for HostPort {
    type Err = InvalidHostPort;

    fn from_str(text: &str) -> Result<Self, InvalidHostPort> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']').ok_or(InvalidHostPort::Host)?;
            let address: Ipv6Addr = address.parse().map_err(|_| InvalidHostPort::Host)?;
            let port = match port.strip_prefix(':') {
                None if !port.is_empty() => return Err(InvalidHostPort::Host),
                port => port,
            };
            (address.to_string(), port)
        } else {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            if !is_name(host) {
                return Err(InvalidHostPort::Host);
            }
            (host.to_ascii_lowercase(), port)
        };
        // "host:" is allowed and means the default port (RFC 3986 §3.2.3).
        let port = port.filter(|port| !port.is_empty());
        let port = port.map(parse_port).transpose()?;
        Ok(Self { host, port })
    }
}

/// A registered name or an IPv4 address (RFC 3986 §3.2.2), without percent-encoding, which no
/// resolver takes, and without `*`, which stands for more than one host in lists of ours.
fn is_name(host: &str) -> bool {
    !bare(host).is_empty() && host.bytes().all(is_name_byte)
}

#[rustfmt::skip]
fn is_name_byte(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~'
        | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'+' | b';' | b'=')
}

fn parse_port(text: &str) -> Result<u16, InvalidHostPort> {
    // `u16::from_str` takes a plus sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(InvalidHostPort::Port),
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Returns the port of `https` and `wss` URLs that name none, or that of `http` and `ws` URLs
/// (RFC 9110 §4.2, RFC 6455 §3).
#[must_use]
pub const fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// Returns the default port of an HTTP scheme, or `None` for any other scheme.
pub(super) fn default_port_of(scheme: &str) -> Option<u16> {
    match scheme {
        "https" => Some(default_port(true)),
        "http" => Some(default_port(false)),
        _ => None,
    }
}

/// The host that an ordinary request is for: `:authority`, or a request target in absolute form,
/// outweighs `host` (RFC 9112 §3.2.2, RFC 9113 §8.3.1).
///
/// # Errors
/// [`Rejection::Host`] if there is none or it is invalid, if HTTP/1.1's `host` does not come once
/// (RFC 9112 §3.2), or if over HTTP/2 it says something else than `:authority`.
pub fn of_request(parts: &request::Parts, default_port: u16) -> Result<HostPort, Rejection> {
    let parse = |text: &str| text.parse::<HostPort>().map_err(|_| Rejection::Host);
    let host = match syntax::field(&parts.headers, HOST) {
        Field::Absent => None,
        Field::Once(host) => Some(parse(syntax::text(host).ok_or(Rejection::Host)?)?),
        Field::Repeated => return Err(Rejection::Host),
    };
    let target = parts.uri.authority();
    let target = target.map(|target| parse(target.as_str())).transpose()?;
    match (target, host) {
        (Some(target), Some(host)) => {
            let agree = parts.version != Version::HTTP_2 || host.is_same(&target, default_port);
            agree.then_some(target).ok_or(Rejection::Host)
        }
        (Some(_), None) if parts.version == Version::HTTP_11 => Err(Rejection::Host),
        (Some(only), None) | (None, Some(only)) => Ok(only),
        (None, None) => Err(Rejection::Host),
    }
}

/// Why a text is no host with an optional port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidHostPort {
    /// No host, or one with characters that no host has.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
}

impl fmt::Display for InvalidHostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host is missing or invalid",
            Self::Port => "the port is not a number from 1 to 65535",
        })
    }
}

impl std::error::Error for InvalidHostPort {}

/// `example.com`, or `*.example.com` for every name below it, with rules for the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    below: bool,
    host: String,
    pub(super) port: PortPattern,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortPattern {
    /// None is named.
    Unnamed,
    /// `:*`
    Any,
    Only(u16),
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidHostPort> {
        let (text, any_port) = match text.strip_suffix(":*") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let (host, below) = match text.strip_prefix("*.") {
            Some(host) => (host, true),
            None => (text, false),
        };
        let parsed: HostPort = host.parse()?;
        let port = match parsed.port {
            Some(_) if any_port => return Err(InvalidHostPort::Port),
            Some(port) => PortPattern::Only(port),
            None if any_port => PortPattern::Any,
            None => PortPattern::Unnamed,
        };
        if below && parsed.host.contains(':') {
            return Err(InvalidHostPort::Host);
        }
        let host = bare(&parsed.host).to_owned();
        Ok(Self { below, host, port })
    }

    pub(super) fn matches_host(&self, host: &str) -> bool {
        let host = bare(host);
        if !self.below {
            return host == self.host;
        }
        // At least one label, then a dot: "*.example.com" is neither "example.com" nor
        // "badexample.com".
        let label = host.strip_suffix(self.host.as_str());
        let label = label.and_then(|rest| rest.strip_suffix('.'));
        label.is_some_and(|label| !label.is_empty())
    }
}

/// The names a server answers to; a request for another is misdirected (421, RFC 9110 §15.5.20).
///
/// This is what stands against DNS rebinding: a page of `evil.example` whose name suddenly leads
/// to 127.0.0.1 still sends `evil.example` as its authority.
///
/// ```
/// use h2ws::handshake::AllowedHosts;
///
/// let ours = AllowedHosts::parse(["example.com", "*.example.com:8443", "[::1]"])?;
/// assert!(ours.check(&"example.com:444".parse()?, 443).is_ok());
/// assert!(ours.check(&"a.b.example.com:8443".parse()?, 443).is_ok());
/// assert!(ours.check(&"a.example.com".parse()?, 443).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHosts(Option<Vec<Pattern>>);

impl AllowedHosts {
    /// Every name: for servers that no browser reaches, or behind a proxy that checks.
    #[must_use]
    pub fn any() -> Self {
        Self(None)
    }

    /// Those that match one of `patterns`: `host`, or `*.host` for all names below it, then
    /// `:port` or nothing or `:*` for any port. `*` alone is [`AllowedHosts::any`].
    ///
    /// # Errors
    /// If a pattern is none of these.
    pub fn parse<I>(patterns: I) -> Result<Self, InvalidHostPort>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let mut parsed = Some(Vec::new());
        for pattern in patterns {
            match pattern.as_ref() {
                "*" => parsed = None,
                pattern => {
                    let pattern = Pattern::parse(pattern)?;
                    parsed
                        .iter_mut()
                        .for_each(|list| list.push(pattern.clone()));
                }
            }
        }
        Ok(Self(parsed))
    }

    /// Whether `authority` is one of ours; `default_port` is meant where it names none: 443 for
    /// `https`, 80 for `http`.
    ///
    /// # Errors
    /// [`Rejection::Authority`] if not.
    pub fn check(&self, authority: &HostPort, default_port: u16) -> Result<(), Rejection> {
        let Some(patterns) = &self.0 else {
            return Ok(());
        };
        let port = authority.port.unwrap_or(default_port);
        let matches = |pattern: &Pattern| {
            let port = match pattern.port {
                PortPattern::Only(only) => only == port,
                PortPattern::Any | PortPattern::Unnamed => true,
            };
            port && pattern.matches_host(&authority.host)
        };
        if patterns.iter().any(matches) {
            Ok(())
        } else {
            Err(Rejection::Authority)
        }
    }

    /// As [`check`](Self::check), of any request: pages, too, are what DNS rebinding is after.
    ///
    /// # Errors
    /// [`Rejection::Authority`] if it is for a host that is not ours, [`Rejection::Host`] if it
    /// does not name one, as [`of_request`] says: then what stands before this server may have
    /// read another one. Where all are allowed, HTTP/1.0 may leave it out.
    pub fn check_request(
        &self,
        request: &request::Parts,
        default_port: u16,
    ) -> Result<(), Rejection> {
        if self.0.is_none() && request.version < Version::HTTP_11 {
            return Ok(());
        }
        self.check(&of_request(request, default_port)?, default_port)
    }
}

#[cfg(test)]
mod tests;
