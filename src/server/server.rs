//! [`Server`]: a listener with its settings.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use tower_service::Service;

use super::body::Body;
use super::connection_counts::ConnectionCounts;
use super::embed::ServiceOptions;
use super::erased;
use super::handler::HandlerResult;
use super::listener::BoxListener;
use super::request::WebSocketRequest;
use super::serve::Serve;
use super::service::BoxError;
use super::settings::Settings;

/// A server that is bound to an address.
///
/// It accepts WebSockets over HTTP/2 (RFC 8441) and HTTP/1.1 (RFC 6455) on one port, and
/// passes all other requests to a service. The client selects the version of HTTP: by
/// ALPN with TLS, and by its first bytes without.
///
/// # Example
///
/// ```no_run
/// use h2ws::server::WebSocketRequest;
/// use h2ws::{Error, Server};
///
/// async fn echo(request: WebSocketRequest) -> Result<(), Error> {
///     let mut ws = request.accept().await?;
///     while let Some(message) = ws.recv().await {
///         ws.send(message?).await?;
///     }
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let server = Server::builder().bind("127.0.0.1:8080").await?;
/// server.serve(echo).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    listener: BoxListener,
    settings: Arc<Settings>,
}

impl Server {
    pub(super) fn new(listener: BoxListener, settings: Arc<Settings>) -> Self {
        Self { listener, settings }
    }

    /// Returns the address that the server is bound to, with the actual port.
    ///
    /// # Errors
    ///
    /// If the operating system does not report it, or the server is
    /// [unbound](super::ServerBuilder::unbound).
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Returns a view of the numbers of connections and their limits, such as for metrics.
    #[must_use]
    pub fn connection_counts(&self) -> ConnectionCounts {
        ConnectionCounts(self.settings.clone())
    }

    /// Serves WebSockets: calls `handler` for each WebSocket request, in a task of its
    /// own. Nothing happens before the returned value is awaited.
    ///
    /// The handler returns `()`, or a `Result` whose error is logged; see
    /// [`HandlerResult`].
    ///
    /// The handler also controls access; see [`WebSocketRequest`]. It may await anything
    /// before it answers, and delays no other request by that. Until it has answered, its
    /// future is dropped if the client gives up or the
    /// [`handler_timeout`](super::ServerBuilder::handler_timeout) is over; afterwards it
    /// runs to its end. At most
    /// [`max_concurrent_streams`](crate::Http2Config::max_concurrent_streams) requests per
    /// connection are handled at a time.
    pub fn serve<H, F>(self, handler: H) -> Serve
    where
        H: Fn(WebSocketRequest) -> F + Send + Sync + 'static,
        F: Future<Output: HandlerResult> + Send + 'static,
    {
        Serve::new(self.listener, self.settings, handler)
    }

    /// Serves all requests with one service, WebSocket requests included: a router's
    /// paths, layers and extractors apply to them as to any other request.
    ///
    /// A handler gets its WebSocket by [`hyper::upgrade`](crate::hyper::upgrade), or in
    /// axum by the extractor `h2ws::axum::WebSocketUpgrade` (feature `axum`). The client
    /// gets the service's response: the accepting response has the header fields that
    /// layers added, and a rejection keeps its body. A success for which the handler took
    /// no WebSocket is replaced by 501, with a warning in the log. The response is due
    /// within the [`handler_timeout`](super::ServerBuilder::handler_timeout).
    ///
    /// Among a request's extensions are [`Peer`](super::Peer) and
    /// [`Transport`](crate::Transport). Over HTTP/2, the method of a WebSocket request is
    /// shown as GET unless [`ServiceOptions::connect_as_get`] is false; its version
    /// remains.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use axum::body::Body;
    /// use axum::extract::Request;
    /// use axum::response::Response;
    /// use axum::{Router, routing::get};
    /// use h2ws::Server;
    ///
    /// async fn echo(mut request: Request) -> Response {
    ///     match h2ws::hyper::upgrade(&mut request) {
    ///         Ok((response, socket)) => {
    ///             tokio::spawn(async move {
    ///                 let mut socket = socket.await?;
    ///                 while let Some(message) = socket.recv().await {
    ///                     socket.send(message?).await?;
    ///                 }
    ///                 Ok::<_, h2ws::Error>(())
    ///             });
    ///             response.map(|()| Body::empty())
    ///         }
    ///         Err(rejection) => rejection.to_response().map(Body::from),
    ///     }
    /// }
    ///
    /// # async fn example() -> std::io::Result<()> {
    /// let app = Router::new()
    ///     .route("/", get(|| async { "the page" }))
    ///     .route("/echo/{room}", get(echo));
    /// let server = Server::builder().bind("127.0.0.1:8080").await?;
    /// server.serve_service(app).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve_service<S, B>(self, service: S) -> Serve
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.serve_service_with(service, ServiceOptions::default())
    }

    /// As [`serve_service`](Self::serve_service), with options.
    pub fn serve_service_with<S, B>(self, service: S, options: ServiceOptions) -> Serve
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let service = erased::service(service);
        Serve::service(self.listener, self.settings, service, options)
    }

    /// As [`serve_service`](Self::serve_service), with a service that is made for the
    /// address of each request's peer, such as axum's
    /// `Router::into_make_service_with_connect_info::<SocketAddr>()`, which provides the
    /// extractor `ConnectInfo`.
    pub fn serve_make_service<M, S, B>(self, make: M) -> Serve
    where
        M: Service<SocketAddr, Response = S, Error: Into<BoxError>> + Clone + Send + 'static,
        M::Future: Send,
        S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let service = erased::make_service(make);
        let options = ServiceOptions::default();
        Serve::service(self.listener, self.settings, service, options)
    }
}
