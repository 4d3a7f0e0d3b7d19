//! [`TruncatedBody`]: the body of a response that may fail.
//!
//! The client gets what the response produced before it failed: the head and the queued
//! bytes are sent first, and then the stream is reset (HTTP/2) or the connection closed
//! (HTTP/1.1). A response that is complete is sent whole, whether or not the request was
//! read to its end; over HTTP/2, `h2` then asks the client to stop by
//! RST_STREAM(NO_ERROR) (RFC 9113 §8.1).
//!
//! hyper drops what it has not written when a body fails, and writes when a body is
//! pending. So a failing body is pending once before it fails. `h2` drops what is queued
//! when a stream is reset, so over HTTP/2 the reset waits for the queue to be written
//! (`transport::h2::respond`).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::service::BoxError;

pin_project! {
    /// Reports the error of the inner body one poll later than the inner body does.
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
