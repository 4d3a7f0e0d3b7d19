//! The bridge: a reverse proxy from clients over HTTP/2 or HTTP/1.1 to WebSocket and
//! TCP servers.

mod access;
mod auth_places;
mod builder;
mod client_cert;
mod connection_auth;
mod forward_auth;
mod forwarded;
mod frame_boundaries;
mod handshake;
mod headers;
mod idle;
mod interned;
mod lifetime;
mod location;
mod meters;
mod own_pongs;
mod plain_http;
mod pool;
mod rejection;
mod request_ids;
mod retry;
mod routes;
mod spellings;
mod splice;
mod tcp;
mod upstream;
mod verdict;

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::access::{AccessRecord, BridgeObserver, Outcome, Side};
pub use self::builder::{BridgeBuilder, BridgeError};
pub use self::client_cert::ClientCert;
pub use self::forward_auth::{ForwardAuth, InvalidForwardAuth};
pub use self::plain_http::{BridgeBody, BridgeBodyError, BridgeService};
pub use self::pool::{
    Affinity, Check, Ejection, InvalidAffinity, InvalidCheck, Lease, NoUpstream, UpstreamStatus,
};
pub use self::request_ids::TraceContext;
pub use self::routes::{
    BridgeLimits, HeaderRules, InvalidHeaderRule, InvalidPattern, InvalidRoute, Limit,
    LimitExceeded, Permit, Pings, Route, RouteBuilder, RouteConflict, Routes, RoutesBuilder,
    Timeouts, TunnelEnds, UpstreamHost,
};
pub use self::upstream::{InvalidUpstream, Scheme, Upstream};

use self::plain_http::Connections;
use crate::client::Client;
use crate::server::WebSocketRequest;

/// A reverse proxy for WebSockets, and for the plain HTTP requests that belong to them.
///
/// Clients use RFC 8441 or RFC 6455, as the [`Server`](crate::Server) in front accepts.
/// Upstreams use RFC 6455 (`ws://`, `wss://`), RFC 8441, where many WebSockets share few
/// connections, or plain TCP (`tcp://`), where binary messages carry the bytes of the
/// connection.
///
/// # What is forwarded
///
/// Between WebSockets, bytes: payloads are not examined, and the client and the upstream
/// negotiate subprotocols and extensions. The bridge follows the headers of frames to
/// notice when a WebSocket is closed, and to insert frames of its own: a Close with 1001
/// when the server drains, and [`Pings`] where they are enabled.
///
/// Header fields of requests are forwarded, including cookies, `Authorization` and
/// `Origin`, with the host that the client requested
/// ([`upstream_host`](BridgeBuilder::upstream_host) changes that). Hop-by-hop fields are
/// removed (RFC 9110 §7.6.1). `Forwarded` (RFC 7239), `X-Forwarded-For`, `-Proto`,
/// `-Host` and, if a route removes a prefix, `-Prefix` are replaced, and never contradict
/// each other. Other fields that describe the client, such as `X-Real-IP`,
/// `True-Client-IP` or `x_forwarded_for`, are dropped.
///
/// In responses, `Location`, `Content-Location` and the paths of cookies that name the
/// upstream, or a path there, are mapped to the names that the client uses.
///
/// A path that servers may interpret in several ways, such as `//admin`, `/%2fadmin`,
/// `/admin;x/` and `/x/..;/admin`, is rejected with 400 if the interpretations would take
/// different [routes](Routes).
///
/// # What the client gets
///
/// | the upstream | the client gets |
/// |---|---|
/// | rejects with 3xx, 4xx or 5xx | the same, with its header fields and the first 64 KiB of its body |
/// | cannot be reached, or sends an invalid response | 502 |
/// | does not connect or respond in time | 504 |
/// | is not tried because of a limit, such as [`max_sockets`](BridgeBuilder::max_sockets) | 503 and `Retry-After` |
/// | closes the WebSocket | the same Close frame |
/// | ends its stream without a Close frame | the end of the stream without one: 1006 |
/// | is cut off | a reset, or the end of the connection: 1006 |
///
/// [`service`](Self::service) forwards plain HTTP requests.
///
/// # Example
///
/// ```no_run
/// use h2ws::bridge::Bridge;
/// use h2ws::Server;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bridge = Bridge::to("ws://127.0.0.1:9000").build()?;
/// let server = Server::builder().bind("127.0.0.1:8080").await?;
/// server.serve(bridge.handler()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Bridge {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    connections: Arc<Connections>,
    table: RwLock<Table>,
    observer: OnceLock<Arc<dyn BridgeObserver>>,
    /// Number of open WebSockets and requests in progress.
    active: watch::Sender<usize>,
}

/// Counts one open WebSocket against the limits of its route and upstream until it is dropped.
type Admission = Box<dyn Send + Sync>;

/// Counts one WebSocket or request as active until it is dropped.
struct ActiveGuard(Arc<Inner>);

impl ActiveGuard {
    fn new(inner: &Arc<Inner>) -> Self {
        inner.active.send_modify(|active| *active += 1);
        Self(inner.clone())
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.0.active.send_modify(|active| *active -= 1);
    }
}

/// The current routing table, with the tasks that check its servers.
struct Table {
    routes: Arc<Routes>,
    _tasks: JoinSet<()>,
}

impl Table {
    fn new(routes: Routes, client: &Client) -> Self {
        let _tasks = routes.start(client);
        let routes = Arc::new(routes);
        Self { routes, _tasks }
    }
}

impl Inner {
    fn routes(&self) -> Arc<Routes> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.routes.clone()
    }
}

/// Serves one WebSocket until it is over; returned by [`Bridge::handler`].
pub type BridgeFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Bridge {
    /// Returns a builder for a bridge to one upstream. The URL is `ws://…`, `wss://…`
    /// (its path is prepended to the path of requests) or `tcp://host:port`.
    #[must_use]
    pub fn to(url: &str) -> BridgeBuilder {
        BridgeBuilder::new(url)
    }

    /// Creates a bridge with a routing table. `client` connects to the upstreams; its
    /// timeouts apply in addition to those of the routes.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, which runs the tasks that check the servers.
    #[must_use]
    pub fn new(client: Client, routes: Routes) -> Self {
        let table = RwLock::new(Table::new(routes, &client));
        Self {
            inner: Arc::new(Inner {
                connections: Connections::new(&client),
                client,
                table,
                observer: OnceLock::new(),
                active: watch::Sender::new(0),
            }),
        }
    }

    /// Replaces the routing table. Open WebSockets are not affected, and count against the
    /// new table's limits. The state of servers that are in routes with the same name in
    /// both tables is kept.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, which runs the tasks that check the servers.
    pub fn replace(&self, routes: Routes) {
        let mut table = self
            .inner
            .table
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let routes = routes.inherit(&table.routes);
        *table = Table::new(routes, &self.inner.client);
    }

    /// Reports the events of all further requests to `observer`. Only the first call has an
    /// effect.
    pub fn observe(&self, observer: Arc<dyn BridgeObserver>) {
        let _ = self.inner.observer.set(observer);
    }

    /// Returns the current routing table, such as for metrics of its routes.
    #[must_use]
    pub fn routes(&self) -> Arc<Routes> {
        self.inner.routes()
    }

    /// Returns a handler for [`Server::serve`](crate::Server::serve).
    ///
    /// The server's
    /// [`handler_timeout`](crate::server::ServerBuilder::handler_timeout) should be longer
    /// than the sum of the bridge's timeouts; otherwise clients get the server's 503
    /// instead of 504.
    pub fn handler(
        &self,
    ) -> impl Fn(WebSocketRequest) -> BridgeFuture + Clone + Send + Sync + use<> {
        let bridge = self.clone();
        move |request| {
            let bridge = bridge.clone();
            Box::pin(async move { bridge.pass(request).await })
        }
    }

    /// Returns a service that forwards plain HTTP requests, such as for the page that opens
    /// the WebSockets, to the same upstreams by the same routes. Pass it to
    /// [`Serve::fallback`](crate::server::Serve::fallback). A browser uses HTTP/2 for a
    /// WebSocket if its page came over HTTP/2 from the same origin.
    ///
    /// Bodies are streamed in both directions with backpressure. Header fields are
    /// forwarded as for WebSockets, as are trailers; 1xx responses are not. HTTP/2 is used
    /// for the upstream if the route says so or ALPN selects it.
    ///
    /// | event | the client gets |
    /// |---|---|
    /// | the upstream responds | its response, whatever the status |
    /// | no route, `TRACE`, a host that is [not allowed](crate::server::ServerBuilder::allowed_hosts) | 404, 501, 421 |
    /// | a `tcp` route, or one for [WebSockets only](RouteBuilder::websockets_only) | 426 over HTTP/1.1, 400 over HTTP/2 |
    /// | a [limit](BridgeLimits) is reached | 503 and `Retry-After` |
    /// | no connection to an upstream, or an invalid response | 502 |
    /// | [connecting](Timeouts::connect) or the head of the [response](Timeouts::response) timed out | 504 |
    /// | the client's [request body](Timeouts::request_body) timed out | 408 |
    /// | the upstream ends its response early, or is [idle](Timeouts::idle) | a reset stream (HTTP/2), a cut connection (HTTP/1.1) |
    ///
    /// If the client goes away, the request is cancelled at the upstream. A request that
    /// certainly has not reached a server is sent to another one. One that may have is not
    /// sent again, except for idempotent requests without a body (RFC 9110 §9.2.2) on a
    /// reused connection.
    ///
    /// The service also works in other servers; see [`BridgeService`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use h2ws::bridge::Bridge;
    /// use h2ws::Server;
    ///
    /// let bridge = Bridge::to("ws://127.0.0.1:9000").build()?;
    /// let server = Server::builder().bind("127.0.0.1:8080").await?;
    /// server
    ///     .serve(bridge.handler())
    ///     .fallback(bridge.service())
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn service(&self) -> BridgeService {
        BridgeService(self.inner.clone())
    }

    /// Forwards one WebSocket request, and serves the WebSocket until it is over. For
    /// handlers that examine requests first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cuts the WebSocket on both sides.
    pub async fn pass(&self, request: WebSocketRequest) {
        // Dropped last, even if the server drops this future.
        let _active = ActiveGuard::new(&self.inner);
        let observer = self.inner.observer.get().cloned();
        let mut access = Box::new(AccessRecord::for_websocket(&request, observer));
        // Boxed: it is large, and must not add to the memory of open WebSockets.
        let opened = Box::pin(handshake::open(&self.inner, request, &mut access)).await;
        access.handshake_done(opened.is_ok());
        let outcome = match opened {
            Ok(socket) => socket.run(&mut access).await,
            Err(outcome) => outcome,
        };
        access.end(outcome);
    }

    /// Waits until no WebSocket is open and no plain HTTP request is in progress, so that
    /// all have been [logged](AccessRecord) and reported to the
    /// [observer](Self::observe). A server reports that it has drained slightly earlier,
    /// when the last byte has been sent.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn idle(&self) {
        let mut active = self.inner.active.subscribe();
        // It fails only without a sender, and `self` has one.
        let _ = active.wait_for(|active| *active == 0).await;
    }

    /// Returns the client for upstreams of routes without a [client](Route::client) of
    /// their own.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// Returns all clients for upstreams, including those of routes, each once. Use it for
    /// their metrics, and to wait at shutdown until closed WebSockets have sent everything.
    #[must_use]
    pub fn clients(&self) -> Vec<Client> {
        let routes = self.routes();
        let others = routes.iter().filter_map(|route| route.client());
        let mut seen = HashSet::new();
        let all = others.chain([self.client()]);
        all.filter(|client| seen.insert(client.identity()))
            .cloned()
            .collect()
    }
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge")
            .field("routes", &self.routes())
            .finish_non_exhaustive()
    }
}
