//! [`WebSocketUpgrade`]: the extractor for axum.

use std::fmt;
use std::future::Future;
use std::task::{Context, Poll};

use axum_core::body::Body;
use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::{Method, Request, request};
use tower_layer::Layer;
use tower_service::Service;

use super::hyper;
use crate::error::{Chain, Error};
#[cfg(feature = "deflate")]
use crate::handshake::DeflateConfig;
use crate::handshake::{AllowedOrigins, extended_connect};
use crate::socket::{WebSocket, WebSocketConfig};

pub use super::rejection::UpgradeRejection;

/// Extracts a WebSocket request, with the methods of axum's own extractor.
///
/// The same handler works over the HTTP/1.1 Upgrade and the extended CONNECT of
/// HTTP/2, under [`Server::serve_service`](crate::Server::serve_service) and under
/// `axum::serve` or axum-server. Under h2ws's server a `get` route takes both
/// versions; under other servers use `any`, or put [`ConnectAsGet`] around the router.
///
/// It takes the WebSocket out of the request, so there can be one per request: a second one, also in
/// a layer, is rejected with 500. What is not a WebSocket request is rejected as
/// [`UpgradeRejection`] lists. A handler that also answers plain HTTP requests takes a
/// `Result<WebSocketUpgrade, UpgradeRejection>`.
///
/// # Example
///
/// ```
/// use axum::extract::Path;
/// use axum::response::Response;
/// use axum::{Router, routing::any};
/// use h2ws::axum::WebSocketUpgrade;
///
/// async fn echo(Path(room): Path<String>, upgrade: WebSocketUpgrade) -> Response {
///     upgrade.protocols(["chat"]).on_upgrade(|mut socket| async move {
///         while let Some(Ok(message)) = socket.recv().await {
///             if socket.send(message).await.is_err() {
///                 break;
///             }
///         }
///         println!("left {room}");
///     })
/// }
///
/// let app: Router = Router::new().route("/echo/{room}", any(echo));
/// ```
#[must_use = "nothing is opened before `on_upgrade`"]
pub struct WebSocketUpgrade<F = DefaultOnFailedUpgrade> {
    upgrade: hyper::WebSocketUpgrade,
    on_failed_upgrade: F,
}

impl<S: Sync> FromRequestParts<S> for WebSocketUpgrade {
    type Rejection = UpgradeRejection;

    async fn from_request_parts(
        parts: &mut request::Parts,
        _: &S,
    ) -> Result<Self, UpgradeRejection> {
        Ok(Self {
            upgrade: hyper::WebSocketUpgrade::from_parts(parts)?,
            on_failed_upgrade: DefaultOnFailedUpgrade,
        })
    }
}

impl IntoResponse for UpgradeRejection {
    fn into_response(self) -> Response {
        self.to_response().map(Body::from)
    }
}

impl<F> WebSocketUpgrade<F> {
    fn map(self, change: impl FnOnce(hyper::WebSocketUpgrade) -> hyper::WebSocketUpgrade) -> Self {
        Self {
            upgrade: change(self.upgrade),
            ..self
        }
    }

    /// Selects the first of the client's subprotocols that is among `supported`; the
    /// client's order decides. Without a match the WebSocket has none.
    pub fn protocols<I>(self, supported: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.map(|upgrade| upgrade.protocols(supported))
    }

    /// Returns the subprotocols that the client offers, in its order of preference.
    pub fn requested_protocols(&self) -> impl Iterator<Item = &str> {
        self.upgrade.requested_protocols()
    }

    /// Selects one of the offered subprotocols.
    ///
    /// # Errors
    ///
    /// If the client did not offer it (RFC 6455 §4.1).
    pub fn set_selected_protocol(&mut self, name: &str) -> Result<(), Error> {
        self.upgrade.set_selected_protocol(name)
    }

    /// Returns the subprotocol selected so far.
    #[must_use]
    pub fn selected_protocol(&self) -> Option<&str> {
        self.upgrade.selected_protocol()
    }

    /// Checks the origin of the page that opens the WebSocket (RFC 6455 §10.2).
    ///
    /// # Errors
    ///
    /// A rejection with status 403 if it is not allowed.
    pub fn check_origin(&self, allowed: &AllowedOrigins) -> Result<(), UpgradeRejection> {
        self.upgrade.check_origin(allowed)
    }

    /// Replaces the configuration of the WebSocket; see
    /// [`hyper::WebSocketUpgrade::config`](crate::hyper::WebSocketUpgrade::config).
    pub fn config(self, config: WebSocketConfig) -> Self {
        self.map(|upgrade| upgrade.config(config))
    }

    /// Sets the largest message to receive, in bytes.
    pub fn max_message_size(self, max: usize) -> Self {
        self.map(|upgrade| upgrade.max_message_size(max))
    }

    /// Sets the largest frame to receive, in bytes.
    pub fn max_frame_size(self, max: usize) -> Self {
        self.map(|upgrade| upgrade.max_frame_size(max))
    }

    /// Sets whether the client's Pings, Pongs and Close frame are received as messages, as axum's
    /// own extractor does. Default: the server's setting, or `false` under another server.
    pub fn control_messages(self, receive: bool) -> Self {
        self.map(|upgrade| upgrade.control_messages(receive))
    }

    /// Negotiates permessage-deflate (RFC 7692) if the client offers it, or with
    /// `None` does not. Default: the server's setting, or `None` under another server.
    #[cfg(feature = "deflate")]
    pub fn deflate(self, config: impl Into<Option<DeflateConfig>>) -> Self {
        self.map(|upgrade| upgrade.deflate(config))
    }

    /// Calls `callback` if the WebSocket does not open after all, because the client is
    /// gone or a layer replaced the response: with [`Error::Closed`], or the error of the
    /// connection. Default: the error is logged at level debug.
    pub fn on_failed_upgrade<C: OnFailedUpgrade>(self, callback: C) -> WebSocketUpgrade<C> {
        WebSocketUpgrade {
            upgrade: self.upgrade,
            on_failed_upgrade: callback,
        }
    }

    /// Accepts. Returns the response, and runs `callback` with the WebSocket in a task of
    /// its own once the response has been sent.
    ///
    /// The response may get more header fields, but has to keep its status. A WebSocket that is still
    /// open when `callback` returns or panics is dropped: what was sent
    /// [arrives](WebSocket#what-becomes-of-what-was-sent), without a Close frame.
    pub fn on_upgrade<C, Fut>(self, callback: C) -> Response
    where
        C: FnOnce(WebSocket) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
        F: OnFailedUpgrade,
    {
        let (response, socket) = self.upgrade.accept();
        let on_failed_upgrade = self.on_failed_upgrade;
        tokio::spawn(async move {
            match socket.await {
                Ok(socket) => callback(socket).await,
                Err(error) => on_failed_upgrade.call(error),
            }
        });
        response.map(|()| Body::empty())
    }
}

impl<F> fmt::Debug for WebSocketUpgrade<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.upgrade.fmt(f)
    }
}

/// Handles a WebSocket that did not open; see [`WebSocketUpgrade::on_failed_upgrade`].
pub trait OnFailedUpgrade: Send + 'static {
    /// Handles the error.
    fn call(self, error: Error);
}

impl<F: FnOnce(Error) + Send + 'static> OnFailedUpgrade for F {
    fn call(self, error: Error) {
        self(error);
    }
}

/// Logs the error at level debug.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct DefaultOnFailedUpgrade;

impl OnFailedUpgrade for DefaultOnFailedUpgrade {
    fn call(self, error: Error) {
        tracing::debug!(error = %Chain(&error), "a WebSocket did not open after its response");
    }
}

/// Shows the extended CONNECT of HTTP/2 as GET, so that `get` routes accept WebSockets
/// under other servers than h2ws's.
///
/// It has to see requests before they are routed, so it wraps the router:
///
/// ```
/// use axum::{Router, ServiceExt, extract::Request};
/// use h2ws::axum::ConnectAsGet;
/// use tower_layer::Layer;
///
/// # async fn example(app: Router, listener: tokio::net::TcpListener) -> std::io::Result<()> {
/// let app = ConnectAsGet::default().layer(app);
/// axum::serve(listener, ServiceExt::<Request>::into_make_service(app)).await
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ConnectAsGet;

impl<S> Layer<S> for ConnectAsGet {
    type Service = ConnectAsGetService<S>;

    fn layer(&self, inner: S) -> ConnectAsGetService<S> {
        ConnectAsGetService { inner }
    }
}

/// The service of [`ConnectAsGet`].
#[derive(Clone, Copy, Debug)]
pub struct ConnectAsGetService<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for ConnectAsGetService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let protocol = request.extensions().get::<::hyper::ext::Protocol>();
        if protocol.is_some_and(|protocol| protocol.as_str() == extended_connect::PROTOCOL) {
            *request.method_mut() = Method::GET;
        }
        self.inner.call(request)
    }
}
