//! [`WebSocketRequest`]: a request for a WebSocket, before it is answered.

mod answering;
pub(crate) mod query;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, request};
use tracing::{Span, field};

use self::answering::Unanswered;
use super::peer::Peer;
use super::pending::{Pending, Responder};
use super::settings::Settings;
use crate::error::Error;
use crate::handshake::{
    DeflateConfig, HandshakeError, HandshakeKind, HostPort, ParsedRequest, headers,
};
use crate::metrics::Observed;
use crate::socket::WebSocketConfig;
use crate::transport::Transport;
use crate::transport::tls::TlsInfo;

/// A request for a WebSocket, over either version of HTTP.
///
/// Answer it by [`accept`](Self::accept) or [`reject`](Self::reject). Examining it may
/// take time; no other request waits meanwhile. If it is dropped unanswered, the client
/// gets status 500 (HTTP/1.1) or a reset (HTTP/2); if it is not answered within the
/// [`handler_timeout`](super::ServerBuilder::handler_timeout), 503.
///
/// # Example
///
/// A handler controls access before it accepts:
///
/// ```
/// use h2ws::server::WebSocketRequest;
/// use h2ws::WebSocket;
/// use h2ws::http::{HeaderValue, Response, StatusCode, header};
///
/// /// Returns the user that a session belongs to, for example from a database.
/// async fn user(session: &str) -> Option<String> {
/// #   let _ = session;
/// #   None
/// }
///
/// async fn admit(mut request: WebSocketRequest) -> Option<(String, WebSocket)> {
///     let user = match request.cookie("session") {
///         Some(session) => user(session).await,
///         None => None,
///     };
///     let Some(user) = user else {
///         let mut response = Response::new("authentication required\n");
///         *response.status_mut() = StatusCode::UNAUTHORIZED;
///         let challenge = HeaderValue::from_static("Bearer realm=\"chat\"");
///         response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
///         request.reject_with(response);
///         return None;
///     };
///     if request.requested_subprotocols().any(|offered| offered == "chat.v2") {
///         request.select_subprotocol("chat.v2").ok()?;
///     }
///     Some((user, request.accept().await.ok()?))
/// }
/// ```
pub struct WebSocketRequest(Box<Request>);

/// Boxed, because it is large and part of every handler's future.
struct Request {
    peer: Peer,
    transport: Transport,
    settings: Arc<Settings>,
    /// Replaces the server's configuration for this WebSocket.
    config: Option<Arc<WebSocketConfig>>,
    parts: request::Parts,
    opening: ParsedRequest,
    pending: Arc<Pending>,
    /// `None` once a service has taken over the duty to answer.
    unanswered: Option<Unanswered>,
    subprotocol: Option<String>,
    deflate: Option<DeflateConfig>,
    headers: HeaderMap,
    /// The first header field that could not be added to the response.
    error: Option<Error>,
    span: Span,
}

impl WebSocketRequest {
    pub(super) fn new(
        peer: Peer,
        settings: Arc<Settings>,
        parts: request::Parts,
        opening: ParsedRequest,
        responder: Responder,
    ) -> Self {
        let transport = responder.transport();
        let span = span(peer.addr, &parts, &opening, responder.observed(), transport);
        let pending = Pending::new(responder, settings.handler_timeout);
        Self(Box::new(Request {
            span,
            peer,
            transport,
            deflate: settings.deflate,
            unanswered: Some(Unanswered::new(pending.clone())),
            pending,
            config: None,
            settings,
            parts,
            opening,
            subprotocol: None,
            headers: HeaderMap::new(),
            error: None,
        }))
    }

    fn parts(&self) -> &request::Parts {
        &self.0.parts
    }

    /// The method: CONNECT over HTTP/2, GET over HTTP/1.1.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.parts().method
    }

    /// The request's target: always a path and query, and over HTTP/2 also scheme and
    /// authority.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.parts().uri
    }

    /// The connection that carries the request and will carry the WebSocket.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.0.transport
    }

    /// The path, as the client sent it: percent-encoding is not decoded.
    #[must_use]
    pub fn path(&self) -> &str {
        self.parts().uri.path()
    }

    /// The query: the part of the target after `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.parts().uri.query()
    }

    /// Returns the first value with this name in the query, with `+` and percent-encoding decoded as
    /// for the fields of a form. A browser can pass a token to a WebSocket in this way; keep it
    /// short-lived, because URLs are logged.
    ///
    /// ```
    /// # fn example(request: h2ws::server::WebSocketRequest) -> bool {
    /// request.query_value("token").as_deref() == Some("sesame") // of wss://…/chat?token=sesame
    /// # }
    /// ```
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        query::value(self.query()?, name)
    }

    /// The host, with its port if it has one, from `:authority` or `host`.
    #[must_use]
    pub fn authority(&self) -> &HostPort {
        &self.0.opening.authority
    }

    /// The request's header fields, such as cookies and authorization.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.parts().headers
    }

    /// The request's header fields, to change them before the request is forwarded.
    /// The handshake has been parsed already and is not affected.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.0.parts.headers
    }

    /// Returns the token of an `Authorization: Bearer` field (RFC 6750 §2.1). Browsers cannot send
    /// it with a WebSocket request.
    #[must_use]
    pub fn bearer_token(&self) -> Option<&str> {
        headers::bearer_token(self.headers())
    }

    /// Returns the value of the first cookie with this name (RFC 6265 §4.2.1).
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        headers::cookie(self.headers(), name)
    }

    /// The version of HTTP.
    #[must_use]
    pub fn version(&self) -> http::Version {
        self.parts().version
    }

    /// Address at the other end of the connection; `0.0.0.0:0` if it has none.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.0.peer.addr
    }

    /// Whether the connection uses TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.tls().is_some()
    }

    /// Results of the TLS handshake: the client's certificates, the requested server
    /// name, ALPN. `None` without TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.0.peer.tls.as_ref()
    }

    /// Origin of the page that opens the WebSocket; sent by browsers (RFC 6455 §10.2).
    #[must_use]
    pub fn origin(&self) -> Option<&HeaderValue> {
        self.0.opening.origin.as_ref()
    }

    /// The subprotocols that the client offers, in its order of preference (RFC 6455
    /// §1.9).
    pub fn requested_subprotocols(&self) -> impl Iterator<Item = &str> {
        self.0.opening.subprotocols.iter().map(String::as_str)
    }

    /// Selects one of the offered subprotocols. Default: none.
    ///
    /// # Errors
    ///
    /// If the client did not offer it; the client would have to fail the connection (RFC
    /// 6455 §4.1).
    pub fn select_subprotocol(&mut self, name: &str) -> Result<(), Error> {
        if !self.requested_subprotocols().any(|offered| offered == name) {
            let error = HandshakeError::UnofferedSubprotocol(name.to_owned());
            return Err(Error::Handshake(error));
        }
        self.0.subprotocol = Some(name.to_owned());
        Ok(())
    }

    /// Negotiates permessage-deflate for this WebSocket if the client offers it, or with
    /// `None` does not. Default: the server's
    /// [`deflate`](super::ServerBuilder::deflate).
    #[cfg(feature = "deflate")]
    pub fn set_deflate(&mut self, config: impl Into<Option<DeflateConfig>>) {
        self.0.deflate = config.into();
    }

    /// Adds a header field to the accepting response, such as `set-cookie`.
    ///
    /// If the name or the value is invalid, [`accept`](Self::accept) fails with
    /// [`Error::Header`].
    ///
    /// ```
    /// # async fn example(mut request: h2ws::server::WebSocketRequest) -> Result<(), h2ws::Error> {
    /// request.response_header("set-cookie", "session=42; Secure; HttpOnly");
    /// let socket = request.accept().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn response_header<N, V>(&mut self, name: N, value: V)
    where
        N: TryInto<HeaderName, Error: Into<http::Error>>,
        V: TryInto<HeaderValue, Error: Into<http::Error>>,
    {
        match headers::field(name, value) {
            Ok((name, value)) => {
                self.0.headers.append(name, value);
            }
            Err(error) => {
                self.0.error.get_or_insert(Error::Header(Arc::new(error)));
            }
        }
    }

    /// The parsed handshake.
    pub(crate) fn opening(&self) -> &ParsedRequest {
        &self.0.opening
    }

    /// The server's configuration of WebSockets.
    pub(crate) fn config(&self) -> &Arc<WebSocketConfig> {
        &self.0.settings.socket
    }

    /// The server's configuration of permessage-deflate.
    pub(super) fn deflate_config(&self) -> Option<DeflateConfig> {
        self.0.deflate
    }

    pub(super) fn kind(&self) -> HandshakeKind {
        self.0.opening.kind
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.0.peer
    }

    pub(super) fn pending(&self) -> Arc<Pending> {
        self.0.pending.clone()
    }

    /// The span that the handler runs in.
    pub(super) fn span(&self) -> &Span {
        &self.0.span
    }

    /// Takes the request's head, which accepting does not need.
    pub(super) fn take_parts(&mut self) -> request::Parts {
        let empty = http::Request::new(()).into_parts().0;
        std::mem::replace(&mut self.0.parts, empty)
    }
}

impl fmt::Debug for WebSocketRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketRequest")
            .field("peer", &self.0.peer.addr)
            .field("uri", self.uri())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

/// The span of the future WebSocket, inside its connection's.
fn span(
    peer: SocketAddr,
    parts: &request::Parts,
    opening: &ParsedRequest,
    observed: &Observed,
    transport: Transport,
) -> Span {
    let span = tracing::debug_span!(
        parent: &observed.span,
        "socket",
        connection = observed.info.id,
        stream = field::Empty,
        %peer,
        origin = opening.origin.as_ref().map(field::debug),
        authority = %opening.authority,
        version = ?observed.info.version,
        // Without the query, which may carry secrets.
        path = parts.uri.path(),
    );
    if let Transport::Http2 { stream, .. } = transport {
        span.record("stream", stream);
    }
    span
}
