//! Moves bytes between a local connection and a WebSocket, in both directions, in one task.
//!
//! Each direction holds at most one piece, and only while the end that it is for has no room: an end
//! that does not read costs its own tunnel a piece each way and the windows below it, and no other
//! tunnel anything.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2ws::socket::BinaryStream;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncReadExt, AsyncWrite};

/// Number of bytes read from the local connection at first.
const SHORT: usize = 4 * 1024;

/// A local connection.
pub(super) trait Local: AsyncRead + AsyncWrite + Unpin {
    /// Whether the tunnel is over when the remote end has finished sending.
    fn ends_with_remote(&self) -> bool {
        false
    }
}

/// The end that broke, and how.
#[derive(Debug)]
pub(super) enum Broken {
    Local(io::Error),
    Remote(io::Error),
}

/// Moves bytes until both directions have ended.
pub(super) async fn pump(local: &mut impl Local, remote: &mut BinaryStream) -> Result<(), Broken> {
    let mut up = Up::new();
    let mut down_ended = false;
    poll_fn(|cx| {
        let mut up_ended = up.poll(local, remote, cx)?.is_ready();
        if !down_ended {
            down_ended = poll_down(local, remote, cx)?.is_ready();
            if down_ended && !up_ended {
                // The end of this direction may be what the other waits for.
                up_ended = up.poll(local, remote, cx)?.is_ready();
            }
        }
        if down_ended && (up_ended || local.ends_with_remote()) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await
}

/// The direction from the local connection to the WebSocket.
struct Up {
    /// Read and not yet sent.
    piece: Bytes,
    /// Number of bytes that the next read asks for. Bulk data is read, and sent, in long pieces.
    size: usize,
    read_ended: bool,
    ended: bool,
}

impl Up {
    fn new() -> Self {
        Self {
            piece: Bytes::new(),
            size: SHORT,
            read_ended: false,
            ended: false,
        }
    }

    fn poll(
        &mut self,
        local: &mut impl Local,
        remote: &mut BinaryStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        while !self.ended {
            if !self.piece.is_empty() {
                let sent = remote.poll_write_bytes(cx, &mut self.piece);
                ready!(sent).map_err(Broken::Remote)?;
            } else if self.read_ended {
                ready!(Pin::new(&mut *remote).poll_shutdown(cx)).map_err(Broken::Remote)?;
                self.ended = true;
            } else {
                // Allocated for each read: a tunnel that waits has no buffer.
                let mut piece = BytesMut::with_capacity(self.size);
                let read = pin!(local.read_buf(&mut piece)).poll(cx);
                let read = ready!(read).map_err(Broken::Local)?;
                self.read_ended = read == 0;
                self.piece = piece.freeze();
                self.adapt(read);
            }
        }
        self.piece = Bytes::new();
        Poll::Ready(Ok(()))
    }

    fn adapt(&mut self, read: usize) {
        let next = if read == self.size {
            2 * self.size
        } else {
            (self.size / 2).max(read.next_power_of_two())
        };
        self.size = next.clamp(SHORT, BinaryStream::MAX_MESSAGE);
    }
}

fn poll_down(
    local: &mut impl Local,
    remote: &mut BinaryStream,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Broken>> {
    loop {
        let Poll::Ready(filled) = Pin::new(&mut *remote).poll_fill_buf(cx) else {
            // What was written must not wait for what is yet to arrive.
            ready!(Pin::new(&mut *local).poll_flush(cx)).map_err(Broken::Local)?;
            return Poll::Pending;
        };
        let bytes = filled.map_err(Broken::Remote)?;
        if bytes.is_empty() {
            return Pin::new(&mut *local)
                .poll_shutdown(cx)
                .map_err(Broken::Local);
        }
        let written = Pin::new(&mut *local).poll_write(cx, bytes);
        let written = ready!(written).map_err(Broken::Local)?;
        Pin::new(&mut *remote).consume(written);
    }
}
