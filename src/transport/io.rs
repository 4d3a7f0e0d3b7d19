//! A byte stream on an I/O object of its own.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker, ready};

use atomic_waker::AtomicWaker;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::{BoxIo, Finish, Outgoing, StreamError, Transport};

/// Bytes that are read at a time, at first. They come by way of the stack: most
/// reads of a socket find a short message, or nothing, and a chunk is kept for
/// as long as a message that lies in it.
const SHORT: usize = 4 * 1024;

/// Bytes that are read at a time, at most.
const LONGEST: usize = 128 * 1024;

pub(crate) struct IoStream {
    transport: Transport,
    incoming: VecDeque<Bytes>,
    read_size: usize,
    outgoing: Outgoing,
    /// Whether the I/O object may hold bytes of ours: TLS does where the kernel
    /// takes no more, and only a flush brings them out.
    unflushed: bool,
    write_buffer: usize,
    error: Option<StreamError>,
    /// Looked once more for what may be read behind an error of writing.
    looked_again: bool,
    ended: bool,
    shared: Arc<Shared>,
    /// Dropped with the stream: what counts it.
    guard: Option<Box<dyn Send + Sync>>,
}

/// What an application's stream has in common with its [`IoHandle`].
///
/// An I/O object keeps one waker a direction, but here either of two tasks
/// may move either direction: a reader answers pings. It is given a waker
/// that wakes both.
struct Shared {
    read: AtomicWaker,
    write: AtomicWaker,
    order: AtomicU8,
    /// `None` once it is [stopped](IoHandle::stop): an application that does
    /// not touch its stream would keep the connection open for ever.
    io: Mutex<Option<BoxIo>>,
}

/// What is asked of a stream from outside, in `Shared::order`.
const GO_ON: u8 = 0;
const CLOSE: u8 = 1;
const STOP: u8 = 2;

/// Reaches a stream that an application owns.
pub(crate) struct IoHandle(Weak<Shared>);

impl IoHandle {
    /// Asks the socket to close.
    pub(crate) fn drain(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.order(CLOSE);
        }
    }

    /// Ends the stream and closes what it runs on, whether or not somebody
    /// looks. Returns whether it was still there.
    pub(crate) fn stop(&self) -> bool {
        let Some(shared) = self.0.upgrade() else {
            return false;
        };
        drop(shared.io().take());
        shared.order(STOP);
        true
    }
}

impl Shared {
    fn new(io: BoxIo) -> Self {
        Self {
            read: AtomicWaker::new(),
            write: AtomicWaker::new(),
            order: AtomicU8::new(GO_ON),
            io: Mutex::new(Some(io)),
        }
    }

    /// Locked by the application's tasks for one poll, and once by `stop`.
    fn io(&self) -> MutexGuard<'_, Option<BoxIo>> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_io<T>(
        &self,
        poll: impl FnOnce(Pin<&mut BoxIo>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut *self.io() {
            Some(io) => poll(Pin::new(io)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Reads up to [`SHORT`] bytes; none at the orderly end.
    fn poll_short(&self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut space = [MaybeUninit::uninit(); SHORT];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(self.poll_io(|io| io.poll_read(cx, &mut buffer)))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
    }

    /// Reads up to `size` bytes, without a copy.
    fn poll_long(&self, cx: &mut Context<'_>, size: usize) -> Poll<io::Result<Bytes>> {
        let mut buffer = BytesMut::with_capacity(size);
        ready!(self.poll_io(|mut io| pin!(io.read_buf(&mut buffer)).poll(cx)))?;
        Poll::Ready(Ok(buffer.freeze()))
    }

    fn order(self: &Arc<Self>, order: u8) {
        self.order.store(order, Ordering::SeqCst);
        self.wake_by_ref();
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.read.wake();
        self.write.wake();
    }
}

impl IoStream {
    /// `early`: bytes that were read from `io` already.
    pub(crate) fn new(io: BoxIo, early: Bytes, transport: Transport, write_buffer: usize) -> Self {
        Self {
            transport,
            incoming: Some(early).into_iter().filter(|b| !b.is_empty()).collect(),
            read_size: SHORT,
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

    /// Keeps `guard` for as long as the stream lasts.
    pub(crate) fn guarded_by(&mut self, guard: impl Send + Sync + 'static) -> IoHandle {
        self.guard = Some(Box::new(guard));
        IoHandle(Arc::downgrade(&self.shared))
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
        self.shared.order.load(Ordering::SeqCst) != GO_ON
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

    /// Polls the I/O object for one side, whose waker is kept only where it has
    /// to wait: with it the memory of its task would be kept. What breaks is
    /// told to who waits for the other side, too.
    fn poll_as<T>(
        &mut self,
        side: fn(&Shared) -> &AtomicWaker,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        side(&self.shared).register(cx.waker());
        let waker = Waker::from(self.shared.clone());
        let was_sound = self.error.is_none();
        let polled = poll(self, &mut Context::from_waker(&waker));
        let broke = was_sound && self.error.is_some();
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
        self.check_order()?;
        if self.error.is_none() && (self.unflushed || !self.outgoing.is_empty()) {
            // Somebody has to move it while everyone only reads. Its error is
            // kept.
            let _ = self.poll_flush_out(cx);
        }
        let read = if self.read_size == SHORT {
            self.shared.poll_short(cx)
        } else {
            self.shared.poll_long(cx, self.read_size)
        };
        let chunk = match (read, &self.error) {
            (Poll::Ready(Ok(chunk)), _) if !chunk.is_empty() => chunk,
            // What the peer said before it broke says more than the error of
            // writing to it. The runtime may not have heard of it yet.
            (Poll::Pending, Some(_)) if !self.looked_again => {
                self.looked_again = true;
                // Wakes this task when the runtime has asked the system.
                let _ = pin!(tokio::task::yield_now()).poll(cx);
                return Poll::Pending;
            }
            // Behind such an error even a reset reads as an orderly end.
            (_, Some(error)) => return Poll::Ready(Err(error.clone())),
            (Poll::Ready(Ok(_)), None) => return Poll::Ready(Ok(None)),
            (Poll::Ready(Err(error)), None) => return Poll::Ready(Err(self.fail(error))),
            (Poll::Pending, None) => return Poll::Pending,
        };
        let read = chunk.len();
        self.read_size = if read == self.read_size {
            (read * 2).min(LONGEST)
        } else {
            (self.read_size / 2)
                .max(read.next_power_of_two())
                .max(SHORT)
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
            // An error shows up in the next read or write.
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

    /// The reader's waker stays: who flushes may be waiting for a chunk.
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
    /// may lose what was sent last: so it lingers, in a task of its own.
    pub(crate) fn finish(mut self, finish: Finish) {
        drop(self.shared.read.take());
        // May be somebody else's, who has to be told.
        self.shared.write.wake();
        let (linger, peer_first) = match finish {
            Finish::End(linger) => (linger, false),
            Finish::Await { linger, .. } => (linger, true),
            Finish::Cancel => return,
        };
        // Now, as far as that goes without waiting: where the runtime is gone,
        // nobody waits.
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
                let out = poll_fn(|cx| self.poll_out(peer_first, cx));
                left = matches!(timeout(linger.unsent, out).await, Ok(Ok(())));
            }
            if !left {
                return;
            }
            let _ = timeout(linger.peer, async {
                while poll_fn(|cx| self.poll_chunk(cx)).await?.is_some() {}
                Ok::<_, StreamError>(())
            })
            .await;
            if peer_first {
                let _ = timeout(linger.peer, poll_fn(|cx| self.poll_end(cx))).await;
            }
        });
    }

    /// What is queued, and our end behind it unless the peer's is to come
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
            let chunk = self.outgoing.chunk();
            let written = self.shared.poll_io(|io| io.poll_write(cx, chunk));
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
            None => self.check_order(),
        }
    }

    fn check_order(&self) -> Result<(), StreamError> {
        match self.shared.order.load(Ordering::SeqCst) {
            STOP => Err(StreamError::Closed),
            _ => Ok(()),
        }
    }

    fn fail(&mut self, error: io::Error) -> StreamError {
        let error = StreamError::Io(Arc::new(error));
        self.error = Some(error.clone());
        self.outgoing.clear();
        self.unflushed = false;
        error
    }
}

/// The I/O object holds wakers that hold it: without this, a stream that is
/// dropped while somebody waits on it would keep its connection open for ever.
impl Drop for IoStream {
    fn drop(&mut self) {
        drop(self.shared.io().take());
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
    use tokio::io::BufWriter;

    use super::*;

    /// A waker, and whether it was called.
    #[derive(Default)]
    struct Told(AtomicBool);

    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn who_only_reads_flushes_what_the_io_object_holds() {
        let (near, mut far) = tokio::io::duplex(1024);
        // Keeps what is written until it is flushed, as TLS does.
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
    async fn who_reads_is_told_of_what_broke_by_writing() {
        let transport = Transport::Http1 { connection: 1 };
        let (silent, _peer) = tokio::io::duplex(1);
        let (broken, _) = tokio::io::duplex(1);
        let io = Box::new(tokio::io::join(silent, broken));
        let mut stream = IoStream::new(io, Bytes::new(), transport, 1024);
        let told = Arc::new(Told::default());
        let reader = Waker::from(told.clone());
        assert!(
            stream
                .poll_chunk(&mut Context::from_waker(&reader))
                .is_pending()
        );
        stream.write(|out| out.buffer().extend_from_slice(b"lost"));
        let writer = &mut Context::from_waker(Waker::noop());
        assert!(matches!(stream.poll_flush(writer), Poll::Ready(Err(_))));
        assert!(told.0.load(Ordering::SeqCst), "the reader sleeps on");
        let read = poll_fn(|cx| stream.poll_chunk(cx)).await;
        assert!(matches!(read, Err(StreamError::Io(_))), "{read:?}");
    }
}
