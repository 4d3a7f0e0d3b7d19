//! What the application's tasks and the driver of a connection share.
//!
//! A connection's [handle](ConnectionHandle) and its [streams](stream) are one
//! object graph and therefore one folder: the handle lists the streams, each
//! stream refers to its handle, and the buffers that a stream has given to `h2`
//! refer to the stream.

mod slots;
pub(super) mod stream;
mod unresponsive;

use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::task::{Wake, Waker};

use slab::Slab;
use tokio::sync::Notify;

use super::Http2Config;
use super::coalescing_io::CoalescingIo;
use super::header_list::{self, TooLarge};
use super::recv_memory::{Held, Holder};
use crate::metrics::Observed;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use crate::sync::{AtomicWaker, Mutex, MutexGuard};
use crate::transport::{ConnectionStats, StreamError};

pub(crate) use self::slots::Slot;
use self::slots::Slots;
use self::stream::Shared;
use self::unresponsive::Unresponsive;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// The state that all streams of a connection share with its driver.
///
/// Application tasks never touch `h2`. They leave bytes in their own stream and
/// list it here; the driver, the only user of the lock inside `h2`, takes them
/// from there. Received bytes go the other way.
pub(crate) struct ConnectionHandle {
    ready: Mutex<Ready>,
    driver: AtomicWaker,
    /// The driver is in a turn and will check the list before it sleeps.
    driving: AtomicBool,
    /// `h2`, the I/O object or a WebSocket has requested a turn.
    turn_requested: AtomicBool,
    opened: AtomicU64,
    pub(super) observed: Observed,
    pub(super) side: Side,
    /// Bytes of receive window that are returned at a time.
    pub(super) release_step: usize,
    /// Memory that the streams hold.
    pub(super) held: Held,
    /// Largest header list that this side accepts, in bytes.
    pub(super) max_header_list: u32,
    /// Bytes that a stream's outgoing buffer may hold before writers wait.
    pub(super) write_buffer: usize,
    /// All streams, so that a drain also reaches those without traffic.
    streams: Mutex<Slab<Weak<Shared>>>,
    draining: AtomicBool,
    /// Streams that count against the peer's limit: requested or open.
    pub(super) slots: Slots,
    pub(super) unresponsive: Unresponsive,
    ended: Notify,
    /// Notified when everything that `h2` may send has been written.
    written: Notify,
    wire: CoalescingIo,
    /// Why the connection ended, as far as the driver knows.
    ending: OnceLock<StreamError>,
}

#[derive(Default)]
struct Ready {
    streams: Vec<Arc<Shared>>,
    closed: bool,
}

/// The error of an operation that needs the driver, which has ended.
pub(super) struct DriverGone;

impl ConnectionHandle {
    pub(super) fn new(
        observed: Observed,
        side: Side,
        wire: CoalescingIo,
        config: &Http2Config,
    ) -> Self {
        Self {
            ready: Mutex::default(),
            driver: AtomicWaker::new(),
            driving: AtomicBool::new(false),
            turn_requested: AtomicBool::new(false),
            opened: AtomicU64::new(0),
            observed,
            side,
            release_step: config.release_step(config.max_concurrent_streams),
            held: Held::new(config.connection_buffer, config.process_buffer.clone()),
            max_header_list: config.max_header_list_size,
            // A stream does not count beyond this, so it means no limit.
            write_buffer: config.write_buffer.min(u32::MAX as usize),
            streams: Mutex::default(),
            draining: AtomicBool::new(false),
            slots: Slots::default(),
            unresponsive: Unresponsive::default(),
            ended: Notify::new(),
            written: Notify::new(),
            wire,
            ending: OnceLock::new(),
        }
    }

    pub(super) fn ends_by(&self, error: StreamError) {
        let _ = self.ending.set(error);
    }

    /// Returns the cause of a stream's error. `h2` reports to the streams only
    /// that the connection broke, and to the driver alone that the peer's
    /// GOAWAY gave a reason.
    pub(super) fn why(&self, error: StreamError) -> StreamError {
        match (error, self.ending.get()) {
            (StreamError::Io(error), Some(StreamError::Io(_))) => StreamError::Io(error),
            (StreamError::Io(_) | StreamError::Closed, Some(ending)) => ending.clone(),
            (error, _) => error,
        }
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a stream for the driver, and wakes the driver if the list was
    /// empty.
    pub(super) fn list(&self, stream: Arc<Shared>) -> Result<(), DriverGone> {
        let first = {
            let mut ready = self.ready();
            if ready.closed {
                return Err(DriverGone);
            }
            ready.streams.push(stream);
            ready.streams.len() == 1
        };
        if first {
            self.wake_driver();
        }
        Ok(())
    }

    /// Requests a turn of the driver for something that is not in the list.
    pub(super) fn request_turn(&self) {
        self.turn_requested.swap(true, Ordering::AcqRel);
        self.wake_driver();
    }

    fn wake_driver(&self) {
        // Pairs with the fence in `leave`: either the driver sees the list, or
        // this task sees that the driver has left.
        fence(Ordering::SeqCst);
        if !self.driving.load(Ordering::SeqCst) {
            self.driver.wake();
        }
    }

    /// Begins a turn of the driver.
    pub(super) fn enter(&self, waker: &Waker) {
        self.driver.register(waker);
        self.driving.store(true, Ordering::SeqCst);
    }

    /// Notes that everything requested until now is about to be done.
    pub(super) fn clear_request(&self) {
        // Swapped on both sides: a request that this clears was read, and with
        // it what its task wrote before.
        self.turn_requested.swap(false, Ordering::AcqRel);
    }

    /// Ends a turn of the driver. Returns whether there is a reason for
    /// another.
    pub(super) fn leave(&self) -> bool {
        self.driving.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.turn_requested.load(Ordering::SeqCst) || !self.ready().streams.is_empty()
    }

    /// Moves the listed streams to `into`.
    pub(super) fn take(&self, into: &mut Vec<Arc<Shared>>) {
        let mut ready = self.ready();
        if into.is_empty() {
            std::mem::swap(&mut ready.streams, into);
        } else {
            into.append(&mut ready.streams);
        }
    }

    /// Closes the list when the driver ends, and returns the streams in it.
    pub(super) fn close(&self) -> Vec<Arc<Shared>> {
        let mut ready = self.ready();
        ready.closed = true;
        self.ended.notify_waiters();
        std::mem::take(&mut ready.streams)
    }

    /// Waits for the end of the connection. Cancel safe.
    pub(crate) async fn ended(&self) {
        let mut ended = std::pin::pin!(self.ended.notified());
        // Registered before the check, so that an end right after it is seen.
        ended.as_mut().enable();
        if self.is_open() {
            ended.await;
        }
    }

    /// Notes that `h2` has written everything it may send.
    pub(super) fn written(&self) {
        self.written.notify_waiters();
    }

    /// Waits until everything that `h2` may send by now has been written, or
    /// until the connection has ended. Cancel safe.
    pub(super) async fn flushed(&self) {
        // The current turn may have begun too early.
        for _ in 0..2 {
            let mut written = std::pin::pin!(self.written.notified());
            written.as_mut().enable();
            self.request_turn();
            tokio::select! {
                biased;
                () = written => {}
                () = self.ended() => return,
            }
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.observed.info.id
    }

    /// Returns the metrics and the span of this connection.
    pub(crate) fn observed(&self) -> &Observed {
        &self.observed
    }

    fn streams(&self) -> MutexGuard<'_, Slab<Weak<Shared>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a new stream. Returns the key for [`closed`](Self::closed).
    pub(super) fn opened(&self, stream: Weak<Shared>) -> u32 {
        self.opened.fetch_add(1, Ordering::Relaxed);
        // Fits: stream identifiers have 31 bits.
        self.streams().insert(stream) as u32
    }

    pub(super) fn closed(&self, key: u32) {
        self.streams().try_remove(key as usize);
        if self.side == Side::Client {
            self.slots.free();
        }
    }

    /// Returns the number of open WebSocket streams.
    pub(crate) fn open_streams(&self) -> u64 {
        self.streams().len() as u64
    }

    /// Returns the stream that holds the most.
    pub(super) fn largest_holder(&self) -> Option<Arc<Shared>> {
        let streams: Vec<_> = self.streams().iter().map(|(_, s)| s.clone()).collect();
        let holders = streams.iter().filter_map(Weak::upgrade);
        let (held, largest) = holders
            .map(|stream| (stream.held(), stream))
            .max_by_key(|(held, _)| *held)?;
        (held > 0).then_some(largest)
    }

    /// Asks all WebSockets, present and future, to close.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        let streams: Vec<_> = self.streams().iter().map(|(_, s)| s.clone()).collect();
        for stream in streams.iter().filter_map(Weak::upgrade) {
            stream.wake_reader();
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    pub(super) fn is_open(&self) -> bool {
        !self.ready().closed
    }

    /// Returns whether the peer sent GOAWAY, after which it accepts no new
    /// streams.
    pub(super) fn is_going_away(&self) -> bool {
        self.wire.counts().0.goaways > 0
    }

    pub(super) fn received_http1(&self) -> bool {
        self.wire.received_http1()
    }

    /// Notes that the peer may have vanished: sends a PING, and no new streams
    /// are to be opened until something is received.
    pub(super) fn suspect(&self, bytes: u64) {
        if self.unresponsive.suspect(bytes) {
            tracing::debug!(
                connection = self.id(),
                "no response to a request and nothing received since; \
                 new WebSockets use another connection"
            );
            self.request_turn();
        }
    }

    /// Returns the number of bytes received from the peer, in frames of any
    /// kind.
    pub(super) fn bytes_received(&self) -> u64 {
        self.wire.counts().0.bytes
    }

    /// Returns an error if a header list is larger than the peer accepts.
    pub(super) fn check_header_list(&self, size: usize) -> Result<(), TooLarge> {
        let unknown = match self.side {
            Side::Client => header_list::PRUDENT,
            // Clients accept what they requested, and announce what they do
            // not.
            Side::Server => u32::MAX,
        };
        let limit = self.wire.counts().0.header_list.unwrap_or(unknown);
        TooLarge::check(size, limit)
    }

    pub(crate) fn stats(&self) -> ConnectionStats {
        let (received, sent) = self.wire.counts();
        ConnectionStats {
            connection: self.id(),
            is_open: self.is_open(),
            streams_opened: self.opened.load(Ordering::Relaxed),
            streams_open: self.open_streams(),
            data_frames_sent: sent.data,
            data_frames_received: received.data,
            bytes_sent: sent.bytes,
            bytes_received: received.bytes,
            resets_sent: sent.resets,
            resets_received: received.resets,
            goaways_sent: sent.goaways,
            goaways_received: received.goaways,
        }
    }
}

impl Holder for ConnectionHandle {
    fn held(&self) -> &Held {
        &self.held
    }

    fn check(&self) {
        self.request_turn();
    }
}

/// The waker that `h2` gets for its connection.
///
/// `h2` wakes it for each frame that it is given, most of which come from the
/// driver itself. A task that wakes itself is queued again, and a runtime with
/// several workers then wakes another worker to run it: that costs a system
/// call, and moves the connection from core to core.
impl Wake for ConnectionHandle {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.request_turn();
    }
}

impl std::fmt::Debug for ConnectionHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionHandle")
            .field("id", &self.id())
            .field("side", &self.side)
            .field("open", &self.open_streams())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::frame::Role;

    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn handle() -> Arc<ConnectionHandle> {
        let version = http::Version::HTTP_2;
        let span = tracing::Span::none();
        let observed = Observed::new(1, Role::Server, version, Default::default(), span);
        let wire = CoalescingIo::new(Box::new(tokio::io::empty()), 0, 0);
        let config = Http2Config::default();
        Arc::new(ConnectionHandle::new(observed, Side::Server, wire, &config))
    }

    #[test]
    fn a_driver_in_a_turn_is_not_woken() {
        let (handle, counter) = (handle(), Arc::new(Counter(AtomicUsize::new(0))));
        let woken = || counter.0.load(Ordering::SeqCst);
        let driver = Waker::from(counter.clone());
        let asking = Waker::from(handle.clone());

        handle.enter(&driver);
        asking.wake_by_ref();
        handle.clear_request();
        assert!(!handle.leave(), "h2 was polled after its request");

        handle.enter(&driver);
        handle.clear_request();
        asking.wake_by_ref();
        assert!(handle.leave(), "h2 requested a turn after it was polled");
        assert_eq!(woken(), 0);

        handle.enter(&driver);
        handle.clear_request();
        handle.request_turn();
        assert!(
            handle.leave(),
            "a WebSocket requested a turn after the service"
        );

        asking.wake_by_ref();
        assert_eq!(woken(), 1, "no turn is in progress");
    }
}
