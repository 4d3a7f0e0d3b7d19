//! The bridge: from clients of either version of HTTP to WebSocket and TCP
//! servers behind it.

mod access;
mod builder;
mod forwarded;
mod frame_boundaries;
mod handshake;
mod headers;
mod idle;
mod interned;
mod location;
mod meters;
mod plain_http;
mod pool;
mod refusal;
mod routes;
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
pub use self::plain_http::{BridgeBody, BridgeBodyError, BridgeService};
pub use self::pool::{
    Affinity, Check, Ejection, InvalidAffinity, InvalidCheck, Lease, NoUpstream, UpstreamStatus,
};
pub use self::routes::{
    BridgeLimits, HeaderRules, InvalidHeaderRule, InvalidPattern, InvalidRoute, Limit,
    LimitExceeded, Permit, Route, RouteBuilder, RouteConflict, Routes, RoutesBuilder, Timeouts,
    UpstreamHost,
};
pub use self::upstream::{InvalidUpstream, Scheme, Upstream};

use self::plain_http::Connections;
use crate::client::Client;
use crate::server::WebSocketRequest;

/// Takes sockets on to a server behind it.
///
/// Clients speak RFC 8441 or RFC 6455, whatever the [`Server`](crate::Server)
/// in front takes. The upstream speaks RFC 6455 (`ws://`, `wss://`), RFC 8441,
/// where many sockets share few connections, or plain TCP (`tcp://`), where
/// binary messages are what is sent and received.
///
/// # What passes
///
/// Between WebSockets, bytes: payloads are not looked at, subprotocols and
/// extensions are agreed on between client and upstream. The headers of frames
/// are followed, to see when a socket is closed, and to say 1001 in between
/// when the server drains.
///
/// The request's fields pass, cookies, authorization and `Origin` among them,
/// and the client's name for the server
/// ([`upstream_host`](BridgeBuilder::upstream_host) changes that). Fields of
/// one hop do not (RFC 9110 §7.6.1). `Forwarded` (RFC 7239), `X-Forwarded-For`,
/// `-Proto`, `-Host` and, where a route cuts one off, `-Prefix` are written anew,
/// and never contradict each other. What else tells of a client, such as
/// `X-Real-IP`, `True-Client-IP` or `x_forwarded_for`, is dropped.
///
/// In answers, `Location`, `Content-Location` and the paths of cookies that name
/// the upstream, or a path there, name what the client asks for.
///
/// A path that servers may read in several ways, such as `//admin`, `/%2fadmin`,
/// `/admin;x/` and `/x/..;/admin`, is refused with 400 where these would take
/// different [routes](Routes).
///
/// # What clients are told
///
/// | the upstream | the client gets |
/// |---|---|
/// | refuses with 3xx, 4xx, 5xx | the same, with its fields and the first 64 KiB of its body |
/// | cannot be reached, or answers what is no WebSocket | 502 |
/// | is slow to connect or to answer | 504 |
/// | has no place, by [`max_sockets`](BridgeBuilder::max_sockets) | 503 and `Retry-After` |
/// | ends a socket by Close | the same Close frame |
/// | ends its stream without one | the end, without one: 1006 |
/// | is cut off | a reset, or the end of the connection: 1006 |
///
/// [`service`](Self::service) takes ordinary requests on, and says what becomes
/// of them.
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
    /// Requests and sockets that are being passed.
    passing: watch::Sender<usize>,
}

/// One of them, until it is dropped.
struct Passing(Arc<Inner>);

impl Passing {
    fn new(inner: &Arc<Inner>) -> Self {
        inner.passing.send_modify(|passing| *passing += 1);
        Self(inner.clone())
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.0.passing.send_modify(|passing| *passing -= 1);
    }
}

/// The table in force, and those who look after its servers.
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

/// The life of one bridged socket.
pub type BridgeFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Bridge {
    /// Begins a configuration: a bridge to one upstream, whose URL is
    /// `ws://…`, `wss://…` (requests' paths are put behind its own) or
    /// `tcp://host:port`.
    #[must_use]
    pub fn to(url: &str) -> BridgeBuilder {
        BridgeBuilder::new(url)
    }

    /// A bridge by a table of routes. The client asks upstreams; its timeouts
    /// hold beside those of the routes.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, which it needs to look after the servers.
    #[must_use]
    pub fn new(client: Client, routes: Routes) -> Self {
        let table = RwLock::new(Table::new(routes, &client));
        Self {
            inner: Arc::new(Inner {
                connections: Connections::new(&client),
                client,
                table,
                observer: OnceLock::new(),
                passing: watch::Sender::new(0),
            }),
        }
    }

    /// Goes by another table from now on. Sockets that are open stay as they
    /// are, and are counted by the new table's limits. What was learned of
    /// servers that it has, too, in routes of the same name, is kept.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, which it needs to look after the servers.
    pub fn replace(&self, routes: Routes) {
        let mut table = self
            .inner
            .table
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let routes = routes.inherit(&table.routes);
        *table = Table::new(routes, &self.inner.client);
    }

    /// Tells `observer` of each request from now on. There is one at most: the
    /// first.
    pub fn observe(&self, observer: Arc<dyn BridgeObserver>) {
        let _ = self.inner.observer.set(observer);
    }

    /// The table in force, for the figures of its routes.
    #[must_use]
    pub fn routes(&self) -> Arc<Routes> {
        self.inner.routes()
    }

    /// A handler for [`Server::serve`](crate::Server::serve). The server's
    /// [`handler_timeout`](crate::server::ServerBuilder::handler_timeout) should be longer
    /// than the bridge's timeouts together, or its 503 comes before the 504.
    pub fn handler(
        &self,
    ) -> impl Fn(WebSocketRequest) -> BridgeFuture + Clone + Send + Sync + use<> {
        let bridge = self.clone();
        move |request| {
            let bridge = bridge.clone();
            Box::pin(async move { bridge.pass(request).await })
        }
    }

    /// A service for [`Serve::fallback`](crate::server::Serve::fallback): ordinary
    /// requests, such as for the page that opens the sockets, go to the same
    /// upstreams by the same routes. A browser has sockets over HTTP/2 where
    /// its page came over HTTP/2, from the same place.
    ///
    /// Bodies stream both ways, a chunk at a time: who reads slowly is waited
    /// for. Header fields pass as those of sockets do, trailers too; statuses
    /// 1xx do not. HTTP/2 is spoken to the upstream where the route says so,
    /// or ALPN chooses it.
    ///
    /// | what happens | the client gets |
    /// |---|---|
    /// | the upstream answers | its answer, whatever it is |
    /// | no route, `TRACE`, a name that is [not allowed](crate::server::ServerBuilder::allowed_hosts) | 404, 501, 421 |
    /// | a `tcp` route, or one of [sockets alone](RouteBuilder::ordinary) | 426 over HTTP/1.1, 400 over HTTP/2 |
    /// | a [limit](BridgeLimits) is reached | 503 and `Retry-After` |
    /// | no connection to an upstream, or no valid answer | 502 |
    /// | no connection in [time](Timeouts::connect), or no head of a response in [time](Timeouts::response) after the request | 504 |
    /// | its own body does not come for [too long](Timeouts::request_body) | 408 |
    /// | the upstream breaks off, or is [idle](Timeouts::idle) | a reset stream (HTTP/2), a cut connection (HTTP/1.1) |
    ///
    /// A client that goes away cancels the request at the upstream. What
    /// certainly did not reach a server is tried at another; what may have
    /// reached one is not, but for requests without a body that may be
    /// repeated (RFC 9110 §9.2.2) on a connection that had been used before.
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

    /// Answers a request by its upstream, and carries the socket until it is
    /// over. For handlers that look at requests first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cuts the socket on both sides.
    pub async fn pass(&self, request: WebSocketRequest) {
        // The last to be dropped, also where the server drops this.
        let _passing = Passing::new(&self.inner);
        let observer = self.inner.observer.get().cloned();
        let mut access = Box::new(AccessRecord::begin(&request, observer));
        // Apart, because it is large and the socket lives long.
        let opened = Box::pin(handshake::open(&self.inner, request, &mut access)).await;
        access.answered(opened.is_ok());
        let closed = match opened {
            Ok(socket) => socket.run(&mut access).await,
            Err(closed) => closed,
        };
        access.end(closed);
    }

    /// Waits until no socket and no ordinary request is being passed, and so
    /// all have been [logged](AccessRecord) and told to the
    /// [observer](Self::observe). A server has drained a moment before: when
    /// the last byte has left.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn idle(&self) {
        let mut passing = self.inner.passing.subscribe();
        // It fails without a sender, which `self` has.
        let _ = passing.wait_for(|passing| *passing == 0).await;
    }

    /// The client that asks upstreams, where their route has no
    /// [other](Route::client).
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// All clients that ask upstreams, those of the table's routes among them, each once:
    /// for their figures, and to wait at the end for what closed sockets have
    /// left to send.
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
