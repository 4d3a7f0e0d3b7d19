//! Bodies of plain HTTP requests and responses, read from an HTTP/2 stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use super::handle::ConnectionHandle;
use super::header_list::{self, TooLarge};

/// The body of a request or response. The flow-control window is returned as
/// the body is read, so a slow reader slows the peer down.
#[derive(Debug)]
pub(crate) struct H2Body {
    recv: RecvStream,
    data_done: bool,
    /// Whether RST_STREAM(NO_ERROR) is an orderly end: of a response's body,
    /// not of a request's.
    ends_by_reset: bool,
    /// Maximum size of the trailers that are delivered, in bytes.
    max_trailers: u32,
    /// Remaining bytes of the announced length (RFC 9113 §8.1.1), which `h2`
    /// enforces.
    length: Option<u64>,
    /// Notified when the body is first read, if the client waits for that.
    ask: Option<oneshot::Sender<()>>,
}

impl H2Body {
    /// Creates the body of a response.
    pub(crate) fn new(recv: RecvStream) -> Self {
        Self {
            recv,
            data_done: false,
            ends_by_reset: true,
            max_trailers: u32::MAX,
            length: None,
            ask: None,
        }
    }

    /// Creates the body of a request with these `headers`, whose
    /// `content-length` is its size hint.
    pub(crate) fn of_request(
        recv: RecvStream,
        headers: &HeaderMap,
        handle: &ConnectionHandle,
    ) -> Self {
        let length = headers.get(CONTENT_LENGTH);
        Self {
            max_trailers: handle.max_header_list,
            ends_by_reset: false,
            length: length.and_then(|n| n.to_str().ok()?.parse().ok()),
            ..Self::new(recv)
        }
    }

    /// If the client waits for 100 (Continue) before it sends the body, returns
    /// a receiver that is notified when the body is first read (RFC 9110
    /// §10.1.1).
    pub(crate) fn first_read(&mut self, headers: &HeaderMap) -> Option<oneshot::Receiver<()>> {
        let expects = headers.get(EXPECT)?.as_bytes();
        if self.recv.is_end_stream() || !expects.eq_ignore_ascii_case(b"100-continue") {
            return None;
        }
        let (ask, asked) = oneshot::channel();
        self.ask = Some(ask);
        Some(asked)
    }
}

impl Body for H2Body {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_done {
            let data = self.recv.poll_data(cx);
            // Not needed if data has already arrived.
            if let Some(ask) = self.ask.take()
                && data.is_pending()
            {
                // Fails if the response was already sent.
                let _ = ask.send(());
            }
            match ready!(data) {
                Some(Ok(data)) => {
                    let _ = self.recv.flow_control().release_capacity(data.len());
                    if let Some(length) = &mut self.length {
                        *length = length.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                // The server responded without reading the rest of the request
                // (RFC 9113 §8.1).
                Some(Err(error))
                    if self.ends_by_reset && error.reason() == Some(Reason::NO_ERROR) =>
                {
                    return Poll::Ready(None);
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.data_done = true,
            }
        }
        let trailers = ready!(self.recv.poll_trailers(cx))?;
        if let Some(trailers) = &trailers {
            let size = header_list::of_fields(trailers);
            TooLarge::check(size, self.max_trailers).map_err(|_| Reason::ENHANCE_YOUR_CALM)?;
        }
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.recv.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
