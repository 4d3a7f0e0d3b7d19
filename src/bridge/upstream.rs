//! Upstreams: a URL and, if its name was resolved, the address of one server.
//!
//! | URL | reached by | carries |
//! |---|---|---|
//! | `ws://host`, `wss://host` | TCP | WebSockets and plain HTTP requests |
//! | `ws+unix:/path`, `wss+unix:/path` | a Unix socket | the same |
//! | `tcp://host:port` | TCP | the payload of messages |
//! | `unix:/path` | a Unix socket | the payload of messages |

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::client::HttpVersion;
use crate::error::Error;
use crate::handshake::{HostPort, Target, UrlError};
use crate::transport::{NetStream, TcpConfig, dial};

/// A server that a bridge forwards to, parsed from a URL: `ws://` or `wss://`
/// (equivalent to `http://` and `https://`) with an optional path that is
/// prepended to the path of requests, or `tcp://host:port`.
///
/// Servers on Unix sockets are `ws+unix:/run/app.sock`, with the optional path after
/// another colon, and `unix:/run/app.sock` instead of `tcp`. The host of such a URL is
/// `localhost`, or that of `wss+unix://example.com/run/app.sock`.
///
/// ```
/// use h2ws::bridge::Upstream;
/// use h2ws::HttpVersion;
///
/// let upstream: Upstream = "wss://chat.internal/v2".parse()?;
/// let upstream = upstream.version(HttpVersion::Http2);
/// assert_eq!(upstream.url("/room?id=1"), "wss://chat.internal:443/v2/room?id=1");
/// let upstream: Upstream = "http+unix:/run/app.sock:/v2".parse()?;
/// assert_eq!(upstream.url("/room?id=1"), "ws+unix:/run/app.sock:/v2/room?id=1");
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
    unix_path: Option<Arc<Path>>,
    server_name: Option<String>,
}

/// The protocol spoken to an [`Upstream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// WebSockets without TLS.
    Ws,
    /// WebSockets over TLS.
    Wss,
    /// A connection that carries the payload of messages: over TCP, or to a Unix socket.
    Tcp,
}

impl Scheme {
    /// Returns the scheme as it is written in URLs.
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
    /// Sets the HTTP version for a WebSocket upstream. Default
    /// [`HttpVersion::Auto`].
    #[must_use]
    pub fn version(self, version: HttpVersion) -> Self {
        Self { version, ..self }
    }

    /// Returns the server of this upstream that has this address. Certificates
    /// and header fields still use the name.
    #[must_use]
    pub fn at(self, address: SocketAddr) -> Self {
        let address = Some(address);
        Self { address, ..self }
    }

    /// Sets the name for TLS, if it is not the URL's host.
    pub(super) fn server_name(self, name: &str) -> Self {
        let server_name = Some(name.to_ascii_lowercase());
        Self {
            server_name,
            ..self
        }
    }

    /// Returns the address to connect to, if that needs no resolution of the name
    /// in [`url`](Self::url).
    pub(super) fn known_address(&self) -> Option<SocketAddr> {
        let by_host = || Some(SocketAddr::new(self.host.parse().ok()?, self.port));
        let is_renamed = self.server_name.is_some();
        self.address.or_else(|| by_host().filter(|_| is_renamed))
    }

    /// Connects to the server itself, without TLS and HTTP.
    pub(super) async fn dial(&self, config: &TcpConfig) -> Result<NetStream, Error> {
        let dialed = match (&self.unix_path, self.address) {
            (Some(path), _) => dial::unix(path).await,
            (None, Some(address)) => dial::address(address, config).await.map(NetStream::Tcp),
            (None, None) => {
                let tcp = dial::tcp(&self.host, self.port, config);
                tcp.await.map(NetStream::Tcp)
            }
        };
        dialed.map_err(|error| Error::Connect(Arc::new(error)))
    }

    /// Returns the protocol spoken to the upstream.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the host: a lower-case name, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, which defaults to the scheme's.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the path that is prepended to the path of requests: empty, or with
    /// a slash at the start and none at the end.
    #[must_use]
    pub fn path_prefix(&self) -> &str {
        &self.path
    }

    /// Returns the configured HTTP version.
    #[must_use]
    pub fn http_version(&self) -> HttpVersion {
        self.version
    }

    /// Returns the address of this server, if the name was resolved.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns the path of the server's Unix socket, if it is on one.
    #[must_use]
    pub fn unix_path(&self) -> Option<&Path> {
        self.unix_path.as_deref()
    }

    /// Returns the URL for a request with this path and query.
    #[must_use]
    pub fn url(&self, path_and_query: &str) -> String {
        let path = &self.path;
        // The path may be empty, such as in `?id=1`.
        let slash = if path.is_empty() && !path_and_query.starts_with('/') {
            "/"
        } else {
            ""
        };
        format!("{}{path}{slash}{path_and_query}", self.origin())
    }

    /// Returns the URL as far as the path, with the host that TLS verifies.
    pub(super) fn origin(&self) -> String {
        let host = self.server_name.as_ref().unwrap_or(&self.host);
        match &self.unix_path {
            Some(_) => format!("{}:", self.place(host)),
            None => self.place(host),
        }
    }

    /// Returns the URL without a path: `scheme://host:port`, or the Unix socket.
    fn place(&self, host: &str) -> String {
        let scheme = self.scheme.as_str();
        let authority = host_port(host, self.port);
        let Some(path) = &self.unix_path else {
            return format!("{scheme}://{authority}");
        };
        let path = path.display();
        let default_port = if self.scheme == Scheme::Wss { 443 } else { 80 };
        match self.scheme {
            Scheme::Tcp => format!("unix:{path}"),
            _ if host == LOCALHOST && self.port == default_port => format!("{scheme}+unix:{path}"),
            _ => format!("{scheme}+unix://{authority}{path}"),
        }
    }

    /// Returns `host:port` of the URL.
    pub(super) fn authority(&self) -> String {
        host_port(&self.host, self.port)
    }

    /// Whether the host is a name, which may resolve to several addresses.
    pub(super) fn has_name(&self) -> bool {
        self.unix_path.is_none() && self.host.parse::<std::net::IpAddr>().is_err()
    }
}

/// The host in URLs of Unix sockets that state none.
const LOCALHOST: &str = "localhost";

fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Writes the URL, without the address.
impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_unix = self.unix_path.is_some();
        let colon = if is_unix && !self.path.is_empty() {
            ":"
        } else {
            ""
        };
        write!(f, "{}{colon}{}", self.place(&self.host), self.path)
    }
}

impl FromStr for Upstream {
    type Err = InvalidUpstream;

    fn from_str(url: &str) -> Result<Self, InvalidUpstream> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("tcp")) {
            return tcp(url);
        }
        if let Some(path) = url.strip_prefix("unix:") {
            return unix(path);
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
            unix_path: target.endpoint().unix_path.clone(),
            server_name: None,
        })
    }
}

fn unix(path: &str) -> Result<Upstream, InvalidUpstream> {
    // What of paths is valid is decided in one place. One with `:/` has an HTTP path there.
    let target: Target = format!("ws+unix:{path}").parse()?;
    if path.contains(":/") || path.ends_with(':') || path.starts_with("//") {
        return Err(InvalidUpstream::UnixHttp);
    }
    Ok(Upstream {
        scheme: Scheme::Tcp,
        host: LOCALHOST.to_owned(),
        port: 0,
        path: String::new(),
        version: HttpVersion::Auto,
        address: None,
        unix_path: target.endpoint().unix_path.clone(),
        server_name: None,
    })
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
        unix_path: None,
        server_name: None,
    })
}

/// An invalid upstream URL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidUpstream {
    /// Not a valid WebSocket URL.
    Url(UrlError),
    /// The URL has a query; only a path can be prepended to that of requests.
    Query,
    /// A `tcp` URL with a path, query or fragment.
    TcpPath,
    /// A `tcp` URL without a port.
    NoPort,
    /// A `unix` URL with a host or an HTTP path.
    UnixHttp,
}

impl From<UrlError> for InvalidUpstream {
    fn from(error: UrlError) -> Self {
        Self::Url(error)
    }
}

impl fmt::Display for InvalidUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(UrlError::Scheme) => f.write_str(
                "unsupported scheme; expected ws, wss, http, https, ws+unix, tcp or unix",
            ),
            Self::Url(error) => error.fmt(f),
            Self::UnixHttp => f.write_str(
                "a unix upstream has only the path of its socket; for HTTP and WebSockets, write \
                 ws+unix:/run/app.sock:/path",
            ),
            Self::Query => f.write_str("an upstream URL must not have a query"),
            Self::TcpPath => {
                f.write_str("a tcp upstream must not have a path; expected tcp://host:port")
            }
            Self::NoPort => f.write_str("a tcp upstream needs a port; expected tcp://host:port"),
        }
    }
}

impl std::error::Error for InvalidUpstream {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed() {
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
        for (url, shown, request) in [
            ("ws+unix:/run/a", "ws+unix:/run/a", "ws+unix:/run/a:/x?y"),
            (
                "https+unix:///run/a:/v2/",
                "wss+unix:/run/a:/v2",
                "wss+unix:/run/a:/v2/x?y",
            ),
            (
                "ws+unix://B:81/run/a",
                "ws+unix://b:81/run/a",
                "ws+unix://b:81/run/a:/x?y",
            ),
        ] {
            let upstream: Upstream = url.parse().unwrap();
            assert_eq!(upstream.to_string(), shown);
            assert_eq!(upstream.url("/x?y"), request);
            let target: Target = upstream.url("/a:/b").parse().unwrap();
            assert_eq!(target.unix_path(), Some(Path::new("/run/a")));
            assert!(target.path_and_query().ends_with("/a:/b"));
            let named = upstream.server_name("c");
            let target: Target = named.url("/").parse().unwrap();
            assert_eq!(target.host(), "c");
            assert_eq!(target.unix_path(), Some(Path::new("/run/a")));
        }
        let upstream: Upstream = "unix:/run/a".parse().unwrap();
        assert_eq!(upstream.scheme(), Scheme::Tcp);
        assert_eq!(upstream.unix_path(), Some(Path::new("/run/a")));
        assert_eq!(upstream.to_string(), "unix:/run/a");
        let upstream: Upstream = "TCP://[::1]:6379".parse().unwrap();
        assert_eq!((upstream.scheme(), upstream.host()), (Scheme::Tcp, "::1"));
        assert_eq!(upstream.to_string(), "tcp://[::1]:6379");
    }

    #[test]
    fn a_request_may_have_a_query_and_no_path() {
        let url = |upstream: &str, path| upstream.parse::<Upstream>().unwrap().url(path);
        assert_eq!(url("ws://a/v2", "?x"), "ws://a:80/v2?x");
        assert_eq!(url("ws://a", "?x"), "ws://a:80/?x");
        assert_eq!(url("ws://a", ""), "ws://a:80/");
    }

    #[test]
    fn invalid_urls_are_rejected() {
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
            ("ws+unix:/run/a:/b?c", Query),
            ("ws+unix:/run/a?b", Url(UrlError::UnixPath)),
            ("unix:run/a", Url(UrlError::UnixPath)),
            ("unix:/run/a:/b", UnixHttp),
            ("unix:/run/a:", UnixHttp),
            ("unix://a/b", UnixHttp),
        ] {
            assert_eq!(url.parse::<Upstream>(), Err(error), "{url}");
        }
    }

    #[test]
    fn names_and_addresses_are_distinguished() {
        let named = |url: &str| url.parse::<Upstream>().unwrap().has_name();
        assert!(named("ws://localhost") && named("tcp://a.b:1"));
        assert!(!named("ws+unix:/run/a") && !named("unix:/run/a"));
        assert!(!named("ws://127.0.0.1") && !named("ws://[::1]"));
    }
}
