//! [`Server`]: a listener with its settings.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use tokio::net::TcpListener;
use tower_service::Service;

use super::builder::Settings;
use super::serve::{BoxError, erased, erased_make};
use super::{Body, HandlerResult, Serve, ServerBuilder, ServiceOptions, WebSocketRequest};

/// A bound server.
///
/// It takes WebSockets over HTTP/2 (RFC 8441) and HTTP/1.1 (RFC 6455) on the
/// same port, and hands every other request to a fallback. With TLS the client
/// picks the version by ALPN, without by its first bytes.
///
/// # Example
///
/// ```no_run
/// use futures_util::{SinkExt, StreamExt};
/// use h2ws::server::WebSocketRequest;
/// use h2ws::Server;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::builder().bind("127.0.0.1:8080").await?;
/// server
///     .serve(|request: WebSocketRequest| async move {
///         let Ok(mut ws) = request.accept().await else { return };
///         while let Some(Ok(message)) = ws.next().await {
///             if ws.send(message).await.is_err() {
///                 break;
///             }
///         }
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    pub(super) listener: TcpListener,
    pub(super) settings: Arc<Settings>,
}

impl Server {
    /// Begins a configuration.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The address that the server listens on, with the real port.
    ///
    /// # Errors
    ///
    /// If the operating system does not tell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves: each WebSocket request is given to `handler`, in a task of its
    /// own. What it returns has to be awaited.
    ///
    /// The handler is also where access is controlled, see [`WebSocketRequest`]: it may
    /// wait before it answers, and holds up no other request by it. Until the
    /// request is answered its future is dropped when the client gives up or
    /// [`handler_timeout`](ServerBuilder::handler_timeout) is over; from then on
    /// it runs to its end. Requests under way at a time are bounded by
    /// [`max_concurrent_streams`](crate::Http2Config::max_concurrent_streams) a
    /// connection.
    pub fn serve<H, F>(self, handler: H) -> Serve
    where
        H: Fn(WebSocketRequest) -> F + Send + Sync + 'static,
        F: Future<Output: HandlerResult> + Send + 'static,
    {
        Serve::new(self, handler)
    }

    /// Serves one service, WebSockets included: a router's paths, layers and
    /// extractors apply to them as to every request.
    ///
    /// A handler takes its WebSocket by
    /// [`hyper::upgrade`](crate::hyper::upgrade), or in axum by the extractor
    /// `h2ws::axum::WebSocketUpgrade` (feature `axum`). What the service answers
    /// is what the client gets: the header fields that layers add are in the
    /// accepting response, and a refusal passes with its body. A success without a
    /// WebSocket taken is replaced by 501 and a warning in the log. The answer is
    /// due within [`handler_timeout`](ServerBuilder::handler_timeout).
    ///
    /// Among a request's extensions are [`Peer`] and
    /// [`Transport`](crate::Transport). Over HTTP/2 a WebSocket request is shown as
    /// GET, unless [`ServiceOptions::connect_as_get`] is off; its version stays.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use axum::body::Body;
    /// use axum::extract::Request;
    /// use axum::response::Response;
    /// use axum::{Router, routing::get};
    /// use futures_util::{SinkExt, StreamExt};
    /// use h2ws::Server;
    ///
    /// async fn echo(mut request: Request) -> Response {
    ///     match h2ws::hyper::upgrade(&mut request) {
    ///         Ok((response, socket)) => {
    ///             tokio::spawn(async move {
    ///                 let mut socket = socket.await?;
    ///                 while let Some(message) = socket.next().await {
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
        Serve::service(self, erased(service), options)
    }

    /// As [`serve_service`](Self::serve_service), with a service made for the address
    /// of each request's peer, such as axum's
    /// `Router::into_make_service_with_connect_info::<SocketAddr>()`, which brings the
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
        Serve::service(self, erased_make(make), ServiceOptions::default())
    }
}
