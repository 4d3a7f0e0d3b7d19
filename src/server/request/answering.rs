//! Accepts or rejects a WebSocket request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;

use super::{Request, WebSocketRequest};
use crate::error::{Error, Timeout};
use crate::frame::Role;
use crate::handshake::{DeflateConfig, Negotiated, extended_connect, upgrade};
use crate::metrics::{Handshake, SocketMeter};
use crate::server::pending::{Pending, Responder};
use crate::server::response::{boxed, empty};
use crate::server::service::ResponseBody;
use crate::socket::{Agreement, RawStream, WebSocket, WebSocketConfig};
use crate::transport::{Stream, h1};

/// Leaves the request unanswered when it is dropped: the client then gets 500 (HTTP/1.1)
/// or a reset (HTTP/2).
pub(in crate::server) struct Unanswered(Arc<Pending>);

impl Unanswered {
    pub(super) fn new(pending: Arc<Pending>) -> Self {
        Self(pending)
    }

    pub(in crate::server) fn reject(&self, response: Response<ResponseBody>) {
        self.0.reject(response);
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

impl WebSocketRequest {
    /// Accepts the WebSocket.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the client is gone, or has got 503 after the
    /// [`handler_timeout`](crate::server::ServerBuilder::handler_timeout);
    /// [`Error::Header`] or [`Error::Handshake`] if a
    /// [`response_header`](Self::response_header) is invalid or reserved for the
    /// handshake; otherwise the error of the connection.
    pub async fn accept(self) -> Result<WebSocket, Error> {
        // Boxed, because this future is part of the handler's task for the socket's
        // whole life.
        Box::pin(self.0.accept_socket()).await
    }

    /// Accepts, and returns the byte stream instead of a WebSocket, for protocols with
    /// their own framing. permessage-deflate is not negotiated.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub async fn accept_raw(self) -> Result<RawStream, Error> {
        Box::pin(self.0.accept_raw()).await
    }

    /// Accepts with what was negotiated elsewhere and with these header fields, and
    /// returns the byte stream.
    pub(crate) async fn accept_as(
        mut self,
        agreed: Negotiated,
        headers: HeaderMap,
    ) -> Result<(Stream, Option<Box<SocketMeter>>), Error> {
        self.0.headers = headers;
        Box::pin(self.0.accept(agreed)).await
    }

    /// Rejects with a status.
    pub fn reject(self, status: StatusCode) {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status;
        self.reject_with(response);
    }

    /// Rejects with a whole response, such as 401 with `www-authenticate`.
    ///
    /// A status that would accept (101, or 2xx over HTTP/2) is replaced by 500. Over
    /// HTTP/1.1 the connection ends with the response (RFC 9931). What the client has
    /// sent for the WebSocket is then read and discarded, for at most 5 s and 16 MiB, so
    /// that the response arrives.
    pub fn reject_with(self, response: Response<impl Into<Bytes>>) {
        let mut response = response.map(|body| boxed(Full::new(body.into())));
        if response.status().is_success() || response.status().is_informational() {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        self.0.pending.reject(response);
    }

    /// Takes over the duty to answer: dropping this request no longer leaves it
    /// unanswered, dropping the returned value does.
    pub(in crate::server) fn take_unanswered(&mut self) -> Option<Unanswered> {
        self.0.unanswered.take()
    }

    /// Sets what to open the WebSocket with, instead of the server's settings.
    pub(in crate::server) fn set_options(
        &mut self,
        config: Arc<WebSocketConfig>,
        deflate: Option<DeflateConfig>,
        subprotocol: Option<String>,
    ) {
        self.0.config = Some(config);
        self.0.deflate = deflate;
        self.0.subprotocol = subprotocol;
    }

    /// Sends keep-alive Pings, instead of as the server is configured. Without a timeout, a peer
    /// need not answer.
    pub(crate) fn ping_every(&mut self, interval: Duration, timeout: Option<Duration>) {
        let config = self.0.config.take();
        let config = config.unwrap_or_else(|| self.0.settings.socket.clone());
        let config = WebSocketConfig::clone(&config)
            .ping_interval(interval)
            .ping_timeout(timeout.unwrap_or(Duration::MAX));
        self.0.config = Some(Arc::new(config));
    }

    /// Replaces the header fields of the accepting response.
    pub(in crate::server) fn set_response_headers(&mut self, headers: HeaderMap) {
        self.0.headers = headers;
    }
}

impl Request {
    async fn accept_socket(mut self: Box<Self>) -> Result<WebSocket, Error> {
        let config = self.config.take();
        let config = config.unwrap_or_else(|| self.settings.socket.clone());
        let deflate = self.deflate;
        let mut agreed = self.opening.negotiate(&[""; 0], deflate.as_ref());
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
        let responder = self.pending.take();
        let (responder, handshaking) = responder.ok_or(Error::Timeout(Timeout::Handshake))?;
        let observed = responder.observed().clone();
        let span = self.span.clone();
        let stream = self.open(responder, agreed).await;
        handshaking.done(match &stream {
            Ok(_) => Handshake::Accepted,
            Err(_) => Handshake::Failed,
        });
        Ok((stream?, SocketMeter::new(&observed, span)))
    }

    /// Sends the accepting response.
    async fn open(
        mut self: Box<Self>,
        responder: Responder,
        agreed: Negotiated,
    ) -> Result<Stream, Error> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        match responder {
            Responder::Http2(responder, _in_use) => {
                let response = extended_connect::response(&self.opening, &agreed, self.headers)?;
                Ok(Stream::H2(responder.accept(response)?))
            }
            // Boxed, because over HTTP/2 nothing is awaited.
            Responder::Http1 {
                respond,
                on,
                registry,
                from,
            } => {
                Box::pin(async move {
                    let response = upgrade::response(&self.opening, &agreed, self.headers)?;
                    if respond.send(response.map(|()| empty())).is_err() {
                        return Err(Error::Closed);
                    }
                    let write_buffer = self.settings.socket.write_buffer;
                    let id = from.connection.observed().info.id;
                    let mut stream = h1::switched(on, id, write_buffer).await?;
                    registry.upgraded(&mut stream, from);
                    Ok(Stream::Io(Box::new(stream)))
                })
                .await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, F>(_: impl Fn(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn accepting_adds_little_to_a_handler() {
        let size = size_of_future(WebSocketRequest::accept);
        assert!(size <= 24, "{size} bytes, in every handler's task");
        let size = size_of_future(WebSocketRequest::accept_raw);
        assert!(size <= 24, "{size} bytes, in every handler's task");
    }
}
