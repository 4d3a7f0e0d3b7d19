//! Configuration of a [`Client`].

use std::sync::Arc;
use std::time::Duration;

use super::connector::Connector;
use super::proxy::Policy;
use super::{Client, HttpVersion};
use crate::error::Error;
use crate::handshake::DeflateConfig;
use crate::metrics::{Metrics, Observer};
use crate::setting::{InvalidSetting, some, time};
use crate::socket::WebSocketConfig;
use crate::transport::h2::{Http2Config, MAX_STREAMS};
use crate::transport::{TcpConfig, proxy::ProxyError, tls};

/// Configures a [`Client`]; every setting has a default.
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) settings: Settings,
    /// Of the proxy asked for last: `build` says so.
    error: Option<Error>,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) http2: Http2Config,
    pub(super) tcp: TcpConfig,
    pub(super) proxy: Policy,
    pub(super) socket: WebSocketConfig,
    pub(super) deflate: Option<DeflateConfig>,
    pub(super) version: HttpVersion,
    pub(super) websocket_key: bool,
    pub(super) connect_timeout: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) max_connections: usize,
    pub(super) max_origins: usize,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_rejection_body: usize,
    pub(super) http1_cache_ttl: Duration,
    pub(super) observer: Observer,
    /// Streams that a connection is used for in all. Others than HTTP/2's own
    /// limit only in tests.
    pub(super) max_concurrent_streams: u32,
}

impl Settings {
    fn validate(&self) -> Result<(), InvalidSetting> {
        self.http2.validate()?;
        self.socket.validate()?;
        some("ClientBuilder::max_connections", self.max_connections)?;
        some("ClientBuilder::max_origins", self.max_origins)?;
        time("ClientBuilder::connect_timeout", self.connect_timeout)?;
        time("ClientBuilder::handshake_timeout", self.handshake_timeout)
    }
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            tls: None,
            settings: Settings {
                http2: Http2Config::default(),
                tcp: TcpConfig::default(),
                proxy: Policy::default(),
                socket: WebSocketConfig::default(),
                deflate: None,
                version: HttpVersion::Auto,
                websocket_key: false,
                connect_timeout: Duration::from_secs(20),
                handshake_timeout: Duration::from_secs(20),
                max_connections: 64,
                max_origins: 1_000,
                idle_timeout: Some(Duration::from_secs(90)),
                max_rejection_body: 64 * 1024,
                http1_cache_ttl: Duration::from_secs(600),
                observer: Observer::default(),
                max_concurrent_streams: MAX_STREAMS,
            },
            error: None,
        }
    }
}

impl ClientBuilder {
    /// TLS as configured here, instead of trusting what the operating system
    /// trusts. That is looked up when the first `wss` URL is opened, which
    /// fails with [`Error::TlsConfig`] where there is none. ALPN is set by the
    /// client.
    #[must_use]
    pub fn tls(mut self, config: impl Into<Arc<rustls::ClientConfig>>) -> Self {
        self.tls = Some(config.into());
        self
    }

    /// Flow control and limits of HTTP/2 connections.
    #[must_use]
    pub fn http2(mut self, config: Http2Config) -> Self {
        self.settings.http2 = config;
        self
    }

    /// How TCP connections, those to proxies as well, find out that their peer
    /// is gone.
    #[must_use]
    pub fn tcp(mut self, config: TcpConfig) -> Self {
        self.settings.tcp = config;
        self
    }

    /// Limits and times of sockets.
    #[must_use]
    pub fn socket(mut self, config: WebSocketConfig) -> Self {
        self.settings.socket = config;
        self
    }

    /// Offers permessage-deflate (RFC 7692), with which messages travel
    /// compressed if the server takes it up. Default off: a compressed socket
    /// takes a hundred times the memory of another.
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
    pub fn deflate(mut self, config: impl Into<Option<DeflateConfig>>) -> Self {
        self.settings.deflate = config.into();
        self
    }

    /// Which version of HTTP carries sockets. Default [`HttpVersion::Auto`].
    #[must_use]
    pub fn version(mut self, version: HttpVersion) -> Self {
        self.settings.version = version;
        self
    }

    /// Whether a fresh `Sec-WebSocket-Key` goes into every extended CONNECT of HTTP/2. Default
    /// false: one is sent only where a server answered 400 without it, and to that server from
    /// then on. RFC 8441 §5 makes no use of it. Some gateways to servers of RFC 6455 (Envoy) pass
    /// it on and make none of their own; others (Caddy, nghttpx) add theirs to it, and the server
    /// refuses the two. The answer to it is not relied on. Over HTTP/1.1 a key is always sent.
    #[must_use]
    pub fn websocket_key(mut self, enabled: bool) -> Self {
        self.settings.websocket_key = enabled;
        self
    }

    /// Reaches every server through this proxy, also those on this machine.
    /// Default: none, whatever the environment says.
    ///
    /// `http://` and `https://` proxies are asked by CONNECT (RFC 9110
    /// §9.3.6), `socks5://` and `socks5h://` ones by SOCKS5 (RFC 1928), and
    /// either resolves the server's name itself. A user name and a password
    /// in the URL, percent-encoded where they have to be, are sent as Basic
    /// `Proxy-Authorization` (RFC 7617) or by RFC 1929. Ports not named are
    /// 80, 443 and 1080. TLS to an `https://` proxy is configured as that to
    /// servers, client certificates included.
    ///
    /// All that the client says to a server, the choice of HTTP's version as
    /// well, goes through the tunnel, which the sockets of an HTTP/2
    /// connection share. Asking is part of
    /// [`connect_timeout`](Self::connect_timeout). What goes wrong is
    /// [`Error::Proxy`], for a URL that is none from [`build`](Self::build).
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

    /// Reaches servers through the proxies that the environment names now:
    /// `https_proxy` or `HTTPS_PROXY` for `wss`, `http_proxy` (lower case
    /// alone, as in curl) for `ws`, and `all_proxy` or `ALL_PROXY` where these
    /// are not set. Values are as for [`proxy`](Self::proxy), with `http://`
    /// for those without a scheme.
    ///
    /// Excepted are `localhost`, loopback addresses, and what `no_proxy` or
    /// `NO_PROXY` lists between commas or blanks: names (`example.com` and
    /// `.example.com` both mean the name and all below it), addresses,
    /// networks (`10.0.0.0/8`), any of these but networks with `:port`, and
    /// `*` for everything.
    #[must_use]
    pub fn proxy_from_env(self) -> Self {
        self.policy(Policy::from_env())
    }

    /// Reaches servers directly, as is the default.
    #[must_use]
    pub fn no_proxy(self) -> Self {
        self.policy(Ok(Policy::Direct))
    }

    fn policy(mut self, policy: Result<Policy, ProxyError>) -> Self {
        match policy {
            Ok(policy) => {
                self.settings.proxy = policy;
                self.error = None;
            }
            Err(error) => self.error = Some(error.into()),
        }
        self
    }

    /// How long name resolution, a proxy's answer, TCP, TLS and HTTP/2's SETTINGS may take
    /// together. Default 20 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How long the server may take to answer an opening request, once there
    /// is a connection. Default 20 s. Some servers answer never, beyond a
    /// number of streams that they do not advertise.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// HTTP/2 connections to one origin. Sockets fill one up to the server's
    /// limit of streams before the next is made; when all are full, opening
    /// waits (up to the connect timeout). Default 64.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections;
        self
    }

    /// Origins of which it is remembered what was learned, while they have no
    /// connections; those looked up longest ago make way. Default 1,000, which
    /// take half a megabyte.
    #[must_use]
    pub fn max_origins(mut self, origins: usize) -> Self {
        self.settings.max_origins = origins;
        self
    }

    /// How long an HTTP/2 connection without sockets is kept for the next one;
    /// it may take a quarter more. `None` is for as long as there is a client.
    /// Default 90 s.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.idle_timeout = timeout.into();
        self
    }

    /// Bytes kept of the body of a refusal. Default 64 KiB.
    #[must_use]
    pub fn max_rejection_body(mut self, bytes: usize) -> Self {
        self.settings.max_rejection_body = bytes;
        self
    }

    /// How long an origin without RFC 8441 is remembered as such, before
    /// HTTP/2 is tried again; an open HTTP/2 connection is used all the same.
    /// As long it is remembered what HTTP/1.1 said to a socket that was refused
    /// over HTTP/2. Default 10 minutes.
    #[must_use]
    pub fn http1_cache_ttl(mut self, duration: Duration) -> Self {
        self.settings.http1_cache_ttl = duration;
        self
    }

    /// Whom to tell what connections, handshakes and sockets do. Default
    /// nobody.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.settings.observer = Observer::new(metrics);
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if a setting is out of its range;
    /// [`Error::TlsConfig`] if there is no cryptography: neither a
    /// configuration here, nor one of the features `ring` and `aws-lc-rs`;
    /// [`Error::Proxy`] if the proxy asked for last is none.
    pub fn build(self) -> Result<Client, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.settings.validate()?;
        if self.tls.is_none() && tls::provider().is_none() {
            return Err(Error::TlsConfig(tls::no_provider()));
        }
        Ok(Client::over(Connector::new(self.tls, self.settings)))
    }
}
