//! Configuration of a [`Bridge`].

use std::fmt;
use std::time::Duration;

use super::forwarded::Families;
use super::routes::{BridgeLimits, InvalidRoute, Route, RouteBuilder, UpstreamHost};
use super::upstream::{InvalidUpstream, Upstream};
use super::{Bridge, Routes, Timeouts};
use crate::client::{Client, ClientBuilder, HttpVersion};
use crate::error::Error;
use crate::handshake::AllowedOrigins;

/// Configures a [`Bridge`]; every setting but the upstream has a default.
#[derive(Clone, Debug)]
pub struct BridgeBuilder {
    to: String,
    client: Option<Client>,
    version: HttpVersion,
    origins: Option<AllowedOrigins>,
    trusts_forwarded: bool,
    upstream_host: UpstreamHost,
    families: Families,
    server_name: Option<String>,
    websocket_key: bool,
    websockets_only: Option<bool>,
    via: Option<String>,
    timeouts: Timeouts,
    max_sockets: usize,
}

/// Why there is no bridge of this configuration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BridgeError {
    /// The upstream's URL is none.
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        error: InvalidUpstream,
    },
    /// A `tcp` upstream without a word on who may use it: any page in the
    /// world could, from the browser of whoever can reach the bridge.
    OriginsRequired,
    /// The route to the upstream is none.
    Route(InvalidRoute),
    /// There is no client for the upstream.
    Client(Error),
}

impl fmt::Display for BridgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { url, error } => write!(f, "upstream {url}: {error}"),
            Self::OriginsRequired => InvalidRoute::TcpWithoutOrigins.fmt(f),
            Self::Route(error) => error.fmt(f),
            Self::Client(_) => f.write_str("no client for the upstream"),
        }
    }
}

impl std::error::Error for BridgeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // What these hold is in the text.
            Self::Url { error, .. } => error.source(),
            Self::OriginsRequired => None,
            Self::Route(error) => error.source(),
            Self::Client(error) => Some(error),
        }
    }
}

impl BridgeBuilder {
    pub(super) fn new(to: &str) -> Self {
        Self {
            to: to.to_owned(),
            client: None,
            version: HttpVersion::Auto,
            origins: None,
            trusts_forwarded: false,
            upstream_host: UpstreamHost::Client,
            families: Families::default(),
            server_name: None,
            websocket_key: false,
            websockets_only: None,
            via: None,
            timeouts: Timeouts::default(),
            max_sockets: 100_000,
        }
    }

    /// Asks upstreams by this client: its TLS, its proxies, its limits on
    /// connections. The default trusts what the operating system trusts, uses
    /// no proxy, and makes up to 1,024 HTTP/2 connections to an upstream.
    #[must_use]
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Which version of HTTP carries sockets to the upstream. Default
    /// [`HttpVersion::Auto`]: HTTP/2 where a `wss` upstream has RFC 8441, else
    /// HTTP/1.1.
    #[must_use]
    pub fn upstream_version(mut self, version: HttpVersion) -> Self {
        self.version = version;
        self
    }

    /// From which origins browsers may open sockets (RFC 6455 §10.2); others
    /// are answered 403. Requests without `Origin`, which do not come from
    /// browsers, are not affected.
    ///
    /// Without this, any origin may for a WebSocket upstream, which is told
    /// and can decide; for a `tcp` upstream it has to be called, with
    /// [`AllowedOrigins::any`] if need be.
    #[must_use]
    pub fn allowed_origins(mut self, origins: AllowedOrigins) -> Self {
        self.origins = Some(origins);
        self
    }

    /// Whether clients are trusted to tell who stands behind them, because
    /// they are proxies of one's own: their `Forwarded`, `X-Forwarded-*` and
    /// `X-Real-IP` then pass, with this hop added. Default false: these fields
    /// are dropped, and written anew.
    #[must_use]
    pub fn trust_forwarded(mut self, trust: bool) -> Self {
        self.trusts_forwarded = trust;
        self
    }

    /// By which name the upstream is asked (`Host`, `:authority`): the one that
    /// the client asked for (`false`), that of its URL (`true`), or another one.
    /// Default the client's, as in Caddy, HAProxy and Envoy: upstreams compare
    /// `Origin` with it, and make links of it. An upstream that serves several
    /// sites needs one of the others.
    #[must_use]
    pub fn upstream_host(mut self, host: impl Into<UpstreamHost>) -> Self {
        self.upstream_host = host.into();
        self
    }

    /// The name in the certificate of a `wss` upstream, and what it is told by TLS
    /// (SNI), instead of the host of its URL; see
    /// [`RouteBuilder::server_name`](crate::bridge::RouteBuilder::server_name).
    #[must_use]
    pub fn server_name(mut self, name: impl Into<Option<String>>) -> Self {
        self.server_name = name.into();
        self
    }

    /// Whether `Forwarded` is written for the upstream; see
    /// [`RouteBuilder::forwarded`](crate::bridge::RouteBuilder::forwarded). Default true.
    #[must_use]
    pub fn forwarded(mut self, forwarded: bool) -> Self {
        self.families.forwarded = forwarded;
        self
    }

    /// Whether `X-Forwarded-*` are written for the upstream; see
    /// [`RouteBuilder::x_forwarded`](crate::bridge::RouteBuilder::x_forwarded). Default
    /// true.
    #[must_use]
    pub fn x_forwarded(mut self, x_forwarded: bool) -> Self {
        self.families.x_forwarded = x_forwarded;
        self
    }

    /// Whether upstreams are sent a fresh `Sec-WebSocket-Key` over HTTP/2 at once, and not only
    /// where they answered 400 without it; see
    /// [`ClientBuilder::websocket_key`](crate::client::ClientBuilder::websocket_key), which this overrides.
    /// Default false. A client's own key is never passed on.
    #[must_use]
    pub fn websocket_key(mut self, enabled: bool) -> Self {
        self.websocket_key = enabled;
        self
    }

    /// Whether the [service](Bridge::service) takes ordinary requests to the
    /// upstream. Default true, which a `tcp` upstream cannot be.
    #[must_use]
    pub fn websockets_only(mut self, websockets_only: bool) -> Self {
        self.websockets_only = Some(websockets_only);
        self
    }

    /// Adds this hop to `HandshakeKind`, by this name, as
    /// [`RouteBuilder::via`](crate::bridge::RouteBuilder::via) says. Default none.
    #[must_use]
    pub fn via(mut self, name: impl Into<String>) -> Self {
        self.via = Some(name.into());
        self
    }

    /// How long a connection to the upstream may take. Default 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.connect = timeout;
        self
    }

    /// How long the upstream may take to answer the opening request of a
    /// socket, once there is a connection; after it the client is answered 504.
    /// Default 20 s.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.handshake = timeout;
        self
    }

    /// How long the upstream may take for the head of its response to a plain
    /// HTTP request; see [`Timeouts::response`]. Default 5 minutes.
    #[must_use]
    pub fn response_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeouts.response = timeout.into();
        self
    }

    /// How long the client may keep the body of a plain HTTP request back; see
    /// [`Timeouts::request_body`]. Default 1 minute.
    #[must_use]
    pub fn request_body_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.request_body = timeout;
        self
    }

    /// How long unused HTTP/1.1 connections to the upstream are kept; see
    /// [`Timeouts::pool_idle`]. Default 1 minute.
    #[must_use]
    pub fn pool_idle_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.pool_idle = timeout;
        self
    }

    /// After how long without a byte in either direction a socket is closed,
    /// with code 1001. It may be noticed as late again. Default `None`: never.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeouts.idle = timeout.into();
        self
    }

    /// Sockets at a time, with the ordinary requests under way; further ones are answered 503. Default 100,000.
    #[must_use]
    pub fn max_sockets(mut self, sockets: usize) -> Self {
        self.max_sockets = sockets;
        self
    }

    /// Builds the bridge.
    ///
    /// # Errors
    ///
    /// See [`BridgeError`].
    pub fn build(self) -> Result<Bridge, BridgeError> {
        let upstream: Upstream = self.to.parse().map_err(|error| BridgeError::Url {
            url: self.to.clone(),
            error,
        })?;
        let route = self.route(upstream).map_err(|error| match error {
            InvalidRoute::TcpWithoutOrigins => BridgeError::OriginsRequired,
            error => BridgeError::Route(error),
        })?;
        let limits = BridgeLimits::default().max_sockets(self.max_sockets);
        let client = match self.client {
            Some(client) => client,
            None => client(self.timeouts).build().map_err(BridgeError::Client)?,
        };
        Ok(Bridge::new(client, Routes::only(route, limits)))
    }

    fn route(&self, upstream: Upstream) -> Result<Route, InvalidRoute> {
        let route = RouteBuilder::any()
            .name(upstream.to_string())
            .upstream(upstream.version(self.version))
            .timeouts(self.timeouts)
            .trust_forwarded(self.trusts_forwarded)
            .upstream_host(self.upstream_host.clone())
            .server_name(self.server_name.clone())
            .forwarded(self.families.forwarded)
            .x_forwarded(self.families.x_forwarded)
            .websocket_key(self.websocket_key);
        let route = match self.via.clone() {
            Some(name) => route.via(name),
            None => route,
        };
        let route = match self.websockets_only {
            Some(only) => route.websockets_only(only),
            None => route,
        };
        match self.origins.clone() {
            Some(origins) => route.allowed_origins(origins),
            None => route,
        }
        .build()
    }
}

/// A client for upstreams.
fn client(timeouts: Timeouts) -> ClientBuilder {
    Client::builder()
        .connect_timeout(timeouts.connect)
        .handshake_timeout(timeouts.handshake)
        .max_connections(1024)
}
