//! Sends what a reader has.

use std::error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncRead;

use super::BinaryStream;

/// The side at which [`BinaryStream::poll_write_from`] failed, and why.
#[derive(Debug)]
pub enum CopyError {
    /// The reader failed.
    Read(io::Error),
    /// The WebSocket has ended, or broke.
    Write(io::Error),
}

impl BinaryStream {
    /// Reads once from `reader`, and sends what it found as one message. Returns the number of bytes
    /// sent, or 0 at the end of `reader`, when nothing is sent:
    /// [shutting down](tokio::io::AsyncWrite::poll_shutdown) tells the peer of the end.
    ///
    /// It waits until there is room for a message, and only then reads. The first read asks for 4 KiB.
    /// The next asks for twice as much if one has found as much as it asked for, up to
    /// [`MAX_MESSAGE`](Self::MAX_MESSAGE), and for less if it has found less. No buffer is held
    /// between calls, and what was read is not copied again.
    ///
    /// # Errors
    ///
    /// [`CopyError::Read`] if `reader` fails. [`CopyError::Write`] if it had bytes that cannot be sent, for
    /// the reasons for which [`poll_write`](tokio::io::AsyncWrite::poll_write) fails; they are lost.
    ///
    /// # Cancel safety
    ///
    /// A call that returns [`Poll::Pending`] has read nothing and sent nothing.
    ///
    /// # Example
    ///
    /// ```
    /// use std::future::poll_fn;
    /// use std::pin::Pin;
    ///
    /// use h2ws::socket::{BinaryStream, CopyError};
    /// use tokio::io::{AsyncRead, AsyncWriteExt};
    ///
    /// async fn send_all(
    ///     stream: &mut BinaryStream,
    ///     mut reader: impl AsyncRead + Unpin,
    /// ) -> Result<u64, CopyError> {
    ///     let mut total = 0;
    ///     loop {
    ///         let sent = poll_fn(|cx| stream.poll_write_from(cx, Pin::new(&mut reader))).await?;
    ///         if sent == 0 {
    ///             stream.shutdown().await.map_err(CopyError::Write)?;
    ///             return Ok(total);
    ///         }
    ///         total += sent as u64;
    ///     }
    /// }
    /// ```
    pub fn poll_write_from<R: AsyncRead + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        reader: Pin<&mut R>,
    ) -> Poll<Result<usize, CopyError>> {
        let room = ready!(self.poll_writable(cx));
        let bytes = ready!(self.read.poll(reader, cx)).map_err(CopyError::Read)?;
        let len = bytes.len();
        if len > 0 {
            let sent = room.and_then(|()| self.send(bytes, cx));
            sent.map_err(CopyError::Write)?;
        }
        Poll::Ready(Ok(len))
    }
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read(_) => "reading failed",
            Self::Write(_) => "writing to the WebSocket failed",
        })
    }
}

impl error::Error for CopyError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Read(error) | Self::Write(error) => Some(error),
        }
    }
}
