//! [`Serve`]: a server that is about to run.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;
use tracing::Instrument;

use super::accept::accept;
use super::body::Body;
use super::connections::{Connections, ShutdownReport};
use super::embed::{ServiceOptions, route};
use super::erased;
use super::handler::{HandlerResult, HandlerTask, OnUpgrade};
use super::listener::BoxListener;
use super::request::WebSocketRequest;
use super::service::{BoxError, BoxFuture, Fallback};
use super::settings::Settings;

/// A server that runs once this is awaited; see [`Server::serve`](crate::Server::serve).
#[must_use = "the server runs only while this is awaited"]
pub struct Serve {
    listener: BoxListener,
    settings: Arc<Settings>,
    on_upgrade: OnUpgrade,
    fallback: Option<Fallback>,
    shutdown: Option<BoxFuture<()>>,
    drain_timeout: Duration,
}

impl Serve {
    pub(super) fn new<H, F>(listener: BoxListener, settings: Arc<Settings>, handler: H) -> Self
    where
        H: Fn(WebSocketRequest) -> F + Send + Sync + 'static,
        F: Future<Output: HandlerResult> + Send + 'static,
    {
        Self {
            listener,
            settings,
            on_upgrade: Arc::new(move |request| {
                let span = request.span().clone();
                let task = span.in_scope(|| HandlerTask::new(request, &handler));
                // Without the span if it is disabled, because it takes memory in each task.
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

    /// Passes all requests to one service, WebSocket requests included.
    pub(super) fn service(
        listener: BoxListener,
        settings: Arc<Settings>,
        service: Fallback,
        options: ServiceOptions,
    ) -> Self {
        let sockets = service.clone();
        let handler = move |request| route(request, sockets.clone(), options);
        Self {
            fallback: Some(service),
            ..Self::new(listener, settings, handler)
        }
    }

    /// Passes plain HTTP requests to a service: any `tower` service over `http` types,
    /// such as an axum router. Default: they get 404.
    ///
    /// Among a request's extensions are the connection, as
    /// [`Transport`](crate::Transport), and the client, as
    /// [`Peer`](super::Peer). Requests for hosts outside of
    /// [`allowed_hosts`](super::ServerBuilder::allowed_hosts) do not reach the service.
    ///
    /// Bodies stream in both directions. A client that does not read makes the response's
    /// body wait, and a service that does not read makes the client wait, over HTTP/2
    /// after [`stream_window`](crate::Http2Config::stream_window) bytes.
    ///
    /// ```no_run
    /// use axum::{Router, routing::get};
    /// use h2ws::server::WebSocketRequest;
    /// use h2ws::Server;
    ///
    /// # async fn example() -> std::io::Result<()> {
    /// let pages = Router::new().route("/", get(|| async { "the page" }));
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
        self.fallback = Some(erased::service(service));
        self
    }

    /// Shuts down gracefully when `signal` completes. Default: never.
    ///
    /// The server then accepts no more connections, sends GOAWAY to HTTP/2 clients (RFC
    /// 9113 §6.8), and closes each open WebSocket with code 1001 (RFC 6455 §7.4.1) while
    /// its handler reads it, or when it next does. Plain HTTP requests in progress are
    /// answered. The server ends with its last connection, or after the
    /// [`drain_timeout`](Self::drain_timeout), with a [`ShutdownReport`].
    pub fn with_graceful_shutdown(
        mut self,
        signal: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.shutdown = Some(Box::pin(signal));
        self
    }

    /// Maximum duration of a graceful shutdown; then the connections that are left are
    /// cut. Default 30 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Serves connections that the caller accepts, instead of those of a listener; see
    /// [`ServerBuilder::unbound`](super::ServerBuilder::unbound).
    ///
    /// If the server has a listener, it is dropped. [`Connections::shutdown`] replaces
    /// [`with_graceful_shutdown`](Self::with_graceful_shutdown).
    pub fn connections(self) -> Connections {
        Connections::new(
            self.settings,
            self.on_upgrade,
            self.fallback,
            self.drain_timeout,
        )
    }
}

impl IntoFuture for Serve {
    type Output = io::Result<ShutdownReport>;
    type IntoFuture = BoxFuture<io::Result<ShutdownReport>>;

    fn into_future(self) -> Self::IntoFuture {
        let shutdown = self
            .shutdown
            .unwrap_or_else(|| Box::pin(std::future::pending()));
        let connections = Connections::new(
            self.settings,
            self.on_upgrade,
            self.fallback,
            self.drain_timeout,
        );
        let accept = accept(self.listener, connections, shutdown);
        Box::pin(async { Ok(accept.await) })
    }
}

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("listener", &self.listener)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
