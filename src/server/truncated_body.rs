//! [`TruncatedBody`]: the body of an answer that may break off.
//!
//! What was given of an answer before it broke off is what the client gets:
//! the head and the bytes that are queued leave first, and then the stream is
//! reset (HTTP/2) or the connection cut (HTTP/1.1). An answer that is complete
//! leaves whole, whether or not the request was read to its end; over HTTP/2
//! `h2` then asks the client to stop by RST_STREAM(NO_ERROR) (RFC 9113 §8.1).
//!
//! hyper drops what it has not written when a body fails, and writes when a
//! body has nothing for it. So one that fails has nothing for it first. `h2`
//! drops what is queued when a stream is reset, so there the reset
//! [waits](super::http_service).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::serve::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// Fails one turn later than the body within.
    pub(super) struct TruncatedBody<B> {
        #[pin]
        body: B,
        error: Option<BoxError>,
    }
}

impl<B> TruncatedBody<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body, error: None }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for TruncatedBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if let Some(error) = this.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(this.body.poll_frame(cx)) {
            Some(Err(error)) => {
                *this.error = Some(error.into());
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.error.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
