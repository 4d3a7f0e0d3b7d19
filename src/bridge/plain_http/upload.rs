//! The body of a request on its way from the client to the upstream.
//!
//! If the body breaks, hyper cuts the request at the upstream at once: a response
//! that is on its way has no receiver any more, and part of a body must not be taken
//! for all of it (RFC 9112 §8).

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use crate::bridge::headers;

/// An error of any request body.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The state of a request's body while it is being sent.
#[derive(Debug, Default)]
pub(super) struct Progress {
    bytes: AtomicU64,
    has_moved: AtomicBool,
    awaits_client: AtomicBool,
    client_broke: AtomicBool,
    is_complete: AtomicBool,
}

impl Progress {
    /// Bytes read from the client.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the body has made progress since the last call.
    pub(super) fn has_moved(&self) -> bool {
        self.has_moved.swap(false, Ordering::Relaxed)
    }

    /// Whether the upstream has asked for more of the body than the client has
    /// sent.
    pub(super) fn awaits_client(&self) -> bool {
        self.awaits_client.load(Ordering::Relaxed)
    }

    /// Whether the client has sent all of the body.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Relaxed)
    }

    /// Whether the client's connection or stream broke within the body.
    pub(super) fn client_broke(&self) -> bool {
        self.client_broke.load(Ordering::Relaxed)
    }
}

/// A request's body on its way to the upstream.
pub(super) struct Upload {
    /// `None` for a request without a body.
    body: Option<UnsyncBoxBody<Bytes, BoxError>>,
    progress: Arc<Progress>,
}

impl Upload {
    pub(super) fn new<B>(body: B, progress: Arc<Progress>) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let body = (!body.is_end_stream()).then(|| body.map_err(Into::into).boxed_unsync());
        progress
            .is_complete
            .store(body.is_none(), Ordering::Relaxed);
        Self { body, progress }
    }

    /// The empty body of a request that is sent a second time.
    pub(super) fn empty(progress: Arc<Progress>) -> Self {
        Self {
            body: None,
            progress,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.body.is_none()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let is_complete = matches!(polled, Poll::Ready(None)) || body.is_end_stream();
        let progress = &self.progress;
        progress.is_complete.store(is_complete, Ordering::Relaxed);
        let awaits_client = polled.is_pending();
        progress
            .awaits_client
            .store(awaits_client, Ordering::Relaxed);
        let polled = ready!(polled);
        progress.has_moved.store(true, Ordering::Relaxed);
        Poll::Ready(match polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let length = data.len() as u64;
                    progress.bytes.fetch_add(length, Ordering::Relaxed);
                }
                Some(Ok(headers::clean_frame(frame)))
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

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}
