//! The builder of a [`Bridge`] with a single route.

use std::fmt;
use std::time::Duration;

use http::HeaderName;

use super::client_cert::ClientCert;
use super::forward_auth::ForwardAuth;
use super::request_ids::TraceContext;
use super::routes::{BridgeLimits, InvalidRoute, RouteBuilder, TunnelEnds, UpstreamHost};
use super::upstream::{InvalidUpstream, Upstream};
use super::{Bridge, Pings, Routes, Timeouts};
use crate::client::{Client, ClientBuilder, HttpVersion};
use crate::error::Error;
use crate::handshake::AllowedOrigins;

/// Configures a [`Bridge`] to one upstream. Every other setting has a default.
#[derive(Clone, Debug)]
pub struct BridgeBuilder {
    to: String,
    client: Option<Client>,
    version: HttpVersion,
    route: RouteBuilder,
    timeouts: Timeouts,
    limits: BridgeLimits,
}

/// An invalid configuration of a bridge.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BridgeError {
    /// The upstream URL is invalid.
    Url {
        /// The URL.
        url: String,
        /// Why it is invalid.
        error: InvalidUpstream,
    },
    /// A `tcp` upstream without [allowed origins](BridgeBuilder::allowed_origins): any
    /// page in a browser that can reach the bridge could use it.
    OriginsRequired,
    /// The route is invalid.
    Route(InvalidRoute),
    /// The client for the upstream cannot be built.
    Client(Error),
}

impl fmt::Display for BridgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { url, .. } => write!(f, "invalid upstream {url}"),
            Self::OriginsRequired => InvalidRoute::TcpWithoutOrigins.fmt(f),
            Self::Route(_) => f.write_str("invalid route to the upstream"),
            Self::Client(_) => f.write_str("cannot build the client for the upstream"),
        }
    }
}

impl std::error::Error for BridgeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Url { error, .. } => Some(error),
            Self::OriginsRequired => None,
            Self::Route(error) => Some(error),
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
            route: RouteBuilder::any(),
            timeouts: Timeouts::default(),
            limits: BridgeLimits::default(),
        }
    }

    /// Sets the client for the upstream, with its TLS configuration, proxies and
    /// connection limits. The default client trusts the operating system's certificate
    /// authorities, uses no proxy, and opens up to 1,024 HTTP/2 connections to an
    /// upstream.
    #[must_use]
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Sets the HTTP version for WebSockets to the upstream. Default
    /// [`HttpVersion::Auto`]: HTTP/2 if a `wss` upstream supports RFC 8441, otherwise
    /// HTTP/1.1.
    #[must_use]
    pub fn upstream_version(mut self, version: HttpVersion) -> Self {
        self.version = version;
        self
    }

    /// Sets the origins whose pages may open WebSockets (RFC 6455 §10.2); others get 403.
    /// Requests without `Origin`, which do not come from browsers, are not affected.
    ///
    /// Default: any origin for a WebSocket upstream, which receives `Origin` and can
    /// decide itself. A `tcp` upstream requires this setting; [`AllowedOrigins::any`]
    /// allows all.
    #[must_use]
    pub fn allowed_origins(mut self, origins: AllowedOrigins) -> Self {
        self.route = self.route.allowed_origins(origins);
        self
    }

    /// Sets whether forwarding fields sent by clients are trusted; enable it only if all
    /// clients are your own proxies. `Forwarded` and `X-Forwarded-*` are then extended,
    /// and `X-Real-IP` and the like forwarded. Default false: they are replaced or
    /// dropped.
    #[must_use]
    pub fn trust_forwarded(mut self, trust: bool) -> Self {
        self.route = self.route.trust_forwarded(trust);
        self
    }

    /// Sets the host that is sent to the upstream (`Host`, `:authority`): `false` for the
    /// host in the client's request, `true` for that of the upstream's URL, or a name.
    /// Default `false`, as in Caddy, HAProxy and Envoy: upstreams compare `Origin` with
    /// it and use it in links. An upstream that serves several sites needs one of the
    /// others.
    #[must_use]
    pub fn upstream_host(mut self, host: impl Into<UpstreamHost>) -> Self {
        self.route = self.route.upstream_host(host);
        self
    }

    /// Sets the name that a `wss` upstream must have in its certificate; see
    /// [`RouteBuilder::server_name`](crate::bridge::RouteBuilder::server_name).
    #[must_use]
    pub fn server_name(mut self, name: impl Into<Option<String>>) -> Self {
        self.route = self.route.server_name(name);
        self
    }

    /// Sets what a `tcp` upstream is sent first; see
    /// [`RouteBuilder::tcp_preface`](crate::bridge::RouteBuilder::tcp_preface).
    #[must_use]
    pub fn tcp_preface(
        mut self,
        preface: impl Fn(TunnelEnds) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        self.route = self.route.tcp_preface(preface);
        self
    }

    /// Sets whether `Forwarded` is written for the upstream; see
    /// [`RouteBuilder::forwarded`](crate::bridge::RouteBuilder::forwarded). Default true.
    #[must_use]
    pub fn forwarded(mut self, forwarded: bool) -> Self {
        self.route = self.route.forwarded(forwarded);
        self
    }

    /// Sets whether `X-Forwarded-*` are written for the upstream; see
    /// [`RouteBuilder::x_forwarded`](crate::bridge::RouteBuilder::x_forwarded). Default
    /// true.
    #[must_use]
    pub fn x_forwarded(mut self, x_forwarded: bool) -> Self {
        self.route = self.route.x_forwarded(x_forwarded);
        self
    }

    /// Sets a server that authorizes requests, for WebSockets and others; see
    /// [`ForwardAuth`]. Default: none.
    #[must_use]
    pub fn forward_auth(mut self, auth: impl Into<Option<ForwardAuth>>) -> Self {
        self.route = self.route.forward_auth(auth);
        self
    }

    /// Sets whether the upstream gets the client's certificate (RFC 9440); see
    /// [`RouteBuilder::client_cert`](crate::bridge::RouteBuilder::client_cert). Default
    /// [`ClientCert::Off`].
    #[must_use]
    pub fn client_cert(mut self, client_cert: ClientCert) -> Self {
        self.route = self.route.client_cert(client_cert);
        self
    }

    /// Sets the maximum lifetime of a WebSocket; see [`Timeouts::max_lifetime`]. Default
    /// `None`: unlimited.
    #[must_use]
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.timeouts.max_lifetime = lifetime.into();
        self
    }

    /// Sets the field with the request ID; see
    /// [`RouteBuilder::request_id`](crate::bridge::RouteBuilder::request_id). Default
    /// `x-request-id`.
    #[must_use]
    pub fn request_id(mut self, field: impl Into<Option<HeaderName>>) -> Self {
        self.route = self.route.request_id(field);
        self
    }

    /// Sets what is done with `traceparent` and `tracestate` (W3C Trace Context). Default
    /// [`TraceContext::Pass`].
    #[must_use]
    pub fn trace_context(mut self, trace_context: TraceContext) -> Self {
        self.route = self.route.trace_context(trace_context);
        self
    }

    /// Sets whether a fresh `Sec-WebSocket-Key` is sent to the upstream over HTTP/2 in the
    /// first request; see
    /// [`RouteBuilder::websocket_key`](crate::bridge::RouteBuilder::websocket_key).
    /// Default false.
    #[must_use]
    pub fn websocket_key(mut self, enabled: bool) -> Self {
        self.route = self.route.websocket_key(enabled);
        self
    }

    /// Sets whether the [service](Bridge::service) rejects plain HTTP requests instead of
    /// forwarding them. Default false, and always true for a `tcp` upstream.
    #[must_use]
    pub fn websockets_only(mut self, websockets_only: bool) -> Self {
        self.route = self.route.websockets_only(websockets_only);
        self
    }

    /// Sets the name under which this hop is added to `Via`; see
    /// [`RouteBuilder::via`](crate::bridge::RouteBuilder::via). Default: not added.
    #[must_use]
    pub fn via(mut self, name: impl Into<String>) -> Self {
        self.route = self.route.via(name);
        self
    }

    /// Sets the timeout for a new connection to the upstream; see
    /// [`Timeouts::connect`]. Default 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.connect = timeout;
        self
    }

    /// Sets the timeout for the upstream's response to the opening request of a
    /// WebSocket, after which the client gets 504; see [`Timeouts::handshake`]. Default
    /// 20 s.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.handshake = timeout;
        self
    }

    /// Sets the timeout for the head of the upstream's response to a plain HTTP request;
    /// see [`Timeouts::response`]. Default 5 minutes.
    #[must_use]
    pub fn response_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeouts.response = timeout.into();
        self
    }

    /// Sets the timeout for more of a plain HTTP request's body; see
    /// [`Timeouts::request_body`]. Default 1 minute.
    #[must_use]
    pub fn request_body_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.request_body = timeout;
        self
    }

    /// Sets how long unused HTTP/1.1 connections to the upstream are kept; see
    /// [`Timeouts::pool_idle`]. Default 1 minute.
    #[must_use]
    pub fn pool_idle_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.pool_idle = timeout;
        self
    }

    /// Sets how long no byte may pass in either direction before a WebSocket is closed with
    /// code 1001; see [`Timeouts::idle`]. Default `None`: unlimited.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeouts.idle = timeout.into();
        self
    }

    /// Sets the WebSocket Pings that the bridge itself sends. Default: none.
    #[must_use]
    pub fn pings(mut self, pings: Pings) -> Self {
        self.route = self.route.pings(pings);
        self
    }

    /// Sets the maximum number of concurrent WebSockets and plain HTTP requests; further
    /// ones get 503. Default 100,000.
    #[must_use]
    pub fn max_sockets(mut self, sockets: usize) -> Self {
        self.limits = self.limits.max_sockets(sockets);
        self
    }

    /// Sets how many WebSockets of one client may share HTTP/2 connections to the upstream
    /// with those of other clients; see [`BridgeLimits::max_shared_sockets`]. Default 100.
    #[must_use]
    pub fn max_shared_sockets(mut self, sockets: impl Into<Option<usize>>) -> Self {
        self.limits = self.limits.max_shared_sockets(sockets);
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
        let route = self
            .route
            .name(upstream.to_string())
            .upstream(upstream.version(self.version))
            .timeouts(self.timeouts);
        let route = route.build().map_err(|error| match error {
            InvalidRoute::TcpWithoutOrigins => BridgeError::OriginsRequired,
            error => BridgeError::Route(error),
        })?;
        let client = match self.client {
            Some(client) => client,
            None => client(self.timeouts).build().map_err(BridgeError::Client)?,
        };
        Ok(Bridge::new(client, Routes::single(route, self.limits)))
    }
}

/// The default client for upstreams.
fn client(timeouts: Timeouts) -> ClientBuilder {
    Client::builder()
        .connect_timeout(timeouts.connect)
        .handshake_timeout(timeouts.handshake)
        .max_connections(1024)
}
