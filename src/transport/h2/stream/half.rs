//! The application's half of a stream.

use std::fmt;
#[cfg(feature = "client")]
use std::sync::atomic::Ordering;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{RecvStream, SendStream};

use super::{EAGER, End, Handles, Hub, Piece, Share, Shared, State, Waiter};
use crate::transport::buffer::{Incoming, Outgoing};
use crate::transport::h2::memory;
use crate::transport::{Finish, StreamError, Transport};

/// The application's half.
pub(crate) struct H2Stream {
    shared: Arc<Shared>,
    id: u32,
    /// Written to since it was last listed.
    dirty: bool,
    /// Length of the outgoing buffer when it was last written to: it has only
    /// shrunk since.
    buffered: usize,
    /// Bytes of a message that is not complete, as far as the connection knows.
    held: usize,
}

impl H2Stream {
    pub(in crate::transport::h2) fn new(
        hub: Arc<Hub>,
        send: SendStream<Piece>,
        recv: impl Into<Option<RecvStream>>,
    ) -> Self {
        let recv = recv.into();
        let id = send.stream_id().as_u32();
        let shared = Arc::new_cyclic(|shared| Shared {
            key: hub.opened(shared.clone()),
            hub,
            listed: AtomicBool::new(false),
            // The driver's first look registers with `h2`.
            woken: AtomicBool::new(true),
            queued: AtomicUsize::new(0),
            more: AtomicBool::new(false),
            state: Mutex::new(State {
                handles: Some(Handles { send, recv }),
                incoming: Incoming::default(),
                share: Share::default(),
                overloaded: false,
                outgoing: Outgoing::default(),
                received_end: None,
                ended_alone: false,
                unreleased: 0,
                end: End::Open,
                finish: None,
                timed: false,
                reader_wants_room: false,
                reader: Waiter::default(),
                writer: Waiter::default(),
            }),
        });
        shared.list();
        Self {
            shared,
            id,
            dirty: false,
            buffered: 0,
            held: 0,
        }
    }

    /// The peer has answered the request of a stream that was made without.
    #[cfg(feature = "client")]
    pub(in crate::transport::h2) fn answered(&self, recv: RecvStream) {
        if let Some(handles) = &mut self.shared.lock().handles {
            handles.recv = Some(recv);
        }
        self.shared.woken.store(true, Ordering::Release);
        self.shared.list();
    }

    /// Leaves the stream to whoever reads the rest of it, with what was
    /// written unsent.
    #[cfg(feature = "client")]
    pub(in crate::transport::h2) fn disown(self) {
        let mut state = self.shared.lock();
        let handles = state.handles.take();
        state.outgoing.clear();
        drop(state);
        if handles.is_some() {
            self.shared.hub.closed(self.shared.key);
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        Transport::Http2 {
            connection: self.shared.hub.id(),
            stream: self.id,
        }
    }

    pub(crate) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        let mut state = self.shared.lock();
        if let Some(chunk) = state.incoming.pop() {
            state.unreleased += chunk.len();
            state.share.taken(chunk.len());
            state.share.settle(&self.shared.hub.held);
            let release = state.handles.is_some()
                && state.received_end.is_none()
                && state.unreleased >= self.shared.hub.release_step;
            drop(state);
            if release {
                self.shared.list();
            }
            return Poll::Ready(Ok(Some(chunk)));
        }
        if state.overloaded {
            return Poll::Ready(Err(StreamError::Overloaded));
        }
        match &state.received_end {
            Some(Ok(())) => return Poll::Ready(Ok(None)),
            Some(Err(error)) => return Poll::Ready(Err(error.clone())),
            None => {}
        }
        state.reader.register(cx);
        drop(state);
        self.flush();
        Poll::Pending
    }

    /// Tells how many bytes of what was read are kept for a message that is not
    /// complete.
    pub(crate) fn hold(&mut self, bytes: usize) {
        if !memory::is_notable(self.held, bytes) {
            return;
        }
        self.held = bytes;
        let mut state = self.shared.lock();
        state.share.assembled(bytes);
        state.share.settle(&self.shared.hub.held);
        drop(state);
        if self.shared.hub.held.is_over() {
            self.shared.hub.wake_driver();
        }
    }

    pub(crate) fn wake_reader(&self) {
        self.shared.wake_reader();
    }

    /// Whether the connection asks its sockets to close.
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.hub.is_draining()
    }

    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if self.buffered < self.shared.hub.write_buffer {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.shared.lock();
        if state.overloaded {
            return Poll::Ready(Err(StreamError::Overloaded));
        }
        if state.handles.is_none() || state.end != End::Open {
            return Poll::Ready(Err(match &state.received_end {
                Some(Err(error)) => error.clone(),
                _ => StreamError::Closed,
            }));
        }
        self.buffered = state.outgoing.len();
        if self.buffered < self.shared.hub.write_buffer {
            return Poll::Ready(Ok(()));
        }
        state.writer.register(cx);
        drop(state);
        self.flush();
        Poll::Pending
    }

    pub(crate) fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        let mut state = self.shared.lock();
        let room = state.outgoing.len() < self.shared.hub.write_buffer;
        if !room {
            state.reader_wants_room = true;
            state.reader.register(cx);
        }
        room
    }

    pub(crate) fn write<R>(&mut self, append: impl FnOnce(&mut Outgoing) -> R) -> R {
        let mut state = self.shared.lock();
        let result = append(&mut state.outgoing);
        if state.handles.is_none() || state.end != End::Open {
            // `poll_room` looks and reports it; nothing may pile up meanwhile.
            state.outgoing.clear();
            self.buffered = usize::MAX;
            return result;
        }
        self.buffered = state.outgoing.len();
        let eager = self.buffered >= EAGER;
        drop(state);
        self.dirty = true;
        if eager {
            self.flush();
        }
        result
    }

    pub(crate) fn flush(&mut self) {
        if self.dirty {
            self.dirty = false;
            self.shared.list();
        }
    }

    pub(crate) fn end(&mut self) {
        let mut state = self.shared.lock();
        if state.end == End::Open {
            state.end = End::Wanted;
            drop(state);
            self.dirty = false;
            self.shared.list();
        }
    }

    pub(crate) fn finish(self, finish: Finish) {
        self.let_go(finish);
    }

    fn let_go(&self, finish: Finish) {
        let mut state = self.shared.lock();
        state.reader = Waiter::default();
        state.writer = Waiter::default();
        if state.finish.is_some() || state.handles.is_none() {
            return;
        }
        state.finish = Some(finish);
        // Unread bytes go back to the peer's window: the stream may live on
        // for as long as its grace.
        state.drop_incoming();
        state.share.except(&self.shared.hub.held);
        drop(state);
        self.shared.list();
    }
}

/// Dropped without [`finish`](H2Stream::finish): the peer is told that nobody
/// is here any more.
impl Drop for H2Stream {
    fn drop(&mut self) {
        self.let_go(Finish::Cancel);
    }
}

impl fmt::Debug for H2Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("H2Stream")
            .field("connection", &self.shared.hub.id())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
