//! The answer to a request for a WebSocket: given once, and in time.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Sleep;

use super::connection::status;
use super::open::Open;
use super::ordinary;
use super::serve::ResponseBody;
use crate::frame::Role;
use crate::metrics::{Handshake, Handshaking, Observed, OpenConnection};
use crate::transport::h2::H2Responder;

/// How the answer is given.
pub(super) enum Answer {
    Http2(H2Responder),
    Http1 {
        respond: oneshot::Sender<Response<ResponseBody>>,
        on: hyper::upgrade::OnUpgrade,
        open: Arc<Open>,
        from: UpgradedFrom,
    },
}

/// The connection that an upgraded socket takes over.
pub(super) struct UpgradedFrom {
    pub(super) connection: Arc<OpenConnection>,
    /// Its place among the server's connections.
    pub(super) _slot: Arc<OwnedSemaphorePermit>,
}

impl Answer {
    pub(super) fn observed(&self) -> &Observed {
        match self {
            Self::Http2(responder) => responder.observed(),
            Self::Http1 { from, .. } => from.connection.observed(),
        }
    }

    /// Answers with something else than a WebSocket.
    pub(super) fn refuse(self, response: Response<ResponseBody>) {
        match self {
            Self::Http2(responder) => ordinary::send(responder, response, false),
            Self::Http1 { respond, .. } => {
                // A client that has gone needs no answer.
                let _ = respond.send(response);
            }
        }
    }

    /// Ready when nobody waits for the answer any more.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http2(responder) => responder.poll_gone(cx),
            Self::Http1 { respond, .. } => respond.poll_closed(cx),
        }
    }
}

/// The right to answer, which the handler and the clock compete for.
pub(super) struct Pending(Mutex<State>);

struct State {
    answer: Option<(Answer, Handshaking)>,
    /// Who waits for the answer to be given.
    waiter: Option<Waker>,
}

impl Pending {
    pub(super) fn new(answer: Answer) -> Arc<Self> {
        let observed = answer.observed();
        let (observer, version) = (observed.observer.clone(), observed.info.version);
        let handshaking = Handshaking::new(observer, Role::Server, Some(version));
        Arc::new(Self(Mutex::new(State {
            answer: Some((answer, handshaking)),
            waiter: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the right to answer, if nobody has.
    pub(super) fn take(&self) -> Option<(Answer, Handshaking)> {
        let mut state = self.lock();
        let waiter = state.waiter.take();
        let answer = state.answer.take();
        drop(state);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        answer
    }

    /// Ready when the answer is given, or when nobody waits for it any more:
    /// then it is taken.
    fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<Settled> {
        let mut state = self.lock();
        let Some((answer, _)) = &mut state.answer else {
            return Poll::Ready(Settled::Answered);
        };
        if answer.poll_gone(cx).is_ready() {
            let answer = state.answer.take();
            drop(state);
            drop(answer);
            return Poll::Ready(Settled::Void);
        }
        match &mut state.waiter {
            Some(waiter) => waiter.clone_from(cx.waker()),
            None => state.waiter = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    Answered,
    /// Nobody can answer it any more.
    Void,
}

/// Waits until a request is answered, and sees to it that it is.
struct Settling {
    pending: Arc<Pending>,
    limit: Duration,
    /// Made only where the handler does not answer at once.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Future for Settling {
    type Output = Settled;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Settled> {
        if let Poll::Ready(settled) = self.pending.poll_settled(cx) {
            self.sleep = None;
            return Poll::Ready(settled);
        }
        let limit = self.limit;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let Some((answer, handshaking)) = self.pending.take() else {
            return Poll::Ready(Settled::Answered);
        };
        tracing::debug!(?limit, "a request for a WebSocket was not answered in time");
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        handshaking.done(Handshake::Refused(unavailable));
        answer.refuse(status(unavailable));
        Poll::Ready(Settled::Void)
    }
}

/// Runs a handler. Until it has answered, it runs for `limit` at most, and
/// only while the client waits: a client that asks and resets, again and again,
/// must not pile up handlers (its streams do not count any more).
pub(super) fn attend(
    pending: Arc<Pending>,
    limit: Duration,
    handler: impl Future<Output = ()> + Send,
) -> impl Future<Output = ()> + Send {
    // An async function would have a place for it as an argument, and another.
    let mut handler = Box::pin(handler);
    async move {
        let mut settling = Settling {
            pending,
            limit,
            sleep: None,
        };
        let settled = tokio::select! {
            biased;
            // It may have given the request to somebody else.
            () = &mut handler => None,
            settled = &mut settling => Some(settled),
        };
        match settled {
            None => {
                settling.await;
            }
            Some(Settled::Answered) => {
                // What is held for an answer is not held for the socket's life.
                drop(settling);
                handler.await;
            }
            Some(Settled::Void) => {}
        }
    }
}
