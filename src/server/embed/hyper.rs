//! WebSockets in a service on hyper: [`upgrade`] and [`WebSocketUpgrade`].

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode, Version, request};

use super::on_websocket::OnWebSocket as Opened;
use super::slot::Slot;
use crate::error::Error;
use crate::frame::{Limits, Role};
use crate::handshake::{
    self, AllowedOrigins, DeflateConfig, HandshakeError, HandshakeKind, ParsedRequest,
    extended_connect,
};
use crate::server::request::WebSocketRequest;
use crate::socket::{Agreement, WebSocketConfig};

pub use super::on_websocket::OnWebSocket;
pub use super::rejection::UpgradeRejection;

/// Accepts a WebSocket request with default settings. Returns the response to send, and
/// the WebSocket that opens once it has been sent.
///
/// The request may come from a hyper server over HTTP/1.1 (RFC 6455 §4) or HTTP/2 (RFC
/// 8441), or from [`Server::serve_service`](crate::Server::serve_service); the
/// [module](crate::hyper) lists what a hyper server needs. For subprotocols, limits and
/// compression, see [`WebSocketUpgrade`].
///
/// # Errors
///
/// [`UpgradeRejection`] if the request is not a WebSocket handshake or is invalid;
/// [`UpgradeRejection::to_response`] returns the response to send.
///
/// # Example
///
/// ```
/// use std::convert::Infallible;
///
/// use bytes::Bytes;
/// use h2ws::http::{Request, Response};
/// use http_body_util::Full;
///
/// async fn service<B>(mut request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
///     let (response, socket) = match h2ws::hyper::upgrade(&mut request) {
///         Ok(upgraded) => upgraded,
///         Err(rejection) => return Ok(rejection.to_response().map(Full::new)),
///     };
///     tokio::spawn(async move {
///         let mut socket = socket.await?;
///         while let Some(message) = socket.recv().await {
///             socket.send(message?).await?;
///         }
///         Ok::<_, h2ws::Error>(())
///     });
///     Ok(response.map(|()| Full::default()))
/// }
/// # let _ = service::<()>;
/// ```
pub fn upgrade<B>(
    request: &mut Request<B>,
) -> Result<(Response<()>, OnWebSocket), UpgradeRejection> {
    Ok(WebSocketUpgrade::from_request(request)?.accept())
}

/// A WebSocket request that a service received, before it is accepted.
///
/// Dropping it opens nothing; the service then returns a response of its own.
#[must_use = "nothing is opened before `accept`"]
pub struct WebSocketUpgrade {
    source: Source,
    config: Arc<WebSocketConfig>,
    deflate: Option<DeflateConfig>,
    subprotocol: Option<String>,
}

enum Source {
    /// From h2ws's own server: bytes are not copied, and the connection's metrics and
    /// graceful shutdown apply.
    Native {
        slot: Slot,
        request: WebSocketRequest,
    },
    /// From another server on hyper.
    Hyper {
        opening: ParsedRequest,
        on: hyper::upgrade::OnUpgrade,
    },
}

/// Marks a request from another server whose `OnUpgrade` was taken, so that a second extractor
/// does not blame the connection.
#[derive(Clone)]
struct Extracted;

impl WebSocketUpgrade {
    /// Takes the WebSocket request out of a request.
    ///
    /// # Errors
    ///
    /// As [`upgrade`].
    pub fn from_request<B>(request: &mut Request<B>) -> Result<Self, UpgradeRejection> {
        let mut parts = Request::new(()).into_parts().0;
        swap(&mut parts, request);
        let upgrade = Self::from_parts(&mut parts);
        swap(&mut parts, request);
        upgrade
    }

    /// Takes the WebSocket request out of a request's head.
    ///
    /// # Errors
    ///
    /// As [`upgrade`].
    pub fn from_parts(parts: &mut request::Parts) -> Result<Self, UpgradeRejection> {
        if let Some(slot) = parts.extensions.get::<Slot>() {
            let slot = slot.clone();
            let request = slot.extract().ok_or_else(UpgradeRejection::extracted)?;
            let (config, deflate) = (request.config().clone(), request.deflate_config());
            return Ok(Self {
                source: Source::Native { slot, request },
                config,
                deflate,
                subprotocol: None,
            });
        }
        if parts.extensions.get::<Extracted>().is_some() {
            return Err(UpgradeRejection::extracted());
        }
        let opening = check(parts)?;
        let on = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
        let on = on.ok_or_else(UpgradeRejection::not_upgradable)?;
        parts.extensions.insert(Extracted);
        Ok(Self {
            source: Source::Hyper { opening, on },
            config: Arc::default(),
            deflate: None,
            subprotocol: None,
        })
    }

    fn opening(&self) -> &ParsedRequest {
        match &self.source {
            Source::Native { request, .. } => request.opening(),
            Source::Hyper { opening, .. } => opening,
        }
    }

    /// The subprotocols that the client offers, in its order of preference (RFC 6455
    /// §1.9).
    pub fn requested_protocols(&self) -> impl Iterator<Item = &str> {
        self.opening().subprotocols.iter().map(String::as_str)
    }

    /// Selects the first of the client's subprotocols that is among `supported`; the
    /// client's order decides. Without a match the WebSocket has none.
    pub fn protocols<I>(mut self, supported: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let supported: Vec<I::Item> = supported.into_iter().collect();
        let is_supported = |offered: &&str| supported.iter().any(|name| name.as_ref() == *offered);
        let selected = self.requested_protocols().find(is_supported);
        self.subprotocol = selected.map(str::to_owned);
        self
    }

    /// Selects one of the offered subprotocols.
    ///
    /// # Errors
    ///
    /// If the client did not offer it; the client would have to fail the connection (RFC
    /// 6455 §4.1).
    pub fn set_selected_protocol(&mut self, name: &str) -> Result<(), Error> {
        if !self.requested_protocols().any(|offered| offered == name) {
            let error = HandshakeError::UnofferedSubprotocol(name.to_owned());
            return Err(Error::Handshake(error));
        }
        self.subprotocol = Some(name.to_owned());
        Ok(())
    }

    /// The subprotocol selected so far.
    #[must_use]
    pub fn selected_protocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    /// Checks the origin of the page that opens the WebSocket (RFC 6455 §10.2), as
    /// [`ServerBuilder::allowed_origins`](crate::server::ServerBuilder::allowed_origins) does
    /// for a whole server.
    ///
    /// # Errors
    ///
    /// A rejection with status 403 if it is not allowed.
    pub fn check_origin(&self, allowed: &AllowedOrigins) -> Result<(), UpgradeRejection> {
        let opening = self.opening();
        let checked = opening.check_origin(allowed);
        checked.map_err(|rejection| UpgradeRejection::handshake(rejection, opening.kind))
    }

    /// Replaces the configuration of the WebSocket. Default: the server's, or
    /// [`WebSocketConfig::default`] under another server.
    pub fn config(mut self, config: WebSocketConfig) -> Self {
        self.config = Arc::new(config);
        self
    }

    fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut Arc::make_mut(&mut self.config).limits);
        self
    }

    /// Sets the largest message to receive, in bytes:
    /// [`Limits::max_message_size`].
    pub fn max_message_size(self, max: usize) -> Self {
        self.limits(|limits| limits.max_message_size = max)
    }

    /// Sets the largest frame to receive, in bytes: [`Limits::max_frame_size`].
    pub fn max_frame_size(self, max: usize) -> Self {
        self.limits(|limits| limits.max_frame_size = max)
    }

    /// Sets whether the client's Pings, Pongs and Close frame are received as messages:
    /// [`WebSocketConfig::control_messages`].
    pub fn control_messages(mut self, receive: bool) -> Self {
        Arc::make_mut(&mut self.config).control_messages = receive;
        self
    }

    /// Negotiates permessage-deflate (RFC 7692) if the client offers it, or with
    /// `None` does not. Default: the server's setting, or `None` under another server.
    #[cfg(feature = "deflate")]
    pub fn deflate(mut self, config: impl Into<Option<DeflateConfig>>) -> Self {
        self.deflate = config.into();
        self
    }

    /// Accepts. Returns the response to send, and the WebSocket that opens once it has been
    /// sent.
    ///
    /// The response may get more header fields, but has to keep its status. Under h2ws's
    /// own server the handshake's fields are added when it is sent.
    pub fn accept(self) -> (Response<()>, OnWebSocket) {
        match self.source {
            Source::Native { slot, mut request } => {
                let status = match request.kind() {
                    HandshakeKind::Http1 => StatusCode::SWITCHING_PROTOCOLS,
                    HandshakeKind::Http2 => StatusCode::OK,
                };
                request.set_options(self.config, self.deflate, self.subprotocol);
                let socket = Opened::native(slot.accept(request));
                let mut response = Response::new(());
                *response.status_mut() = status;
                (response, socket)
            }
            Source::Hyper { opening, on } => {
                let mut agreed = opening.negotiate(&[""; 0], self.deflate.as_ref());
                agreed.subprotocol = self.subprotocol;
                let response = match opening.kind {
                    HandshakeKind::Http1 => {
                        handshake::upgrade::response(&opening, &agreed, HeaderMap::new())
                    }
                    HandshakeKind::Http2 => {
                        extended_connect::response(&opening, &agreed, HeaderMap::new())
                    }
                };
                let agreement = Agreement {
                    subprotocol: agreed.subprotocol,
                    deflate: self
                        .deflate
                        .zip(agreed.deflate)
                        .map(|(config, params)| config.at(Role::Server, &params)),
                };
                match response {
                    Ok(response) => (response, Opened::hyper(on, self.config, agreement)),
                    // Does not happen, because only what was offered is agreed to.
                    Err(error) => {
                        let mut response = Response::new(());
                        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                        (response, Opened::failed(error.into()))
                    }
                }
            }
        }
    }
}

impl fmt::Debug for WebSocketUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketUpgrade")
            .field("opening", self.opening())
            .field("selected_protocol", &self.subprotocol)
            .finish_non_exhaustive()
    }
}

/// Checks the handshake of a request that another server received.
fn check(parts: &mut request::Parts) -> Result<ParsedRequest, UpgradeRejection> {
    if parts.version != Version::HTTP_2 {
        return handshake::upgrade::check_request(parts)
            .map_err(|rejection| UpgradeRejection::handshake(rejection, HandshakeKind::Http1));
    }
    let protocol = parts.extensions.get::<hyper::ext::Protocol>().cloned();
    // A layer in front of the router may have changed CONNECT to GET.
    let method = parts.method.clone();
    if protocol.is_some() && method == Method::GET {
        parts.method = Method::CONNECT;
    }
    let protocol = protocol.as_ref().map(hyper::ext::Protocol::as_str);
    let checked = extended_connect::check_request(parts, protocol);
    parts.method = method;
    checked.map_err(|rejection| UpgradeRejection::handshake(rejection, HandshakeKind::Http2))
}

/// Exchanges the heads of two requests.
fn swap<B>(parts: &mut request::Parts, request: &mut Request<B>) {
    std::mem::swap(&mut parts.method, request.method_mut());
    std::mem::swap(&mut parts.uri, request.uri_mut());
    std::mem::swap(&mut parts.version, request.version_mut());
    std::mem::swap(&mut parts.headers, request.headers_mut());
    std::mem::swap(&mut parts.extensions, request.extensions_mut());
}
