//! The body of an ordinary request, whatever carries it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use crate::transport::h2::H2Body;

/// The body of a request that is handed to the fallback.
///
/// It streams: what is not read is not sent by the client.
///
/// A client that waits to be asked for it (`expect: 100-continue`) is asked, over
/// either version, when it is first read (RFC 9110 §10.1.1).
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    /// A WebSocket request has no body.
    Empty,
    H1(Incoming),
    H2(H2Body),
}

/// The client's request broke off.
#[derive(Debug)]
pub struct BodyError(Box<dyn std::error::Error + Send + Sync>);

impl Body {
    pub(super) fn empty() -> Self {
        Self(Kind::Empty)
    }

    pub(super) fn h1(body: Incoming) -> Self {
        Self(Kind::H1(body))
    }

    pub(super) fn h2(body: H2Body) -> Self {
        Self(Kind::H2(body))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::H1(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|error| BodyError(error.into())),
            Kind::H2(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|error| BodyError(error.into())),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::H1(body) => body.is_end_stream(),
            Kind::H2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::H1(body) => body.size_hint(),
            Kind::H2(body) => body.size_hint(),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request broke off: {}", self.0)
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The error itself is in the text.
        self.0.source()
    }
}
