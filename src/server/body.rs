//! The body of a plain HTTP request, over either version.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use crate::transport::h2::H2Body;

/// The body of a request that is passed to a service.
///
/// It streams: the client sends only what the service reads.
///
/// If the client waits before sending it (`expect: 100-continue`), the first read
/// answers with 100, over either version (RFC 9110 §10.1.1).
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    /// A WebSocket request has no body.
    Empty,
    H1(Incoming),
    H2(H2Body),
}

/// The request was cut off before the end of its body.
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
        f.write_str("the request body was cut off")
    }
}

impl std::error::Error for BodyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}
