//! A server at work: [`Serve`].

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tower_service::Service;
use tracing::Instrument;

use super::accept::accept;
use super::embed::{ServiceOptions, route};
use super::handler::{HandlerResult, HandlerTask};
use super::truncated_body::TruncatedBody;
use super::{Body, Peer, Server, WebSocketRequest};

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(super) type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Starts a task for a WebSocket request.
pub(super) type OnUpgrade = Arc<dyn Fn(WebSocketRequest) + Send + Sync>;
/// Answers an ordinary request.
pub(super) type Fallback =
    Arc<dyn Fn(Request<Body>) -> BoxFuture<Result<Response<ResponseBody>, BoxError>> + Send + Sync>;

/// A server at work, once it is awaited; see [`Server::serve`].
#[must_use = "nothing is served before this is awaited"]
pub struct Serve {
    server: Server,
    on_upgrade: OnUpgrade,
    fallback: Option<Fallback>,
    shutdown: Option<BoxFuture<()>>,
    drain_timeout: Duration,
}

impl Serve {
    pub(super) fn new<H, F>(server: Server, handler: H) -> Self
    where
        H: Fn(WebSocketRequest) -> F + Send + Sync + 'static,
        F: Future<Output: HandlerResult> + Send + 'static,
    {
        Self {
            server,
            on_upgrade: Arc::new(move |upgrade| {
                let span = upgrade.span().clone();
                let task = span.in_scope(|| HandlerTask::new(upgrade, &handler));
                // Bare where nobody looks: a span in each task is memory.
                if span.is_disabled() {
                    tokio::spawn(task);
                } else {
                    tokio::spawn(task.instrument(span));
                }
            }),
            fallback: None,
            shutdown: None,
            drain_timeout: Duration::from_secs(30),
        }
    }

    /// Hands every request to one service, WebSocket requests too.
    pub(super) fn service(server: Server, service: Fallback, options: ServiceOptions) -> Self {
        let sockets = service.clone();
        let handler = move |upgrade| route(upgrade, sockets.clone(), options);
        Self {
            fallback: Some(service),
            ..Self::new(server, handler)
        }
    }

    /// Hands ordinary requests to a service: any `tower` service over `http`
    /// types, such as an axum router. Without one they are answered 404.
    ///
    /// What carries a request is among its extensions, as
    /// [`Transport`](crate::Transport), and who sent it, as
    /// [`Peer`]. Requests for other hosts than
    /// [`allowed_hosts`](super::ServerBuilder::allowed_hosts) do not
    /// reach the service.
    ///
    /// Bodies stream both ways: a client that does not read makes the response's
    /// body wait, and a service that does not read makes the client wait, at
    /// [`stream_window`](crate::Http2Config::stream_window) over HTTP/2.
    ///
    /// ```no_run
    /// use axum::{Router, routing::get};
    /// use h2ws::server::WebSocketRequest;
    /// use h2ws::Server;
    ///
    /// # async fn example() -> std::io::Result<()> {
    /// let pages = Router::new().route("/", get(|| async { "the page of the sockets" }));
    /// let server = Server::builder().bind("127.0.0.1:8080").await?;
    /// server
    ///     .serve(|request: WebSocketRequest| async { drop(request.accept().await) })
    ///     .fallback(pages)
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn fallback<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.fallback = Some(erased(service));
        self
    }

    /// Drains when `signal` is done: takes no more connections, tells HTTP/2
    /// clients by GOAWAY (RFC 9113 §6.8), and closes the open sockets with
    /// code 1001 (RFC 6455 §7.4.1) as their handlers read them. Ordinary
    /// requests under way are answered. The server is done when the last
    /// connection is, or after the [grace](Self::grace).
    pub fn with_graceful_shutdown(
        mut self,
        signal: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.shutdown = Some(Box::pin(signal));
        self
    }

    /// How long a drain waits for clients and handlers before it cuts what is
    /// left. Default 30 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }
}

/// A service behind one type, cloned for each request.
pub(super) fn erased<S, B>(service: S) -> Fallback
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let service = Mutex::new(service);
    Arc::new(move |request| {
        let mut service = service
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Box::pin(async move {
            poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            let response = service.call(request).await.map_err(Into::into)?;
            Ok(response.map(|body| TruncatedBody::new(body).boxed_unsync()))
        })
    })
}

/// A service that is made for the peer of each request's connection.
pub(super) fn erased_make<M, S, B>(make: M) -> Fallback
where
    M: Service<SocketAddr, Response = S, Error: Into<BoxError>> + Clone + Send + 'static,
    M::Future: Send,
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let made = move |request: Request<Body>| {
        let mut make = make.clone();
        async move {
            let peer = request.extensions().get::<Peer>().map(Peer::addr);
            let peer = peer.ok_or("a request of this server carries its peer")?;
            poll_fn(|cx| make.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            let mut service = make.call(peer).await.map_err(Into::into)?;
            poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(Into::into)?;
            service.call(request).await.map_err(Into::into)
        }
    };
    erased(ServiceFn(made))
}

/// A function as a service.
#[derive(Clone)]
struct ServiceFn<F>(F);

impl<F, Fut, T> Service<Request<Body>> for ServiceFn<F>
where
    F: Fn(Request<Body>) -> Fut,
    Fut: Future<Output = Result<T, BoxError>>,
{
    type Response = T;
    type Error = BoxError;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Fut {
        (self.0)(request)
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Sockets that did not close in time and were cut.
    pub sockets_cut: usize,
    /// Connections that did not end in time and were cut.
    pub connections_cut: usize,
}

impl IntoFuture for Serve {
    type Output = io::Result<ShutdownReport>;
    type IntoFuture = BoxFuture<io::Result<ShutdownReport>>;

    fn into_future(self) -> Self::IntoFuture {
        let shutdown = self
            .shutdown
            .unwrap_or_else(|| Box::pin(std::future::pending()));
        Box::pin(accept(
            self.server,
            self.on_upgrade,
            self.fallback,
            shutdown,
            self.drain_timeout,
        ))
    }
}

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
