//! The application's half of a stream.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::{RecvStream, SendStream};

use super::send_buf::SendBuf;
use super::state::{EAGER, End, Handles, State};
use super::waiters::Waiters;
use super::{ConnectionHandle, Shared, WOKEN};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU32};
use crate::transport::buffer::{Incoming, Outgoing};
use crate::transport::h2::recv_memory::{self, Counted, Share};
use crate::transport::{Finish, StreamError, Transport};

/// If at least this many bytes are handed over at a time, as many are expected
/// again and allocated at once. The encoder itself allocates for less.
const BURST: u32 = 128;

const KIB: usize = 1024;

/// Extra room after a burst, in bytes: the encoder reserves the longest header.
const SLACK: usize = 16;

/// The application's half of a stream.
pub(crate) struct H2Stream {
    pub(super) shared: Arc<Shared>,
    id: u32,
    /// KiB held for incomplete messages, as last reported to the connection.
    held: u32,
    unsent: Unsent,
}

/// What the application has written and not handed over yet. However many
/// messages there are, they are handed over under one lock.
#[derive(Default)]
struct Unsent {
    own: Outgoing,
    /// Length of the shared buffer when it was last read; it has only shrunk
    /// since.
    behind: u32,
    /// Number of collected bytes that were handed over last, up to [`EAGER`].
    burst: u32,
}

impl Unsent {
    /// Returns an upper bound of the bytes between the application and `h2`.
    fn len(&self) -> usize {
        (self.behind as usize).saturating_add(self.own.len())
    }

    /// Returns the buffer to write to. The next burst is expected to be like
    /// the last, because a buffer that grows is copied again and again.
    #[inline]
    fn buffer(&mut self) -> &mut Outgoing {
        if self.burst >= BURST && self.own.is_empty() {
            self.own.expect(self.burst as usize + SLACK);
        }
        &mut self.own
    }

    fn behind(&mut self, len: usize) {
        self.behind = len.try_into().unwrap_or(u32::MAX);
    }

    /// Moves the bytes to the shared buffer. Returns whether the driver has to
    /// be notified.
    fn hand_over(&mut self, state: &mut State) -> bool {
        if self.own.is_empty() {
            return false;
        }
        if state.handles.is_none() || state.end != End::Open {
            // `poll_room` reports the error; nothing may pile up meanwhile.
            self.own.clear();
            self.behind = u32::MAX;
            return false;
        }
        self.burst = self.own.gathered().min(EAGER) as u32;
        state.outgoing.append_all(&mut self.own);
        self.behind(state.outgoing.len());
        true
    }
}

impl H2Stream {
    pub(in crate::transport::h2) fn new(
        handle: Arc<ConnectionHandle>,
        send: SendStream<SendBuf>,
        recv: impl Into<Option<RecvStream>>,
    ) -> Self {
        let recv = recv.into();
        let id = send.stream_id().as_u32();
        let shared = Arc::new_cyclic(|shared| Shared {
            key: handle.opened(shared.clone()),
            handle,
            // The first service registers with `h2`.
            flags: AtomicU8::new(WOKEN),
            queued: AtomicU32::new(0),
            counted: Counted::default(),
            more: AtomicBool::new(false),
            queues: AtomicBool::new(false),
            round: AtomicU8::new(u8::MAX),
            state: Mutex::new(State {
                handles: Some(Handles { send, recv }),
                incoming: Incoming::default(),
                share: Share::default(),
                outgoing: Outgoing::default(),
                ending: None,
                unreleased: 0,
                end: End::Open,
                reader_wants_room: false,
                waiters: Waiters::default(),
            }),
        });
        shared.list();
        Self {
            shared,
            id,
            unsent: Unsent::default(),
            held: 0,
        }
    }

    /// Adds the receiving direction, once the peer has responded to the
    /// request.
    pub(in crate::transport::h2) fn answered(&self, recv: RecvStream) {
        if let Some(handles) = &mut self.shared.lock().handles {
            handles.recv = Some(recv);
        }
        self.shared.list_with(WOKEN);
    }

    /// Releases the stream without ending it, for a response whose body is read
    /// elsewhere. Unsent bytes are discarded.
    pub(in crate::transport::h2) fn disown(self) {
        let mut state = self.shared.lock();
        let handles = state.handles.take();
        state.outgoing.clear();
        drop(state);
        if handles.is_some() {
            self.shared.handle.closed(self.shared.key);
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        Transport::Http2 {
            connection: self.shared.handle.id(),
            stream: self.id,
        }
    }

    pub(crate) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        let mut state = self.shared.lock();
        if let Some(chunk) = state.incoming.pop() {
            state.unreleased += chunk.len() as u32;
            state.share.taken(chunk.len());
            if self.shared.counted.get() > 0 {
                state.settle(&self.shared);
            }
            let release = state.handles.is_some()
                && state.received_end().is_none()
                && state.unreleased as usize >= self.shared.handle.release_step;
            drop(state);
            if release {
                self.shared.list();
            }
            return Poll::Ready(Ok(Some(chunk)));
        }
        if state.is_overloaded() {
            return Poll::Ready(Err(StreamError::Overloaded));
        }
        match state.received_end() {
            Some(Ok(())) => return Poll::Ready(Ok(None)),
            Some(Err(error)) => return Poll::Ready(Err(error.clone())),
            None => {}
        }
        let waited = state.waiters.reader_waits(cx);
        let written = self.unsent.hand_over(&mut state);
        drop(state);
        drop(waited);
        if written {
            self.shared.list();
        }
        Poll::Pending
    }

    pub(crate) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        let mut state = self.shared.lock();
        if state.is_overloaded() {
            return Poll::Ready(StreamError::Overloaded);
        }
        if let Some(error) = state.broken() {
            return Poll::Ready(error.clone());
        }
        let waited = state.waiters.reader_waits(cx);
        drop(state);
        drop(waited);
        Poll::Pending
    }

    /// Reports how many bytes are held for incomplete messages, both received
    /// and to be sent.
    pub(crate) fn hold(&mut self, bytes: usize) {
        if !recv_memory::is_notable(self.held as usize * KIB, bytes) {
            return;
        }
        self.held = bytes.div_ceil(KIB).try_into().unwrap_or(u32::MAX);
        let mut state = self.shared.lock();
        state.share.parts(bytes);
        state.settle(&self.shared);
        drop(state);
        if self.shared.handle.held.is_too_much() {
            self.shared.handle.request_turn();
        }
    }

    /// Returns the bytes that the stream counts for, to within 16 KiB.
    pub(crate) fn counted(&self) -> usize {
        self.shared.counted.get() as usize
    }

    /// Counts bytes here that are held elsewhere for this stream: what is held
    /// for the sake of one peer is limited by that peer's connection. Used
    /// instead of [`hold`](Self::hold).
    pub(crate) fn held_elsewhere(&mut self, bytes: usize) {
        if !recv_memory::is_notable(self.held as usize * KIB, bytes) {
            return;
        }
        self.held = bytes.div_ceil(KIB).try_into().unwrap_or(u32::MAX);
        let mut state = self.shared.lock();
        state.share.elsewhere(&self.shared.handle.held, bytes);
        drop(state);
        if self.shared.handle.held.is_too_much() {
            self.shared.handle.request_turn();
        }
    }

    pub(crate) fn wake_reader(&self) {
        self.shared.wake_reader();
    }

    pub(crate) fn reader_leaves(&mut self) -> Option<Waker> {
        self.shared.lock().waiters.reader_leaves()
    }

    pub(crate) fn writer_leaves(&mut self) -> Option<Waker> {
        self.shared.lock().waiters.writer_leaves()
    }

    /// Returns whether the connection asks its WebSockets to close.
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.handle.is_draining()
    }

    #[inline]
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if self.unsent.len() < self.shared.handle.write_buffer {
            return Poll::Ready(Ok(()));
        }
        self.wait_for_room(cx)
    }

    #[inline(never)]
    fn wait_for_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.flush();
        let mut state = self.shared.lock();
        if state.is_overloaded() {
            return Poll::Ready(Err(StreamError::Overloaded));
        }
        if state.handles.is_none() || state.end != End::Open {
            return Poll::Ready(Err(match state.broken() {
                Some(error) => error.clone(),
                None => StreamError::Closed,
            }));
        }
        self.unsent.behind(state.outgoing.len());
        if state.outgoing.len() < self.shared.handle.write_buffer {
            return Poll::Ready(Ok(()));
        }
        let waited = state.waiters.writer_waits(cx);
        drop(state);
        drop(waited);
        Poll::Pending
    }

    pub(crate) fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        if self.unsent.len() < self.shared.handle.write_buffer {
            return true;
        }
        let mut state = self.shared.lock();
        let room = state.outgoing.len() + self.unsent.own.len() < self.shared.handle.write_buffer;
        if !room {
            state.reader_wants_room = true;
            let waited = state.waiters.reader_waits(cx);
            drop(state);
            drop(waited);
        }
        room
    }

    #[inline]
    pub(crate) fn write<R>(&mut self, append: impl FnOnce(&mut Outgoing) -> R) -> R {
        let result = append(self.unsent.buffer());
        if self.unsent.own.len() >= EAGER {
            self.flush();
        }
        result
    }

    pub(crate) fn flush(&mut self) {
        if !self.unsent.own.is_empty() && self.unsent.hand_over(&mut self.shared.lock()) {
            self.shared.list();
        }
    }

    pub(crate) fn end(&mut self) {
        let mut state = self.shared.lock();
        self.unsent.hand_over(&mut state);
        if state.end == End::Open {
            state.end = End::Wanted;
            drop(state);
            self.shared.list();
        }
    }

    pub(crate) fn finish(mut self, finish: Finish) {
        self.let_go(finish);
    }

    fn let_go(&mut self, finish: Finish) {
        let mut state = self.shared.lock();
        self.unsent.hand_over(&mut state);
        let waiters = std::mem::take(&mut state.waiters);
        if state.finish().is_none() && state.handles.is_some() {
            state.ending().finish = Some(finish);
            // Unread bytes are returned to the peer's window: the stream may
            // live on
            // until its time runs out.
            state.drop_incoming();
            // Unsent bytes count until they are sent.
            state.share.parts(0);
            state.share.elsewhere(&self.shared.handle.held, 0);
            state.settle(&self.shared);
            drop(state);
            self.shared.list();
        } else {
            drop(state);
        }
        waiters.wake_writer();
    }
}

/// Dropped without [`finish`](H2Stream::finish), the stream is reset, so that
/// the peer stops sending.
impl Drop for H2Stream {
    fn drop(&mut self) {
        self.let_go(Finish::Cancel);
    }
}

impl fmt::Debug for H2Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("H2Stream")
            .field("connection", &self.shared.handle.id())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
