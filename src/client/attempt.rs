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

/// An accepted stream, what was agreed, the answer, and who looks at it.
pub(crate) struct Accepted {
    pub(crate) stream: Stream,
    pub(crate) agreed: Negotiated,
    pub(crate) response: Response<()>,
    pub(crate) meter: Option<Box<SocketMeter>>,
}

/// Why an attempt came to nothing.
pub(super) enum Failure {
    /// The server certainly did not act on the request.
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

/// How a server is asked.
pub(super) struct Attempt<'a> {
    /// How long the answer may take.
    pub(super) handshake: Duration,
    pub(super) connector: &'a Arc<Connector>,
    pub(super) target: &'a Target,
    pub(super) headers: &'a HeaderMap,
    pub(super) offer: &'a Offer,
    pub(super) early: &'a Early,
    /// Whether a key is sent over HTTP/2, too.
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
        // Fresh for each attempt, and its answer is not looked at: a gateway may have made it of
        // a key of its own.
        let key = self.key.then(|| Key::new(nonce()));
        let headers = self.headers.clone();
        let request = extended_connect::request(self.target, headers, self.offer, key.as_ref())?;
        let opening = pin!(client.open(request, slot, self.early()?));
        match self.in_time(opening).await? {
            Ok(Opened::Accepted(parts, stream)) => {
                let agreed = extended_connect::check_response(&parts, self.offer)?;
                Ok((Stream::H2(stream), agreed, Response::from_parts(parts, ())))
            }
            Ok(Opened::Refused(parts, body)) => {
                let body = Box::pin(self.max_rejection_body(H2Body::new(body))).await;
                Err(refused(parts, body).into())
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
            // Not held while its answer is waited for.
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
                let guard = self.connector.upgraded.guard();
                // Where nobody looks, nobody is told of its end.
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
            Ok(H1Answer::Refused(parts, body)) => {
                let body = Box::pin(self.max_rejection_body(body)).await;
                Err(refused(parts, body))
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

    /// The span of a socket to be, which follows from its connection's.
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

    /// Pinned by the caller, for an async function has two places for its arguments.
    async fn in_time<T>(&self, answer: Pin<&mut impl Future<Output = T>>) -> Result<T, Error> {
        timeout(self.handshake, answer)
            .await
            .map_err(|_| Error::Timeout(Timeout::Handshake))
    }

    /// As much of a refusal's body as the settings allow and as comes in time.
    async fn max_rejection_body<B>(&self, body: B) -> Bytes
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
        // What came until then is worth more than the timeout.
        let _ = self.in_time(pin!(read)).await;
        kept.freeze()
    }
}

/// As much as the operating system takes; the rest leaves as the socket is used.
async fn send_at_once(stream: &mut Stream, bytes: Bytes) {
    if bytes.is_empty() {
        return;
    }
    stream.write(|out| out.append(bytes));
    poll_fn(|cx| {
        // An error shows up in the next read or write.
        let _ = stream.poll_flush(cx);
        Poll::Ready(())
    })
    .await;
}

/// Without the query, which may carry secrets.
fn path(path_and_query: &str) -> &str {
    path_and_query.split('?').next().unwrap_or_default()
}

fn refused(parts: response::Parts, body: Bytes) -> Error {
    Error::Rejected(Box::new(RejectedResponse {
        version: parts.version,
        status: parts.status,
        headers: parts.headers,
        body,
        early_messages: Vec::new(),
    }))
}
