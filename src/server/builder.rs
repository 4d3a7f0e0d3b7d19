//! Configuration of a [`Server`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs};

use super::Server;
use crate::handshake::{AllowedHosts, AllowedOrigins, DeflateConfig};
use crate::metrics::{Metrics, Observer};
use crate::setting::{InvalidSetting, finite, some, time};
use crate::socket::WebSocketConfig;
use crate::transport::{TcpConfig, h2::Http2Config, tls::ServerTls};

/// Configures a [`Server`]; every setting has a default.
#[derive(Clone, Debug)]
pub struct ServerBuilder {
    settings: Settings,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) tls: Option<ServerTls>,
    pub(super) tcp: TcpConfig,
    pub(super) http2: Http2Config,
    pub(super) socket: Arc<WebSocketConfig>,
    pub(super) deflate: Option<DeflateConfig>,
    pub(super) extended_connect: bool,
    pub(super) origins: AllowedOrigins,
    pub(super) authorities: AllowedHosts,
    pub(super) handshake_timeout: Duration,
    pub(super) handler_timeout: Duration,
    pub(super) max_connections: usize,
    pub(super) max_connections_per_client: Option<usize>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) observer: Observer,
}

impl Settings {
    fn validate(&self) -> io::Result<()> {
        let check = || {
            self.http2.validate()?;
            self.socket.validate()?;
            some("ServerBuilder::max_connections", self.max_connections)?;
            finite("ServerBuilder::handshake_timeout", self.handshake_timeout)?;
            time("ServerBuilder::handler_timeout", self.handler_timeout)
        };
        let invalid = |error: InvalidSetting| io::Error::new(io::ErrorKind::InvalidInput, error);
        check().map_err(invalid)
    }
}

impl Default for ServerBuilder {
    fn default() -> Self {
        Self {
            settings: Settings {
                tls: None,
                tcp: TcpConfig::default(),
                http2: Http2Config::default(),
                socket: Arc::default(),
                deflate: None,
                extended_connect: true,
                origins: AllowedOrigins::any(),
                authorities: AllowedHosts::any(),
                handshake_timeout: Duration::from_secs(20),
                handler_timeout: Duration::from_secs(15),
                max_connections: 10_000,
                max_connections_per_client: None,
                idle_timeout: Some(Duration::from_secs(300)),
                observer: Observer::default(),
            },
        }
    }
}

impl ServerBuilder {
    /// Serves TLS; without this, cleartext. It takes a [`ServerTls`], whose
    /// configuration can be replaced while the server runs, or a
    /// `rustls::ServerConfig`, for instance from
    /// [`tls::server_config`](crate::tls::server_config). ALPN `h2` and
    /// `http/1.1` are offered unless the configuration names its own.
    #[must_use]
    pub fn tls(mut self, config: impl Into<ServerTls>) -> Self {
        self.settings.tls = Some(config.into());
        self
    }

    /// Flow control and limits of HTTP/2 connections.
    #[must_use]
    pub fn http2(mut self, config: Http2Config) -> Self {
        self.settings.http2 = config;
        self
    }

    /// How TCP connections find out that their client is gone.
    #[must_use]
    pub fn tcp(mut self, config: TcpConfig) -> Self {
        self.settings.tcp = config;
        self
    }

    /// Limits and times of sockets.
    #[must_use]
    pub fn socket(mut self, config: WebSocketConfig) -> Self {
        self.settings.socket = Arc::new(config);
        self
    }

    /// Takes up permessage-deflate (RFC 7692) where a client offers it, as all
    /// browsers do: messages then travel compressed. Default off: a compressed
    /// socket takes a hundred times the memory of another. See
    /// [`DeflateConfig`] for what it costs and how to make it cost less.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(mut self, config: impl Into<Option<DeflateConfig>>) -> Self {
        self.settings.deflate = config.into();
        self
    }

    /// Whether WebSockets over HTTP/2 are taken, and the setting that says so
    /// (RFC 8441 §3) is sent. Default true. Off, clients use HTTP/1.1: some
    /// TLS-inspecting middleboxes choke on the setting.
    #[must_use]
    pub fn extended_connect(mut self, enabled: bool) -> Self {
        self.settings.extended_connect = enabled;
        self
    }

    /// From which origins browsers may open sockets (RFC 6455 §10.2); others
    /// are answered 403. Requests without `Origin`, which do not come from
    /// browsers, are not affected. Default any.
    #[must_use]
    pub fn allowed_origins(mut self, origins: AllowedOrigins) -> Self {
        self.settings.origins = origins;
        self
    }

    /// Under which names this server is reached; requests for others, ordinary
    /// ones as well, are answered 421, and those that name none 400. It is the
    /// defence against DNS rebinding: a page whose own name suddenly leads to
    /// this server would be of the same origin. Default any.
    #[must_use]
    pub fn allowed_hosts(mut self, authorities: AllowedHosts) -> Self {
        self.settings.authorities = authorities;
        self
    }

    /// How long a client may take for the TLS handshake, for HTTP/2's preface,
    /// and for the head of an HTTP/1.1 request: of the first from the beginning
    /// of the connection, of another from its first byte. Default 20 s.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// How long the handler may take to answer a request for a WebSocket. After
    /// it the client is answered 503, and the handler's future is dropped.
    /// Default 15 s, less than clients use to wait.
    #[must_use]
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handler_timeout = timeout;
        self
    }

    /// How long a connection may be without a request or a socket before it is
    /// ended: one of HTTP/2 by GOAWAY (RFC 9113 §6.8), which may take a quarter
    /// more, one of HTTP/1.1 by being closed. A connection with a socket or a
    /// request is never cut by it. `None` is off. Default 5 minutes, which is
    /// longer than most clients and load balancers keep theirs: a client that
    /// ends its connection first sees no request cross the end. Behind a load
    /// balancer that keeps connections for longer, set more than it does.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.idle_timeout = timeout.into();
        self
    }

    /// TCP connections at a time. When all are taken, those that were without
    /// a socket or a request for longest make way (GOAWAY over HTTP/2, then they
    /// are closed); where every one is in use, further ones wait to be accepted.
    /// One that is read on from behind its last answer, for 5 s at most, still
    /// counts. Default 10,000.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections;
        self
    }

    /// TCP connections of one client at a time: of an IPv4 address, or of an
    /// IPv6 network of 64 bits, which is what one subscriber has. Further ones
    /// are closed at once, and the client's own that are not in use make way for
    /// its next attempt. Default none, because behind a load balancer every
    /// client has its address; where clients come directly, some hundreds are
    /// enough for many people behind one address.
    #[must_use]
    pub fn max_connections_per_client(mut self, connections: impl Into<Option<usize>>) -> Self {
        self.settings.max_connections_per_client = connections.into().map(|most| most.max(1));
        self
    }

    /// Whom to tell what connections, handshakes and sockets do. Default
    /// nobody.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.settings.observer = Observer::new(metrics);
        self
    }

    /// Binds to an address; port 0 picks a free one.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound; as [`listener`](Self::listener).
    pub async fn bind(self, address: impl ToSocketAddrs) -> io::Result<Server> {
        self.settings.validate()?;
        let mut last = None;
        for address in tokio::net::lookup_host(address).await? {
            match listen(address) {
                Ok(listener) => return self.listener(listener),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
    }

    /// Serves on a listener that was bound elsewhere.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) with an
    /// [`InvalidSetting`] if a setting is out of its range.
    pub fn listener(self, listener: TcpListener) -> io::Result<Server> {
        self.settings.validate()?;
        Ok(Server {
            listener,
            settings: Arc::new(self.settings),
        })
    }
}

/// Connections that wait to be accepted, where the operating system allows as
/// many. A connection beyond them takes a second longer, for its client sends
/// its SYN again only then; a thousand at once are nothing unusual.
const BACKLOG: u32 = 4096;

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // Elsewhere it means that another may listen here too.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
