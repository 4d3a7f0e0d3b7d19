//! [`Stream`]: the one byte-stream type that the layers above know.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::h2::H2Stream;
use super::h2::header_list::TooLarge;
use super::{IoStream, Outgoing, Transport};

/// How the application's end of a stream is brought to rest once it is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// End our side behind what is queued.
    End(Linger),
    /// Once what is queued has left, wait for the peer to end its side. When
    /// it does, by END_STREAM alone and if `end`, end ours too; else cancel
    /// what is left.
    Await { linger: Linger, end: bool },
    /// Reset at once, dropping what is queued: what RFC 8441 §5 makes of a
    /// TCP reset.
    Cancel,
}

/// How long a stream stays behind when it was let go, before it is reset
/// (HTTP/2) or closed (otherwise).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Linger {
    /// For what is queued to leave, and our end behind it.
    pub(crate) unsent: Duration,
    /// For the peer to end its side, from then on.
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
        /// What `h2` says of it, with the peer's debug data.
        text: Arc<str>,
    },
    /// The peer gave no sign of life in time.
    KeepAlive,
    /// The connection's streams hold too much, and this one most of it.
    Overloaded,
    /// The header list of a request is larger than the peer takes: it was not
    /// sent.
    RequestTooLarge(TooLarge),
    /// The header list of an answer is larger than its receiver takes.
    AnswerTooLarge(TooLarge),
    /// The connection below broke.
    Io(Arc<io::Error>),
    /// The connection ended under the stream, or this side ended already.
    Closed,
}

/// A byte stream to one peer with an outgoing buffer in front of it.
///
/// One task may read and another write: each direction keeps a waker of its
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

    /// The next bytes, as they came; `None` at the orderly end.
    ///
    /// Cancel safe.
    pub(crate) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        match self {
            Self::H2(stream) => stream.poll_chunk(cx),
            Self::Io(stream) => stream.poll_chunk(cx),
        }
    }

    /// For who has no use for a chunk now: ready when the stream has broken, as
    /// far as that is seen without reading. Woken as who waits for a chunk is,
    /// by a drain too.
    pub(crate) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        match self {
            Self::H2(stream) => stream.poll_broken(cx),
            Self::Io(stream) => stream.poll_broken(cx),
        }
    }

    /// Waits until the outgoing buffer is below its limit.
    #[inline]
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        match self {
            Self::H2(stream) => stream.poll_room(cx),
            Self::Io(stream) => stream.poll_room(cx),
        }
    }

    /// Wakes who waits for a chunk: something else is to be waited for too.
    pub(crate) fn wake_reader(&self) {
        match self {
            Self::H2(stream) => stream.wake_reader(),
            Self::Io(stream) => stream.wake_reader(),
        }
    }

    /// The reader is gone while the writer stays. Returns its waker, which is
    /// dropped while nothing is locked: the last one of a task may take the
    /// task with it, and the writer with the task.
    pub(crate) fn reader_leaves(&mut self) -> Option<Waker> {
        match self {
            Self::H2(stream) => stream.reader_leaves(),
            Self::Io(stream) => stream.reader_leaves(),
        }
    }

    /// As [`reader_leaves`](Self::reader_leaves), the other way round.
    pub(crate) fn writer_leaves(&mut self) -> Option<Waker> {
        match self {
            Self::H2(stream) => stream.writer_leaves(),
            Self::Io(stream) => stream.writer_leaves(),
        }
    }

    /// Whether this side is shutting down and asks its sockets to close. Who
    /// waits for a chunk is woken when it comes to that.
    pub(crate) fn is_draining(&self) -> bool {
        match self {
            Self::H2(stream) => stream.is_draining(),
            Self::Io(stream) => stream.is_draining(),
        }
    }

    /// Tells how many bytes of what was read are kept for a message that is not
    /// complete. A connection of its own is bounded by the one message.
    pub(crate) fn hold(&mut self, bytes: usize) {
        if let Self::H2(stream) = self {
            stream.hold(bytes);
        }
    }

    /// Bytes that it holds, to within 16 KiB; of what was received over HTTP/1.1,
    /// the operating system holds most.
    pub(crate) fn counted(&self) -> usize {
        match self {
            Self::H2(stream) => stream.counted(),
            Self::Io(stream) => stream.counted(),
        }
    }

    /// Has bytes that are held elsewhere for this stream count on its connection.
    /// A connection of its own shares its bound with nobody.
    pub(crate) fn held_elsewhere(&mut self, bytes: usize) {
        if let Self::H2(stream) = self {
            stream.held_elsewhere(bytes);
        }
    }

    /// Whether there is room now, for a reader that has to answer something;
    /// if not, it is woken as for a chunk when there is.
    pub(crate) fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::H2(stream) => stream.has_room(cx),
            Self::Io(stream) => stream.has_room(cx),
        }
    }

    /// Appends to the outgoing buffer, whatever its limit.
    pub(crate) fn write<R>(&mut self, append: impl FnOnce(&mut Outgoing) -> R) -> R {
        match self {
            Self::H2(stream) => stream.write(append),
            Self::Io(stream) => stream.write(append),
        }
    }

    /// Sets what was written on its way. Over HTTP/2 the connection's driver
    /// takes it from here and this is always ready; otherwise it is ready once
    /// the operating system has it all.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        match self {
            Self::H2(stream) => {
                stream.flush();
                Poll::Ready(Ok(()))
            }
            Self::Io(stream) => stream.poll_flush(cx),
        }
    }

    /// As [`poll_flush`](Self::poll_flush), for a reader that answers something:
    /// it is woken as for a chunk, and a writer that waits stays where it is.
    /// Errors show up in the next read or write.
    pub(crate) fn flush_as_reader(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::H2(stream) => stream.flush(),
            Self::Io(stream) => stream.flush_as_reader(cx),
        }
    }

    /// Ends our side behind what is queued (END_STREAM, FIN) while the peer's
    /// may go on.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        match self {
            Self::H2(stream) => {
                stream.end();
                Poll::Ready(Ok(()))
            }
            Self::Io(stream) => stream.poll_end(cx),
        }
    }

    /// Lets go of the stream; what is left to do happens without the caller. A
    /// writer that waits is woken.
    pub(crate) fn finish(self, finish: Finish) {
        match self {
            Self::H2(stream) => stream.finish(finish),
            Self::Io(stream) => stream.finish(finish),
        }
    }
}
