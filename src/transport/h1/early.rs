//! Responses that arrive before their request was read.
//!
//! A server may reject a request, for instance with 413, and close its
//! connection while the body is still being sent. Further writes fail, but the
//! response can still be read (RFC 9112 §9.6: a client that sees the connection
//! close should read what there is). hyper gives up at the first error of
//! either kind. **The rule:** once the peer has stopped reading, written bytes
//! are discarded without an error, and reading decides how the connection ends.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::BoxIo;

/// An I/O object that reports no write errors once its peer has stopped
/// reading.
pub(crate) struct EarlyResponseIo {
    io: BoxIo,
    /// Whether the peer has stopped reading.
    peer_stopped_reading: bool,
}

impl EarlyResponseIo {
    pub(crate) fn new(io: BoxIo) -> Self {
        Self {
            io,
            peer_stopped_reading: false,
        }
    }

    /// Turns the failure of a write of `length` bytes into success if the peer
    /// has stopped reading.
    fn written(
        &mut self,
        polled: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Err(error)) if is_closed_by_peer(&error) => {
                self.peer_stopped_reading = true;
                Poll::Ready(Ok(length))
            }
            polled => polled,
        }
    }

    fn done(&mut self, polled: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        self.written(polled.map_ok(|()| 0), 0).map_ok(drop)
    }
}

/// Returns whether a write failed because the peer has stopped reading.
fn is_closed_by_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
    )
}

impl AsyncRead for EarlyResponseIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for EarlyResponseIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.peer_stopped_reading {
            return Poll::Ready(Ok(buf.len()));
        }
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(polled, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.peer_stopped_reading {
            return Poll::Ready(Ok(length));
        }
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(polled, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.peer_stopped_reading {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.done(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.peer_stopped_reading {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.done(polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::Request;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use hyper_util::rt::TokioIo;
    use std::task::Waker;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    /// A peer that has responded and closed the connection by the time the body
    /// is written.
    #[derive(Default)]
    struct HangsUp {
        has_head: bool,
        reader: Option<Waker>,
        answer: &'static [u8],
    }

    impl AsyncRead for HangsUp {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if !self.has_head {
                self.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            buf.put_slice(std::mem::take(&mut self.answer));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for HangsUp {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            if buf.starts_with(b"POST ") {
                return Poll::Ready(Ok(buf.len()));
            }
            self.has_head = true;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
            Poll::Ready(Err(ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_response_is_read_while_the_request_is_still_being_sent() {
        let peer = HangsUp {
            answer: b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n",
            ..HangsUp::default()
        };
        let io = EarlyResponseIo::new(Box::new(peer));
        let builder = hyper::client::conn::http1::Builder::new();
        let (mut send, connection) = builder.handshake(TokioIo::new(io)).await.unwrap();
        tokio::spawn(connection);
        let part = futures_util::stream::once(Box::pin(async {
            tokio::task::yield_now().await;
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"body")))
        }));
        let request = Request::post("/").body(StreamBody::new(part)).unwrap();
        let answer = send.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 413);
    }

    #[tokio::test]
    async fn the_last_bytes_of_a_peer_that_stopped_reading_are_read() {
        let (near, mut far): (DuplexStream, DuplexStream) = tokio::io::duplex(64);
        far.write_all(b"no").await.unwrap();
        drop(far);
        let mut io = EarlyResponseIo::new(Box::new(near));
        for _ in 0..100 {
            io.write_all(&[0; 64]).await.unwrap();
        }
        io.flush().await.unwrap();
        let mut said = Vec::new();
        io.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"no");
        io.shutdown().await.unwrap();
    }
}
