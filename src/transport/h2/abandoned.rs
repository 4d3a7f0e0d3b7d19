//! Requests that nobody waits for any more.
//!
//! **The rule.** Giving up one socket must not cost its siblings the
//! connection. Peers count the resets of streams that they have not taken up
//! yet: those built on the `h2` crate (hyper, axum) end the connection at the
//! 21st, whoever opened them. So the stream of a request that is given up stays
//! until the peer has answered it. Where that takes longer than [`PATIENCE`], a
//! PING goes out behind the request, and its answer shows that the peer has
//! read it; then streams are reset, the oldest first, [`AT_A_TIME`] before the
//! next PING's answer.
//!
//! Until then the stream counts as open: it holds its slot, and a connection
//! with [`TOO_MANY`] of them takes no further requests.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use h2::RecvStream;
use h2::client::ResponseFuture;
use http::Response;
use tokio::time::Instant;

use super::client::{Asked, OpenError, Slot};
use super::handle::ConnectionHandle;
use super::ping::Pings;
use crate::clock::later;
use crate::transport::MAX_INTERIM;

/// How long an answer is waited for before the peer is asked by PING whether it
/// has read the request: most answers need no more, and then no peer counts
/// the reset.
const PATIENCE: Duration = Duration::from_millis(250);

/// Streams that are reset unanswered between two answers to PINGs. Less than
/// half of what a peer on `h2` allows: its PING is answered before it takes up
/// what it read.
const AT_A_TIME: usize = 8;

/// Abandoned requests at which a connection takes no more requests.
const TOO_MANY: usize = 1_000;

/// Whether the connection waits for the answers to too many abandoned requests.
pub(super) fn are_too_many(handle: &ConnectionHandle) -> bool {
    handle.abandoned.load(Ordering::Relaxed) >= TOO_MANY
}

/// A request that is waited for; dropped before its answer, it is abandoned.
pub(super) struct Awaiting {
    handle: Arc<ConnectionHandle>,
    /// `None` once there is an answer.
    request: Option<Request>,
}

struct Request {
    response: ResponseFuture,
    stream: Asked,
    slot: Slot,
}

impl Awaiting {
    pub(super) fn new(
        handle: &Arc<ConnectionHandle>,
        response: ResponseFuture,
        stream: Asked,
        slot: Slot,
    ) -> Self {
        Self {
            handle: handle.clone(),
            request: Some(Request {
                response,
                stream,
                slot,
            }),
        }
    }

    pub(super) async fn answer(mut self) -> (Result<Response<RecvStream>, OpenError>, Asked, Slot) {
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
            self.handle.abandoned.fetch_add(1, Ordering::Relaxed);
            self.handle.abandon(Abandoned {
                request,
                since: Instant::now(),
                asked: false,
                handle: self.handle.clone(),
            });
        }
    }
}

/// Dropped, its stream is reset.
pub(super) struct Abandoned {
    request: Request,
    since: Instant,
    /// A PING is behind the request.
    asked: bool,
    handle: Arc<ConnectionHandle>,
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
        self.handle.abandoned.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The abandoned requests of a connection, the oldest first.
pub(super) struct AbandonedList {
    requests: VecDeque<Abandoned>,
    /// The PING whose answer is waited for before the next resets.
    ping: Option<u64>,
    /// A PING is due, and what is before it is not written.
    stalled: bool,
    answered: Arc<Answered>,
    waker: Waker,
}

/// Set when an abandoned request was answered.
struct Answered {
    is_set: AtomicBool,
    handle: std::sync::Weak<ConnectionHandle>,
}

impl Wake for Answered {
    fn wake(self: Arc<Self>) {
        self.is_set.store(true, Ordering::Release);
        if let Some(handle) = self.handle.upgrade() {
            handle.ask();
        }
    }
}

impl AbandonedList {
    pub(super) fn new(handle: &Arc<ConnectionHandle>) -> Self {
        let answered = Arc::new(Answered {
            is_set: AtomicBool::new(false),
            handle: Arc::downgrade(handle),
        });
        Self {
            requests: VecDeque::new(),
            ping: None,
            stalled: false,
            waker: Waker::from(answered.clone()),
            answered,
        }
    }

    /// Lets go of what was answered, and resets what may be. `written`: all
    /// requests and resets until now have been written.
    pub(super) fn look(
        &mut self,
        handle: &ConnectionHandle,
        pings: &mut Pings,
        cx: &mut Context<'_>,
        written: bool,
    ) {
        if handle.abandoned.load(Ordering::Acquire) == 0 {
            self.ping = None;
            return;
        }
        let known = self.requests.len();
        handle.take_abandoned(&mut self.requests);
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
            let asked = self.requests.iter().take_while(|one| one.asked).count();
            let few = asked.min(AT_A_TIME);
            self.requests.drain(..few);
            if few > 0 {
                // The next PING goes behind these resets.
                return handle.ask();
            }
        }
        let now = Instant::now();
        let due = self.requests.front().is_some_and(|one| one.due() <= now);
        self.stalled = due && !written;
        if !due || !written {
            return;
        }
        for one in self.requests.iter_mut().take_while(|one| one.due() <= now) {
            one.asked = true;
        }
        self.ping = Some(pings.ask(cx, now));
    }

    /// When to look again, for a PING that is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let oldest = self.requests.front()?;
        let waits = self.ping.is_some() || self.stalled;
        (!waits).then(|| oldest.due())
    }
}
