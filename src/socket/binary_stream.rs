//! [`BinaryStream`]: a byte stream in binary messages.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use super::WebSocket;
use crate::error::Error;
use crate::frame::{CloseCode, CloseFrame, Message};

/// Maximum size in bytes of the message that one write becomes.
const PIECE: usize = 64 * 1024;

/// A byte stream that is carried in binary messages; see [`WebSocket::into_binary_stream`].
///
/// Reading returns the payloads of the peer's binary messages, without their boundaries. The end
/// of the stream is a close with code 1000 or without a code. Every other end is an error, so that
/// truncated data cannot be taken for complete data: also code 1001, with which servers and bridges
/// close what is open when they shut down. A text message is an error of kind
/// [`io::ErrorKind::InvalidData`], and closes the WebSocket with code 1003.
///
/// Each write becomes one message of at most 64 KiB, which is flushed at once. A write waits while
/// the WebSocket's write buffer is full. Flushing after an orderly end succeeds. Shutting down
/// sends a Close frame with code 1000 after what was written: a WebSocket cannot be closed in one
/// direction only, but what the peer sent before it received the Close frame can still be read.
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
}

impl WebSocket {
    /// Converts the WebSocket into a byte stream, for protocols with their own framing. Bytes that
    /// are written are sent as binary messages, and binary messages are read as bytes.
    #[must_use]
    pub fn into_binary_stream(self) -> BinaryStream {
        BinaryStream {
            socket: self,
            unread: Bytes::new(),
        }
    }
}

impl BinaryStream {
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
    pub(crate) fn get_mut(&mut self) -> &mut WebSocket {
        &mut self.socket
    }

    /// Waits until a message can be sent.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let room = ready!(self.socket.poll_ready_to_send(cx));
        Poll::Ready(room.map_err(io_error))
    }

    /// Sends one message, for which there is [room](Self::poll_room).
    pub(crate) fn send(&mut self, payload: Bytes, cx: &mut Context<'_>) -> io::Result<()> {
        let sent = self.socket.start_message(Message::Binary(payload));
        sent.map_err(io_error)?;
        // Written bytes are sent even if the caller never flushes.
        match self.socket.poll_flush_messages(cx) {
            Poll::Ready(flushed) => flushed.map_err(io_error),
            Poll::Pending => Ok(()),
        }
    }

    fn refuse_text(&mut self, cx: &mut Context<'_>) -> io::Error {
        let mut frame = Some(Some(CloseFrame::new(
            CloseCode::UNSUPPORTED_DATA,
            "binary messages only",
        )));
        // An error is returned by the next read or write.
        let _ = self.socket.poll_send_close(&mut frame, cx);
        io::Error::new(io::ErrorKind::InvalidData, "the peer sent a text message")
    }

    /// Returns whether the end of the messages is the orderly end of the bytes.
    fn end(&self) -> io::Result<()> {
        match self.socket.close_code() {
            None | Some(CloseCode::NORMAL | CloseCode::NO_STATUS_RECEIVED) => Ok(()),
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
        while this.unread.is_empty() {
            match ready!(this.socket.poll_message(cx)) {
                Some(Ok(Message::Binary(payload))) => this.unread = payload,
                Some(Ok(Message::Text(_))) => return Poll::Ready(Err(this.refuse_text(cx))),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => {
                    this.end()?;
                    break;
                }
            }
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
        ready!(this.poll_room(cx))?;
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
mod tests {
    use super::*;
    use crate::frame::Role;
    use crate::socket::WebSocketConfig;
    use futures_util::StreamExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn pair() -> (WebSocket, WebSocket) {
        let (near, far) = tokio::io::duplex(1 << 20);
        let socket = |io, role| WebSocket::from_stream(io, role, WebSocketConfig::default());
        (socket(near, Role::Client), socket(far, Role::Server))
    }

    #[tokio::test]
    async fn writes_are_binary_messages_of_64_kib_at_most() {
        let (client, mut server) = pair();
        let mut client = client.into_binary_stream();
        assert_eq!(client.write(b"").await.unwrap(), 0);
        assert_eq!(client.write(b"one").await.unwrap(), 3);
        assert_eq!(client.write(&[7; PIECE + 1]).await.unwrap(), PIECE);
        let next = server.next().await.unwrap().unwrap();
        assert_eq!(next, Message::binary(&b"one"[..]));
        let next = server.next().await.unwrap().unwrap();
        assert_eq!(next, Message::binary(vec![7; PIECE]));
    }

    #[tokio::test]
    async fn reads_do_not_see_where_messages_end() {
        let (mut client, server) = pair();
        let mut server = server.into_binary_stream();
        for payload in [&b"ab"[..], b"", b"cdef"] {
            client.send(Message::binary(payload)).await.unwrap();
        }
        let mut three = [0; 3];
        server.read_exact(&mut three).await.unwrap();
        assert_eq!(&three, b"abc");
        assert_eq!(server.fill_buf_now().await, b"def");
        let (socket, unread) = server.into_inner();
        assert_eq!((socket.close_code(), &unread[..]), (None, &b"def"[..]));
    }

    impl BinaryStream {
        async fn fill_buf_now(&mut self) -> Vec<u8> {
            tokio::io::AsyncBufReadExt::fill_buf(self)
                .await
                .unwrap()
                .to_vec()
        }
    }

    #[tokio::test]
    async fn only_an_orderly_close_is_the_end_of_the_bytes() {
        for (close, kind) in [
            (Some(CloseCode::NORMAL.into()), None),
            (None, None),
            (
                Some(CloseFrame::from(CloseCode::GOING_AWAY)),
                Some(io::ErrorKind::ConnectionAborted),
            ),
            (
                Some(CloseFrame::from(CloseCode::INTERNAL_ERROR)),
                Some(io::ErrorKind::ConnectionAborted),
            ),
        ] {
            let (mut client, server) = pair();
            let mut server = server.into_binary_stream();
            client.send(Message::binary(&b"x"[..])).await.unwrap();
            let (_, read) = tokio::join!(client.close(close), async {
                let mut all = Vec::new();
                let read = server.read_to_end(&mut all).await;
                assert_eq!(all, b"x");
                read
            });
            assert_eq!(read.err().map(|error| error.kind()), kind);
        }
        let (mut client, server) = pair();
        client.send(Message::binary(&b"x"[..])).await.unwrap();
        drop(client);
        let cut = server
            .into_binary_stream()
            .read_to_end(&mut Vec::new())
            .await;
        assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn text_is_rejected_with_1003() {
        let (mut client, server) = pair();
        let mut server = server.into_binary_stream();
        client.send(Message::text("x")).await.unwrap();
        let error = server.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(client.next().await.is_none());
        assert_eq!(client.close_code(), Some(CloseCode::UNSUPPORTED_DATA));
        let frame = client.close_frame().expect("a Close frame");
        assert_eq!(frame.reason, "binary messages only");
        let late = server.write(b"late").await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn after_shutting_down_what_the_peer_sent_can_still_be_read() {
        let (client, mut server) = pair();
        let mut client = client.into_binary_stream();
        server.send(Message::binary(&b"tail"[..])).await.unwrap();
        client.shutdown().await.unwrap();
        assert!(server.next().await.is_none());
        assert_eq!(server.close_code(), Some(CloseCode::NORMAL));
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"tail");
    }
}
