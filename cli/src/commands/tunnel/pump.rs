//! Moves bytes between a local connection and a WebSocket, in both directions, in one task.
//!
//! An end is read only while the other has room, but for one message of the peer's: an end that does not
//! read costs its own tunnel that message and the buffers and windows below it, and no other tunnel anything.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2ws::socket::{BinaryStream, CopyError};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite};

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
    let mut up = Up::Open;
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
enum Up {
    Open,
    /// The local connection has ended.
    Ending,
    Ended,
}

impl Up {
    fn poll(
        &mut self,
        local: &mut impl Local,
        remote: &mut BinaryStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            match self {
                Self::Open => {
                    if ready!(remote.poll_write_from(cx, Pin::new(&mut *local)))? == 0 {
                        *self = Self::Ending;
                    }
                }
                Self::Ending => {
                    ready!(Pin::new(&mut *remote).poll_shutdown(cx)).map_err(Broken::Remote)?;
                    *self = Self::Ended;
                }
                Self::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl From<CopyError> for Broken {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Read(error) => Self::Local(error),
            CopyError::Write(error) => Self::Remote(error),
        }
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
