//! The client's end of an HTTP/2 connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::ext::Protocol;
use h2::{PingPong, Reason, RecvStream};
use http::{Request, Response, response};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::Instrument;

use super::abandoned::{AbandonedList, Abandoning, Awaiting, Requested};
use super::coalescing_io::CoalescingIo;
use super::driver::{self, Driver};
use super::end;
use super::fields;
use super::handle::stream::{H2Stream, SendBuf};
use super::handle::{ConnectionHandle, Side, Slot};
use super::header_list;
use super::keep_alive::Liveness;
use super::open_error::OpenError;
use super::ping::Pings;
use super::{DATA_FRAME_BUDGET, Http2Config, WEBSOCKET};
use crate::metrics::Observed;
use crate::transport::linger::{LINGER_BYTES, linger};
use crate::transport::prefix::PREFACE;
use crate::transport::{BoxIo, StreamError};

/// Stands for "no SETTINGS yet": `h2` replaces it on the first SETTINGS frame,
/// even an empty one (RFC 9113 §6.5.2 knows no such value).
const NO_SETTINGS: usize = usize::MAX - 1;

/// Maximum number of streams that a client can open over the lifetime of a
/// connection: the odd ones of 2^31 - 1 identifiers (RFC 9113 §5.1.1).
pub(crate) const MAX_STREAMS: u32 = 1 << 30;

/// Opens streams on one connection. Clones share the connection.
#[derive(Clone)]
pub(crate) struct H2Client {
    send: Arc<Sender>,
    handle: Arc<ConnectionHandle>,
    abandoning: Arc<Abandoning>,
    /// The peer's limit of concurrent streams, once its SETTINGS have arrived.
    limit: watch::Receiver<Option<usize>>,
    /// Whether the server has announced RFC 8441. A server must not withdraw
    /// that (RFC 8441 §3), and WebSockets do not end if it tries.
    capable: Arc<AtomicBool>,
    /// Maximum size of a response's header list, in bytes.
    max_header_list: u32,
}

struct Sender {
    /// `h2` ends the connection when no more streams can be opened: when the
    /// last [`H2Client`] is dropped, or when the driver of an idle connection
    /// has cleared this.
    requests: Mutex<Option<SendRequest<SendBuf>>>,
    /// Number of streams that can still be opened before the identifiers run
    /// out.
    left: AtomicU32,
    unanswered: Mutex<Option<Unanswered>>,
}

/// The first request since anything was received.
#[derive(Clone, Copy)]
struct Unanswered {
    /// Bytes received before it.
    bytes: u64,
    since: Instant,
}

impl Sender {
    fn lock(&self) -> MutexGuard<'_, Option<SendRequest<SendBuf>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unanswered(&self) -> MutexGuard<'_, Option<Unanswered>> {
        let unanswered = self.unanswered.lock();
        unanswered.unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one stream identifier, if any is left.
    fn take_one(&self) -> bool {
        let fewer = |left: u32| left.checked_sub(1);
        let order = Ordering::Relaxed;
        self.left.fetch_update(order, order, fewer).is_ok()
    }
}

/// A response to a request to open a WebSocket.
pub(crate) enum Opened {
    Accepted(response::Parts, H2Stream),
    Rejected(response::Parts, RecvStream),
}

impl H2Client {
    /// Starts HTTP/2 on `io`. The returned future drives the connection and has
    /// to be polled; it ends with the connection, at the latest once the
    /// connection had no streams for the `idle` time. `patience` is the time
    /// limit for each of the server's header blocks, and `streams` the number
    /// of streams that may be opened in total.
    pub(crate) async fn handshake(
        io: BoxIo,
        config: &Http2Config,
        patience: Duration,
        idle: Option<Duration>,
        streams: u32,
        observed: Observed,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>), StreamError> {
        let wire = CoalescingIo::new(io, 0, PREFACE.len());
        wire.announce(PREFACE.len(), config.max_header_list_size);
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(config.stream_window)
            .initial_connection_window_size(config.connection_window)
            .max_frame_size(config.max_frame_size)
            .max_header_list_size(header_list::TAKEN)
            .enable_push(false)
            .initial_max_send_streams(NO_SETTINGS)
            .data_frame_budget(DATA_FRAME_BUDGET)
            // It would count over the connection's lifetime; `flood` counts
            // instead.
            .max_local_error_reset_streams(None)
            .max_concurrent_reset_streams(1_000)
            .handshake::<_, SendBuf>(wire.clone())
            .await?;
        wire.gather();
        let handle = Arc::new(ConnectionHandle::new(
            observed,
            Side::Client,
            wire.clone(),
            config,
        ));
        config.process_buffer.join(&handle);
        let (known, limit) = watch::channel(None);
        let send = Arc::new(Sender {
            requests: Mutex::new(Some(send)),
            left: AtomicU32::new(streams),
            unanswered: Mutex::default(),
        });
        let abandoning = Arc::<Abandoning>::default();
        let connection = ClientConnection {
            connection,
            known,
            handle: handle.clone(),
            going_away: false,
            abandoned: AbandonedList::new(&handle, abandoning.clone()),
            send: Arc::downgrade(&send),
        };
        let liveness = Liveness::new(config, idle, Instant::now());
        let mut driver = Driver::new(connection, handle.clone(), wire.clone(), liveness, patience);
        let span = handle.observed.span.clone();
        let client = Self {
            send,
            handle,
            abandoning,
            limit,
            capable: Arc::default(),
            max_header_list: config.max_header_list_size,
        };
        let driver = async move {
            match (&mut driver).await {
                Ok(()) => tracing::debug!("connection ended"),
                Err(end::Error::H2(error)) => {
                    tracing::debug!(%error, "connection failed");
                }
                Err(end::Error::Peer(fault)) => {
                    tracing::debug!(?fault, "connection given up");
                    let io = wire.hang_up();
                    drop(driver);
                    // So that the GOAWAY arrives.
                    linger(io, LINGER_BYTES).await;
                }
                Err(error) => tracing::debug!(?error, "connection failed"),
            }
        };
        Ok((client, driver.instrument(span)))
    }

    /// Waits for the server's SETTINGS (RFC 9113 §3.4), which announce whether
    /// it supports RFC 8441. Fails if the connection ends first. Cancel safe.
    pub(crate) async fn settings(&self) -> Result<(), StreamError> {
        let mut limit = self.limit.clone();
        match limit.wait_for(Option::is_some).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.handle.why(StreamError::Closed)),
        }
    }

    /// Returns whether the server has responded in HTTP/1.x, as one does that does not know the
    /// preface.
    pub(crate) fn is_http1(&self) -> bool {
        self.handle.received_http1()
    }

    /// Returns whether the server has sent SETTINGS_ENABLE_CONNECT_PROTOCOL
    /// (RFC 8441 §3).
    pub(crate) fn is_capable(&self) -> bool {
        let send = self.send.lock();
        if send
            .as_ref()
            .is_some_and(SendRequest::is_extended_connect_protocol_enabled)
        {
            self.capable.store(true, Ordering::Relaxed);
        }
        self.capable.load(Ordering::Relaxed)
    }

    /// Returns whether new streams can be opened, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        self.handle.is_open()
            && !self.handle.is_going_away()
            && !self.handle.slots.are_retired()
            && self.send.left.load(Ordering::Relaxed) > 0
    }

    /// Returns whether the server may have vanished: a request has been waiting
    /// for `limit`, and not one byte has been received meanwhile, not even the
    /// answer to a PING. A server that is merely slow to respond does not
    /// count. A PING is sent then, and until something is received no stream
    /// should be opened here.
    pub(crate) fn is_unresponsive(&self, limit: Duration) -> bool {
        if self.handle.unresponsive.is_suspected() {
            return true;
        }
        let unanswered = *self.send.unanswered();
        let in_doubt = unanswered.is_some_and(|unanswered| {
            unanswered.bytes == self.handle.bytes_received() && unanswered.since.elapsed() >= limit
        });
        if in_doubt && let Some(unanswered) = unanswered {
            self.handle.suspect(unanswered.bytes);
        }
        in_doubt
    }

    /// As [`is_unresponsive`](Self::is_unresponsive), after the time limit of a request
    /// has passed.
    pub(crate) fn timed_out(&self) {
        self.is_unresponsive(Duration::ZERO);
    }

    /// Notes that a request is about to be sent.
    fn note_request(&self) {
        let bytes = self.handle.bytes_received();
        let mut unanswered = self.send.unanswered();
        if unanswered.is_none_or(|unanswered| unanswered.bytes != bytes) {
            let since = Instant::now();
            *unanswered = Some(Unanswered { bytes, since });
        }
    }

    pub(crate) fn handle(&self) -> &Arc<ConnectionHandle> {
        &self.handle
    }

    /// Claims a stream if the peer's limit allows another one now.
    pub(crate) fn claim(&self) -> Option<Slot> {
        if self.abandoning.is_full() {
            return None;
        }
        let max = (*self.limit.borrow())?;
        let slot = Slot::claim(&self.handle, max)?;
        self.send.take_one().then_some(slot)
    }

    /// Returns whether the server currently accepts no streams at all.
    pub(crate) fn is_barred(&self) -> bool {
        self.is_open() && !self.handle.slots.are_used() && *self.limit.borrow() == Some(0)
    }

    /// Sets what to notify when a stream may have become available: one waiter
    /// if a stream has ended, all if the server has changed its limit. To be
    /// called before the first claim.
    pub(crate) fn notify_room(&self, room: Arc<Notify>) {
        self.handle.slots.notify_room(room);
    }

    /// Sends an extended CONNECT request, followed by `early` if that is not
    /// empty, and waits for the response. Dropping the future
    /// [abandons](super::abandoned) the stream.
    pub(crate) async fn open(
        &self,
        mut request: Request<()>,
        mut slot: Slot,
        early: Bytes,
    ) -> Result<Opened, OpenError> {
        request
            .extensions_mut()
            .insert(Protocol::from_static(WEBSOCKET));
        let size = header_list::of_request(&request, Some(WEBSOCKET));
        self.handle
            .check_header_list(size)
            .map_err(|large| OpenError {
                error: StreamError::RequestTooLarge(large),
                unprocessed: false,
            })?;
        // Before the request is sent, nothing was processed. A connection that
        // fails to send one request will not send another.
        let unsent = |error: StreamError| {
            self.send.left.store(0, Ordering::Relaxed);
            OpenError {
                error: self.handle.why(error),
                unprocessed: true,
            }
        };
        let send = self.send.lock().clone();
        let mut send = send.ok_or_else(|| unsent(StreamError::Closed))?;
        poll_fn(|cx| send.poll_ready(cx))
            .await
            .map_err(|error| unsent(error.into()))?;
        self.note_request();
        let (response, stream) = send
            .send_request(request, false)
            .map_err(|error| unsent(error.into()))?;
        drop(send);
        let stream = if early.is_empty() {
            Requested::HeadOnly(stream)
        } else {
            // From here on the stream itself frees the slot.
            slot.keep();
            let mut stream = H2Stream::new(self.handle.clone(), stream, None);
            stream.write(|out| out.append(early));
            stream.flush();
            Requested::WithData(stream)
        };
        let awaiting = Awaiting::new(&self.handle, &self.abandoning, response, stream, slot);
        let (response, stream, mut slot) = awaiting.answer().await;
        let response: Response<RecvStream> = response.map_err(|error| OpenError {
            error: self.handle.why(error.error),
            ..error
        })?;
        let checked = header_list::check_response(&response, self.max_header_list);
        checked.map_err(|error| OpenError {
            error,
            unprocessed: false,
        })?;
        let (parts, body) = response.into_parts();
        if fields::are_padded(&parts.headers) {
            return Err(OpenError::fault(Reason::PROTOCOL_ERROR));
        }
        if parts.status.is_success() {
            let stream = match stream {
                Requested::HeadOnly(stream) => {
                    slot.keep();
                    H2Stream::new(self.handle.clone(), stream, body)
                }
                Requested::WithData(stream) => {
                    stream.answered(body);
                    stream
                }
            };
            return Ok(Opened::Accepted(parts, stream));
        }
        if let Requested::WithData(stream) = stream {
            stream.disown();
        }
        Ok(Opened::Rejected(parts, body))
    }
}

struct ClientConnection {
    connection: Connection<CoalescingIo, SendBuf>,
    known: watch::Sender<Option<usize>>,
    handle: Arc<ConnectionHandle>,
    going_away: bool,
    abandoned: AbandonedList,
    /// Weak, so as not to keep the connection in use.
    send: Weak<Sender>,
}

impl driver::Connection for ClientConnection {
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let result = Pin::new(&mut self.connection).poll(cx);
        let limit = self.connection.max_concurrent_send_streams();
        if limit != NO_SETTINGS {
            let changed = self
                .known
                .send_if_modified(|known| known.replace(limit) != Some(limit));
            let leaves = !self.going_away && self.handle.is_going_away();
            self.going_away |= leaves;
            if changed || leaves || self.handle.unresponsive.clear(self.handle.bytes_received()) {
                self.handle.slots.limit_changed();
            }
        }
        result
    }

    fn ping_pong(&mut self) -> Option<PingPong> {
        self.connection.ping_pong()
    }

    fn is_used(&self) -> bool {
        // A connection that no client refers to counts as used, so that it ends
        // by itself.
        self.handle.slots.are_used() || self.send.strong_count() == 0
    }

    fn retire(&mut self) -> bool {
        let retired = self.handle.slots.retire();
        if retired && let Some(send) = self.send.upgrade() {
            *send.lock() = None;
        }
        retired
    }

    fn look_after_abandoned(&mut self, pings: &mut Pings, cx: &mut Context<'_>, written: bool) {
        self.abandoned.service(&self.handle, pings, cx, written);
    }

    fn deadline(&self) -> Option<Instant> {
        self.abandoned.deadline()
    }

    /// The peer cannot open streams.
    fn max_streams(&self) -> u64 {
        u64::MAX
    }
}
