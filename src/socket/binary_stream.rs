//! [`BinaryStream`]: a byte stream in binary messages.
//!
//! How a direction of the bytes ends depends on the subprotocol, on both sides alike:
//!
//! | subprotocol | one direction ends by | both end by |
//! |---|---|---|
//! | [`HALF_CLOSE`] | an empty binary message | Close 1000 from the side that ended last |
//! | any other, or none | (not possible) | a Close frame with 1000 or no code |

mod copy;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

pub use self::copy::CopyError;
use super::WebSocket;
use crate::error::Error;
use crate::frame::{CloseCode, CloseFrame, Message};
use crate::transport::GrowingRead;

/// Maximum size in bytes of the message that one write becomes. With the longest header that it can
/// have and that of its DATA frame, it fills four TLS records; a byte more would need a fifth.
const PIECE: usize = 64 * 1024 - 8 - 9;

/// The subprotocol under which a [`BinaryStream`] ends its two directions separately, as TCP does: an
/// empty binary message ends the bytes of its sender, which may still receive. `h2ws tunnel` offers
/// it, and a bridge selects it for `tcp://` upstreams.
pub const HALF_CLOSE: &str = "half-close.h2ws";

/// A byte stream that is carried in binary messages; see [`WebSocket::into_binary_stream`].
///
/// Reading returns the payloads of the peer's binary messages, without their boundaries. The end
/// of the stream is a close with code 1000 or without a code. Every other end is an error, so that
/// truncated data cannot be taken for complete data: also code 1001, with which servers and bridges
/// close what is open when they shut down. A text message is an error of kind
/// [`io::ErrorKind::InvalidData`], and closes the WebSocket with code 1003.
///
/// Each write becomes one message of at most [`MAX_MESSAGE`](Self::MAX_MESSAGE) bytes, which is flushed
/// at once. A write waits while the WebSocket's write buffer is full. Flushing after an orderly end
/// succeeds. Shutting down sends a Close frame with code 1000 after what was written: a WebSocket cannot
/// be closed in one direction only, but what the peer sent before it received the Close frame can still
/// be read.
///
/// Under the subprotocol [`HALF_CLOSE`], shutting down sends an empty message instead, and the peer
/// may continue to send. Then only an empty message, or a close with code 1000, is the end of the
/// peer's bytes. The side that ends last closes the WebSocket, which its last read or its shutdown
/// waits for.
///
/// If it is dropped instead, what was written still arrives, followed by an error for the peer;
/// see [what becomes of what was sent](WebSocket#what-becomes-of-what-was-sent).
///
/// # Cancel safety
///
/// As for any `AsyncRead`, `AsyncBufRead` and `AsyncWrite`: a read that is dropped has read
/// nothing, and a write that is dropped has written nothing.
///
/// # Example
///
/// ```
/// use h2ws::frame::Role;
/// use h2ws::{WebSocket, WebSocketConfig};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let (near, far) = tokio::io::duplex(4096);
/// let mut client = WebSocket::from_stream(near, Role::Client, WebSocketConfig::default()).into_binary_stream();
/// let mut server = WebSocket::from_stream(far, Role::Server, WebSocketConfig::default()).into_binary_stream();
///
/// client.write_all(b"bytes").await?;
/// client.shutdown().await?;
/// let mut all = Vec::new();
/// server.read_to_end(&mut all).await?;
/// assert_eq!(all, b"bytes");
/// # Ok(())
/// # }
/// ```
pub struct BinaryStream {
    socket: WebSocket,
    unread: Bytes,
    /// How much [`poll_write_from`](Self::poll_write_from) reads.
    read: GrowingRead,
    /// Whether the subprotocol is [`HALF_CLOSE`].
    half_close: bool,
    /// The peer's bytes have ended with an empty message.
    read_ended: bool,
    /// An empty message was sent.
    write_ended: bool,
}

impl WebSocket {
    /// Converts the WebSocket into a byte stream, for protocols with their own framing. Bytes that
    /// are written are sent as binary messages, and binary messages are read as bytes.
    #[must_use]
    pub fn into_binary_stream(self) -> BinaryStream {
        BinaryStream {
            half_close: self.subprotocol() == Some(HALF_CLOSE),
            read_ended: false,
            write_ended: false,
            socket: self,
            unread: Bytes::new(),
            read: GrowingRead::new(PIECE as u32),
        }
    }
}

impl BinaryStream {
    /// Maximum number of bytes that a write sends: a little less than 64 KiB.
    pub const MAX_MESSAGE: usize = PIECE;

    /// Writes as [`poll_write`](AsyncWrite::poll_write) does, without copying bytes that nobody else
    /// has, and removes what it has written from `bytes`.
    ///
    /// # Errors
    ///
    /// As for [`poll_write`](AsyncWrite::poll_write).
    pub fn poll_write_bytes(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut Bytes,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_writable(cx))?;
        let message = if bytes.len() <= PIECE {
            std::mem::take(bytes)
        } else {
            bytes.split_to(PIECE)
        };
        if !message.is_empty() {
            self.send(message, cx)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.poll_room(cx)
    }

    /// Returns a reference to the WebSocket.
    #[must_use]
    pub fn get_ref(&self) -> &WebSocket {
        &self.socket
    }

    /// Returns the WebSocket, and the unread rest of a message.
    #[must_use]
    pub fn into_inner(self) -> (WebSocket, Bytes) {
        (self.socket, self.unread)
    }

    /// Returns whether the peer has ended its bytes, and can still be sent some.
    pub(crate) fn peer_ended(&self) -> bool {
        self.read_ended
    }

    pub(crate) fn get_mut(&mut self) -> &mut WebSocket {
        &mut self.socket
    }

    /// Waits until a message can be sent.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let room = ready!(self.socket.poll_ready_to_send(cx));
        Poll::Ready(room.map_err(io_error))
    }

    /// Sends one message, for which there is [room](Self::poll_room).
    fn send(&mut self, payload: Bytes, cx: &mut Context<'_>) -> io::Result<()> {
        let sent = self.socket.start_message(Message::Binary(payload));
        sent.map_err(io_error)?;
        // Written bytes are sent even if the caller never flushes.
        match self.socket.poll_flush_messages(cx) {
            Poll::Ready(flushed) => flushed.map_err(io_error),
            Poll::Pending => Ok(()),
        }
    }

    /// Waits for bytes, or for the end of the peer's. Unlike [`poll_fill_buf`](Self::poll_fill_buf) it
    /// does not wait for the closing handshake if both sides have ended.
    pub(crate) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        while self.unread.is_empty() && !self.read_ended {
            match ready!(self.socket.poll_message(cx)) {
                Some(Ok(Message::Binary(payload))) if payload.is_empty() && self.half_close => {
                    self.read_ended = true;
                }
                Some(Ok(Message::Binary(payload))) => self.unread = payload,
                Some(Ok(Message::Text(_))) => {
                    let why = CloseFrame::new(CloseCode::UNSUPPORTED_DATA, "binary messages only");
                    let error = self.refuse(why, "the peer sent a text message", cx);
                    return Poll::Ready(Err(error));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => {
                    self.end()?;
                    break;
                }
            }
        }
        Poll::Ready(Ok(&self.unread))
    }

    /// Waits for the peer's Close frame after the end of its bytes. If this side has ended too, it
    /// closes the WebSocket.
    pub(crate) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.write_ended {
            let mut frame = Some(Some(CloseFrame::from(CloseCode::NORMAL)));
            // An error is returned by the read below.
            let _ = self.socket.poll_send_close(&mut frame, cx);
        }
        loop {
            match ready!(self.socket.poll_message(cx)) {
                Some(Ok(message)) if message.is_binary() || message.is_text() => {
                    let why = CloseFrame::new(CloseCode::PROTOCOL_ERROR, "data after its end");
                    return Poll::Ready(Err(self.refuse(
                        why,
                        "the peer sent data after its end",
                        cx,
                    )));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(self.end()),
            }
        }
    }

    fn refuse(&mut self, why: CloseFrame, error: &'static str, cx: &mut Context<'_>) -> io::Error {
        let mut frame = Some(Some(why));
        // An error is returned by the next read or write.
        let _ = self.socket.poll_send_close(&mut frame, cx);
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    /// Returns whether the end of the messages is the orderly end of the bytes.
    fn end(&self) -> io::Result<()> {
        match self.socket.close_code() {
            None | Some(CloseCode::NORMAL) => Ok(()),
            Some(CloseCode::NO_STATUS_RECEIVED) if !self.half_close => Ok(()),
            Some(code) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                format!("the peer closed with code {code}"),
            )),
        }
    }
}

impl AsyncRead for BinaryStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let unread = ready!(self.as_mut().poll_fill_buf(cx))?;
        let n = unread.len().min(buf.remaining());
        buf.put_slice(&unread[..n]);
        self.consume(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for BinaryStream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_bytes(cx))?;
        if this.unread.is_empty() && this.read_ended && this.write_ended {
            ready!(this.poll_closed(cx))?;
        }
        Poll::Ready(Ok(&this.unread))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.unread.advance(amount);
        if self.unread.is_empty() {
            // An empty slice would still keep the read buffer allocated.
            self.unread = Bytes::new();
        }
    }
}

impl AsyncWrite for BinaryStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_writable(cx))?;
        let n = buf.len().min(PIECE);
        if n > 0 {
            this.send(Bytes::copy_from_slice(&buf[..n]), cx)?;
        }
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.socket.poll_flush_messages(cx)) {
            // After an orderly end nothing is left to flush; that is not an error of the stream.
            Err(Error::Closed) => Poll::Ready(self.end()),
            flushed => Poll::Ready(flushed.map_err(io_error)),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.half_close {
            if !self.write_ended {
                match ready!(self.socket.poll_ready_to_send(cx)) {
                    // The peer has closed the WebSocket, so there is nothing left to end.
                    Err(Error::Closed) => return Poll::Ready(self.end()),
                    room => room.map_err(io_error)?,
                }
                self.send(Bytes::new(), cx)?;
                self.write_ended = true;
            }
            if self.read_ended {
                return self.poll_closed(cx);
            }
            return self.poll_flush(cx);
        }
        let mut frame = Some(Some(CloseFrame::from(CloseCode::NORMAL)));
        let sent = ready!(self.socket.poll_send_close(&mut frame, cx));
        Poll::Ready(sent.map_err(io_error))
    }
}

impl fmt::Debug for BinaryStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BinaryStream").field(&self.socket).finish()
    }
}

fn io_error(error: Error) -> io::Error {
    let kind = match &error {
        Error::Closed => io::ErrorKind::BrokenPipe,
        Error::Abnormal => io::ErrorKind::UnexpectedEof,
        Error::Reset { .. } | Error::GoAway { .. } => io::ErrorKind::ConnectionReset,
        Error::Io(error) => error.kind(),
        Error::Timeout(_) => io::ErrorKind::TimedOut,
        Error::Protocol(_) => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

#[cfg(test)]
mod tests;
