//! [`RawStream`]: the stream itself, for protocols with their own framing.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::config::WebSocketConfig;
use crate::frame::{CloseCode, Role};
use crate::metrics::{SocketEnd, SocketMeter};
use crate::transport::{Finish, Stream, StreamError, Transport};

/// Maximum number of bytes that one write accepts.
const PIECE: usize = 64 * 1024;

/// The byte stream after an opening handshake, without WebSocket frames: for another framing, or
/// a tunnel.
///
/// What was written leaves, and then the stream ends, whether it was shut down or only dropped:
/// with END_STREAM over HTTP/2 (RFC 8441 §5), with FIN otherwise.
/// [What becomes of what was sent](crate::WebSocket#what-becomes-of-what-was-sent) lists the
/// limits. A framing therefore has to detect truncation by itself, as over TCP.
pub struct RawStream {
    /// `None` only while being dropped.
    stream: Option<Stream>,
    config: Arc<WebSocketConfig>,
    role: Role,
    chunk: Bytes,
    ended: bool,
    peer_ended: bool,
    meter: Option<Box<SocketMeter>>,
}

impl RawStream {
    pub(crate) fn new(
        stream: Stream,
        role: Role,
        config: Arc<WebSocketConfig>,
        meter: Option<Box<SocketMeter>>,
    ) -> Self {
        Self {
            stream: Some(stream),
            config,
            role,
            chunk: Bytes::new(),
            ended: false,
            peer_ended: false,
            meter,
        }
    }

    /// Returns what carries the stream.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.stream
            .as_ref()
            .map_or(Transport::Io, Stream::transport)
    }

    fn stream(&mut self) -> io::Result<&mut Stream> {
        self.stream
            .as_mut()
            .ok_or(io::ErrorKind::NotConnected.into())
    }

    fn look(&mut self, at: impl FnOnce(&mut SocketMeter)) {
        if let Some(meter) = &mut self.meter {
            at(meter);
        }
    }

    fn broke(&mut self, error: StreamError) -> io::Error {
        let end = crate::Error::from(error.clone()).socket_end();
        self.look(|meter| meter.ends(end));
        error.into()
    }
}

impl AsyncRead for RawStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let chunk = ready!(self.as_mut().poll_fill_buf(cx))?;
        let n = chunk.len().min(buf.remaining());
        buf.put_slice(&chunk[..n]);
        self.consume(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for RawStream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.chunk.is_empty() && !this.peer_ended {
            match this.stream()?.poll_chunk(cx) {
                Poll::Ready(Ok(Some(chunk))) => {
                    this.look(|meter| meter.received(0, chunk.len()));
                    this.chunk = chunk;
                }
                Poll::Ready(Ok(None)) => this.peer_ended = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(this.broke(error))),
                Poll::Pending => {
                    this.look(SocketMeter::pause);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(&this.chunk))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.chunk.advance(amount);
        if self.chunk.is_empty() {
            // An empty slice would still keep the read buffer allocated.
            self.chunk = Bytes::new();
        }
    }
}

impl AsyncWrite for RawStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let stream = self.stream()?;
        let room = ready!(stream.poll_room(cx));
        room.map_err(|error| self.broke(error))?;
        let n = buf.len().min(PIECE);
        let stream = self.stream()?;
        stream.write(|out| out.buffer().extend_from_slice(&buf[..n]));
        // Written bytes are sent even if the caller never flushes.
        let flushed = stream.poll_flush(cx);
        let _ = flushed.map_err(|error| self.broke(error))?;
        self.look(|meter| {
            meter.sent(0, n);
            meter.pause();
        });
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx).map_err(io::Error::from)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            ready!(self.stream()?.poll_end(cx))?;
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for RawStream {
    fn drop(&mut self) {
        if self.ended && self.peer_ended {
            self.look(|meter| meter.ends(SocketEnd::Closed(CloseCode::NO_STATUS_RECEIVED)));
        }
        if let Some(stream) = self.stream.take() {
            stream.finish(Finish::End(self.config.linger_as(self.role)));
        }
    }
}

impl fmt::Debug for RawStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawStream")
            .field("transport", &self.transport())
            .finish_non_exhaustive()
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match &error {
            StreamError::Io(error) => error.kind(),
            StreamError::Reset { .. } | StreamError::GoAway { .. } => {
                io::ErrorKind::ConnectionReset
            }
            StreamError::KeepAlive => io::ErrorKind::TimedOut,
            StreamError::Overloaded => io::ErrorKind::OutOfMemory,
            StreamError::RequestTooLarge(_)
            | StreamError::AnswerTooLarge(_)
            | StreamError::TooManyFields(_) => io::ErrorKind::InvalidInput,
            StreamError::Closed => io::ErrorKind::NotConnected,
        };
        Self::new(kind, crate::Error::from(error))
    }
}
