//! Configuration of a [`Server`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::ToSocketAddrs;

use super::listen::ListenConfig;
use super::listener::{BoxListener, Listener, NoListener};
use super::server::Server;
use super::settings::Settings;
use crate::handshake::{AllowedHosts, AllowedOrigins};
use crate::metrics::{Metrics, Observer};
use crate::socket::WebSocketConfig;
use crate::transport::{TcpConfig, h2::Http2Config, tls::ServerTls};

/// Configures a [`Server`]; every setting has a default.
#[derive(Clone, Debug, Default)]
pub struct ServerBuilder {
    settings: Settings,
}

impl Server {
    /// Starts to configure a server.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }
}

impl ServerBuilder {
    /// Serves TLS. Default: cleartext.
    ///
    /// Takes a [`ServerTls`], whose configuration can be replaced while the server
    /// runs, or a `rustls::ServerConfig`, for example from
    /// [`tls::server_config`](crate::tls::server_config). ALPN offers `h2` and
    /// `http/1.1` unless the configuration lists protocols of its own. Requests without TLS
    /// get 400.
    #[must_use]
    pub fn tls(mut self, config: impl Into<ServerTls>) -> Self {
        self.settings.tls = Some(config.into());
        self
    }

    /// Sets the flow control and the limits of HTTP/2 connections.
    #[must_use]
    pub fn http2(mut self, config: Http2Config) -> Self {
        self.settings.http2 = config;
        self
    }

    /// Sets how the socket that [`bind`](Self::bind) opens listens.
    #[must_use]
    pub fn listen(mut self, config: ListenConfig) -> Self {
        self.settings.listen = config;
        self
    }

    /// Sets how TCP connections detect that their client is gone.
    #[must_use]
    pub fn tcp(mut self, config: TcpConfig) -> Self {
        self.settings.tcp = config;
        self
    }

    /// Sets the limits and timeouts of WebSockets.
    #[must_use]
    pub fn socket(mut self, config: WebSocketConfig) -> Self {
        self.settings.socket = Arc::new(config);
        self
    }

    /// Negotiates permessage-deflate (RFC 7692) with clients that offer it, as all
    /// browsers do. Default off, because a compressed WebSocket takes a hundred times
    /// the memory of an uncompressed one. [`DeflateConfig`](crate::handshake::DeflateConfig)
    /// describes the costs and how to lower them.
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(mut self, config: impl Into<Option<crate::handshake::DeflateConfig>>) -> Self {
        self.settings.deflate = config.into();
        self
    }

    /// Whether to accept WebSockets over HTTP/2 and to advertise that by
    /// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3). Default true. If false, clients
    /// use HTTP/1.1; some TLS-inspecting middleboxes cannot handle the setting.
    #[must_use]
    pub fn extended_connect(mut self, enabled: bool) -> Self {
        self.settings.extended_connect = enabled;
        self
    }

    /// Sets the origins whose pages may open WebSockets (RFC 6455 §10.2); others get
    /// 403, before a handler or a service sees the request. Requests without `Origin`,
    /// which do not come from browsers, are not affected. Default: any.
    #[must_use]
    pub fn allowed_origins(mut self, origins: AllowedOrigins) -> Self {
        self.settings.origins = origins;
        self
    }

    /// Sets the names under which clients reach this server. Requests for other names,
    /// plain HTTP requests included, get 421, and requests without a name 400.
    /// Default: any.
    ///
    /// This is the defence against DNS rebinding: a page whose own name suddenly
    /// resolves to this server would be of the same origin.
    #[must_use]
    pub fn allowed_hosts(mut self, hosts: AllowedHosts) -> Self {
        self.settings.hosts = hosts;
        self
    }

    /// Serves nothing, and sends clients to https at this port instead: plain HTTP
    /// requests by 308 (RFC 9110 §15.4.9); WebSockets get 403, because their clients do not
    /// follow redirects. For a server without TLS beside one that has it. Default: off.
    #[must_use]
    pub fn redirect_https(mut self, port: impl Into<Option<u16>>) -> Self {
        self.settings.redirect_https = port.into();
        self
    }

    /// Maximum duration of the TLS handshake, of HTTP/2's preface, and of the head of
    /// an HTTP/1.1 request. The first request's time starts with the connection, that of
    /// a later one with its first byte. Default 20 s.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// Maximum time that a handler may take to answer a WebSocket request. After it the
    /// client gets 503, and the handler's future is dropped. Default 15 s, shorter than
    /// typical client timeouts.
    #[must_use]
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handler_timeout = timeout;
        self
    }

    /// Maximum time that a connection may be without a request or a WebSocket before
    /// the server ends it: an HTTP/2 connection by GOAWAY (RFC 9113 §6.8), up to a
    /// quarter later; an HTTP/1.1 connection by closing it. A connection with a
    /// WebSocket or a request is never affected. `None` disables it. Default 5 minutes.
    ///
    /// The default is longer than most clients and load balancers keep idle
    /// connections. If the client ends its connection first, no request can cross with
    /// the server's close. Set more than the idle timeout of a load balancer in front.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.idle_timeout = timeout.into();
        self
    }

    /// Maximum number of connections at a time. Default 10,000.
    ///
    /// When the limit is reached, the server ends those connections that have been
    /// without a WebSocket or a request for longest (by GOAWAY over HTTP/2, then by
    /// closing them). If all are in use, further connections wait to be accepted. A
    /// closing connection whose last response is being delivered, for at most 5 s,
    /// still counts.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections;
        self
    }

    /// Maximum number of connections per client at a time. Default: no limit.
    ///
    /// A client is an IPv4 address or an IPv6 /64 network, which is what one subscriber
    /// has; peers without an address, such as those of a Unix socket, are not limited. Further connections are closed at once, and unused connections of the same
    /// client are ended so that its next attempt succeeds. There is no limit by default
    /// because behind a load balancer all clients share its address. If clients connect
    /// directly, a few hundred suffice for many people behind one address.
    #[must_use]
    pub fn max_connections_per_client(mut self, connections: impl Into<Option<usize>>) -> Self {
        self.settings.max_connections_per_client = connections.into().map(|most| most.max(1));
        self
    }

    /// Receives metrics events. Default: none.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.settings.observer = Observer::new(metrics);
        self
    }

    /// Binds to an address; port 0 picks a free one.
    ///
    /// # Errors
    ///
    /// If the address cannot be resolved or bound; otherwise as
    /// [`listener`](Self::listener).
    pub async fn bind(self, address: impl ToSocketAddrs) -> io::Result<Server> {
        self.settings.validate()?;
        let mut last = None;
        for address in tokio::net::lookup_host(address).await? {
            match self.settings.listen.bind(address) {
                Ok(listener) => return self.listener(listener),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
    }

    /// Uses a listener that is bound already: one of tokio for TCP or Unix sockets, one in
    /// [memory](crate::memory), or one of your own.
    ///
    /// ```no_run
    /// # #[cfg(unix)]
    /// # async fn example() -> std::io::Result<()> {
    /// use h2ws::Server;
    /// use h2ws::server::WebSocketRequest;
    ///
    /// let listener = tokio::net::UnixListener::bind("/run/app.sock")?;
    /// let server = Server::builder().listener(listener)?;
    /// server.serve(|request: WebSocketRequest| async { drop(request.accept().await) }).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) with an
    /// [`InvalidSetting`](crate::config::InvalidSetting) if a setting is out of range.
    pub fn listener(self, listener: impl Listener) -> io::Result<Server> {
        self.settings.validate()?;
        let listener = BoxListener::new(listener, self.settings.tcp.clone());
        Ok(Server::new(listener, Arc::new(self.settings)))
    }

    /// Creates a server without a listener, for connections that the caller accepts:
    /// [`Serve::connections`](super::Serve::connections).
    ///
    /// # Errors
    ///
    /// As [`listener`](Self::listener).
    pub fn unbound(self) -> io::Result<Server> {
        self.listener(NoListener)
    }
}
