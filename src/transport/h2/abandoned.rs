//! Requests whose caller has stopped waiting for the response.
//!
//! **The rule.** Cancelling one WebSocket must not cost the others their
//! connection. Peers count the resets of streams that they have not accepted
//! yet: those built on the `h2` crate (hyper, axum) end the connection at the
//! 21st. So the stream of an abandoned request stays open until the peer has
//! responded. If that takes longer than [`PATIENCE`], a PING is sent after the
//! request, and its answer shows that the peer has read the request; then
//! streams are reset, the oldest first, [`AT_A_TIME`] before the next PING's
//! answer.
//!
//! Until then the stream counts as open: it holds its slot, and a connection
//! with [`TOO_MANY`] of them accepts no further requests.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::Response;
use tokio::time::Instant;

use super::handle::stream::{H2Stream, SendBuf};
use super::handle::{ConnectionHandle, Slot};
use super::open_error::OpenError;
use super::ping::Pings;
use crate::clock::later;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::transport::MAX_INTERIM;

/// How long to wait for a response before a PING is sent to find out whether
/// the peer has read the request. Most responses take no longer, and then no
/// peer counts the reset.
const PATIENCE: Duration = Duration::from_millis(250);

/// Number of streams that are reset without a response between two PING
/// answers. Less than half of what a peer on `h2` allows, because such a peer
/// answers a PING before it accepts the streams it has read.
const AT_A_TIME: usize = 8;

/// Number of abandoned requests at which a connection accepts no more requests.
const TOO_MANY: usize = 1_000;

/// Passes abandoned requests from the tasks that dropped them to the driver.
#[derive(Default)]
pub(super) struct Abandoning {
    incoming: Mutex<Incoming>,
    /// Number of abandoned requests, including those that the driver has taken.
    count: AtomicUsize,
}

#[derive(Default)]
struct Incoming {
    requests: Vec<Abandoned>,
    /// The driver has ended.
    closed: bool,
}

impl Abandoning {
    /// Returns whether there are so many abandoned requests that the connection
    /// accepts no more.
    pub(super) fn is_full(&self) -> bool {
        self.count.load(Ordering::Relaxed) >= TOO_MANY
    }

    fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a request to the driver.
    fn add(&self, request: Abandoned, handle: &ConnectionHandle) {
        let mut incoming = self.incoming();
        if incoming.closed {
            drop(incoming);
            return drop(request);
        }
        incoming.requests.push(request);
        drop(incoming);
        handle.request_turn();
    }

    /// Drops all requests, now and from here on.
    fn close(&self) {
        let mut incoming = self.incoming();
        incoming.closed = true;
        let requests = std::mem::take(&mut incoming.requests);
        drop(incoming);
        drop(requests);
    }
}

/// A request whose response is awaited. Dropped before the response, it is
/// abandoned.
pub(super) struct Awaiting {
    handle: Arc<ConnectionHandle>,
    abandoning: Arc<Abandoning>,
    /// `None` once there is a response.
    request: Option<Request>,
}

/// A stream whose request was sent.
pub(super) enum Requested {
    HeadOnly(SendStream<SendBuf>),
    /// Bytes follow the request before there is a response.
    WithData(H2Stream),
}

struct Request {
    response: ResponseFuture,
    stream: Requested,
    slot: Slot,
}

impl Awaiting {
    pub(super) fn new(
        handle: &Arc<ConnectionHandle>,
        abandoning: &Arc<Abandoning>,
        response: ResponseFuture,
        stream: Requested,
        slot: Slot,
    ) -> Self {
        Self {
            handle: handle.clone(),
            abandoning: abandoning.clone(),
            request: Some(Request {
                response,
                stream,
                slot,
            }),
        }
    }

    pub(super) async fn answer(
        mut self,
    ) -> (Result<Response<RecvStream>, OpenError>, Requested, Slot) {
        let mut interim = 0;
        poll_fn(|cx| {
            let Some(request) = &mut self.request else {
                return Poll::Pending;
            };
            while let Poll::Ready(Some(Ok(_))) = request.response.poll_informational(cx)
                && interim <= MAX_INTERIM
            {
                interim += 1;
            }
            let answer = if interim > MAX_INTERIM {
                Err(OpenError::too_many_interim())
            } else {
                let answer = std::task::ready!(Pin::new(&mut request.response).poll(cx));
                answer.map_err(OpenError::from)
            };
            let Some(Request { stream, slot, .. }) = self.request.take() else {
                return Poll::Pending;
            };
            Poll::Ready((answer, stream, slot))
        })
        .await
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            self.abandoning.count.fetch_add(1, Ordering::Relaxed);
            let abandoned = Abandoned {
                request,
                since: Instant::now(),
                pinged: false,
                counted: self.abandoning.clone(),
            };
            self.abandoning.add(abandoned, &self.handle);
        }
    }
}

/// An abandoned request. Dropping it resets its stream.
pub(super) struct Abandoned {
    request: Request,
    since: Instant,
    /// A PING was sent after the request.
    pinged: bool,
    counted: Arc<Abandoning>,
}

impl Abandoned {
    fn is_answered(&mut self, cx: &mut Context<'_>) -> bool {
        Pin::new(&mut self.request.response).poll(cx).is_ready()
    }

    fn due(&self) -> Instant {
        later(self.since, PATIENCE)
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.counted.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The abandoned requests of a connection, the oldest first.
pub(super) struct AbandonedList {
    abandoning: Arc<Abandoning>,
    requests: VecDeque<Abandoned>,
    /// The PING whose answer has to arrive before the next resets.
    ping: Option<u64>,
    /// A PING is due, but what precedes it is not written yet.
    stalled: bool,
    answered: Arc<Answered>,
    waker: Waker,
}

/// Set when an abandoned request got its response.
struct Answered {
    is_set: AtomicBool,
    handle: std::sync::Weak<ConnectionHandle>,
}

impl Wake for Answered {
    fn wake(self: Arc<Self>) {
        self.is_set.store(true, Ordering::Release);
        if let Some(handle) = self.handle.upgrade() {
            handle.request_turn();
        }
    }
}

impl AbandonedList {
    pub(super) fn new(handle: &Arc<ConnectionHandle>, abandoning: Arc<Abandoning>) -> Self {
        let answered = Arc::new(Answered {
            is_set: AtomicBool::new(false),
            handle: Arc::downgrade(handle),
        });
        Self {
            abandoning,
            requests: VecDeque::new(),
            ping: None,
            stalled: false,
            waker: Waker::from(answered.clone()),
            answered,
        }
    }

    /// Drops the requests that got a response, and resets those that may be
    /// reset. `written` is whether all requests and resets until now have been
    /// written.
    pub(super) fn service(
        &mut self,
        handle: &ConnectionHandle,
        pings: &mut Pings,
        cx: &mut Context<'_>,
        written: bool,
    ) {
        if self.abandoning.count.load(Ordering::Acquire) == 0 {
            self.ping = None;
            return;
        }
        let known = self.requests.len();
        let added = std::mem::take(&mut self.abandoning.incoming().requests);
        self.requests.extend(added);
        let mut answers = Context::from_waker(&self.waker);
        if self.answered.is_set.swap(false, Ordering::AcqRel) {
            self.requests
                .retain_mut(|one| !one.is_answered(&mut answers));
        } else if self.requests.len() > known {
            let mut at = 0;
            self.requests.retain_mut(|one| {
                at += 1;
                at <= known || !one.is_answered(&mut answers)
            });
        }
        if self.ping.is_some_and(|ping| !pings.is_answered(ping)) {
            return;
        }
        if self.ping.take().is_some() {
            let pinged = self.requests.iter().take_while(|one| one.pinged).count();
            let few = pinged.min(AT_A_TIME);
            self.requests.drain(..few);
            if few > 0 {
                // The next PING follows these resets.
                return handle.request_turn();
            }
        }
        let now = Instant::now();
        let due = self.requests.front().is_some_and(|one| one.due() <= now);
        self.stalled = due && !written;
        if !due || !written {
            return;
        }
        for one in self.requests.iter_mut().take_while(|one| one.due() <= now) {
            one.pinged = true;
        }
        self.ping = Some(pings.request(cx, now));
    }

    /// Returns when to check again, for a PING that is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let oldest = self.requests.front()?;
        let waits = self.ping.is_some() || self.stalled;
        (!waits).then(|| oldest.due())
    }
}

/// The driver has ended, so nothing can be sent any more.
impl Drop for AbandonedList {
    fn drop(&mut self) {
        self.abandoning.close();
    }
}
