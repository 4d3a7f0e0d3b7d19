//! Configuration of a [`Client`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::client::Client;
use super::connector::Connector;
use super::custom_connector::CustomConnector;
use super::destination::Destination;
use super::proxy::Policy;
use super::settings::Settings;
use super::version::HttpVersion;
use crate::error::Error;
use crate::metrics::{Metrics, Observer};
use crate::socket::WebSocketConfig;
use crate::transport::{TcpConfig, h2::Http2Config, proxy::ProxyError, tls};

/// Configures a [`Client`]; every setting has a default.
#[derive(Clone, Debug, Default)]
pub struct ClientBuilder {
    tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) settings: Settings,
    /// The error of the last call that set a proxy; `build` returns it.
    error: Option<Error>,
}

impl Client {
    /// Creates a client with default settings. The certificates that the operating system
    /// trusts are loaded when the first `wss` URL is opened.
    ///
    /// # Panics
    ///
    /// If TLS cannot be initialised: there is neither a default provider installed in
    /// `rustls`, nor one of the features `ring` and `aws-lc-rs`. Use
    /// [`builder`](Self::builder) to get an error instead.
    #[must_use]
    pub fn new() -> Self {
        let built = Self::builder().build();
        built.expect("a client with default settings needs a TLS provider")
    }

    /// Starts to configure a client.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }
}

impl Default for Client {
    /// As [`Client::new`].
    fn default() -> Self {
        Self::new()
    }
}

impl ClientBuilder {
    /// Sets the configuration of TLS; the client sets ALPN itself. Default: the
    /// certificates that the operating system trusts, which are loaded when the first
    /// `wss` URL is opened. That fails with [`Error::TlsConfig`] if there are none.
    #[must_use]
    pub fn tls(mut self, config: impl Into<Arc<rustls::ClientConfig>>) -> Self {
        self.tls = Some(config.into());
        self
    }

    /// Sets the flow control and the limits of HTTP/2 connections.
    #[must_use]
    pub fn http2(mut self, config: Http2Config) -> Self {
        self.settings.http2 = config;
        self
    }

    /// Sets how TCP connections, including those to proxies, detect that their peer is
    /// gone.
    #[must_use]
    pub fn tcp(mut self, config: TcpConfig) -> Self {
        self.settings.tcp = config;
        self
    }

    /// Sets the limits and timeouts of WebSockets.
    #[must_use]
    pub fn socket(mut self, config: WebSocketConfig) -> Self {
        self.settings.socket = config;
        self
    }

    /// Offers permessage-deflate (RFC 7692), which compresses messages if the server
    /// accepts it. Default off, because a compressed WebSocket takes a hundred times the
    /// memory of an uncompressed one.
    ///
    /// ```
    /// use h2ws::handshake::DeflateConfig;
    /// use h2ws::Client;
    ///
    /// let client = Client::builder().deflate(DeflateConfig::default()).build()?;
    /// # Ok::<_, h2ws::Error>(())
    /// ```
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(mut self, config: impl Into<Option<crate::handshake::DeflateConfig>>) -> Self {
        self.settings.deflate = config.into();
        self
    }

    /// Sets the version of HTTP. Default [`HttpVersion::Auto`].
    #[must_use]
    pub fn version(mut self, version: HttpVersion) -> Self {
        self.settings.version = version;
        self
    }

    /// Whether to send a fresh `Sec-WebSocket-Key` in every extended CONNECT of HTTP/2.
    /// Default false: it is sent only after a server has answered 400 without it, and to
    /// that server from then on. Over HTTP/1.1 a key is always sent.
    ///
    /// RFC 8441 §5 does not use the key. Some gateways to RFC 6455 servers (Envoy) forward
    /// it and do not generate their own; others (Caddy, nghttpx) add theirs to it, and the
    /// server rejects the request because it has two. The response to the key is not
    /// checked.
    #[must_use]
    pub fn websocket_key(mut self, enabled: bool) -> Self {
        self.settings.websocket_key = enabled;
        self
    }

    /// Connects to every server through this proxy, including servers on this machine.
    /// Default: none, whatever the environment contains.
    ///
    /// `http://` and `https://` proxies are used by CONNECT (RFC 9110 §9.3.6), and
    /// `socks5://` and `socks5h://` proxies by SOCKS5 (RFC 1928); both resolve the server's
    /// name themselves. A user name and a password in the URL, percent-encoded where
    /// needed, are sent as Basic `Proxy-Authorization` (RFC 7617) or by RFC 1929. The
    /// default ports are 80, 443 and 1080. TLS to an `https://` proxy has the configuration
    /// of TLS to servers, client certificates included.
    ///
    /// The tunnel carries everything between the client and a server, including the
    /// negotiation of the version of HTTP; the WebSockets of an HTTP/2 connection share
    /// it. Opening it counts towards the [`connect_timeout`](Self::connect_timeout). It
    /// fails with [`Error::Proxy`]; for an invalid proxy URL, [`build`](Self::build) does.
    ///
    /// ```
    /// use h2ws::Client;
    ///
    /// let client = Client::builder().proxy("http://me:s%40crt@proxy.example:3128").build()?;
    /// assert!(Client::builder().proxy("gopher://proxy.example").build().is_err());
    /// # Ok::<_, h2ws::Error>(())
    /// ```
    #[must_use]
    pub fn proxy(self, url: &str) -> Self {
        self.policy(Policy::always(url))
    }

    /// Connects to servers through the proxies that the environment names at the time of
    /// this call: `https_proxy` or `HTTPS_PROXY` for `wss`, `http_proxy` (only in lower
    /// case, as in curl) for `ws`, and `all_proxy` or `ALL_PROXY` if these are not set.
    /// Values are as for [`proxy`](Self::proxy); one without a scheme is an `http://`
    /// proxy.
    ///
    /// Connections are direct to `localhost`, to loopback addresses, and to what
    /// `no_proxy` or `NO_PROXY` lists, separated by commas or white space: names
    /// (`example.com` and `.example.com` both mean the name and all its subdomains),
    /// addresses, networks (`10.0.0.0/8`), names and addresses with `:port`, and `*` for
    /// everything.
    #[must_use]
    pub fn proxy_from_env(self) -> Self {
        self.policy(Policy::from_env())
    }

    /// Connects to servers directly. This is the default.
    #[must_use]
    pub fn no_proxy(self) -> Self {
        self.policy(Ok(Policy::Direct))
    }

    /// Makes connections with this function instead of TCP, Unix sockets and proxies. TLS for `wss` URLs
    /// remains the client's task, as does everything above.
    ///
    /// The last call of this and the methods for proxies takes effect. The function's time
    /// counts towards the [`connect_timeout`](Self::connect_timeout), and its errors become
    /// [`Error::Connect`]. The [address](crate::client::RequestBuilder::address) of a request
    /// is passed to it. If it returns a `tokio::net::TcpStream`, [`tcp`](Self::tcp) applies
    /// to that.
    ///
    /// A client over a Unix socket, whatever the URL, and for tests [in memory](crate::memory):
    ///
    /// ```no_run
    /// # #[cfg(unix)]
    /// # async fn example() -> Result<(), h2ws::Error> {
    /// use h2ws::Client;
    /// use tokio::net::UnixStream;
    ///
    /// let client = Client::builder()
    ///     .connector(|_| UnixStream::connect("/run/app.sock"))
    ///     .build()?;
    /// let socket = client.connect("ws://localhost/chat").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A connector made for hyper-util, such as its `HttpConnector`, is a tower service from
    /// [`Uri`](http::Uri) to a stream with hyper's I/O traits:
    ///
    /// ```
    /// use std::{future::poll_fn, io};
    ///
    /// use h2ws::client::ClientBuilder;
    /// use h2ws::http::Uri;
    /// use hyper::rt::{Read, Write};
    /// use hyper_util::rt::TokioIo;
    /// use tower_service::Service;
    ///
    /// fn tower_connector<S>(builder: ClientBuilder, service: S) -> ClientBuilder
    /// where
    ///     S: Service<Uri, Future: Send> + Clone + Send + Sync + 'static,
    ///     S::Response: Read + Write + Send + Unpin + 'static,
    ///     S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    /// {
    ///     builder.connector(move |destination| {
    ///         let mut service = service.clone();
    ///         async move {
    ///             poll_fn(|cx| service.poll_ready(cx)).await.map_err(io::Error::other)?;
    ///             let connected = service.call(destination.uri()).await;
    ///             connected.map(TokioIo::new).map_err(io::Error::other)
    ///         }
    ///     })
    /// }
    /// ```
    #[must_use]
    pub fn connector<F, Fut, I>(mut self, connect: F) -> Self
    where
        F: Fn(Destination) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<I>> + Send + 'static,
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self = self.no_proxy();
        self.settings.connector = Some(CustomConnector::new(connect));
        self
    }

    fn policy(mut self, policy: Result<Policy, ProxyError>) -> Self {
        match policy {
            Ok(policy) => {
                self.settings.proxy = policy;
                self.settings.connector = None;
                self.error = None;
            }
            Err(error) => self.error = Some(error.into()),
        }
        self
    }

    /// Maximum duration of name resolution, a proxy's answer, TCP, TLS and HTTP/2's SETTINGS
    /// together. Default 20 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Maximum time that the server may take to answer a WebSocket request, once there is
    /// a connection. Default 20 s. Some servers never answer beyond a number of streams
    /// that they do not advertise.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// Maximum number of HTTP/2 connections per origin. Default 64.
    ///
    /// WebSockets fill a connection up to the server's limit of streams before the client
    /// makes another. When all are full, opening waits, at most for the
    /// [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections;
        self
    }

    /// Maximum number of origins without connections that the client remembers, with what
    /// it has learned about them, such as a lack of RFC 8441. The least recently used ones
    /// are forgotten first. Default 1,000, which take half a megabyte.
    #[must_use]
    pub fn max_origins(mut self, origins: usize) -> Self {
        self.settings.max_origins = origins;
        self
    }

    /// Maximum time that an HTTP/2 connection without WebSockets is kept, up to a quarter
    /// longer. With `None` it is kept for as long as the client exists. Default 90 s.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.idle_timeout = timeout.into();
        self
    }

    /// Maximum number of bytes that are kept of the body of a
    /// [`RejectedResponse`](crate::client::RejectedResponse). Default 64 KiB.
    #[must_use]
    pub fn max_rejection_body(mut self, bytes: usize) -> Self {
        self.settings.max_rejection_body = bytes;
        self
    }

    /// Time for which the client remembers that an origin does not support RFC 8441, before
    /// it tries HTTP/2 again. An HTTP/2 connection that is open is used nevertheless. The
    /// same time applies to the result of trying HTTP/1.1 after a rejection over HTTP/2.
    /// Default 10 minutes.
    #[must_use]
    pub fn http1_cache_ttl(mut self, duration: Duration) -> Self {
        self.settings.http1_cache_ttl = duration;
        self
    }

    /// Receives metrics events. Default: none.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.settings.observer = Observer::new(metrics);
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if a setting is out of range;
    /// [`Error::TlsConfig`] if there is no cryptography for TLS: neither a configuration, nor
    /// a default provider installed in `rustls`, nor one of the features `ring` and
    /// `aws-lc-rs`; [`Error::Proxy`] if the proxy URL is invalid.
    pub fn build(self) -> Result<Client, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.settings.validate()?;
        if self.tls.is_none() && tls::provider().is_none() {
            return Err(Error::TlsConfig(tls::no_provider()));
        }
        Ok(Client::with(Connector::new(self.tls, self.settings)))
    }
}
