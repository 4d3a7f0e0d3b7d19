//! The byte stream that carries a WebSocket: an HTTP/2 stream or an upgraded HTTP/1.1 connection.

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use super::finding::Finding;
use super::observe::Seen;

/// Buffer for one read of an HTTP/1.1 connection, in bytes.
const READ: usize = 16 * 1024;

pub(super) enum Carrier {
    Http2 {
        send: SendStream<Bytes>,
        recv: RecvStream,
        seen: watch::Receiver<Seen>,
    },
    Http1(Box<TokioIo<Upgraded>>),
}

impl Carrier {
    /// Writes all bytes, waiting for the peer's flow-control window.
    pub(super) async fn write(&mut self, mut bytes: Bytes) -> Result<(), Finding> {
        match self {
            Self::Http2 { send, seen, .. } => {
                while !bytes.is_empty() {
                    send.reserve_capacity(bytes.len());
                    while send.capacity() == 0 {
                        match std::future::poll_fn(|cx| send.poll_capacity(cx)).await {
                            Some(Ok(_)) => {}
                            Some(Err(error)) => return Err(blame(&error, &seen.borrow())),
                            None => return Err(Finding::NoClose),
                        }
                    }
                    let piece = bytes.split_to(send.capacity().min(bytes.len()));
                    send.send_data(piece, false)
                        .map_err(|error| blame(&error, &seen.borrow()))?;
                }
                Ok(())
            }
            Self::Http1(io) => {
                let lost = |error: std::io::Error| Finding::Lost(error.to_string());
                io.write_all(&bytes).await.map_err(lost)?;
                io.flush().await.map_err(lost)
            }
        }
    }

    /// Reads the next bytes; `None` at the end of the stream. Dropping the future loses nothing.
    pub(super) async fn read(&mut self) -> Result<Option<Bytes>, Finding> {
        match self {
            Self::Http2 { recv, seen, .. } => match recv.data().await {
                Some(Ok(bytes)) => {
                    // Fails for a stream that has ended, which needs no window.
                    let _ = recv.flow_control().release_capacity(bytes.len());
                    Ok(Some(bytes))
                }
                Some(Err(error)) => Err(blame(&error, &seen.borrow())),
                None => Ok(None),
            },
            Self::Http1(io) => {
                let mut bytes = BytesMut::with_capacity(READ);
                match io.read_buf(&mut bytes).await {
                    Ok(0) => Ok(None),
                    Ok(_) => Ok(Some(bytes.freeze())),
                    Err(error) => Err(Finding::Lost(error.to_string())),
                }
            }
        }
    }
}

/// Returns the finding for an error of the `h2` crate.
pub(super) fn blame(error: &h2::Error, seen: &Seen) -> Finding {
    match error.reason() {
        Some(reason) if error.is_remote() && error.is_reset() => return Finding::Reset(reason),
        Some(reason) if error.is_library() => return Finding::BrokenHttp2(reason),
        _ => {}
    }
    // The stream failed because the connection ended. A GOAWAY before that gives the reason.
    match &seen.goaway {
        Some(goaway) if goaway.reason != Reason::NO_ERROR => goaway.finding(),
        _ => Finding::Lost(seen.closed.clone().unwrap_or_else(|| error.to_string())),
    }
}
