//! Hosts and ports: parsing them, finding the host of a request, and access control by host.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use http::header::HOST;
use http::{Version, request};

use super::Rejection;
use super::syntax::{self, Field};

/// A host with an optional port, as in `Host` and `:authority` (RFC 3986 §3.2, without user info).
///
/// The host is in lower case, and an IPv6 address in its canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    host: String,
    port: Option<u16>,
}

impl HostPort {
    /// Returns the name or address, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, if there is one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Returns whether both are the same host and port; `default_port` stands for a missing port.
    #[must_use]
    pub fn is_same(&self, other: &Self, default_port: u16) -> bool {
        let port = |it: &Self| it.port.unwrap_or(default_port);
        without_final_dot(&self.host) == without_final_dot(&other.host) && port(self) == port(other)
    }

    pub(super) fn without_port(mut self, default: u16) -> Self {
        self.port = self.port.filter(|port| *port != default);
        self
    }

    pub(super) fn into_host(self) -> String {
        self.host
    }

    /// Returns whether `text`, from which this was parsed, equals its `Display` form. May return
    /// false for an IPv6 address that does. The port may have been removed since parsing.
    pub(super) fn is_normal_form(&self, text: &str) -> bool {
        match (text.strip_prefix(self.host.as_str()), self.port) {
            (Some(rest), None) => rest.is_empty(),
            (Some(rest), Some(_)) => rest.starts_with(':') && !rest.starts_with(":0"),
            (None, _) => false,
        }
    }
}

/// Removes the final dot of a fully qualified name, which does not change the host.
fn without_final_dot(host: &str) -> &str {
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
        // "host:" is valid and means the default port (RFC 3986 §3.2.3).
        let port = port.filter(|port| !port.is_empty());
        let port = port.map(parse_port).transpose()?;
        Ok(Self { host, port })
    }
}

/// Returns whether `host` is a registered name or an IPv4 address (RFC 3986 §3.2.2).
/// Percent-encoding, which resolvers do not support, and `*`, which is a wildcard in patterns, are
/// not accepted.
fn is_name(host: &str) -> bool {
    !without_final_dot(host).is_empty() && host.bytes().all(is_name_byte)
}

#[rustfmt::skip]
fn is_name_byte(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~'
        | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'+' | b';' | b'=')
}

fn parse_port(text: &str) -> Result<u16, InvalidHostPort> {
    // `u16::from_str` accepts a plus sign.
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

/// Returns the host that a plain HTTP request is for. `:authority`, or a request target in absolute
/// form, takes precedence over `host` (RFC 9112 §3.2.2, RFC 9113 §8.3.1).
///
/// # Errors
/// [`Rejection::Host`] if the host is missing or invalid, if an HTTP/1.1 request does not have
/// exactly one `host` (RFC 9112 §3.2), or if `host` differs from `:authority` over HTTP/2.
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

/// A text that is not a host with an optional port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidHostPort {
    /// The host is missing or invalid.
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

/// A text that is not a pattern for hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidHostPattern(String);

impl fmt::Display for InvalidHostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(pattern) = self;
        write!(
            f,
            "{pattern:?} is not a host such as example.com, *.example.com or example.com:8443"
        )
    }
}

impl std::error::Error for InvalidHostPattern {}

/// A pattern for hosts: `example.com`, or `*.example.com` for all its subdomains, with a rule for
/// the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Whether subdomains of `host` match, and not `host` itself.
    subdomains: bool,
    host: String,
    pub(super) port: PortPattern,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortPattern {
    /// The pattern has no port.
    Unnamed,
    /// `:*`: any port.
    Any,
    /// This port.
    Only(u16),
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subdomains = if self.subdomains { "*." } else { "" };
        let is_ipv6 = self.host.contains(':');
        let (open, close) = if is_ipv6 { ("[", "]") } else { ("", "") };
        write!(f, "{subdomains}{open}{}{close}", self.host)?;
        match self.port {
            PortPattern::Unnamed => Ok(()),
            PortPattern::Any => f.write_str(":*"),
            PortPattern::Only(port) => write!(f, ":{port}"),
        }
    }
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidHostPort> {
        let (text, any_port) = match text.strip_suffix(":*") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let (host, subdomains) = match text.strip_prefix("*.") {
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
        if subdomains && parsed.host.contains(':') {
            return Err(InvalidHostPort::Host);
        }
        let host = without_final_dot(&parsed.host).to_owned();
        Ok(Self {
            subdomains,
            host,
            port,
        })
    }

    pub(super) fn matches_host(&self, host: &str) -> bool {
        let host = without_final_dot(host);
        if !self.subdomains {
            return host == self.host;
        }
        // At least one label and a dot: "*.example.com" does not match "example.com" or
        // "badexample.com".
        let label = host.strip_suffix(self.host.as_str());
        let label = label.and_then(|rest| rest.strip_suffix('.'));
        label.is_some_and(|label| !label.is_empty())
    }
}

/// The hosts that a server accepts requests for. Others are rejected as misdirected (421, RFC 9110
/// §15.5.20).
///
/// This protects against DNS rebinding: a page of `evil.example`, whose name suddenly resolves to
/// 127.0.0.1, still sends `evil.example` as its authority.
///
/// ```
/// use h2ws::handshake::AllowedHosts;
///
/// let hosts = AllowedHosts::parse(["example.com", "*.example.com:8443", "[::1]"])?;
/// assert!(hosts.check(&"example.com:444".parse()?, 443).is_ok());
/// assert!(hosts.check(&"a.b.example.com:8443".parse()?, 443).is_ok());
/// assert!(hosts.check(&"a.example.com".parse()?, 443).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHosts(Option<Vec<Pattern>>);

impl AllowedHosts {
    /// Allows every host: for servers that browsers cannot reach, or behind a proxy that checks.
    #[must_use]
    pub fn any() -> Self {
        Self(None)
    }

    /// Allows the hosts that match one of `patterns`. A pattern is `host`, or `*.host` for all its
    /// subdomains, followed by `:port` for one port, or by nothing or `:*` for any. `*` alone is
    /// [`AllowedHosts::any`].
    ///
    /// # Errors
    /// If a pattern is invalid.
    pub fn parse<I>(patterns: I) -> Result<Self, InvalidHostPattern>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let mut parsed = Some(Vec::new());
        for pattern in patterns {
            match pattern.as_ref() {
                "*" => parsed = None,
                pattern => {
                    let parsing = Pattern::parse(pattern);
                    let pattern = parsing.map_err(|_| InvalidHostPattern(pattern.to_owned()))?;
                    parsed
                        .iter_mut()
                        .for_each(|list| list.push(pattern.clone()));
                }
            }
        }
        Ok(Self(parsed))
    }

    /// Checks that `authority` is allowed. `default_port` stands for a missing port: see
    /// [`default_port`].
    ///
    /// # Errors
    /// [`Rejection::Authority`] if it is not allowed.
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

    /// Like [`check`](Self::check), for any request: DNS rebinding attacks plain HTTP, too.
    ///
    /// # Errors
    /// [`Rejection::Authority`] if the request's host is not allowed, and [`Rejection::Host`] if
    /// [`of_request`] finds none: a proxy in front of this server may have read another host. If
    /// every host is allowed, HTTP/1.0 requests need none.
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
