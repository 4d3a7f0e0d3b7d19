//! Which pages may open sockets (RFC 6455 §10.2).
//!
//! Browsers let any page open a WebSocket to any server, cookies included, and leave it to the
//! server to look at `origin`. Who is no browser can send any origin, or none: this check
//! protects users of browsers, and authenticates nobody.

use std::fmt;

use http::HeaderValue;

use super::Rejection;
use super::authority::{HostPort, InvalidHostPort, Pattern, PortPattern};
use super::syntax;

/// The origins that may open a socket. Without an `origin`, anyone may: that is no browser.
///
/// ```
/// use h2ws::handshake::AllowedOrigins;
/// use http::HeaderValue;
///
/// let allowed = AllowedOrigins::parse(["https://example.com", "https://*.example.org:*"])?;
/// let check = |origin| allowed.check(Some(&HeaderValue::from_static(origin)));
/// assert!(check("https://example.com").is_ok());
/// assert!(check("https://chat.example.org:8443").is_ok());
/// assert!(check("http://example.com").is_err());
/// assert!(allowed.check(None).is_ok());
/// # Ok::<(), h2ws::handshake::origin::InvalidOrigin>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedOrigins {
    any: bool,
    same_host: bool,
    null: bool,
    listed: Vec<Listed>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    scheme: String,
    host: Pattern,
}

impl AllowedOrigins {
    /// Every origin: for services that are public, or that trust no cookie.
    #[must_use]
    pub fn any() -> Self {
        Self {
            any: true,
            ..Self::none()
        }
    }

    /// No origin: no browser.
    #[must_use]
    pub fn none() -> Self {
        Self {
            any: false,
            same_host: false,
            null: false,
            listed: Vec::new(),
        }
    }

    /// Pages of the host and port that the request is for, and no others.
    #[must_use]
    pub fn same_host() -> Self {
        Self {
            same_host: true,
            ..Self::none()
        }
    }

    /// Those that match one of `patterns`: `scheme://host`, where the host may be `*.host` for
    /// all names below it, then nothing for the scheme's default port, `:port`, or `:*` for any.
    /// `*` is [`AllowedOrigins::any`], `null` the origin of sandboxed pages and local files.
    ///
    /// # Errors
    /// If a pattern is none of these.
    pub fn parse<I>(patterns: I) -> Result<Self, InvalidOrigin>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let mut allowed = Self::none();
        for pattern in patterns {
            match pattern.as_ref() {
                "*" => allowed.any = true,
                "null" => allowed.null = true,
                pattern => {
                    let invalid = || InvalidOrigin(pattern.to_owned());
                    let (scheme, host) = split(pattern).ok_or_else(invalid)?;
                    let host = Pattern::parse(host).map_err(|_: InvalidHostPort| invalid())?;
                    allowed.listed.push(Listed { scheme, host });
                }
            }
        }
        Ok(allowed)
    }

    /// Adds pages of the host and port that the request is for.
    #[must_use]
    pub fn or_same_host(self) -> Self {
        Self {
            same_host: true,
            ..self
        }
    }

    /// Whether a request with this `origin` may open a socket, by the list alone.
    ///
    /// # Errors
    /// [`Rejection::Origin`] if not.
    pub fn check(&self, origin: Option<&HeaderValue>) -> Result<(), Rejection> {
        self.decide(origin, None)
    }

    /// As [`AllowedOrigins::check`], for a request to `authority`.
    ///
    /// # Errors
    /// [`Rejection::Origin`] if it may not open a socket.
    pub fn check_for(
        &self,
        origin: Option<&HeaderValue>,
        authority: &HostPort,
    ) -> Result<(), Rejection> {
        self.decide(origin, Some(authority))
    }

    fn decide(
        &self,
        origin: Option<&HeaderValue>,
        authority: Option<&HostPort>,
    ) -> Result<(), Rejection> {
        let Some(origin) = origin else {
            return Ok(());
        };
        if self.any || syntax::text(origin).is_some_and(|origin| self.allows(origin, authority)) {
            Ok(())
        } else {
            Err(Rejection::Origin)
        }
    }

    fn allows(&self, origin: &str, authority: Option<&HostPort>) -> bool {
        if origin == "null" {
            return self.null;
        }
        let Some((scheme, host)) = split(origin) else {
            return false;
        };
        let Ok(host) = host.parse::<HostPort>() else {
            return false;
        };
        let default_port = default_port(&scheme);
        let same_host = self.same_host
            && default_port.is_some_and(|port| {
                authority.is_some_and(|authority| authority.is_same(&host, port))
            });
        same_host
            || self.listed.iter().any(|listed| {
                listed.scheme == scheme
                    && listed.host.matches_host(host.host())
                    && match listed.host.port {
                        PortPattern::Any => true,
                        PortPattern::Only(port) => host.port().or(default_port) == Some(port),
                        PortPattern::Unnamed => {
                            host.port().is_none_or(|port| default_port == Some(port))
                        }
                    }
            })
    }
}

/// The scheme, in lower case, and what follows `://`.
fn split(origin: &str) -> Option<(String, &str)> {
    let (scheme, host) = origin.split_once("://")?;
    let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let valid = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(is_scheme_byte);
    valid.then(|| (scheme.to_ascii_lowercase(), host))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// A pattern that describes no origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidOrigin(String);

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no origin such as https://example.com or https://*.example.com:8443",
            self.0
        )
    }
}

impl std::error::Error for InvalidOrigin {}
