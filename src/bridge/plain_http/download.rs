//! The body of a response on its way from the upstream to the client.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

use super::InFlight;
use super::connections::Connection;
use crate::bridge::access::{Outcome, Side};
use crate::bridge::headers;
use crate::bridge::idle::IdleTimer;

/// The body of a response to a plain HTTP request; see
/// [`Bridge::service`](crate::bridge::Bridge::service).
///
/// Dropping it before its end cancels the request at the upstream.
#[derive(Debug)]
pub struct BridgeBody(Kind);

#[derive(Debug)]
enum Kind {
    /// Written by the bridge itself.
    Own(Full<Bytes>),
    Download(Box<Download>),
    Done,
}

struct Download {
    body: Incoming,
    connection: Connection,
    in_flight: InFlight,
    idle_timeout: Option<Duration>,
    idle: IdleTimer,
}

/// The upstream did not finish the body of its response.
#[derive(Debug)]
#[non_exhaustive]
pub enum BridgeBodyError {
    /// The upstream's connection or stream broke.
    Broken(Box<dyn std::error::Error + Send + Sync>),
    /// The upstream reset the stream with `NO_ERROR` before the end of the body.
    Reset,
    /// No byte was received for the route's
    /// [`idle`](crate::bridge::Timeouts::idle) time.
    Idle,
}

impl BridgeBody {
    pub(super) fn own(body: Bytes) -> Self {
        Self(Kind::Own(Full::new(body)))
    }

    pub(super) fn from_upstream(
        body: Incoming,
        connection: Connection,
        in_flight: InFlight,
        idle_timeout: Option<Duration>,
    ) -> Self {
        let download = Download {
            body,
            connection,
            in_flight,
            idle_timeout,
            idle: IdleTimer::default(),
        };
        let mut body = Self(Kind::Download(Box::new(download)));
        body.end_if_complete();
        body
    }

    /// Releases everything once the last byte has been read: a server need not
    /// poll a body again after its `is_end_stream` is true.
    fn end_if_complete(&mut self) {
        if matches!(&self.0, Kind::Download(download) if download.body.is_end_stream()) {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Kind::Download(download) = std::mem::replace(&mut self.0, Kind::Done) {
            let Download {
                connection,
                in_flight,
                ..
            } = *download;
            connection.release();
            in_flight.end(Outcome::Answered);
        }
    }

    /// Drops the connection, which cuts it or resets its stream.
    fn abort(&mut self, error: &BridgeBodyError) {
        if let Kind::Download(download) = std::mem::replace(&mut self.0, Kind::Done) {
            let in_flight = download.in_flight;
            let outcome = match error {
                _ if in_flight.progress.client_broke() => Outcome::Gone,
                BridgeBodyError::Broken(_) | BridgeBodyError::Reset => {
                    Outcome::Broken(Side::Upstream)
                }
                BridgeBodyError::Idle => Outcome::TimedOut(Side::Bridge),
            };
            in_flight.end(outcome);
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
                self.end_if_complete();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.abort(&error);
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
                self.idle.note_progress();
                if let Some(data) = frame.data_ref() {
                    let up = self.in_flight.progress.bytes();
                    let access = &mut self.in_flight.access;
                    access.set_bytes(up, access.bytes_down() + data.len() as u64);
                }
                return Poll::Ready(Some(Ok(headers::clean_frame(frame))));
            }
            // hyper reports RST_STREAM(NO_ERROR) as the end of the body, even
            // if no END_STREAM came before it.
            Poll::Ready(None) if self.connection.is_http2() && !self.body.is_end_stream() => {
                BridgeBodyError::Reset
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => BridgeBodyError::Broken(error.into()),
            Poll::Pending => {
                ready!(self.idle.poll(self.idle_timeout, cx));
                if self.in_flight.progress.has_moved() {
                    self.idle.restart();
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
            Self::Broken(_) | Self::Reset => "the upstream ended its response early",
            Self::Idle => "the upstream sent nothing for the idle timeout",
        })
    }
}

impl std::error::Error for BridgeBodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Broken(error) => Some(&**error),
            Self::Reset | Self::Idle => None,
        }
    }
}
