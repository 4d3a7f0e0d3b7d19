//! One stream of an HTTP/2 connection: what the application's [`app_half`] and the
//! connection's driver have in common, and the driver's side of it.

mod app_half;
mod waiters;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use h2::{Reason, RecvStream, SendStream};
use tokio::time::Instant;

use super::handle::{ConnectionHandle, Side};
use super::recv_memory::{STEP, Share};
use super::send_buf::SendBuf;
use super::send_quota::SendQuota;
use super::short_frames::ShortFrameBudget;
use crate::clock::later;
use crate::transport::buffer::{Incoming, Outgoing};
use crate::transport::{Finish, StreamError};

pub(crate) use self::app_half::H2Stream;
use self::waiters::Waiters;

/// Bytes of one stream in the hands of `h2`, at most. More would not leave
/// sooner, and what is still here can be packed.
const QUEUED: u32 = 128 * 1024;

/// Bytes of one piece: what other streams wait for at most, on top of a frame.
const PIECE: usize = 64 * 1024;

/// Bytes after which writes are set on their way without a flush.
const EAGER: usize = 16 * 1024;

/// In the handle's list of those that have something to do.
const LISTED: u8 = 1;

/// `h2` has received something, or has something to say.
const WOKEN: u8 = 2;

/// Both halves of the stream in `h2`.
pub(super) struct Handles {
    send: SendStream<SendBuf>,
    /// `None` until the peer has answered.
    recv: Option<RecvStream>,
}

pub(super) struct Shared {
    handle: Arc<ConnectionHandle>,
    /// In the handle's list of all streams.
    key: u32,
    /// [`LISTED`] and [`WOKEN`]: in one place, for who sets the second one and
    /// finds the first one set relies on the look that takes both.
    flags: AtomicU8,
    /// Bytes of memory in the hands of `h2`: of less than [`QUEUED`] and a
    /// [`PIECE`].
    queued: AtomicU32,
    /// What the stream counts for at present, to be read without the lock.
    counted: AtomicU32,
    /// There is more to send once `h2` has sent what it has.
    more: AtomicBool,
    /// In the driver's queue of those that have much to send. The driver's own.
    queues: AtomicBool,
    /// The [`ReadQuota`](super::read_quota::ReadQuota)'s round that it counted in.
    round: AtomicU8,
    state: Mutex<State>,
}

/// What there is once for each socket, so what it can do without for most of
/// its life is not in it.
struct State {
    /// `None` once the stream is over.
    handles: Option<Handles>,
    incoming: Incoming,
    share: Share,
    outgoing: Outgoing,
    /// Present from the first sign of an end on.
    ending: Option<Box<Ending>>,
    /// Bytes that the application took and the peer was not told of: a window
    /// at most.
    unreleased: u32,
    end: End,
    /// The reader, too, waits for room to write.
    reader_wants_room: bool,
    waiters: Waiters,
}

/// How a stream ends, as far as that is known.
#[derive(Default)]
struct Ending {
    /// The peer's end: orderly, or with an error. Bytes that came before it
    /// are read first.
    received: Option<Result<(), StreamError>>,
    /// The peer's END_STREAM came in a frame of its own.
    alone: bool,
    /// A reset behind the peer's END_STREAM. It takes nothing from what was
    /// received, which is complete, but there is nobody to write to.
    broken: Option<StreamError>,
    /// Picked out because the connection's streams hold too much.
    overloaded: bool,
    finish: Option<Finish>,
    /// What was queued when the stream was let go has left.
    left: bool,
    /// When a stream that was let go must be over.
    until: Option<Instant>,
}

/// Our END_STREAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Wanted,
    Sent,
}

/// What bounds what `h2` is given.
pub(super) struct Bounds<'a> {
    pub(super) budget: &'a mut ShortFrameBudget,
    pub(super) quota: &'a mut SendQuota,
}

/// What came of feeding `h2`.
#[derive(PartialEq, Eq)]
enum Fed {
    /// It has all that it should have now.
    Enough,
    /// The budget held something back.
    Held,
    /// The quota held something back.
    Queues,
}

/// What came of a look at a stream.
#[derive(Default)]
pub(super) struct Serviced {
    /// The stream is over. The handles are kept until what they queued is
    /// written: `h2` drops the tail of a stream whose handles are gone.
    pub(super) over: Option<Handles>,
    /// Was not fed, and has something for the peer.
    pub(super) hungry: bool,
    /// Has much for the peer, and waits for its turn.
    pub(super) queues: bool,
    /// A reader was woken, who may well answer.
    pub(super) woke_reader: bool,
    /// The stream must be over at this time, as far as is known now.
    pub(super) until: Option<Instant>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the driver to look at this stream. Not to be called with the
    /// state locked.
    fn list(self: &Arc<Self>) {
        self.list_with(0);
    }

    fn list_with(self: &Arc<Self>, flags: u8) {
        if self.set(LISTED | flags) && self.handle.list(self.clone()).is_err() {
            self.fail(&StreamError::Closed);
        }
    }

    /// Returns whether the stream was not listed.
    fn set(&self, flags: u8) -> bool {
        self.flags.fetch_or(flags, Ordering::AcqRel) & LISTED == 0
    }

    /// As [`list`](Self::list), from inside `h2`, whose locks are held. A
    /// driver that is gone has failed all streams that `h2` knew.
    fn list_from_h2(self: Arc<Self>, flags: u8) {
        if self.set(LISTED | flags) {
            let handle = self.handle.clone();
            let _ = handle.list(self);
        }
    }

    /// `h2` is done with a piece.
    pub(super) fn piece_left(self: Arc<Self>, held: usize) {
        // With `more` set and then this looked at, in `has_left` and where a
        // stream is fed: one of the two sees the other.
        let queued = self.queued.fetch_sub(held as u32, Ordering::SeqCst) as usize;
        // What counted as held counts no more.
        let settles = queued >= STEP && queued - held < STEP;
        if settles || self.more.load(Ordering::SeqCst) {
            self.list_from_h2(0);
        }
    }

    /// Whether `h2` has nothing of this stream's left; if not, it is listed
    /// when that is so.
    fn has_left(&self) -> bool {
        self.more.store(true, Ordering::SeqCst);
        self.queued.load(Ordering::SeqCst) == 0
    }

    /// Returns whether the stream was not marked with this round before.
    pub(super) fn mark(&self, round: u8) -> bool {
        self.round.swap(round, Ordering::Relaxed) != round
    }

    pub(super) fn wake_reader(&self) {
        let mut woken = Waiters::default();
        self.lock().waiters.take_reader(&mut woken);
        woken.wake();
    }

    /// Notes that it is in the driver's queue. Returns whether it was not.
    pub(super) fn enqueue(&self) -> bool {
        !self.queues.swap(true, Ordering::Relaxed)
    }

    /// Notes that it has left the driver's queue.
    pub(super) fn dequeue(&self) {
        self.queues.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().handles.is_some()
    }

    /// The driver's look at a stream: takes what `h2` received, hands window
    /// back, and, given the `bounds` to do so within, gives it what the
    /// application wrote.
    pub(super) fn service(self: &Arc<Self>, bounds: Option<Bounds<'_>>) -> Serviced {
        let news = self.flags.swap(0, Ordering::AcqRel) & WOKEN != 0;
        let mut serviced = Serviced::default();
        let mut woken = Waiters::default();
        let mut state = self.lock();
        let s = &mut *state;
        if s.handles.is_none() {
            return serviced;
        }
        if news {
            let waker = Waker::from(self.clone());
            let readable = s.receive(&mut Context::from_waker(&waker), &self.handle);
            serviced.woke_reader = readable && s.waiters.take_reader(&mut woken);
        }
        s.release(self.handle.release_step);
        s.decide_end();
        if s.wants_to_send() {
            let fed = bounds.map_or(Fed::Held, |bounds| s.feed(self, bounds, &mut woken));
            serviced.hungry = fed == Fed::Held;
            serviced.queues = fed == Fed::Queues;
        }
        s.settle(self);
        if s.broken().is_some() {
            s.waiters.take_both(&mut woken);
        }
        let over = s.is_over(self);
        if over {
            s.outgoing.clear();
            s.share.except(&self.handle.held);
            serviced.over = s.handles.take();
            serviced.hungry = false;
            serviced.queues = false;
        } else {
            serviced.until = s.linger(self);
        }
        drop(state);
        if over {
            self.handle.closed(self.key);
        }
        woken.wake();
        serviced
    }

    /// Bytes that it holds, as far as they are counted.
    pub(super) fn held(&self) -> usize {
        self.lock().share.with_elsewhere()
    }

    /// Drops what was received, now and from here on. The reader is told, and
    /// closes; the writer is not held up by it. Where it holds unsent bytes, too,
    /// the peer would not take a Close frame either: the stream is reset.
    pub(super) fn overload(&self) {
        let mut state = self.lock();
        state.ending().overloaded = true;
        state.share.except(&self.handle.held);
        state.drop_incoming();
        let waiters = std::mem::take(&mut state.waiters);
        let unread = if state.unsent(self) >= STEP {
            state.outgoing.clear();
            state.handles.take()
        } else {
            None
        };
        drop(state);
        if let Some(mut handles) = unread {
            handles.send.send_reset(Reason::ENHANCE_YOUR_CALM);
            self.handle.closed(self.key);
        }
        waiters.wake();
    }

    /// Nobody closed an overloaded stream.
    pub(super) fn expire_overloaded(&self) {
        let mut state = self.lock();
        if state.finish().is_none()
            && let Some(mut handles) = state.handles.take()
        {
            drop(state);
            handles.send.send_reset(Reason::ENHANCE_YOUR_CALM);
            self.handle.closed(self.key);
        }
    }

    /// A time after [`finish`](H2Stream::finish) is up.
    pub(super) fn expire(&self, now: Instant) {
        let mut state = self.lock();
        let until = state.ending.as_ref().and_then(|ending| ending.until);
        if until.is_some_and(|until| until <= now)
            && let Some(mut handles) = state.handles.take()
        {
            state.outgoing.clear();
            state.share.except(&self.handle.held);
            let reason = match self.handle.side {
                // Our answer was complete, the peer's leftovers are unwanted
                // (RFC 9113 §8.1).
                Side::Server if state.end == End::Sent && self.has_left() => Reason::NO_ERROR,
                _ => Reason::CANCEL,
            };
            drop(state);
            handles.send.send_reset(reason);
            self.handle.closed(self.key);
        }
    }

    /// The connection is gone.
    pub(super) fn fail(&self, error: &StreamError) {
        let mut state = self.lock();
        if let Some(handles) = state.handles.take() {
            state.outgoing.clear();
            state.share.except(&self.handle.held);
            state.received(Err(self.handle.why(error.clone())));
            let waiters = std::mem::take(&mut state.waiters);
            drop(state);
            drop(handles);
            self.handle.closed(self.key);
            waiters.wake();
        }
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.list_from_h2(WOKEN);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.clone().wake();
    }
}

impl State {
    fn ending(&mut self) -> &mut Ending {
        self.ending.get_or_insert_default()
    }

    fn received_end(&self) -> Option<&Result<(), StreamError>> {
        self.ending.as_ref()?.received.as_ref()
    }

    /// Keeps how the peer ended, unless that is known.
    fn received(&mut self, end: Result<(), StreamError>) {
        self.ending().received.get_or_insert(end);
    }

    /// Why nothing that is written arrives any more.
    fn broken(&self) -> Option<&StreamError> {
        let ending = self.ending.as_ref()?;
        match (&ending.broken, &ending.received) {
            (Some(error), _) | (None, Some(Err(error))) => Some(error),
            _ => None,
        }
    }

    /// Bytes of memory for what waits for the peer, in the hands of `h2` as well.
    fn unsent(&self, stream: &Shared) -> usize {
        self.outgoing.held() + stream.queued.load(Ordering::Relaxed) as usize
    }

    /// Brings what the stream counts for up to date.
    fn settle(&mut self, stream: &Shared) {
        let more = self.unsent(stream) + self.incoming.spare();
        if self.share.settle(&stream.handle.held, more) {
            let counted = self.share.counted();
            stream.counted.store(counted, Ordering::Relaxed);
        }
    }

    fn is_overloaded(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.overloaded)
    }

    fn finish(&self) -> Option<Finish> {
        self.ending.as_ref()?.finish
    }

    /// Takes what `h2` has. Returns whether there is something new to read.
    fn receive(&mut self, cx: &mut Context<'_>, handle: &ConnectionHandle) -> bool {
        let Some(Handles {
            send,
            recv: Some(recv),
        }) = &mut self.handles
        else {
            return false;
        };
        let ending = &mut self.ending;
        let mut news = false;
        while !has_ended(ending) {
            match recv.poll_data(cx) {
                Poll::Ready(Some(Ok(chunk))) if chunk.is_empty() => {
                    // Only END_STREAM comes in a frame without bytes.
                    ending.get_or_insert_default().alone = true;
                    continue;
                }
                Poll::Ready(Some(Ok(chunk))) if ending.as_ref().is_some_and(|e| e.is_deaf()) => {
                    self.unreleased += chunk.len() as u32;
                    continue;
                }
                Poll::Ready(Some(Ok(chunk))) => {
                    self.share.received(chunk.len());
                    self.incoming.push(chunk);
                }
                Poll::Ready(Some(Err(error))) => {
                    let error = handle.why(error.into());
                    ending.get_or_insert_default().received = Some(Err(error));
                }
                // Trailers have no place in a tunnel (RFC 9113 §8.5), so they
                // are no orderly end of it.
                Poll::Ready(None) => {
                    let end = match recv.poll_trailers(cx) {
                        Poll::Pending | Poll::Ready(Ok(None)) => Ok(()),
                        Poll::Ready(Ok(Some(_))) => {
                            send.send_reset(Reason::PROTOCOL_ERROR);
                            Err(StreamError::Reset {
                                code: Reason::PROTOCOL_ERROR.into(),
                                by_peer: false,
                            })
                        }
                        Poll::Ready(Err(error)) => Err(handle.why(error.into())),
                    };
                    ending.get_or_insert_default().received = Some(end);
                }
                Poll::Pending => break,
            }
            news = true;
        }
        if let Some(ending) = ending
            && matches!(ending.received, Some(Ok(())))
            && ending.broken.is_none()
            && self.end != End::Sent
        {
            // Reading is over, so only this tells of a reset.
            if let Poll::Ready(reset) = send.poll_reset(cx) {
                let reset = reset.map_or_else(StreamError::from, |reason| StreamError::Reset {
                    code: reason.into(),
                    by_peer: true,
                });
                ending.broken = Some(reset);
                news = true;
            }
        }
        news
    }

    /// Drops what nobody will read; the peer gets its window back.
    fn drop_incoming(&mut self) {
        while let Some(chunk) = self.incoming.pop() {
            self.share.taken(chunk.len());
            self.unreleased += chunk.len() as u32;
        }
    }

    fn release(&mut self, step: usize) {
        let unreleased = self.unreleased as usize;
        if unreleased >= step
            && let Some(Handles {
                recv: Some(recv), ..
            }) = &mut self.handles
        {
            // Fails only for more than was received.
            let _ = recv.flow_control().release_capacity(unreleased);
            self.unreleased = 0;
        }
    }

    /// Whether the finish that was asked for has come to our END_STREAM.
    fn decide_end(&mut self) {
        let Some(ending) = &self.ending else {
            return;
        };
        match ending.finish {
            Some(Finish::End(_)) if self.end == End::Open => self.end = End::Wanted,
            Some(Finish::Await { end: true, .. })
                if self.end == End::Open && ending.received.is_some() && ending.alone =>
            {
                self.end = End::Wanted;
            }
            _ => {}
        }
    }

    fn wants_to_send(&self) -> bool {
        !self.outgoing.is_empty() || self.end == End::Wanted
    }

    /// Gives `h2` what there is to send, as long as it has little of it: what
    /// waits here is packed.
    ///
    /// `h2` is not asked for capacity. It holds what the peer's window does
    /// not take yet, and the pieces tell when they have left.
    fn feed(&mut self, stream: &Arc<Shared>, bounds: Bounds<'_>, woken: &mut Waiters) -> Fed {
        let fed = self.try_feed(stream, bounds).unwrap_or_else(|error| {
            self.outgoing.clear();
            self.end = End::Sent;
            self.received(Err(error));
            Fed::Enough
        });
        if self.outgoing.len() < stream.handle.write_buffer {
            self.waiters.take_writer(woken);
            if std::mem::take(&mut self.reader_wants_room) {
                self.waiters.take_reader(woken);
            }
        }
        fed
    }

    fn try_feed(&mut self, stream: &Arc<Shared>, bounds: Bounds<'_>) -> Result<Fed, StreamError> {
        let Bounds { budget, quota } = bounds;
        let Some(handles) = &mut self.handles else {
            return Ok(Fed::Enough);
        };
        stream.more.store(false, Ordering::Release);
        let mut portion = quota.portion(self.outgoing.len());
        while !self.outgoing.is_empty() {
            let queued = stream.queued.load(Ordering::Acquire);
            let fits = queued == 0 || (self.outgoing.len() >= EAGER && queued < QUEUED);
            if !fits {
                stream.more.store(true, Ordering::SeqCst);
                if stream.queued.load(Ordering::SeqCst) == queued {
                    return Ok(Fed::Enough);
                }
                // It left between the two looks, and may not have seen us.
                continue;
            }
            if portion == 0 {
                return Ok(Fed::Queues);
            }
            let most = portion.min(PIECE);
            if !budget.spend(self.outgoing.chunk().len().min(most)) {
                return Ok(Fed::Held);
            }
            let payload = self.outgoing.take(most);
            portion -= payload.len();
            quota.hand(payload.len());
            stream
                .queued
                .fetch_add(payload.held() as u32, Ordering::AcqRel);
            let piece = SendBuf::new(payload, stream.clone());
            handles.send.send_data(piece, false)?;
        }
        if self.end == End::Wanted {
            handles.send.send_data(SendBuf::empty(), true)?;
            self.end = End::Sent;
        }
        Ok(Fed::Enough)
    }

    /// When a stream that was let go must be over: returned where it begins to
    /// wait for what is queued to leave, and for the peer's end then.
    fn linger(&mut self, stream: &Shared) -> Option<Instant> {
        let ending = self.ending.as_mut()?;
        let (Finish::End(linger) | Finish::Await { linger, .. }) = ending.finish? else {
            return None;
        };
        if ending.left {
            return None;
        }
        let wants_to_send = !self.outgoing.is_empty() || self.end == End::Wanted;
        ending.left = !wants_to_send && stream.has_left();
        let time = match (ending.left, ending.until) {
            (true, _) => linger.peer,
            (false, None) => linger.unsent,
            (false, Some(_)) => return None,
        };
        ending.until = Some(later(Instant::now(), time));
        ending.until
    }

    fn is_over(&mut self, stream: &Shared) -> bool {
        if self.broken().is_some() {
            return true;
        }
        let Some(ending) = &self.ending else {
            return false;
        };
        let Some(handles) = &mut self.handles else {
            return false;
        };
        let peer_ended = ending.received.is_some();
        let cancel = match ending.finish {
            Some(Finish::Cancel) => true,
            // What was written last, the answer to a Close frame, has to leave
            // first: a reset drops what is queued.
            Some(Finish::Await { .. }) if peer_ended && self.end == End::Open => {
                self.outgoing.is_empty() && stream.has_left()
            }
            _ => false,
        };
        // Not before the peer took what we said last: where it never does, the
        // time that it has is over some day.
        let ended = peer_ended && self.end == End::Sent && stream.has_left();
        if cancel && !ended {
            handles.send.send_reset(Reason::CANCEL);
        }
        cancel || ended
    }
}

impl Ending {
    /// Nobody reads any more.
    fn is_deaf(&self) -> bool {
        self.finish.is_some() || self.overloaded
    }
}

fn has_ended(ending: &Option<Box<Ending>>) -> bool {
    ending
        .as_ref()
        .is_some_and(|ending| ending.received.is_some())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_small() {
        let size = size_of::<Shared>();
        assert!(size <= 216, "{size} bytes, once per socket");
    }
}
