//! Bodies on their way through the bridge, a chunk at a time.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

use super::Ticket;
use super::connections::Connection;
use crate::bridge::access::{Outcome, Side};
use crate::bridge::headers;
use crate::bridge::idle::IdleTimer;
use crate::server::{Body, BodyError};

/// What is known of a request's body while it is sent.
#[derive(Debug, Default)]
pub(super) struct Progress {
    bytes: AtomicU64,
    moved: AtomicBool,
    /// Whether the client is the one who is waited for.
    awaits_client: AtomicBool,
    client_broke: AtomicBool,
    /// Whether the client's part of it is over.
    is_sent: AtomicBool,
}

impl Progress {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether something has gone on since the last look.
    pub(super) fn has_moved(&self) -> bool {
        self.moved.swap(false, Ordering::Relaxed)
    }

    pub(super) fn awaits_client(&self) -> bool {
        self.awaits_client.load(Ordering::Relaxed)
    }

    pub(super) fn is_sent(&self) -> bool {
        self.is_sent.load(Ordering::Relaxed)
    }

    pub(super) fn client_broke(&self) -> bool {
        self.client_broke.load(Ordering::Relaxed)
    }
}

/// A request's body on its way to the upstream.
#[derive(Debug)]
pub(super) struct Upload {
    /// None where there is none.
    body: Option<Body>,
    progress: Arc<Progress>,
}

impl Upload {
    pub(super) fn new(body: Body, progress: Arc<Progress>) -> Self {
        let body = (!body.is_end_stream()).then_some(body);
        progress.is_sent.store(body.is_none(), Ordering::Relaxed);
        Self { body, progress }
    }

    /// For a request without a body, once more.
    pub(super) fn again(progress: Arc<Progress>) -> Self {
        Self {
            body: None,
            progress,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.body.is_none()
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let is_over = matches!(polled, Poll::Ready(None)) || body.is_end_stream();
        let progress = &self.progress;
        progress.is_sent.store(is_over, Ordering::Relaxed);
        let waits = polled.is_pending();
        progress.awaits_client.store(waits, Ordering::Relaxed);
        let polled = ready!(polled);
        progress.moved.store(true, Ordering::Relaxed);
        Poll::Ready(match polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let length = data.len() as u64;
                    progress.bytes.fetch_add(length, Ordering::Relaxed);
                }
                Some(Ok(clean(frame)))
            }
            Some(Err(error)) => {
                progress.client_broke.store(true, Ordering::Relaxed);
                Some(Err(error))
            }
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.as_ref().map(Body::size_hint);
        hint.unwrap_or_else(|| SizeHint::with_exact(0))
    }
}

/// Trailers without what they must not say.
fn clean(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(headers::trailers(trailers)),
        Err(data) => data,
    }
}

/// The body of the answer to an ordinary request; see
/// [`Bridge::service`](crate::bridge::Bridge::service).
///
/// Dropped before its end, it cancels the request at the upstream.
#[derive(Debug)]
pub struct BridgeBody(Kind);

#[derive(Debug)]
enum Kind {
    Own(Full<Bytes>),
    Download(Box<Download>),
    Done,
}

struct Download {
    body: Incoming,
    connection: Connection,
    ticket: Ticket,
    idle: Option<Duration>,
    silence: IdleTimer,
}

/// The upstream broke off within its answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum BridgeBodyError {
    /// Its connection or stream broke.
    Broken(hyper::Error),
    /// It reset its stream as if nothing was missing.
    Reset,
    /// Nothing came for as long as the route's [idle
    /// time](crate::bridge::Timeouts::idle).
    Idle,
}

impl BridgeBody {
    pub(super) fn own(body: Bytes) -> Self {
        Self(Kind::Own(Full::new(body)))
    }

    /// The upstream's.
    pub(super) fn passed(
        body: Incoming,
        connection: Connection,
        ticket: Ticket,
        idle: Option<Duration>,
    ) -> Self {
        let download = Download {
            body,
            connection,
            ticket,
            idle,
            silence: IdleTimer::default(),
        };
        let mut body = Self(Kind::Download(Box::new(download)));
        body.end_if_over();
        body
    }

    /// Gives everything back once the last byte is there: nobody is bound to
    /// ask for more.
    fn end_if_over(&mut self) {
        if matches!(&self.0, Kind::Download(download) if download.body.is_end_stream()) {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Kind::Download(download) = std::mem::replace(&mut self.0, Kind::Done) {
            let Download {
                connection, ticket, ..
            } = *download;
            connection.rest();
            ticket.end(Outcome::Answered);
        }
    }

    /// Cuts the connection.
    fn break_off(&mut self, error: &BridgeBodyError) {
        if let Kind::Download(download) = std::mem::replace(&mut self.0, Kind::Done) {
            let ticket = download.ticket;
            let closed = match error {
                _ if ticket.progress.client_broke() => Outcome::Gone,
                BridgeBodyError::Broken(_) | BridgeBodyError::Reset => {
                    Outcome::Broken(Side::Upstream)
                }
                BridgeBodyError::Idle => Outcome::TimedOut(Side::Bridge),
            };
            ticket.end(closed);
        }
    }
}

impl http_body::Body for BridgeBody {
    type Data = Bytes;
    type Error = BridgeBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BridgeBodyError>>> {
        let polled = match &mut self.0 {
            Kind::Own(body) => {
                return Pin::new(body)
                    .poll_frame(cx)
                    .map_err(|never| match never {});
            }
            Kind::Download(download) => ready!(download.poll_frame(cx)),
            Kind::Done => return Poll::Ready(None),
        };
        match polled {
            Some(Ok(frame)) => {
                self.end_if_over();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.break_off(&error);
                Poll::Ready(Some(Err(error)))
            }
            None => {
                self.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(body) => body.is_end_stream(),
            Kind::Download(download) => download.body.is_end_stream(),
            Kind::Done => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(body) => body.size_hint(),
            Kind::Download(download) => download.body.size_hint(),
            Kind::Done => SizeHint::with_exact(0),
        }
    }
}

impl Download {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BridgeBodyError>>> {
        let error = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.silence.broken();
                if let Some(data) = frame.data_ref() {
                    let (up, access) = (self.ticket.progress.bytes(), &mut self.ticket.access);
                    access.moved(up, access.bytes_down() + data.len() as u64);
                }
                return Poll::Ready(Some(Ok(clean(frame))));
            }
            // What hyper takes for an end: RST_STREAM(NO_ERROR) before one.
            Poll::Ready(None) if self.connection.is_http2() && !self.body.is_end_stream() => {
                BridgeBodyError::Reset
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => BridgeBodyError::Broken(error),
            Poll::Pending => {
                ready!(self.silence.poll(self.idle, cx));
                if self.ticket.progress.has_moved() {
                    self.silence.restart();
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                BridgeBodyError::Idle
            }
        };
        Poll::Ready(Some(Err(error)))
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").finish_non_exhaustive()
    }
}

impl fmt::Display for BridgeBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken(_) | Self::Reset => "the upstream broke off",
            Self::Idle => "the upstream fell silent",
        })
    }
}

impl std::error::Error for BridgeBodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broken(error) => Some(error),
            Self::Reset | Self::Idle => None,
        }
    }
}
