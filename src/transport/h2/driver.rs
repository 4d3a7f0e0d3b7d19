//! The driver: the one task that moves an HTTP/2 connection.
//!
//! In a turn it hands to `h2` what the WebSockets have written, lets `h2` read
//! and write, and delivers what was received. Before a turn it yields once to
//! the runtime, so that all tasks that are ready write first: what would have
//! been one system call and one DATA frame per message becomes few of both
//! (docs/performance.md has the measurements).

mod upkeep;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use h2::{PingPong, Reason};
use tokio::time::{Instant, Sleep};

use super::coalescing_io::CoalescingIo;
use super::end::{Error, Fault};
use super::flood::Flood;
use super::handle::ConnectionHandle;
use super::handle::stream::{Bounds, Handles, Serviced, Shared};
use super::keep_alive::Liveness;
use super::meter::Meter;
use super::peer_deadlines::PeerDeadlines;
use super::ping::Pings;
use super::read_quota::ReadQuota;
use super::send_quota::SendQuota;
use super::short_frames::ShortFrameBudget;
use crate::transport::StreamError;

use self::upkeep::{Purpose, Timer};

/// The connection in `h2`, client or server.
pub(super) trait Connection {
    /// Reads, dispatches and writes frames. Ready when the connection has
    /// ended.
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>>;

    /// Returns the connection's only handle for PING (RFC 9113 §6.7).
    fn ping_pong(&mut self) -> Option<PingPong>;

    /// Returns whether streams are open or requested.
    fn is_used(&self) -> bool;

    /// Begins to end an unused connection. Returns false, and does nothing, if
    /// it has come into use meanwhile.
    fn retire(&mut self) -> bool;

    /// Sends GOAWAY with this error code, after which the connection ends.
    /// Returns false if `h2` has no way to do so.
    fn go_away(&mut self, _reason: Reason) -> bool {
        false
    }

    /// Services the abandoned requests; `written` is whether everything
    /// requested until now has been written.
    fn look_after_abandoned(&mut self, _: &mut Pings, _: &mut Context<'_>, _written: bool) {}

    /// Returns when to service them again.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Returns how many streams the peer may have open at a time, if this side
    /// limits them.
    fn max_streams(&self) -> u64;
}

pub(super) struct Driver<C> {
    /// `None` only while being dropped.
    connection: Option<C>,
    handle: Arc<ConnectionHandle>,
    /// The handle as a waker, by which `h2` requests turns.
    turn_waker: Waker,
    wire: CoalescingIo,
    /// Streams that have to be serviced.
    listed: Vec<Arc<Shared>>,
    /// Streams that have data to send and were not given the chance.
    unfed: Vec<Arc<Shared>>,
    /// Streams that have much to send and wait for the quota, in order.
    queue: VecDeque<Arc<Shared>>,
    quota: SendQuota,
    /// Handles of finished streams, kept until `h2` has written what they
    /// queued.
    finished: Vec<Handles>,
    timers: BinaryHeap<Reverse<Timer>>,
    sleep: Option<Pin<Box<Sleep>>>,
    read_quota: ReadQuota,
    budget: ShortFrameBudget,
    pings: Pings,
    liveness: Liveness,
    meter: Option<Meter>,
    /// The timer has expired, so something may be due.
    timer_expired: bool,
    /// The idle connection has begun to end.
    retiring: bool,
    /// Has already yielded before this turn.
    yielded: bool,
    /// Readers woken since the streams were last given the chance to send.
    woken_readers: usize,
    flood: Flood,
    deadlines: PeerDeadlines,
    /// The fault of the peer for which GOAWAY was sent.
    given_up: Option<Fault>,
}

impl<C: Connection> Driver<C> {
    /// `handshake` is the time limit for what [`PeerDeadlines`] watches.
    pub(super) fn new(
        mut connection: C,
        handle: Arc<ConnectionHandle>,
        wire: CoalescingIo,
        liveness: Liveness,
        handshake: Duration,
    ) -> Self {
        let pings = Pings::new(connection.ping_pong());
        let flood = Flood::new(connection.max_streams(), Instant::now());
        Self {
            connection: Some(connection),
            meter: Meter::new(&handle),
            turn_waker: Waker::from(handle.clone()),
            handle,
            wire,
            listed: Vec::new(),
            unfed: Vec::new(),
            queue: VecDeque::new(),
            quota: SendQuota::default(),
            finished: Vec::new(),
            timers: BinaryHeap::new(),
            sleep: None,
            read_quota: ReadQuota::new(),
            budget: ShortFrameBudget::new(),
            pings,
            liveness,
            timer_expired: false,
            retiring: false,
            yielded: false,
            woken_readers: 0,
            flood,
            deadlines: PeerDeadlines::new(handshake),
            given_up: None,
        }
    }

    pub(super) fn connection_mut(&mut self) -> Option<&mut C> {
        self.connection.as_mut()
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.handle.take(&mut self.listed);
        if self.yields(cx) {
            return Poll::Pending;
        }
        self.wire.begin_turn(&mut self.read_quota);
        self.expire();
        if self.wire.is_blocked() {
            let _ = self.wire.poll_flush_now(cx)?;
        }
        let writing = !self.wire.is_blocked();
        self.service(writing);
        let connection = self.connection.as_mut().ok_or(Error::Ended)?;
        self.handle.clear_request();
        let mut turn_waker = Context::from_waker(&self.turn_waker);
        if let Poll::Ready(result) = connection.poll_connection(&mut turn_waker) {
            return Poll::Ready(match (result, self.given_up) {
                (Ok(()), Some(fault)) => Err(Error::Peer(fault)),
                (result, _) => result.map_err(|error| self.ended(error)),
            });
        }
        if writing {
            // Written by now, or lost with the connection.
            self.finished.clear();
        }
        let (received, sent) = self.wire.counts();
        let dry = !self.wire.is_blocked();
        let behind = self.wire.turn_is_used_up();
        self.quota.update(&received, &sent, dry, behind);
        self.budget.learn(&received, &sent);
        // Delivers what was read. What the WebSockets write meanwhile, on
        // another core, is for the next turn.
        self.handle.take(&mut self.listed);
        self.service(false);
        self.enforce_memory_limits();
        if let (Some(took), Some(meter)) = (self.pings.poll(cx), &self.meter) {
            meter.round_trip(took);
        }
        if self.handle.unresponsive.take_ping() {
            let now = Instant::now();
            self.pings.request(cx, now);
            self.liveness.ping_sent(now, &self.wire.counts().0);
        }
        if self.budget.poll(&mut self.pings, cx) {
            cx.waker().wake_by_ref();
        }
        let written = writing && !self.wire.is_blocked();
        if written {
            self.handle.written();
        }
        if let Some(connection) = &mut self.connection {
            connection.look_after_abandoned(&mut self.pings, cx, written);
        }
        let _ = self.wire.poll_flush_now(cx)?;
        self.check_peer(&received, &sent, cx)?;
        if std::mem::take(&mut self.timer_expired) {
            self.check_life(cx)?;
        }
        self.set_timer(cx);
        let unfed = !self.unfed.is_empty() && !self.budget.is_holding();
        // After the last flush `h2` may be able to write more.
        let queue = self.serves_queue() || (!dry && !self.queue.is_empty());
        let more = unfed || queue || !self.finished.is_empty();
        if self.wire.turn_is_used_up() || (more && !self.wire.is_blocked()) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn ended(&self, error: h2::Error) -> Error {
        if error.is_go_away() {
            // The error can only be inspected by consuming it or by its text.
            let reason = error.reason().map_or(0, u32::from);
            self.handle.ends_by(StreamError::GoAway {
                code: reason,
                by_peer: error.is_remote(),
                text: error.to_string().into(),
            });
        }
        Error::H2(error)
    }

    /// Yields once to the runtime if tasks may be about to write, so that their
    /// messages are sent together. Once all readers that were woken last have
    /// replied, none is: a single request and its reply are not delayed.
    fn yields(&mut self, cx: &mut Context<'_>) -> bool {
        let queue = if self.serves_queue() {
            self.queue.len()
        } else {
            0
        };
        let writers = self.listed.len() + self.unfed.len() + queue;
        let all_answered = self.woken_readers > 0 && writers >= self.woken_readers;
        if writers == 0 || all_answered || self.yielded {
            self.yielded = false;
            return false;
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        true
    }

    /// Returns whether a queued stream may send.
    fn serves_queue(&self) -> bool {
        !self.queue.is_empty() && self.quota.has_room()
    }

    /// Services the listed streams. If `feed`, also those that have unsent data
    /// and the queued streams whose turn it is, and all of them may send.
    fn service(&mut self, feed: bool) {
        if feed {
            self.woken_readers = 0;
            self.listed.append(&mut self.unfed);
            // Each at most once, even if it sends little.
            for _ in 0..self.queue.len() {
                if !self.quota.has_room() {
                    break;
                }
                if let Some(stream) = self.queue.pop_front() {
                    stream.dequeue();
                    self.quota.queues(self.queue.len());
                    self.service_one(stream, feed);
                }
            }
        }
        let mut listed = std::mem::take(&mut self.listed);
        for stream in listed.drain(..) {
            self.service_one(stream, feed);
        }
        self.listed = listed;
    }

    fn service_one(&mut self, stream: Arc<Shared>, feed: bool) {
        let bounds = feed.then_some(Bounds {
            budget: &mut self.budget,
            quota: &mut self.quota,
        });
        let Serviced {
            over,
            unfed,
            queues,
            woke_reader,
            until,
        } = stream.service(bounds);
        if woke_reader {
            self.woken_readers += 1;
            let first = stream.mark(self.read_quota.round());
            self.read_quota.woke_reader(first);
        }
        self.finished.extend(over);
        if let Some(at) = until {
            self.timers.push(Reverse(Timer {
                at,
                stream: stream.clone(),
                purpose: Purpose::Finish,
            }));
        }
        if unfed {
            self.unfed.push(stream);
        } else if queues && stream.enqueue() {
            self.enqueue(stream);
        }
    }

    fn enqueue(&mut self, stream: Arc<Shared>) {
        if self.queue.len() == self.queue.capacity() {
            // Streams that ended while queued do not take up capacity.
            self.queue.retain(|stream| stream.is_open());
            self.queue.reserve(self.queue.len().max(16));
        }
        self.queue.push_back(stream);
        self.quota.queues(self.queue.len());
    }
}

impl<C: Connection + Unpin> Future for Driver<C> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let driver = &mut *self;
        driver.handle.enter(cx.waker());
        let result = driver.turn(cx);
        if let (Poll::Ready(result), Some(meter)) = (&result, &mut driver.meter) {
            meter.ends(result.as_ref().copied());
        }
        if let Poll::Ready(Err(error)) = &result
            && let Some(io) = error.io()
        {
            // `h2` does not report the error to a task that waits for SETTINGS.
            let io = std::io::Error::new(io.kind(), io.to_string());
            driver.handle.ends_by(StreamError::Io(Arc::new(io)));
        }
        if driver.handle.leave() && result.is_pending() {
            cx.waker().wake_by_ref();
        }
        result
    }
}

/// However the driver ends, no stream keeps waiting for it.
impl<C> Drop for Driver<C> {
    fn drop(&mut self) {
        // The connection first: `h2` then reports to every stream why.
        self.connection = None;
        // WebSockets that are still held share the counts of the I/O object,
        // not the object itself.
        self.wire.hang_up();
        self.handle.take(&mut self.listed);
        let mut streams = std::mem::take(&mut self.listed);
        streams.append(&mut self.unfed);
        streams.extend(self.queue.drain(..));
        for stream in &streams {
            stream.service(None);
        }
        streams.extend(self.handle.close());
        streams.extend(self.timers.drain().map(|Reverse(timer)| timer.stream));
        for stream in streams {
            stream.fail(&StreamError::Closed);
        }
        if let Some(meter) = self.meter.take() {
            let (received, sent) = self.wire.counts();
            meter.close(&received, &sent);
        }
    }
}
