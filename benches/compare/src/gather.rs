//! Gathers small writes below h2, and divides reads into portions.
//!
//! h2 writes each DATA payload above a certain size separately. [`GatheredIo`] buffers these writes
//! and ignores h2's flushes; the connection's task flushes the [`Outlet`] when h2 has nothing more
//! to write. h2 reads one portion at a time, so that the echoes of a portion are sent before the
//! next is read.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The size of the write buffer. With 32 KiB or more, the two sides no longer work at the same
/// time.
const LIMIT: usize = 16 << 10;

#[derive(Debug)]
struct Pending<W> {
    io: W,
    buffer: BytesMut,
}

impl<W: AsyncWrite + Unpin> Pending<W> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.buffer.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.buffer))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.buffer.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.buffer.len() + data.len() > LIMIT {
            ready!(self.poll_drain(cx))?;
            if data.len() >= LIMIT {
                return Pin::new(&mut self.io).poll_write(cx, data);
            }
        }
        self.buffer.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }
}

/// The I/O that h2 uses.
#[derive(Debug)]
pub struct GatheredIo {
    read: Take<OwnedReadHalf>,
    portion: u64,
    write: Arc<Mutex<Pending<OwnedWriteHalf>>>,
}

/// The handle that the connection's task uses to flush.
#[derive(Debug)]
pub struct Outlet(Arc<Mutex<Pending<OwnedWriteHalf>>>);

/// Wraps a TCP connection. `portion` is the number of bytes that are read at a time.
#[must_use]
pub fn gather(stream: TcpStream, portion: u64) -> (GatheredIo, Outlet) {
    let (read, write) = stream.into_split();
    let pending = Pending {
        io: write,
        buffer: BytesMut::with_capacity(LIMIT),
    };
    let pending = Arc::new(Mutex::new(pending));
    (
        GatheredIo {
            read: read.take(portion),
            portion,
            write: Arc::clone(&pending),
        },
        Outlet(pending),
    )
}

impl Outlet {
    /// Writes what h2 has written to the buffer.
    ///
    /// # Errors
    ///
    /// If writing to the connection fails.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0
            .lock()
            .expect("no panic under the lock")
            .poll_drain(cx)
    }
}

impl AsyncRead for GatheredIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.limit() == 0 {
            let portion = self.portion;
            self.read.set_limit(portion);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.read).poll_read(cx, buf)
    }
}

impl AsyncWrite for GatheredIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write
            .lock()
            .expect("no panic under the lock")
            .poll_write(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        // Without vectored writes, h2 copies payloads below 1,024 bytes into its own buffer.
        false
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut write = self.write.lock().expect("no panic under the lock");
        ready!(write.poll_drain(cx))?;
        Pin::new(&mut write.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn pending() -> Pending<Vec<u8>> {
        Pending {
            io: Vec::new(),
            buffer: BytesMut::new(),
        }
    }

    #[test]
    fn writes_of_all_sizes_keep_their_order() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut out = pending();
        let mut sent = Vec::new();
        for (i, size) in [1, LIMIT - 1, 1, LIMIT, LIMIT + 1, 3, 2 * LIMIT]
            .into_iter()
            .enumerate()
        {
            let data = vec![u8::try_from(i).unwrap(); size];
            assert!(matches!(out.poll_write(&mut cx, &data), Poll::Ready(Ok(n)) if n == size));
            sent.extend_from_slice(&data);
        }
        assert!(out.poll_drain(&mut cx).is_ready());
        assert_eq!(out.io, sent);
    }

    #[test]
    fn small_writes_are_buffered_until_the_drain() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut out = pending();
        assert!(out.poll_write(&mut cx, b"abc").is_ready());
        assert!(out.io.is_empty());
        assert!(out.poll_drain(&mut cx).is_ready());
        assert_eq!(out.io, b"abc");
    }
}
