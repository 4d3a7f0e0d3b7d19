//! One attempt to open a WebSocket, over either version of HTTP.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, Version, response};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tracing::{Instrument, Span, field};

use super::connector::Connector;
use crate::error::{Error, RejectedResponse, Timeout};
use crate::handshake::{HandshakeError, Key, Negotiated, Offer, Target, extended_connect, upgrade};
use crate::metrics::{Observed, OpenConnection, SocketMeter};
use crate::socket::{Early, nonce};
use crate::transport::h1::{self, H1Answer};
use crate::transport::h2::{H2Body, H2Client, OpenError, Opened, Slot};
use crate::transport::{BoxIo, Stream, Transport};

/// An accepted stream, what was negotiated, the response, and the stream's metrics.
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) agreed: Negotiated,
    pub(crate) response: Response<()>,
    pub(crate) meter: Option<Box<SocketMeter>>,
}

/// Why an attempt failed.
pub(super) enum Failure {
    /// The server has certainly not processed the request.
    Unprocessed(Error),
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl From<HandshakeError> for Failure {
    fn from(error: HandshakeError) -> Self {
        Self::Final(error.into())
    }
}

/// What to request, and from which server.
pub(super) struct Attempt<'a> {
    /// Timeout of the response.
    pub(super) handshake: Duration,
    pub(super) connector: &'a Arc<Connector>,
    pub(super) target: &'a Target,
    pub(super) headers: &'a HeaderMap,
    pub(super) offer: &'a Offer,
    pub(super) early: &'a Early,
    /// Whether to send a key over HTTP/2.
    pub(super) key: bool,
}

impl Attempt<'_> {
    pub(super) async fn over_http2(
        &self,
        client: &H2Client,
        slot: Slot,
    ) -> Result<Accepted, Failure> {
        let observed = client.handle().observed();
        let span = self.span(observed);
        let opened = self.extended_connect(client, slot);
        let (stream, agreed, response) = opened.instrument(span.clone()).await?;
        if let Transport::Http2 { stream, .. } = stream.transport() {
            span.record("stream", stream);
        }
        Ok(Accepted {
            stream,
            agreed,
            response,
            meter: SocketMeter::new(observed, span),
        })
    }

    async fn extended_connect(
        &self,
        client: &H2Client,
        slot: Slot,
    ) -> Result<(Stream, Negotiated, Response<()>), Failure> {
        // The response to the key is not checked, because a gateway may have used a key of its
        // own.
        let key = self.key.then(|| Key::new(nonce()));
        let headers = self.headers.clone();
        let request = extended_connect::request(self.target, headers, self.offer, key.as_ref())?;
        let opening = pin!(client.open(request, slot, self.early()?));
        match self.in_time(opening).await? {
            Ok(Opened::Accepted(parts, stream)) => {
                let agreed = extended_connect::check_response(&parts, self.offer)?;
                Ok((Stream::H2(stream), agreed, Response::from_parts(parts, ())))
            }
            Ok(Opened::Rejected(parts, body)) => {
                let body = Box::pin(self.read_rejection(H2Body::new(body))).await;
                Err(rejected(parts, body).into())
            }
            Err(OpenError {
                error,
                unprocessed: true,
            }) => Err(Failure::Unprocessed(error.into())),
            Err(OpenError { error, .. }) => Err(Failure::Final(error.into())),
        }
    }

    pub(super) async fn over_http1(&self, io: BoxIo) -> Result<Accepted, Error> {
        let observed = self.connector.observed(self.target, Version::HTTP_11);
        let span = self.span(&observed);
        let open = OpenConnection::new(observed.clone());
        let upgraded = self.upgrade(io, open).instrument(span.clone()).await;
        let (stream, agreed, response) = upgraded?;
        Ok(Accepted {
            stream,
            agreed,
            response,
            meter: SocketMeter::new(&observed, span),
        })
    }

    async fn upgrade(
        &self,
        io: BoxIo,
        open: OpenConnection,
    ) -> Result<(Stream, Negotiated, Response<()>), Error> {
        let early = self.early()?;
        let key = Key::new(nonce());
        let mut answer = {
            // The request is dropped before the response is awaited.
            let request = upgrade::request(self.target, self.headers.clone(), self.offer, &key)?;
            let write_buffer = self.connector.socket.write_buffer;
            Box::pin(h1::upgrade(
                io,
                &request,
                open.observed().info.id,
                write_buffer,
            ))
        };
        match self.in_time(answer.as_mut()).await? {
            Ok(H1Answer::Switched(parts, mut stream)) => {
                let guard = self.connector.http1_sockets.guard();
                // Without an observer its end need not be reported.
                if open.observed().observer.is_on() {
                    stream.guarded_by((open, guard));
                } else {
                    stream.guarded_by(guard);
                }
                let agreed = upgrade::check_response(&parts, self.offer, &key)?;
                let mut stream = Stream::Io(stream);
                send_at_once(&mut stream, early).await;
                Ok((stream, agreed, Response::from_parts(parts, ())))
            }
            Ok(H1Answer::Rejected(parts, _)) if !upgrade::is_chunked_only(&parts.headers) => {
                Err(HandshakeError::TransferCoding.into())
            }
            Ok(H1Answer::Rejected(parts, body)) => {
                let body = Box::pin(self.read_rejection(body)).await;
                Err(rejected(parts, body))
            }
            Err(error) => {
                open.broke();
                Err(error.into())
            }
        }
    }

    fn early(&self) -> Result<Bytes, Error> {
        Ok(self.early.frames(self.connector.socket.limits)?)
    }

    /// Creates the span of the future WebSocket, which follows from its connection's.
    fn span(&self, observed: &Observed) -> Span {
        let span = tracing::debug_span!(
            "socket",
            connection = observed.info.id,
            stream = field::Empty,
            peer = %self.target.authority(),
            origin = self.headers.get(http::header::ORIGIN).map(field::debug),
            version = ?observed.info.version,
            path = path(self.target.path_and_query()),
        );
        span.follows_from(observed.span.id());
        span
    }

    /// The caller pins the future, because an async function stores an argument twice.
    async fn in_time<T>(&self, answer: Pin<&mut impl Future<Output = T>>) -> Result<T, Error> {
        timeout(self.handshake, answer)
            .await
            .map_err(|_| Error::Timeout(Timeout::Handshake))
    }

    /// Reads a rejection's body, up to `max_rejection_body` bytes and the timeout.
    async fn read_rejection<B>(&self, body: B) -> Bytes
    where
        B: http_body::Body<Data = Bytes>,
    {
        let limit = self.connector.settings.max_rejection_body;
        let mut body = pin!(body);
        let mut kept = BytesMut::new();
        let read = async {
            while let Some(Ok(frame)) = body.frame().await {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                kept.extend_from_slice(&data[..data.len().min(limit - kept.len())]);
                if kept.len() == limit {
                    break;
                }
            }
        };
        // On a timeout, what has arrived is kept.
        let _ = self.in_time(pin!(read)).await;
        kept.freeze()
    }
}

/// Sends as much as the operating system takes. The rest is sent when the WebSocket is used.
async fn send_at_once(stream: &mut Stream, bytes: Bytes) {
    if bytes.is_empty() {
        return;
    }
    stream.write(|out| out.append(bytes));
    poll_fn(|cx| {
        // The next read or write returns the error.
        let _ = stream.poll_flush(cx);
        Poll::Ready(())
    })
    .await;
}

/// Returns the path without the query, which may carry secrets.
fn path(path_and_query: &str) -> &str {
    path_and_query.split('?').next().unwrap_or_default()
}

fn rejected(parts: response::Parts, body: Bytes) -> Error {
    Error::Rejected(Box::new(RejectedResponse {
        version: parts.version,
        status: parts.status,
        headers: parts.headers,
        body,
        early_messages: Vec::new(),
    }))
}
