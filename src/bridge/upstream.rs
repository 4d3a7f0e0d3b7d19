//! Where a bridge leads to: one URL, and where its name was resolved, the
//! address of one of its servers.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::client::HttpVersion;
use crate::handshake::{HostPort, Target, UrlError};

/// One place that sockets are bridged to, parsed from a URL: `ws://`,
/// `wss://` (or `http://`, `https://`, which mean the same) with an optional
/// path that is put before that of the request, or `tcp://host:port`.
///
/// ```
/// use h2ws::bridge::Upstream;
/// use h2ws::HttpVersion;
///
/// let upstream: Upstream = "wss://chat.internal/v2".parse()?;
/// let upstream = upstream.version(HttpVersion::Http2);
/// assert_eq!(upstream.url("/room?id=1"), "wss://chat.internal:443/v2/room?id=1");
/// assert!("tcp://redis.internal".parse::<Upstream>().is_err(), "no port");
/// # Ok::<(), h2ws::bridge::InvalidUpstream>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
    version: HttpVersion,
    address: Option<SocketAddr>,
    server_name: Option<String>,
}

/// What is spoken to an [`Upstream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// WebSockets in cleartext.
    Ws,
    /// WebSockets over TLS.
    Wss,
    /// The payload of messages as bytes of a TCP connection.
    Tcp,
}

impl Scheme {
    /// As in URLs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Tcp => "tcp",
        }
    }
}

impl Upstream {
    /// In which version of HTTP a WebSocket upstream is spoken to. Default
    /// [`HttpVersion::Auto`].
    #[must_use]
    pub fn version(self, version: HttpVersion) -> Self {
        Self { version, ..self }
    }

    /// The server of the name that has this address. Certificates and header
    /// fields keep to the name.
    #[must_use]
    pub fn at(self, address: SocketAddr) -> Self {
        let address = Some(address);
        Self { address, ..self }
    }

    /// Goes by another name in TLS than by its URL's host.
    pub(super) fn server_name(self, name: &str) -> Self {
        let server_name = Some(name.to_ascii_lowercase());
        Self {
            server_name,
            ..self
        }
    }

    /// The address to connect to, if it is known without asking for the name that
    /// a URL of [`url`](Self::url) has.
    pub(super) fn reached_at(&self) -> Option<SocketAddr> {
        let by_host = || Some(SocketAddr::new(self.host.parse().ok()?, self.port));
        let is_renamed = self.server_name.is_some();
        self.address.or_else(|| by_host().filter(|_| is_renamed))
    }

    /// What is spoken.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// A lower-case name, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's own filled in.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What is put before the path of each request: empty, or from its slash on
    /// and without one at the end.
    #[must_use]
    pub fn path_prefix(&self) -> &str {
        &self.path
    }

    /// The version asked for.
    #[must_use]
    pub fn http_version(&self) -> HttpVersion {
        self.version
    }

    /// The address to connect to, where the name was resolved.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The URL of a request here, for a path with its query.
    #[must_use]
    pub fn url(&self, path_and_query: &str) -> String {
        let path = &self.path;
        // A query may stand alone: `/v2` and `?id=1`.
        let slash = if path.is_empty() && !path_and_query.starts_with('/') {
            "/"
        } else {
            ""
        };
        format!("{}{path}{slash}{path_and_query}", self.origin())
    }

    /// `scheme://host:port`, with the name that TLS goes by.
    pub(super) fn origin(&self) -> String {
        let host = self.server_name.as_ref().unwrap_or(&self.host);
        format!("{}://{}", self.scheme.as_str(), place(host, self.port))
    }

    /// `host:port` of its URL.
    pub(super) fn called(&self) -> String {
        place(&self.host, self.port)
    }

    /// Whether the host is a name, which resolution may lead anywhere.
    pub(super) fn is_named(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_err()
    }
}

fn place(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The URL, without the address.
impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.scheme.as_str(),
            self.called(),
            self.path
        )
    }
}

impl FromStr for Upstream {
    type Err = InvalidUpstream;

    fn from_str(url: &str) -> Result<Self, InvalidUpstream> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("tcp")) {
            return tcp(url);
        }
        let target: Target = url.parse()?;
        let path = target.path_and_query();
        if path.contains('?') {
            return Err(InvalidUpstream::Query);
        }
        Ok(Self {
            scheme: if target.secure() {
                Scheme::Wss
            } else {
                Scheme::Ws
            },
            host: target.host().to_owned(),
            port: target.port(),
            path: path.trim_end_matches('/').to_owned(),
            version: HttpVersion::Auto,
            address: None,
            server_name: None,
        })
    }
}

fn tcp(url: &str) -> Result<Upstream, InvalidUpstream> {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    if rest.contains(['/', '?', '#']) {
        return Err(InvalidUpstream::TcpPath);
    }
    let authority: HostPort = rest
        .parse()
        .map_err(|_| InvalidUpstream::Url(UrlError::Host))?;
    Ok(Upstream {
        scheme: Scheme::Tcp,
        host: authority.host().to_owned(),
        port: authority.port().ok_or(InvalidUpstream::NoPort)?,
        path: String::new(),
        version: HttpVersion::Auto,
        address: None,
        server_name: None,
    })
}

/// A URL that no socket can be bridged to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidUpstream {
    /// It is no URL that a WebSocket could be at.
    Url(UrlError),
    /// It has a query; only a path is put before that of requests.
    Query,
    /// A `tcp` URL with more than a host and a port.
    TcpPath,
    /// A `tcp` URL without a port.
    NoPort,
}

impl From<UrlError> for InvalidUpstream {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl fmt::Display for InvalidUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(UrlError::Scheme) => {
                f.write_str("the scheme must be ws, wss, http, https or tcp")
            }
            Self::Url(error) => error.fmt(f),
            Self::Query => f.write_str("an upstream has no query"),
            Self::TcpPath => f.write_str("a tcp upstream is tcp://host:port, without a path"),
            Self::NoPort => f.write_str("a tcp upstream needs a port: tcp://host:port"),
        }
    }
}

impl std::error::Error for InvalidUpstream {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_what_is_spoken_and_where() {
        for (url, shown, request) in [
            ("ws://a", "ws://a:80", "ws://a:80/x?y"),
            ("http://A:8080/", "ws://a:8080", "ws://a:8080/x?y"),
            (
                "wss://[::1]/v2/",
                "wss://[::1]:443/v2",
                "wss://[::1]:443/v2/x?y",
            ),
        ] {
            let upstream: Upstream = url.parse().unwrap();
            assert_eq!(upstream.to_string(), shown);
            assert_eq!(upstream.url("/x?y"), request);
            assert!(upstream.url("/").parse::<Target>().is_ok());
        }
        let upstream: Upstream = "TCP://[::1]:6379".parse().unwrap();
        assert_eq!((upstream.scheme(), upstream.host()), (Scheme::Tcp, "::1"));
        assert_eq!(upstream.to_string(), "tcp://[::1]:6379");
    }

    #[test]
    fn a_path_may_be_nothing_but_a_query() {
        let url = |upstream: &str, path| upstream.parse::<Upstream>().unwrap().url(path);
        assert_eq!(url("ws://a/v2", "?x"), "ws://a:80/v2?x");
        assert_eq!(url("ws://a", "?x"), "ws://a:80/?x");
        assert_eq!(url("ws://a", ""), "ws://a:80/");
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        use InvalidUpstream::*;
        for (url, error) in [
            ("", Url(UrlError::Syntax)),
            ("a", Url(UrlError::Scheme)),
            ("ftp://a", Url(UrlError::Scheme)),
            ("ws://", Url(UrlError::Syntax)),
            ("ws://a?b", Query),
            ("ws://me:pw@a", Url(UrlError::UserInfo)),
            ("ws://a:0", Url(UrlError::Port)),
            ("ws://a#b", Url(UrlError::Fragment)),
            ("tcp://a", NoPort),
            ("tcp://a:1/", TcpPath),
            ("tcp://:1", Url(UrlError::Host)),
            ("tcp://me@a:1", Url(UrlError::Host)),
        ] {
            assert_eq!(url.parse::<Upstream>(), Err(error), "{url}");
        }
    }

    #[test]
    fn names_are_told_from_addresses() {
        let named = |url: &str| url.parse::<Upstream>().unwrap().is_named();
        assert!(named("ws://localhost") && named("tcp://a.b:1"));
        assert!(!named("ws://127.0.0.1") && !named("ws://[::1]"));
    }
}
