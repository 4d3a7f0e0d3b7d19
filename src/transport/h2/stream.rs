//! One stream of an HTTP/2 connection: what the application's half and the
//! connection's driver have in common.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};

use super::hub::{Hub, Side};
use crate::transport::buffer::{Incoming, Outgoing};
use crate::transport::{Finish, StreamError, Transport};

/// Bytes asked of the peer's window at a time. More would be taken from the
/// streams beside this one.
const RESERVE: usize = 64 * 1024;

/// A DATA frame shorter than this is not sent while more bytes wait for the
/// peer's window: peers charge short frames against the connection.
const SPLINTER: usize = 256;

/// Bytes after which writes are set on their way without a flush.
const EAGER: usize = 16 * 1024;

/// Both halves of the stream in `h2`.
pub(super) struct Handles {
    send: SendStream<Bytes>,
    recv: RecvStream,
}

pub(super) struct Shared {
    hub: Arc<Hub>,
    /// In the hub's list of all streams.
    key: usize,
    /// In the hub's list already.
    listed: AtomicBool,
    /// `h2` has something to say about this stream.
    woken: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// `None` once the stream is over.
    handles: Option<Handles>,
    incoming: Incoming,
    outgoing: Outgoing,
    /// The peer's end: orderly, or with an error. Bytes that came before it
    /// are read first.
    received_end: Option<Result<(), StreamError>>,
    /// Bytes that the application took and the peer was not told of.
    unreleased: usize,
    end: End,
    finish: Option<Finish>,
    /// Waiting in the driver to be fed to `h2`.
    feeding: bool,
    timed: bool,
    read_waker: Option<Waker>,
    write_waker: Option<Waker>,
    /// The reader, too, waits for room to write.
    reader_wants_room: bool,
}

/// Our END_STREAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Wanted,
    Sent,
}

/// What the driver does with a stream next.
pub(super) enum Next {
    Nothing,
    /// Has something for the peer.
    Feed,
    /// The stream is over. The handles are kept until what they queued is
    /// written: `h2` drops the tail of a stream whose handles are gone.
    Over(Handles),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the driver to look at this stream. Not to be called with the
    /// state locked.
    fn list(self: &Arc<Self>) {
        if !self.listed.swap(true, Ordering::AcqRel) && self.hub.list(self.clone()).is_err() {
            self.fail(&StreamError::Closed);
        }
    }

    pub(super) fn wake_reader(&self) {
        let reader = self.lock().read_waker.take();
        wake(reader);
    }

    /// When the stream must be over once the application has let go of it.
    pub(super) fn grace(&self) -> Option<std::time::Duration> {
        let mut state = self.lock();
        if state.timed || state.handles.is_none() {
            return None;
        }
        match state.finish? {
            Finish::End { grace } | Finish::Await { grace } => {
                state.timed = true;
                Some(grace)
            }
            Finish::Cancel => None,
        }
    }

    /// Takes what `h2` received and hands window back.
    pub(super) fn receive(self: &Arc<Self>) -> Next {
        self.listed.store(false, Ordering::Release);
        let woken = self.woken.swap(false, Ordering::AcqRel);
        let mut reader = None;
        let mut writer = None;
        let mut state = self.lock();
        let s = &mut *state;
        let Some(handles) = &mut s.handles else {
            return Next::Nothing;
        };
        if woken {
            let waker = Waker::from(self.clone());
            let mut cx = Context::from_waker(&waker);
            if s.receive_from(&mut cx, self.hub.release_step) {
                reader = s.read_waker.take();
            }
            if matches!(s.received_end, Some(Err(_))) {
                writer = s.write_waker.take();
                reader = reader.or_else(|| s.read_waker.take());
            }
        } else {
            handles.release(&mut s.unreleased, self.hub.release_step);
        }
        let next = s.next();
        drop(state);
        if let Next::Over(_) = next {
            self.hub.closed(self.key);
        }
        wake(reader);
        wake(writer);
        next
    }

    /// Hands to `h2` what the application wrote, as far as the peer's window
    /// goes, and the end of the stream behind it.
    pub(super) fn feed(self: &Arc<Self>) -> Next {
        let mut state = self.lock();
        let s = &mut *state;
        s.feeding = false;
        if s.handles.is_none() {
            return Next::Nothing;
        }
        let waker = Waker::from(self.clone());
        let fed = s.feed(&mut Context::from_waker(&waker));
        let mut writer = None;
        let mut reader = None;
        if fed.is_err() || s.outgoing.len() < self.hub.write_buffer {
            writer = s.write_waker.take();
            if std::mem::take(&mut s.reader_wants_room) {
                reader = s.read_waker.take();
            }
        }
        if let Err(error) = fed {
            s.outgoing.clear();
            if s.received_end.is_none() {
                s.received_end = Some(Err(error));
            }
            s.end = End::Sent;
        }
        let next = match s.next() {
            // What is left waits for the peer's window; `h2` will say.
            Next::Feed => {
                s.feeding = false;
                Next::Nothing
            }
            next => next,
        };
        drop(state);
        if let Next::Over(_) = next {
            self.hub.closed(self.key);
        }
        wake(writer);
        wake(reader);
        next
    }

    /// The time after [`finish`](H2Stream::finish) is up.
    pub(super) fn expire(&self) {
        let mut state = self.lock();
        if let Some(mut handles) = state.handles.take() {
            handles.send.send_reset(match self.hub.side {
                // Our answer was complete, the peer's leftovers are unwanted
                // (RFC 9113 §8.1).
                Side::Server if state.end == End::Sent => Reason::NO_ERROR,
                _ => Reason::CANCEL,
            });
            drop(state);
            self.hub.closed(self.key);
        }
    }

    /// The connection is gone.
    pub(super) fn fail(&self, error: &StreamError) {
        let mut state = self.lock();
        if let Some(handles) = state.handles.take() {
            state.outgoing.clear();
            if state.received_end.is_none() {
                state.received_end = Some(Err(error.clone()));
            }
            let wakers = (state.read_waker.take(), state.write_waker.take());
            drop(state);
            drop(handles);
            self.hub.closed(self.key);
            wake(wakers.0);
            wake(wakers.1);
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        if !self.listed.swap(true, Ordering::AcqRel) {
            // A driver that is gone has failed all streams that `h2` knew.
            let _ = self.hub.list(self.clone());
        }
    }
}

impl Handles {
    fn release(&mut self, unreleased: &mut usize, step: usize) {
        if *unreleased >= step {
            // Fails only for more than was received.
            let _ = self.recv.flow_control().release_capacity(*unreleased);
            *unreleased = 0;
        }
    }
}

impl State {
    /// Returns whether there is something new for a reader.
    fn receive_from(&mut self, cx: &mut Context<'_>, step: usize) -> bool {
        let Some(handles) = &mut self.handles else {
            return false;
        };
        let mut news = false;
        while self.received_end.is_none() {
            match handles.recv.poll_data(cx) {
                Poll::Ready(Some(Ok(chunk))) if self.finish.is_some() => {
                    self.unreleased += chunk.len();
                }
                Poll::Ready(Some(Ok(chunk))) => {
                    self.incoming.push(chunk);
                    news = true;
                }
                Poll::Ready(Some(Err(error))) => {
                    self.received_end = Some(Err(error.into()));
                    news = true;
                }
                Poll::Ready(None) => {
                    self.received_end = Some(Ok(()));
                    news = true;
                }
                Poll::Pending => break,
            }
        }
        handles.release(&mut self.unreleased, step);
        if matches!(self.received_end, Some(Ok(()))) && self.end != End::Sent {
            // Reading is over, so only this tells of a reset.
            if let Poll::Ready(reset) = handles.send.poll_reset(cx) {
                let reset = reset.map_or_else(StreamError::from, |reason| StreamError::Reset {
                    code: reason.into(),
                    by_peer: true,
                });
                self.received_end = Some(Err(reset));
                news = true;
            }
        }
        news
    }

    fn feed(&mut self, cx: &mut Context<'_>) -> Result<(), StreamError> {
        let Some(handles) = &mut self.handles else {
            return Ok(());
        };
        while !self.outgoing.is_empty() {
            let want = self.outgoing.len().min(RESERVE);
            handles.send.reserve_capacity(want);
            // Edge-triggered: asked until there is enough or it is pending.
            while handles.send.capacity() < want.min(SPLINTER) {
                match handles.send.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(error))) => return Err(error.into()),
                    Poll::Ready(None) => return Err(StreamError::Closed),
                    Poll::Pending => return Ok(()),
                }
            }
            let piece = self.outgoing.take(handles.send.capacity());
            handles.send.send_data(piece, false)?;
        }
        if self.end == End::Wanted {
            handles.send.send_data(Bytes::new(), true)?;
            self.end = End::Sent;
        }
        Ok(())
    }

    fn next(&mut self) -> Next {
        let Some(handles) = &mut self.handles else {
            return Next::Nothing;
        };
        if matches!(self.received_end, Some(Err(_))) {
            self.outgoing.clear();
            return self.over();
        }
        let ended = self.received_end.is_some();
        match self.finish {
            Some(Finish::Cancel) => {
                if !(ended && self.end == End::Sent) {
                    handles.send.send_reset(Reason::CANCEL);
                }
                return self.over();
            }
            Some(Finish::End { .. }) if self.end == End::Open => self.end = End::Wanted,
            Some(Finish::Await { .. }) if self.end == End::Open && ended => self.end = End::Wanted,
            _ => {}
        }
        if ended && self.end == End::Sent {
            return self.over();
        }
        if !self.feeding && (!self.outgoing.is_empty() || self.end == End::Wanted) {
            self.feeding = true;
            return Next::Feed;
        }
        Next::Nothing
    }

    fn over(&mut self) -> Next {
        match self.handles.take() {
            Some(handles) => Next::Over(handles),
            None => Next::Nothing,
        }
    }
}

/// The application's half.
pub(crate) struct H2Stream {
    shared: Arc<Shared>,
    id: u32,
    /// Written to since it was last listed.
    dirty: bool,
}

impl H2Stream {
    pub(super) fn new(hub: Arc<Hub>, send: SendStream<Bytes>, recv: RecvStream) -> Self {
        let id = send.stream_id().as_u32();
        let shared = Arc::new_cyclic(|shared| Shared {
            key: hub.opened(shared.clone()),
            hub,
            listed: AtomicBool::new(false),
            // The driver's first look registers with `h2`.
            woken: AtomicBool::new(true),
            state: Mutex::new(State {
                handles: Some(Handles { send, recv }),
                incoming: Incoming::default(),
                outgoing: Outgoing::default(),
                received_end: None,
                unreleased: 0,
                end: End::Open,
                finish: None,
                feeding: false,
                timed: false,
                read_waker: None,
                write_waker: None,
                reader_wants_room: false,
            }),
        });
        shared.list();
        Self {
            shared,
            id,
            dirty: false,
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        Transport::Http2 {
            connection: self.shared.hub.id.get(),
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
            let release = state.handles.is_some()
                && state.received_end.is_none()
                && state.unreleased >= self.shared.hub.release_step;
            drop(state);
            if release {
                self.shared.list();
            }
            return Poll::Ready(Ok(Some(chunk)));
        }
        match &state.received_end {
            Some(Ok(())) => return Poll::Ready(Ok(None)),
            Some(Err(error)) => return Poll::Ready(Err(error.clone())),
            None => {}
        }
        register(&mut state.read_waker, cx);
        drop(state);
        self.flush();
        Poll::Pending
    }

    /// Whether the connection asks its sockets to close.
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.hub.is_draining()
    }

    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let mut state = self.shared.lock();
        if state.handles.is_none() || state.end != End::Open {
            return Poll::Ready(Err(match &state.received_end {
                Some(Err(error)) => error.clone(),
                _ => StreamError::Closed,
            }));
        }
        if state.outgoing.len() < self.shared.hub.write_buffer {
            return Poll::Ready(Ok(()));
        }
        register(&mut state.write_waker, cx);
        drop(state);
        self.flush();
        Poll::Pending
    }

    pub(crate) fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        let mut state = self.shared.lock();
        let room = state.outgoing.len() < self.shared.hub.write_buffer;
        if !room {
            state.reader_wants_room = true;
            register(&mut state.read_waker, cx);
        }
        room
    }

    pub(crate) fn write<R>(&mut self, append: impl FnOnce(&mut Outgoing) -> R) -> R {
        let mut state = self.shared.lock();
        let result = append(&mut state.outgoing);
        if state.handles.is_none() || state.end != End::Open {
            // `poll_room` reports it; nothing may pile up meanwhile.
            state.outgoing.clear();
            return result;
        }
        let eager = state.outgoing.len() >= EAGER;
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
        state.read_waker = None;
        state.write_waker = None;
        if state.finish.is_some() || state.handles.is_none() {
            return;
        }
        state.finish = Some(finish);
        // Unread bytes go back to the peer's window: the stream may live on
        // for as long as its grace.
        while let Some(chunk) = state.incoming.pop() {
            state.unreleased += chunk.len();
        }
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

fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

impl fmt::Debug for H2Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("H2Stream")
            .field("connection", &self.shared.hub.id)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl From<h2::Error> for StreamError {
    fn from(error: h2::Error) -> Self {
        let by_peer = error.is_remote();
        let code = error.reason().map(u32::from);
        match code {
            Some(code) if error.is_reset() => Self::Reset { code, by_peer },
            Some(code) if error.is_go_away() => Self::GoAway {
                code,
                by_peer,
                text: error.to_string().into(),
            },
            _ => match error.into_io() {
                Some(error) => Self::Io(Arc::new(error)),
                None => Self::Closed,
            },
        }
    }
}
