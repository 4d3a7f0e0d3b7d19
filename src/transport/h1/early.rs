//! Answers that come before their request was read.
//!
//! A server may answer a request that it does not want, such as by 413, and
//! close its connection while the body is still coming. What is written from
//! then on fails; what the server said is still there to be read (RFC 9112
//! §9.6: a client that sees the connection close should read what there is).
//! hyper gives up at the first error of either kind. So the rule: once the peer
//! does not read any more, what is written goes nowhere, and reading decides
//! how the connection ends.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::BoxIo;

/// An I/O object whose peer may stop reading.
pub(crate) struct Unheard {
    io: BoxIo,
    /// Whether it has.
    is_unheard: bool,
}

impl Unheard {
    pub(crate) fn new(io: BoxIo) -> Self {
        Self {
            io,
            is_unheard: false,
        }
    }

    /// What was written, of `length` bytes.
    fn written(
        &mut self,
        polled: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Err(error)) if is_of_the_peer(&error) => {
                self.is_unheard = true;
                Poll::Ready(Ok(length))
            }
            polled => polled,
        }
    }

    fn done(&mut self, polled: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        self.written(polled.map_ok(|()| 0), 0).map_ok(drop)
    }
}

/// Whether a write failed because nobody reads.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
    )
}

impl AsyncRead for Unheard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Unheard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_unheard {
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
        if self.is_unheard {
            return Poll::Ready(Ok(length));
        }
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(polled, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_unheard {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.done(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_unheard {
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

    /// A peer that has answered and hung up by the time the body is written.
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
    async fn an_answer_is_heard_by_who_is_still_sending() {
        let peer = HangsUp {
            answer: b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n",
            ..HangsUp::default()
        };
        let io = Unheard::new(Box::new(peer));
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
    async fn what_the_peer_said_last_is_read_though_it_reads_nothing() {
        let (near, mut far): (DuplexStream, DuplexStream) = tokio::io::duplex(64);
        far.write_all(b"no").await.unwrap();
        drop(far);
        let mut io = Unheard::new(Box::new(near));
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
