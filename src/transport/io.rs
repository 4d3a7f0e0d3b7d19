//! A byte stream on a dedicated I/O object.

mod shared;

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::time::timeout;

pub(crate) use self::shared::IoHandle;
use self::shared::Shared;
use super::{BoxIo, Finish, GrowingRead, Outgoing, StreamError, Transport};
use crate::sync::AtomicWaker;
use crate::sync::atomic::Ordering;

/// Largest read size, in bytes.
const LONGEST: u32 = 128 * 1024;

pub(crate) struct IoStream {
    transport: Transport,
    incoming: VecDeque<Bytes>,
    read: GrowingRead,
    /// The last read found nothing, so the I/O object calls the waker when there is something.
    waits: bool,
    outgoing: Outgoing,
    /// Whether the I/O object may still hold bytes of ours. TLS does when the
    /// kernel takes no more, and only a flush sends them.
    unflushed: bool,
    write_buffer: usize,
    error: Option<StreamError>,
    /// Whether a read was attempted once more after a write error.
    looked_again: bool,
    ended: bool,
    shared: Arc<Shared>,
    /// Dropped with the stream, such as a slot in a count of connections.
    guard: Option<Box<dyn Send + Sync>>,
}

impl IoStream {
    /// Creates a stream on `io`. `early` holds bytes that were already read
    /// from it.
    pub(crate) fn new(io: BoxIo, early: Bytes, transport: Transport, write_buffer: usize) -> Self {
        Self {
            transport,
            incoming: Some(early).into_iter().filter(|b| !b.is_empty()).collect(),
            read: GrowingRead::new(LONGEST),
            waits: false,
            outgoing: Outgoing::default(),
            unflushed: false,
            write_buffer: write_buffer.max(1),
            error: None,
            looked_again: false,
            ended: false,
            shared: Arc::new(Shared::new(io)),
            guard: None,
        }
    }

    /// Keeps `guard` alive as long as the stream, and returns a handle to the
    /// stream.
    pub(crate) fn guarded_by(&mut self, guard: impl Send + Sync + 'static) -> IoHandle {
        self.guard = Some(Box::new(guard));
        IoHandle::of(&self.shared)
    }

    pub(crate) fn wake_reader(&self) {
        self.shared.read.wake();
    }

    pub(crate) fn reader_leaves(&mut self) -> Option<Waker> {
        self.shared.read.take()
    }

    pub(crate) fn writer_leaves(&mut self) -> Option<Waker> {
        self.shared.write.take()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.shared.is_asked_to_close()
    }

    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    pub(crate) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        if let Some(chunk) = self.incoming.pop_front() {
            return Poll::Ready(Ok(Some(chunk)));
        }
        self.poll_as(|shared| &shared.read, cx, Self::poll_read)
    }

    /// Polls the I/O object for one direction. Its waker is kept only while it
    /// has to wait, since a waker keeps its task's memory alive. If the stream
    /// breaks, the other direction is woken too.
    fn poll_as<T>(
        &mut self,
        side: fn(&Shared) -> &AtomicWaker,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        side(&self.shared).register(cx.waker());
        let waker = Waker::from(self.shared.clone());
        let was_intact = self.error.is_none();
        let polled = poll(self, &mut Context::from_waker(&waker));
        let broke = was_intact && self.error.is_some();
        if polled.is_ready() || broke {
            drop(side(&self.shared).take());
        }
        if broke {
            self.shared.wake_by_ref();
            if polled.is_pending() {
                side(&self.shared).register(cx.waker());
            }
        }
        polled
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
        self.check_command()?;
        if self.error.is_none() && (self.unflushed || !self.outgoing.is_empty()) {
            // While no task writes, the reader has to send what is buffered.
            // The error, if any, is kept in `self.error`.
            let _ = self.poll_flush_out(cx);
        }
        // A splice looks at both sides whichever has news.
        let is_woken = self.shared.woken.swap(false, Ordering::SeqCst);
        if self.waits && !is_woken && self.error.is_none() {
            return Poll::Pending;
        }
        let read = self.shared.poll_io(|io| self.read.poll(io, cx));
        self.waits = read.is_pending();
        let chunk = match (read, &self.error) {
            (Poll::Ready(Ok(chunk)), _) if !chunk.is_empty() => chunk,
            // Data that the peer sent before the failure, such as a Close
            // frame, is more useful than the write error, and the runtime may
            // not know of it yet.
            (Poll::Pending, Some(_)) if !self.looked_again => {
                self.looked_again = true;
                // Wakes this task after the runtime has polled the system.
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                return Poll::Pending;
            }
            // After a write error even a reset reads as an orderly end.
            (_, Some(error)) => return Poll::Ready(Err(error.clone())),
            (Poll::Ready(Ok(_)), None) => return Poll::Ready(Ok(None)),
            (Poll::Ready(Err(error)), None) => return Poll::Ready(Err(self.fail(error))),
            (Poll::Pending, None) => return Poll::Pending,
        };
        Poll::Ready(Ok(Some(chunk)))
    }

    pub(crate) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        self.shared.read.register(cx.waker());
        match self.check() {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        }
    }

    pub(crate) fn counted(&self) -> usize {
        self.outgoing.held()
    }

    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.check()?;
        if self.ended {
            return Poll::Ready(Err(StreamError::Closed));
        }
        if self.outgoing.len() >= self.write_buffer {
            ready!(self.poll_as(|shared| &shared.write, cx, Self::poll_write_out))?;
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        if self.outgoing.len() >= self.write_buffer {
            self.shared.read.register(cx.waker());
            let waker = Waker::from(self.shared.clone());
            // The next read or write reports an error.
            let _ = self.poll_write_out(&mut Context::from_waker(&waker));
        }
        self.outgoing.len() < self.write_buffer
    }

    pub(crate) fn write<R>(&mut self, append: impl FnOnce(&mut Outgoing) -> R) -> R {
        let result = append(&mut self.outgoing);
        if self.ended || self.error.is_some() {
            self.outgoing.clear();
        }
        result
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.check()?;
        self.poll_as(|shared| &shared.write, cx, Self::poll_flush_out)
    }

    /// The reader's waker stays registered: the caller may also be waiting for
    /// a chunk.
    pub(crate) fn flush_as_reader(&mut self, cx: &mut Context<'_>) {
        if self.check().is_ok() {
            self.shared.read.register(cx.waker());
            let waker = Waker::from(self.shared.clone());
            let flushed = self.poll_flush_out(&mut Context::from_waker(&waker));
            if matches!(flushed, Poll::Ready(Err(_))) {
                self.shared.write.wake();
            }
        }
    }

    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.check()?;
        self.poll_as(|shared| &shared.write, cx, Self::poll_end_out)
    }

    fn poll_end_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        ready!(self.poll_write_out(cx))?;
        self.ended = true;
        let ended = ready!(self.shared.poll_io(|io| io.poll_shutdown(cx)));
        Poll::Ready(ended.map_err(|error| self.fail(error)))
    }

    /// A connection that is dropped with unread bytes is reset, and the peer
    /// may lose what was sent last. So a task of its own keeps reading for a
    /// while, from the start: a peer that reads only once it has sent a message
    /// would otherwise wait for this side, and this side for it.
    pub(crate) fn finish(mut self, finish: Finish) {
        drop(self.shared.read.take());
        // The writer may be another task, which has to notice the end.
        self.shared.write.wake();
        let (linger, peer_first) = match finish {
            // Nothing but an orderly end lets the last bytes arrive.
            Finish::End(linger) | Finish::Reset(linger) => (linger, false),
            Finish::Await { linger, .. } => (linger, true),
            Finish::Cancel => return,
        };
        // First as far as possible without waiting: if the runtime is gone, no
        // task can wait.
        let now = &mut Context::from_waker(Waker::noop());
        let mut left = match self.poll_out(peer_first, now) {
            Poll::Ready(Err(_)) => return,
            Poll::Ready(Ok(())) => true,
            Poll::Pending => false,
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            if !left {
                let out = poll_fn(|cx| {
                    // An error breaks the writing side, too.
                    let _ = self.poll_discard(cx);
                    self.poll_out(peer_first, cx)
                });
                left = matches!(timeout(linger.unsent, out).await, Ok(Ok(())));
            }
            if !left {
                return;
            }
            let _ = timeout(linger.peer, poll_fn(|cx| self.poll_discard(cx))).await;
            if peer_first {
                let _ = timeout(linger.peer, poll_fn(|cx| self.poll_end(cx))).await;
            }
        });
    }

    /// Discards what the peer sends, until it ends its side.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        while ready!(self.poll_chunk(cx))?.is_some() {
            ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is queued, then ends our side unless the peer is to end
    /// first.
    fn poll_out(
        &mut self,
        peer_first: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), StreamError>> {
        if peer_first {
            self.poll_flush(cx)
        } else {
            self.poll_end(cx)
        }
    }

    fn poll_flush_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        ready!(self.poll_write_out(cx))?;
        let flushed = ready!(self.shared.poll_io(|io| io.poll_flush(cx)));
        flushed.map_err(|error| self.fail(error))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        while !self.outgoing.is_empty() {
            let chunks = self.outgoing.chunks();
            let written = self.shared.poll_io(|io| match &chunks {
                [chunk, more] if more.is_empty() => io.poll_write(cx, chunk),
                chunks => io.poll_write_vectored(cx, chunks),
            });
            match ready!(written) {
                Ok(0) => return Poll::Ready(Err(self.fail(io::ErrorKind::WriteZero.into()))),
                Ok(n) => {
                    self.outgoing.advance(n);
                    self.unflushed = true;
                }
                Err(error) => return Poll::Ready(Err(self.fail(error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn check(&self) -> Result<(), StreamError> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None => self.check_command(),
        }
    }

    fn check_command(&self) -> Result<(), StreamError> {
        if self.shared.is_stopped() {
            return Err(StreamError::Closed);
        }
        Ok(())
    }

    fn fail(&mut self, error: io::Error) -> StreamError {
        let error = StreamError::Io(Arc::new(error));
        self.error = Some(error.clone());
        self.outgoing.clear();
        self.unflushed = false;
        error
    }
}

/// The I/O object holds wakers that refer back to it. Without this, a stream
/// that is dropped while a task waits on it would keep its connection open
/// forever.
impl Drop for IoStream {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl fmt::Debug for IoStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoStream")
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, BufWriter};

    use super::*;

    /// A waker that records whether it was called.
    #[derive(Default)]
    struct WakeFlag(AtomicBool);

    impl Wake for WakeFlag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn reading_flushes_what_the_io_object_holds() {
        let (near, mut far) = tokio::io::duplex(1024);
        // Buffers until it is flushed, as TLS does.
        let io = Box::new(BufWriter::new(near));
        let mut stream = IoStream::new(io, Bytes::new(), Transport::Http1 { connection: 1 }, 1024);
        stream.write(|out| out.buffer().extend_from_slice(b"fed"));
        let chunk = poll_fn(|cx| Poll::Ready(stream.poll_chunk(cx))).await;
        assert!(chunk.is_pending(), "{chunk:?} from a silent peer");
        let mut seen = [0; 3];
        let read = far.read_exact(&mut seen).now_or_never();
        assert!(read.is_some_and(|read| read.is_ok()));
        assert_eq!(&seen, b"fed");
    }

    #[tokio::test]
    async fn a_write_error_wakes_the_reader() {
        let transport = Transport::Http1 { connection: 1 };
        let (silent, _peer) = tokio::io::duplex(1);
        let (broken, _) = tokio::io::duplex(1);
        let io = Box::new(tokio::io::join(silent, broken));
        let mut stream = IoStream::new(io, Bytes::new(), transport, 1024);
        let woken = Arc::new(WakeFlag::default());
        let reader = Waker::from(woken.clone());
        assert!(
            stream
                .poll_chunk(&mut Context::from_waker(&reader))
                .is_pending()
        );
        stream.write(|out| out.buffer().extend_from_slice(b"lost"));
        let writer = &mut Context::from_waker(Waker::noop());
        assert!(matches!(stream.poll_flush(writer), Poll::Ready(Err(_))));
        assert!(woken.0.load(Ordering::SeqCst), "the reader was not woken");
        let read = poll_fn(|cx| stream.poll_chunk(cx)).await;
        assert!(matches!(read, Err(StreamError::Io(_))), "{read:?}");
    }
}
