//! A request for a WebSocket, before it is answered.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, request};
use http_body_util::{BodyExt, Empty, Full};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{Span, field};

use super::builder::Settings;
use super::connection::boxed;
use super::open::Open;
use super::ordinary;
use super::serve::ResponseBody;
use crate::error::Error;
use crate::frame::Role;
use crate::handshake::{
    Agreed, DeflateConfig, HandshakeError, HostPort, Opening, extended_connect, upgrade,
};
use crate::metrics::{Handshake, Handshaking, Observed, OpenConnection, SocketMeter};
#[cfg(feature = "bridge")]
use crate::socket::Config;
use crate::socket::{Agreement, ByteStream, WebSocket};
use crate::transport::h2::H2Incoming;
use crate::transport::{Stream, Transport, h1};

/// A request for a WebSocket, over either version of HTTP.
///
/// Answer it by [`accept`](Self::accept) or [`reject`](Self::reject). Dropped
/// unanswered, the client sees status 500 (HTTP/1.1) or a reset (HTTP/2).
pub struct Upgrade(Box<Request>);

/// Apart, because it is large and a handler lives long.
struct Request {
    peer: SocketAddr,
    settings: Arc<Settings>,
    opening: Opening,
    answer: Answer,
    subprotocol: Option<String>,
    deflate: Option<DeflateConfig>,
    headers: HeaderMap,
    /// Until there is an answer.
    handshaking: Option<Handshaking>,
    span: Span,
}

/// How the answer is given.
pub(super) enum Answer {
    Http2(Box<H2Incoming>),
    Http1 {
        parts: Box<request::Parts>,
        respond: oneshot::Sender<Response<ResponseBody>>,
        on: hyper::upgrade::OnUpgrade,
        open: Arc<Open>,
        from: UpgradedFrom,
    },
}

/// The connection that an upgraded socket takes over.
pub(super) struct UpgradedFrom {
    pub(super) connection: Arc<OpenConnection>,
    /// Its place among the server's connections.
    pub(super) _slot: Arc<OwnedSemaphorePermit>,
}

impl Upgrade {
    pub(super) fn new(
        peer: SocketAddr,
        settings: Arc<Settings>,
        opening: Opening,
        answer: Answer,
    ) -> Self {
        let observed = answer.observed();
        let (observer, version) = (observed.observer.clone(), observed.info.version);
        let handshaking = Handshaking::new(observer, Role::Server, Some(version));
        let span = span(peer, &opening, &answer);
        Self(Box::new(Request {
            handshaking: Some(handshaking),
            span,
            peer,
            deflate: settings.deflate,
            settings,
            opening,
            answer,
            subprotocol: None,
            headers: HeaderMap::new(),
        }))
    }

    fn parts(&self) -> &request::Parts {
        self.0.answer.parts()
    }

    /// What its handler runs in.
    pub(super) fn span(&self) -> &Span {
        &self.0.span
    }

    /// What was asked for: path and query always, scheme and authority over
    /// HTTP/2.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.parts().uri
    }

    /// The host, and the port if it named one, that the client asked.
    #[must_use]
    pub fn authority(&self) -> &HostPort {
        &self.0.opening.authority
    }

    /// What carries the request, and will carry the socket.
    #[must_use]
    pub fn transport(&self) -> Transport {
        let transport = self.parts().extensions.get().copied();
        transport.unwrap_or(Transport::Io)
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &str {
        self.parts().uri.path()
    }

    /// The request's header fields: cookies, authorization and so on.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.parts().headers
    }

    /// The request's header fields, to be changed before the request is passed
    /// on. What the handshake made of them stays as it is.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        match &mut self.0.answer {
            Answer::Http2(incoming) => &mut incoming.parts.headers,
            Answer::Http1 { parts, .. } => &mut parts.headers,
        }
    }

    /// The version of HTTP that carries the request.
    #[must_use]
    pub fn version(&self) -> http::Version {
        self.parts().version
    }

    /// The other end of the TCP connection.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.0.peer
    }

    /// Whether the connection is TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.0.settings.tls.is_some()
    }

    /// The page's origin, where the client is a browser (RFC 6455 §10.2).
    #[must_use]
    pub fn origin(&self) -> Option<&HeaderValue> {
        self.0.opening.origin.as_ref()
    }

    /// The subprotocols that the client offers, in the order of its
    /// preference (RFC 6455 §1.9).
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.0.opening.subprotocols.iter().map(String::as_str)
    }

    /// Agrees to one of the offered subprotocols. Without this the socket has
    /// none.
    ///
    /// # Errors
    ///
    /// If it was not offered: the client would have to fail the connection
    /// (RFC 6455 §4.1).
    pub fn subprotocol(&mut self, name: &str) -> Result<(), Error> {
        if !self.subprotocols().any(|offered| offered == name) {
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
    pub fn deflate(&mut self, config: impl Into<Option<DeflateConfig>>) {
        self.0.deflate = config.into();
    }

    /// Adds a header field to the accepting answer, such as `set-cookie`.
    pub fn header(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.headers.append(name, value);
    }

    /// Waits until the client has given up, while something has to be found
    /// out before the answer. Cancel safe.
    pub async fn closed(&mut self) {
        match &mut self.0.answer {
            Answer::Http2(incoming) => incoming.reset_by_client().await,
            Answer::Http1 { respond, .. } => respond.closed().await,
        }
    }

    /// What was asked for.
    #[cfg(feature = "bridge")]
    pub(crate) fn opening(&self) -> &Opening {
        &self.0.opening
    }

    /// How long what is left of a socket may take.
    #[cfg(feature = "bridge")]
    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.0.settings.socket
    }

    /// Accepts what somebody else agreed to, with these fields, and gives the
    /// bytes that follow.
    #[cfg(feature = "bridge")]
    pub(crate) async fn accept_as(
        mut self,
        agreed: Agreed,
        headers: HeaderMap,
    ) -> Result<(Stream, Option<Box<SocketMeter>>), Error> {
        self.0.headers = headers;
        Box::pin(self.0.accept(agreed)).await
    }

    /// Accepts the WebSocket.
    ///
    /// # Errors
    ///
    /// If the client has gone, or a [`header`](Self::header) that was added is one of the
    /// handshake's own.
    pub async fn accept(self) -> Result<WebSocket, Error> {
        let config = self.0.settings.socket.clone();
        let deflate = self.0.deflate;
        let mut agreed = self.0.opening.agree(&[""; 0], deflate.as_ref());
        agreed.subprotocol.clone_from(&self.0.subprotocol);
        let agreement = Agreement {
            subprotocol: agreed.subprotocol.clone(),
            deflate: deflate
                .zip(agreed.deflate)
                .map(|(config, params)| config.at(Role::Server, &params)),
        };
        let (stream, meter) = Box::pin(self.0.accept(agreed)).await?;
        let role = Role::Server;
        Ok(WebSocket::new(stream, role, config, agreement, meter))
    }

    /// Accepts, and gives the bytes of the stream instead of a WebSocket: for
    /// those who bring a framing of their own. permessage-deflate is not taken
    /// up.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub async fn accept_bytes(self) -> Result<ByteStream, Error> {
        let config = self.0.settings.socket.clone();
        let agreed = Agreed {
            subprotocol: self.0.subprotocol.clone(),
            ..Agreed::default()
        };
        let (stream, meter) = Box::pin(self.0.accept(agreed)).await?;
        Ok(ByteStream::new(stream, Role::Server, config, meter))
    }

    /// Refuses with a status.
    pub fn reject(self, status: StatusCode) {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status;
        self.reject_with(response);
    }

    /// Refuses with a whole response, such as 401 with `www-authenticate`. A
    /// status that would accept (101, or 2xx over HTTP/2) is replaced by 500.
    pub fn reject_with(mut self, response: Response<Bytes>) {
        let mut response = response.map(|body| boxed(Full::new(body)));
        if response.status().is_success() || response.status().is_informational() {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        if let Some(handshaking) = self.0.handshaking.take() {
            handshaking.done(Handshake::Refused(response.status()));
        }
        match self.0.answer {
            Answer::Http2(incoming) => ordinary::respond(*incoming, response),
            Answer::Http1 { respond, .. } => {
                // A client that has gone needs no answer.
                let _ = respond.send(response);
            }
        }
    }
}

impl Answer {
    fn parts(&self) -> &request::Parts {
        match self {
            Self::Http2(incoming) => &incoming.parts,
            Self::Http1 { parts, .. } => parts,
        }
    }

    fn observed(&self) -> &Observed {
        match self {
            Self::Http2(incoming) => incoming.observed(),
            Self::Http1 { from, .. } => from.connection.observed(),
        }
    }
}

impl Request {
    async fn accept(mut self, agreed: Agreed) -> Result<(Stream, Option<Box<SocketMeter>>), Error> {
        let handshaking = self.handshaking.take();
        let observed = self.answer.observed().clone();
        let span = self.span.clone();
        let stream = self.answer(agreed).await;
        if let Some(handshaking) = handshaking {
            handshaking.done(match &stream {
                Ok(_) => Handshake::Accepted,
                Err(_) => Handshake::Failed,
            });
        }
        Ok((stream?, SocketMeter::new(&observed, span)))
    }

    async fn answer(self, agreed: Agreed) -> Result<Stream, Error> {
        match self.answer {
            Answer::Http2(incoming) => {
                let response = extended_connect::response(&self.opening, &agreed, self.headers)?;
                Ok(Stream::H2(incoming.accept(response)?))
            }
            // The wait for the upgrade, again, must not weigh on every handler.
            Answer::Http1 {
                respond,
                on,
                open,
                from,
                ..
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

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade")
            .field("peer", &self.0.peer)
            .field("uri", self.uri())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

/// The span of a socket to be, inside its connection's.
fn span(peer: SocketAddr, opening: &Opening, answer: &Answer) -> Span {
    let observed = answer.observed();
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
        path = answer.parts().uri.path(),
    );
    if let Answer::Http2(incoming) = answer
        && let Transport::Http2 { stream, .. } = incoming.transport()
    {
        span.record("stream", stream);
    }
    span
}
