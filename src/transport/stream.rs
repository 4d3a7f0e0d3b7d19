//! [`Stream`]: the byte-stream type that all layers above use.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::h2::H2Stream;
use super::h2::header_list::TooLarge;
use super::{IoStream, Outgoing, Transport};

/// How a stream is ended once the application has released it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// Send what is queued, then end our side.
    End(Linger),
    /// Send what is queued, then wait for the peer to end its side. If the peer
    /// ended with an END_STREAM in a frame of its own and `end` is set, end our
    /// side too; otherwise reset what is left.
    Await { linger: Linger, end: bool },
    /// Send what is queued, then reset, as RFC 8441 §5 maps a TCP reset. Without HTTP/2,
    /// as [`End`](Self::End): a reset would discard what is still on its way.
    Reset(Linger),
    /// Reset at once and discard what is queued.
    Cancel,
}

/// How long a released stream may take before it is reset (HTTP/2) or closed
/// (otherwise).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Linger {
    /// Time for sending what is queued, and the end of our side.
    pub(crate) unsent: Duration,
    /// Time for the peer to end its side, from then on.
    pub(crate) peer: Duration,
}

/// Why a stream broke before its end.
#[derive(Clone, Debug)]
pub(crate) enum StreamError {
    /// RST_STREAM with this error code (RFC 9113 §6.4, §7).
    Reset { code: u32, by_peer: bool },
    /// The connection ended with GOAWAY and this error code (RFC 9113 §6.8).
    GoAway {
        code: u32,
        by_peer: bool,
        /// The error text of `h2`, with the peer's debug data.
        text: Arc<str>,
    },
    /// The peer did not answer a PING in time.
    KeepAlive,
    /// The streams of the connection hold more than its buffer limit, and this
    /// one holds the most.
    Overloaded,
    /// The request was not sent because its header list is larger than the peer
    /// accepts.
    RequestTooLarge(TooLarge),
    /// The header list of the response is larger than its receiver accepts.
    AnswerTooLarge(TooLarge),
    /// The response has this many header fields, more than
    /// [`MAX_HEADER_FIELDS`](super::MAX_HEADER_FIELDS).
    TooManyFields(usize),
    /// The connection below broke.
    Io(Arc<io::Error>),
    /// The connection has ended, or this side had already ended the stream.
    Closed,
}

/// A byte stream to one peer, with a buffer for outgoing bytes.
///
/// One task may read while another writes: each direction has a waker of its
/// own.
#[derive(Debug)]
pub(crate) enum Stream {
    H2(H2Stream),
    Io(Box<IoStream>),
}

impl Stream {
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::H2(stream) => stream.transport(),
            Self::Io(stream) => stream.transport(),
        }
    }

    /// Polls for the next received bytes; `None` at the orderly end.
    pub(crate) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        match self {
            Self::H2(stream) => stream.poll_chunk(cx),
            Self::Io(stream) => stream.poll_chunk(cx),
        }
    }

    /// Polls for breakage without reading; used while the other side is
    /// backpressured. Ready once the stream is known to be broken. The waker is
    /// stored in place of the reader's, and a drain wakes it too.
    pub(crate) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        match self {
            Self::H2(stream) => stream.poll_broken(cx),
            Self::Io(stream) => stream.poll_broken(cx),
        }
    }

    /// Polls until the outgoing buffer is below its limit.
    #[inline]
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        match self {
            Self::H2(stream) => stream.poll_room(cx),
            Self::Io(stream) => stream.poll_room(cx),
        }
    }

    /// Wakes the reader, which has to wait for something else as well.
    pub(crate) fn wake_reader(&self) {
        match self {
            Self::H2(stream) => stream.wake_reader(),
            Self::Io(stream) => stream.wake_reader(),
        }
    }

    /// Removes the reader's waker, because the reader was dropped while the
    /// writer stays. The caller drops the waker outside all locks: it may be
    /// the last reference to its task, which may own the writer.
    pub(crate) fn reader_leaves(&mut self) -> Option<Waker> {
        match self {
            Self::H2(stream) => stream.reader_leaves(),
            Self::Io(stream) => stream.reader_leaves(),
        }
    }

    /// Removes the writer's waker; see [`reader_leaves`](Self::reader_leaves).
    pub(crate) fn writer_leaves(&mut self) -> Option<Waker> {
        match self {
            Self::H2(stream) => stream.writer_leaves(),
            Self::Io(stream) => stream.writer_leaves(),
        }
    }

    /// Returns whether this side is shutting down and asks its WebSockets to
    /// close. The reader is woken when that begins.
    pub(crate) fn is_draining(&self) -> bool {
        match self {
            Self::H2(stream) => stream.is_draining(),
            Self::Io(stream) => stream.is_draining(),
        }
    }

    /// Reports how many bytes are held for messages that are not complete. Only
    /// HTTP/2 streams are counted: an HTTP/1.1 connection carries one
    /// WebSocket, which its message limit bounds.
    pub(crate) fn hold(&mut self, bytes: usize) {
        if let Self::H2(stream) = self {
            stream.hold(bytes);
        }
    }

    /// Returns how many bytes the stream holds, to within 16 KiB. Over HTTP/1.1
    /// the operating system holds most of what was received.
    pub(crate) fn counted(&self) -> usize {
        match self {
            Self::H2(stream) => stream.counted(),
            Self::Io(stream) => stream.counted(),
        }
    }

    /// Counts `bytes` that are held elsewhere for this stream on its connection.
    /// Only HTTP/2 streams are counted, since only they share a connection.
    pub(crate) fn held_elsewhere(&mut self, bytes: usize) {
        if let Self::H2(stream) = self {
            stream.held_elsewhere(bytes);
        }
    }

    /// Returns whether the outgoing buffer has room, for a reader that has to
    /// send a reply. If not, the reader is woken once there is.
    pub(crate) fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::H2(stream) => stream.has_room(cx),
            Self::Io(stream) => stream.has_room(cx),
        }
    }

    /// Appends to the outgoing buffer, regardless of its limit.
    pub(crate) fn write<R>(&mut self, append: impl FnOnce(&mut Outgoing) -> R) -> R {
        match self {
            Self::H2(stream) => stream.write(append),
            Self::Io(stream) => stream.write(append),
        }
    }

    /// Starts sending what was written. Over HTTP/2 the connection's driver
    /// takes it from here, so this is always ready; otherwise it is ready once
    /// the operating system has taken everything.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        match self {
            Self::H2(stream) => {
                stream.flush();
                Poll::Ready(Ok(()))
            }
            Self::Io(stream) => stream.poll_flush(cx),
        }
    }

    /// Flushes on behalf of a reader that sent a reply. The waker is stored as
    /// the reader's, so a waiting writer is not displaced. Errors are reported
    /// by the next read or write.
    pub(crate) fn flush_as_reader(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::H2(stream) => stream.flush(),
            Self::Io(stream) => stream.flush_as_reader(cx),
        }
    }

    /// Ends our side after what is queued (END_STREAM, FIN). The peer's side
    /// stays open.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        match self {
            Self::H2(stream) => {
                stream.end();
                Poll::Ready(Ok(()))
            }
            Self::Io(stream) => stream.poll_end(cx),
        }
    }

    /// Releases the stream and finishes it in the background. A waiting writer
    /// is woken.
    pub(crate) fn finish(self, finish: Finish) {
        match self {
            Self::H2(stream) => stream.finish(finish),
            Self::Io(stream) => stream.finish(finish),
        }
    }
}
