//! The URL of a WebSocket (RFC 6455 §3), and the server that it is on.

mod unix;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use http::HeaderValue;
use http::uri::{Authority, Parts, PathAndQuery, Scheme, Uri};

use super::UrlError;
use super::authority::{HostPort, InvalidHostPort, default_port};

/// The parsed URL of a WebSocket. The schemes are `ws` and `wss`; `http` and `https` mean the same.
///
/// `ws+unix:/run/app.sock:/chat` is `/chat` at a server on a Unix socket. Its host, which is sent as
/// `Host` and verified by TLS, is `localhost`, or the one in `wss+unix://example.com/run/app.sock`.
///
/// ```
/// use h2ws::handshake::Target;
///
/// let target: Target = "wss://[::1]:8443/chat?room=1".parse()?;
/// assert!(target.secure());
/// assert_eq!((target.host(), target.port()), ("::1", 8443));
/// assert_eq!(target.authority(), "[::1]:8443");
/// assert_eq!(target.path_and_query(), "/chat?room=1");
/// # Ok::<(), h2ws::handshake::UrlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    endpoint: Endpoint,
    // In the types from which the `Uri` of each request is made: their clones share memory.
    authority: Authority,
    path: PathAndQuery,
}

/// The server that a [`Target`] is on: targets with equal endpoints can share connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Endpoint {
    /// Whether to use TLS.
    pub secure: bool,
    /// A name in lower case, or an address without brackets.
    pub host: String,
    /// The port, which is the scheme's default if the URL has none.
    pub port: u16,
    /// The Unix socket to connect to, instead of the host and port.
    pub unix_path: Option<Arc<Path>>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_ipv6 = self.host.contains(':');
        let (open, close) = if is_ipv6 { ("[", "]") } else { ("", "") };
        let authority = format_args!("{open}{}{close}:{}", self.host, self.port);
        let is_default = self.host == unix::LOCALHOST && self.port == default_port(self.secure);
        write_origin(f, self, &authority, is_default)
    }
}

/// Writes the scheme, the authority and the Unix socket.
fn write_origin(
    f: &mut fmt::Formatter<'_>,
    endpoint: &Endpoint,
    authority: &dyn fmt::Display,
    is_default: bool,
) -> fmt::Result {
    let scheme = if endpoint.secure { "wss" } else { "ws" };
    match &endpoint.unix_path {
        None => write!(f, "{scheme}://{authority}"),
        Some(path) if is_default => write!(f, "{scheme}+unix:{}", path.display()),
        Some(path) => write!(f, "{scheme}+unix://{authority}{}", path.display()),
    }
}

impl Target {
    /// Returns whether the scheme requires TLS.
    #[must_use]
    pub fn secure(&self) -> bool {
        self.endpoint.secure
    }

    /// Returns the host to connect to, in lower case; an IPv6 address has no brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.endpoint.host
    }

    /// Returns the port to connect to: 443 or 80 if the URL has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.endpoint.port
    }

    /// Returns the path of the Unix socket to connect to, instead of the host and port.
    #[must_use]
    pub fn unix_path(&self) -> Option<&Path> {
        self.endpoint.unix_path.as_deref()
    }

    /// Returns the value of `Host` or `:authority`, without the scheme's default port.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Replaces the [authority](Self::authority) but not the host to connect to, so that a proxy can
    /// forward the name under which its client knows the server.
    ///
    /// ```
    /// use h2ws::handshake::Target;
    ///
    /// let target: Target = "ws://10.0.0.7:9000/chat".parse()?;
    /// let target = target.with_authority(&"example.com".parse()?);
    /// assert_eq!((target.host(), target.authority()), ("10.0.0.7", "example.com"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_authority(mut self, authority: &HostPort) -> Self {
        let default_port = default_port(self.secure());
        self.authority = to_authority(&authority.clone().without_port(default_port));
        self
    }

    /// Returns the request target or `:path`, which is `/` if the URL ends after the authority.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        self.path.as_str()
    }

    /// Returns the server that the target is on: the key by which connections are shared.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the URI with the scheme `http` or `https`, as extended CONNECT requires (RFC 8441 §5).
    #[must_use]
    pub fn http_uri(&self) -> Uri {
        let scheme = if self.secure() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        let mut parts = Parts::default();
        parts.scheme = Some(scheme);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(self.path.clone());
        Uri::from_parts(parts).expect("no part is missing")
    }

    pub(super) fn path_uri(&self) -> Uri {
        Uri::from(self.path.clone())
    }

    pub(super) fn host_value(&self) -> HeaderValue {
        HeaderValue::from_str(self.authority()).expect("a parsed authority is visible ASCII")
    }
}

impl FromStr for Target {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        // `Uri` would report these as invalid without the reason.
        if url.trim() != url {
            return Err(UrlError::Blank);
        }
        if let Some(target) = unix::parse(url) {
            return target;
        }
        let authority = authority_in(url);
        if !authority.is_ascii() {
            return Err(UrlError::NotAscii);
        }
        if authority.contains('[') && authority.contains('%') {
            return Err(UrlError::Zone);
        }
        // RFC 6455 §3 forbids a fragment, which `Uri` silently removes.
        if url.contains('#') {
            return Err(UrlError::Fragment);
        }
        let uri: Uri = url.parse().map_err(|_| UrlError::Syntax)?;
        Self::try_from(&uri)
    }
}

/// Returns the part between the scheme and the path (RFC 3986 §3.2), or nothing without a scheme.
fn authority_in(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// As from text, except that a fragment is not an error: [`Uri`] has removed it already.
impl TryFrom<&Uri> for Target {
    type Error = UrlError;

    fn try_from(uri: &Uri) -> Result<Self, UrlError> {
        let scheme = uri.scheme_str().ok_or(UrlError::Scheme)?;
        let is_one_of = |names: [&str; 2]| names.iter().any(|n| scheme.eq_ignore_ascii_case(n));
        let secure = is_one_of(["wss", "https"]);
        if !secure && !is_one_of(["ws", "http"]) {
            return Err(UrlError::Scheme);
        }
        let authority = uri.authority().ok_or(UrlError::Host)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::UserInfo);
        }
        let named: HostPort = authority.as_str().parse().map_err(|error| match error {
            InvalidHostPort::Host => UrlError::Host,
            InvalidHostPort::Port => UrlError::Port,
        })?;
        let default_port = default_port(secure);
        let port = named.port().unwrap_or(default_port);
        let named = named.without_port(default_port);
        let authority = if named.is_normal_form(authority.as_str()) {
            authority.clone()
        } else {
            to_authority(&named)
        };
        let endpoint = Endpoint {
            secure,
            host: named.into_host(),
            port,
            unix_path: None,
        };
        let path = match uri.path_and_query() {
            Some(path) if is_normal(path.as_str()) => path.clone(),
            path => normal_path(path.map_or("", PathAndQuery::as_str))?,
        };
        Ok(Self {
            endpoint,
            authority,
            path,
        })
    }
}

fn to_authority(authority: &HostPort) -> Authority {
    Authority::try_from(authority.to_string()).expect("every `HostPort` is a valid authority")
}

fn is_normal(path: &str) -> bool {
    path.starts_with('/') && path.is_ascii()
}

/// Adds the initial slash if it is missing, and percent-encodes the bytes that `Uri` accepts
/// although RFC 3986 §2 does not.
fn normal_path(path: &str) -> Result<PathAndQuery, UrlError> {
    let mut normal = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        normal.push('/');
    }
    for byte in path.bytes() {
        if byte.is_ascii() {
            normal.push(char::from(byte));
        } else {
            normal.push_str(&format!("%{byte:02X}"));
        }
    }
    PathAndQuery::try_from(normal).map_err(|_| UrlError::Syntax)
}

/// Writes the URL with the scheme `ws` or `wss`, or `ws+unix` or `wss+unix`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_default = self.authority.as_str() == unix::LOCALHOST;
        write_origin(f, &self.endpoint, &self.authority, is_default)?;
        let colon = self.unix_path().map_or("", |_| ":");
        write!(f, "{colon}{}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6455_3_urls() {
        for (url, secure, host, port, authority, path) in [
            (
                "ws://example.com",
                false,
                "example.com",
                80,
                "example.com",
                "/",
            ),
            (
                "wss://example.com/",
                true,
                "example.com",
                443,
                "example.com",
                "/",
            ),
            (
                "http://example.com:80/a",
                false,
                "example.com",
                80,
                "example.com",
                "/a",
            ),
            (
                "https://example.com:80/a",
                true,
                "example.com",
                80,
                "example.com:80",
                "/a",
            ),
            (
                "WSS://Example.COM:443/Chat",
                true,
                "example.com",
                443,
                "example.com",
                "/Chat",
            ),
            ("ws://a:?x=1", false, "a", 80, "a", "/?x=1"),
            ("ws://a/b?c=%23&d=/?", false, "a", 80, "a", "/b?c=%23&d=/?"),
            (
                "ws://[2001:DB8::1]:9/",
                false,
                "2001:db8::1",
                9,
                "[2001:db8::1]:9",
                "/",
            ),
            (
                "ws://127.0.0.1:8080",
                false,
                "127.0.0.1",
                8080,
                "127.0.0.1:8080",
                "/",
            ),
            ("ws://a.:08080/", false, "a.", 8080, "a.:8080", "/"),
            ("ws://a/\u{e4}", false, "a", 80, "a", "/%C3%A4"),
        ] {
            let target: Target = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(target.secure(), secure, "{url}");
            assert_eq!((target.host(), target.port()), (host, port), "{url}");
            assert_eq!(target.authority(), authority, "{url}");
            assert_eq!(target.path_and_query(), path, "{url}");
            let again: Target = target.to_string().parse().unwrap();
            assert_eq!(again, target, "{url}");
            let http: Target = Target::try_from(&target.http_uri()).unwrap();
            assert_eq!(http, target, "{url}");
        }
    }

    #[test]
    fn rfc6455_3_invalid_urls() {
        for (url, error) in [
            ("", UrlError::Syntax),
            (" ws://a/", UrlError::Blank),
            ("ws://a/ ", UrlError::Blank),
            ("ws://a/\n", UrlError::Blank),
            ("\u{a0}ws://a/", UrlError::Blank),
            ("wss://b\u{fc}cher.example/", UrlError::NotAscii),
            ("wss://b\u{fc}cher.example:8443?x", UrlError::NotAscii),
            ("wss://\u{4f8b}\u{3048}.jp", UrlError::NotAscii),
            ("ws://a\u{3002}b/", UrlError::NotAscii),
            ("ws://[fe80::1%25eth0]/", UrlError::Zone),
            ("ws://[fe80::1%eth0]:80/", UrlError::Zone),
            ("ws://", UrlError::Syntax),
            ("ws://a b/", UrlError::Syntax),
            ("ws://a/\r\nHost: b", UrlError::Syntax),
            ("/chat", UrlError::Scheme),
            ("example.com", UrlError::Scheme),
            ("ftp://example.com/", UrlError::Scheme),
            ("wsx://example.com/", UrlError::Scheme),
            ("ws://user@example.com/", UrlError::UserInfo),
            ("ws://user:secret@example.com/", UrlError::UserInfo),
            ("ws://example.com/#top", UrlError::Fragment),
            ("ws://example.com/#", UrlError::Fragment),
            ("ws://[::zz]/", UrlError::Host),
            ("ws://a,b/", UrlError::Host),
            ("ws://a:99999/", UrlError::Port),
            ("ws://a:0/", UrlError::Port),
        ] {
            assert_eq!(url.parse::<Target>(), Err(error), "{url}");
        }
    }

    #[test]
    fn rfc9112_3_2_the_authority_can_be_replaced() {
        for (authority, shown) in [
            ("Example.com", "example.com"),
            ("example.com:443", "example.com"),
            ("example.com:80", "example.com:80"),
            ("[::1]:8443", "[::1]:8443"),
            // Every `HostPort` fits into a URI.
            ("a-._~!$&'()+;=b:9", "a-._~!$&'()+;=b:9"),
        ] {
            let target: Target = "wss://10.0.0.7:9/a?b".parse().unwrap();
            let renamed = target.clone().with_authority(&authority.parse().unwrap());
            assert_eq!(renamed.authority(), shown);
            assert_eq!(renamed.host_value(), shown);
            assert_eq!(renamed.http_uri().authority().unwrap().as_str(), shown);
            assert_eq!(renamed.endpoint(), target.endpoint());
            assert_eq!(renamed.path_and_query(), "/a?b");
        }
    }

    #[test]
    fn connections_are_shared_by_equal_endpoints() {
        let endpoint = |url: &str| url.parse::<Target>().unwrap().endpoint().clone();
        assert_eq!(endpoint("wss://A/x"), endpoint("https://a:443/y"));
        assert_ne!(endpoint("wss://a/"), endpoint("ws://a:443/"));
        assert_eq!(endpoint("wss://a/").to_string(), "wss://a:443");
        assert_eq!(endpoint("ws://[::1]/").to_string(), "ws://[::1]:80");
    }

    #[test]
    fn every_host_port_fits_into_a_uri() {
        let target: Target = "ws://a/".parse().unwrap();
        let long = "a".repeat(100_000);
        let mut checked = 0;
        let odd = (0..=u8::MAX).map(|byte| format!("a{}:1", char::from(byte)));
        for name in odd.chain(["[::1]:1", "[2001:db8::1]", "1.2.3.4", "a.", &long].map(Into::into))
        {
            let Ok(name) = name.parse::<HostPort>() else {
                continue;
            };
            let target = target.clone().with_authority(&name);
            assert_eq!(
                target.http_uri().authority().unwrap().as_str(),
                name.to_string()
            );
            checked += 1;
        }
        assert_eq!(checked, 26 * 2 + 10 + 13 + 5);
    }
}
