//! A request for a WebSocket, before it is answered.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, request};
use http_body_util::{BodyExt, Empty, Full};
use tracing::{Span, field};

use super::Peer;
use super::builder::Settings;
use super::connection::boxed;
use super::pending::{Answer, Pending};
use super::serve::ResponseBody;
use crate::error::{Error, Timeout};
use crate::frame::Role;
use crate::handshake::{
    DeflateConfig, HandshakeError, HandshakeKind, HostPort, Negotiated, ParsedRequest,
    extended_connect, headers, upgrade,
};
use crate::metrics::{Handshake, Observed, SocketMeter};
use crate::socket::{Agreement, RawStream, WebSocket, WebSocketConfig};
use crate::transport::tls::TlsInfo;
use crate::transport::{Stream, Transport, h1};

/// A request for a WebSocket, over either version of HTTP.
///
/// Answer it by [`accept`](Self::accept) or [`reject`](Self::reject), after
/// looking at it for as long as that takes: nobody else waits for it. Dropped
/// unanswered, the client sees status 500 (HTTP/1.1) or a reset (HTTP/2); not
/// answered within
/// [`handler_timeout`](super::ServerBuilder::handler_timeout), 503.
///
/// # Example
///
/// Access control is what a handler does before it accepts:
///
/// ```
/// use h2ws::server::WebSocketRequest;
/// use h2ws::WebSocket;
/// use http::{HeaderValue, Response, header};
///
/// /// The user that a session belongs to; a look into a database, say.
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
///         let mut refusal = Response::new("who are you?\n");
///         *refusal.status_mut() = http::StatusCode::UNAUTHORIZED;
///         let challenge = HeaderValue::from_static("Bearer realm=\"chat\"");
///         refusal.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
///         request.reject_with(refusal);
///         return None;
///     };
///     if request.requested_subprotocols().any(|offered| offered == "chat.v2") {
///         request.select_subprotocol("chat.v2").ok()?;
///     }
///     Some((user, request.accept().await.ok()?))
/// }
/// ```
pub struct WebSocketRequest(Box<Request>);

/// Apart, because it is large and a handler lives long.
struct Request {
    peer: Peer,
    transport: Transport,
    settings: Arc<Settings>,
    /// Instead of the server's, for this WebSocket alone.
    config: Option<Arc<WebSocketConfig>>,
    parts: request::Parts,
    opening: ParsedRequest,
    pending: Arc<Pending>,
    /// `None` where a service has been lent it.
    unanswered: Option<Unanswered>,
    subprotocol: Option<String>,
    deflate: Option<DeflateConfig>,
    headers: HeaderMap,
    /// The first header field that could not be added to the response.
    error: Option<Error>,
    span: Span,
}

/// Gives up the right to answer when it is dropped.
pub(super) struct Unanswered(Arc<Pending>);

impl Unanswered {
    pub(super) fn refuse(&self, response: Response<ResponseBody>) {
        self.0.refuse(response);
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

impl WebSocketRequest {
    pub(super) fn new(
        peer: Peer,
        settings: Arc<Settings>,
        parts: request::Parts,
        opening: ParsedRequest,
        answer: Answer,
    ) -> Self {
        let transport = answer.transport();
        let span = span(peer.addr, &parts, &opening, answer.observed(), transport);
        let pending = Pending::new(answer, settings.handler_timeout);
        Self(Box::new(Request {
            span,
            peer,
            transport,
            deflate: settings.deflate,
            unanswered: Some(Unanswered(pending.clone())),
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

    pub(super) fn pending(&self) -> Arc<Pending> {
        self.0.pending.clone()
    }

    fn parts(&self) -> &request::Parts {
        &self.0.parts
    }

    /// What its handler runs in.
    pub(super) fn span(&self) -> &Span {
        &self.0.span
    }

    /// The method: CONNECT over HTTP/2, GET over HTTP/1.1.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.parts().method
    }

    /// What was asked for: path and query always, scheme and authority over
    /// HTTP/2.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.parts().uri
    }

    /// What carries the request, and will carry the socket.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.0.transport
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.parts().uri.path()
    }

    /// What follows `?`, if anything does.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.parts().uri.query()
    }

    /// The host, and port if named, that the request is for: from `:authority`
    /// or `host`.
    #[must_use]
    pub fn authority(&self) -> &HostPort {
        &self.0.opening.authority
    }

    /// The request's header fields: cookies, authorization and so on.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.parts().headers
    }

    /// The request's header fields, to be changed before the request is passed
    /// on. What the handshake made of them stays as it is.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.0.parts.headers
    }

    /// The value of a cookie (RFC 6265 §4.2.1), of the first one of this name.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        headers::cookie(self.headers(), name)
    }

    /// The version of HTTP that carries the request.
    #[must_use]
    pub fn version(&self) -> http::Version {
        self.parts().version
    }

    /// The other end of the TCP connection.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.0.peer.addr
    }

    /// Whether the connection is TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.tls().is_some()
    }

    /// What the TLS handshake settled: the client's certificate, the name that
    /// it asked for, ALPN. `None` without TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.0.peer.tls.as_ref()
    }

    /// The page's origin, where the client is a browser (RFC 6455 §10.2).
    #[must_use]
    pub fn origin(&self) -> Option<&HeaderValue> {
        self.0.opening.origin.as_ref()
    }

    /// The subprotocols that the client offers, in the order of its
    /// preference (RFC 6455 §1.9).
    pub fn requested_subprotocols(&self) -> impl Iterator<Item = &str> {
        self.0.opening.subprotocols.iter().map(String::as_str)
    }

    /// Agrees to one of the offered subprotocols. Without this the socket has
    /// none.
    ///
    /// # Errors
    ///
    /// If it was not offered: the client would have to fail the connection
    /// (RFC 6455 §4.1).
    pub fn select_subprotocol(&mut self, name: &str) -> Result<(), Error> {
        if !self.requested_subprotocols().any(|offered| offered == name) {
            let error = HandshakeError::UnofferedSubprotocol(name.to_owned());
            return Err(Error::Handshake(error));
        }
        self.0.subprotocol = Some(name.to_owned());
        Ok(())
    }

    /// Takes up permessage-deflate for this socket, if the client offers it,
    /// or with `None` does not, instead of the server's
    /// [`deflate`](super::ServerBuilder::deflate).
    #[cfg(feature = "deflate")]
    pub fn set_deflate(&mut self, config: impl Into<Option<DeflateConfig>>) {
        self.0.deflate = config.into();
    }

    /// Adds a header field to the accepting response, such as `set-cookie`.
    ///
    /// A name or value that is not valid makes [`accept`](Self::accept) fail with
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

    /// The handshake, as it was read.
    pub(crate) fn opening(&self) -> &ParsedRequest {
        &self.0.opening
    }

    /// The server's configuration of a WebSocket.
    pub(crate) fn config(&self) -> &Arc<WebSocketConfig> {
        &self.0.settings.socket
    }

    /// The server's setting of permessage-deflate.
    pub(super) fn deflate_config(&self) -> Option<DeflateConfig> {
        self.0.deflate
    }

    pub(super) fn via(&self) -> HandshakeKind {
        self.0.opening.kind
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// The right to answer, which dropping this request no longer gives up: the
    /// caller answers where nobody accepts.
    pub(super) fn lend_answer(&mut self) -> Option<Unanswered> {
        self.0.unanswered.take()
    }

    /// The request's head; accepting does not need it.
    pub(super) fn take_parts(&mut self) -> request::Parts {
        let empty = http::Request::new(()).into_parts().0;
        std::mem::replace(&mut self.0.parts, empty)
    }

    /// What to open the WebSocket with, instead of the server's settings.
    pub(super) fn set_options(
        &mut self,
        config: Arc<WebSocketConfig>,
        deflate: Option<DeflateConfig>,
        subprotocol: Option<String>,
    ) {
        self.0.config = Some(config);
        self.0.deflate = deflate;
        self.0.subprotocol = subprotocol;
    }

    /// Replaces the header fields of the accepting response.
    pub(super) fn set_response_headers(&mut self, headers: HeaderMap) {
        self.0.headers = headers;
    }

    /// Accepts what somebody else agreed to, with these fields, and gives the
    /// bytes that follow.
    pub(crate) async fn accept_as(
        mut self,
        agreed: Negotiated,
        headers: HeaderMap,
    ) -> Result<(Stream, Option<Box<SocketMeter>>), Error> {
        self.0.headers = headers;
        Box::pin(self.0.accept(agreed)).await
    }

    /// Accepts the WebSocket.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if it was answered by 503 already, after
    /// [`handler_timeout`](super::ServerBuilder::handler_timeout), or the client
    /// has gone; [`Error::Header`] or [`Error::Handshake`] if a
    /// [`response_header`](Self::response_header) is not valid or is reserved for
    /// the handshake.
    pub async fn accept(self) -> Result<WebSocket, Error> {
        // In a box, all of it: what is in here is in the handler's task, for
        // the socket's whole life.
        Box::pin(self.0.accept_socket()).await
    }

    /// Accepts, and gives the bytes of the stream instead of a WebSocket: for
    /// those who bring a framing of their own. permessage-deflate is not taken
    /// up.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub async fn accept_raw(self) -> Result<RawStream, Error> {
        Box::pin(self.0.accept_raw()).await
    }

    /// Refuses with a status.
    pub fn reject(self, status: StatusCode) {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status;
        self.reject_with(response);
    }

    /// Refuses with a whole response, such as 401 with `www-authenticate`. A
    /// status that would accept (101, or 2xx over HTTP/2) is replaced by 500.
    /// Over HTTP/1.1 it ends the connection (RFC 9931); what the client sent for
    /// the socket is read and dropped, for 5 s and 16 MiB at most, so that the
    /// answer arrives.
    pub fn reject_with(self, response: Response<impl Into<Bytes>>) {
        let mut response = response.map(|body| boxed(Full::new(body.into())));
        if response.status().is_success() || response.status().is_informational() {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        self.0.pending.refuse(response);
    }
}

impl Request {
    async fn accept_socket(mut self: Box<Self>) -> Result<WebSocket, Error> {
        let config = self.config.take();
        let config = config.unwrap_or_else(|| self.settings.socket.clone());
        let deflate = self.deflate;
        let mut agreed = self.opening.agree(&[""; 0], deflate.as_ref());
        agreed.subprotocol.clone_from(&self.subprotocol);
        let agreement = Agreement {
            subprotocol: agreed.subprotocol.clone(),
            deflate: deflate
                .zip(agreed.deflate)
                .map(|(config, params)| config.at(Role::Server, &params)),
        };
        let (stream, meter) = self.accept(agreed).await?;
        let role = Role::Server;
        Ok(WebSocket::new(stream, role, config, agreement, meter))
    }

    async fn accept_raw(self: Box<Self>) -> Result<RawStream, Error> {
        let config = self.settings.socket.clone();
        let agreed = Negotiated {
            subprotocol: self.subprotocol.clone(),
            ..Negotiated::default()
        };
        let (stream, meter) = self.accept(agreed).await?;
        Ok(RawStream::new(stream, Role::Server, config, meter))
    }

    async fn accept(
        self: Box<Self>,
        agreed: Negotiated,
    ) -> Result<(Stream, Option<Box<SocketMeter>>), Error> {
        let unanswered = self.pending.take();
        let (answer, handshaking) = unanswered.ok_or(Error::Timeout(Timeout::Handshake))?;
        let observed = answer.observed().clone();
        let span = self.span.clone();
        let stream = self.answer(answer, agreed).await;
        handshaking.done(match &stream {
            Ok(_) => Handshake::Accepted,
            Err(_) => Handshake::Failed,
        });
        Ok((stream?, SocketMeter::new(&observed, span)))
    }

    async fn answer(
        mut self: Box<Self>,
        answer: Answer,
        agreed: Negotiated,
    ) -> Result<Stream, Error> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        match answer {
            Answer::Http2(responder, _in_use) => {
                let response = extended_connect::response(&self.opening, &agreed, self.headers)?;
                Ok(Stream::H2(responder.accept(response)?))
            }
            // Apart: over HTTP/2 nothing waits.
            Answer::Http1 {
                respond,
                on,
                open,
                from,
            } => {
                Box::pin(async move {
                    let response = upgrade::response(&self.opening, &agreed, self.headers)?;
                    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
                    if respond.send(response.map(|()| body)).is_err() {
                        return Err(Error::Closed);
                    }
                    let write_buffer = self.settings.socket.write_buffer;
                    let id = from.connection.observed().info.id;
                    let mut stream = h1::switched(on, id, write_buffer).await?;
                    open.upgraded(&mut stream, from);
                    Ok(Stream::Io(Box::new(stream)))
                })
                .await
            }
        }
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

/// The span of a socket to be, inside its connection's.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, F>(_: impl Fn(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn answering_weighs_little_on_a_handler() {
        let size = size_of_future(WebSocketRequest::accept);
        assert!(size <= 24, "{size} bytes, in every handler's task");
        let size = size_of_future(WebSocketRequest::accept_raw);
        assert!(size <= 24, "{size} bytes, in every handler's task");
    }
}
