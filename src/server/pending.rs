//! The answer to a request for a WebSocket: given once, and in time.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::{Response, StatusCode};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::connection::status;
use super::connection_slots::InUse;
use super::http_service;
use super::registry::Registry;
use super::serve::ResponseBody;
use crate::frame::Role;
use crate::metrics::{Handshake, Handshaking, Observed, OpenConnection};
use crate::transport::Transport;
use crate::transport::h2::H2Responder;

/// How the answer is given.
pub(super) enum Answer {
    Http2(H2Responder, InUse),
    Http1 {
        respond: oneshot::Sender<Response<ResponseBody>>,
        on: hyper::upgrade::OnUpgrade,
        open: Arc<Registry>,
        from: UpgradedFrom,
    },
}

/// The connection that an upgraded socket takes over.
pub(super) struct UpgradedFrom {
    pub(super) connection: Arc<OpenConnection>,
    /// It has its place among the server's connections.
    pub(super) _in_use: InUse,
}

impl Answer {
    pub(super) fn observed(&self) -> &Observed {
        match self {
            Self::Http2(responder, _) => responder.observed(),
            Self::Http1 { from, .. } => from.connection.observed(),
        }
    }

    /// What carries the request.
    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::Http2(responder, _) => responder.transport(),
            Self::Http1 { from, .. } => Transport::Http1 {
                connection: from.connection.observed().info.id,
            },
        }
    }

    /// Answers with something else than a WebSocket.
    pub(super) fn refuse(self, response: Response<ResponseBody>) {
        match self {
            Self::Http2(responder, _) => http_service::send(responder, response, false),
            Self::Http1 { respond, .. } => {
                // A client that has gone needs no answer.
                let _ = respond.send(response);
            }
        }
    }

    /// Ready when nobody waits for the answer any more.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http2(responder, _) => responder.poll_gone(cx),
            Self::Http1 { respond, .. } => respond.poll_closed(cx),
        }
    }
}

/// The right to answer, which the handler and the clock compete for.
pub(super) struct Pending {
    state: Mutex<State>,
    /// How long the answer may take.
    limit: Duration,
    /// The handler is done: it may have given the request to somebody else.
    pub(super) handled: AtomicBool,
}

struct State {
    answer: Option<(Answer, Handshaking)>,
    /// Who waits for the answer to be given.
    waiter: Option<Waker>,
    /// Made only where the handler does not answer at once.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Pending {
    pub(super) fn new(answer: Answer, limit: Duration) -> Arc<Self> {
        let observed = answer.observed();
        let (observer, version) = (observed.observer.clone(), observed.info.version);
        let handshaking = Handshaking::new(observer, Role::Server, Some(version));
        let state = Mutex::new(State {
            answer: Some((answer, handshaking)),
            waiter: None,
            sleep: None,
        });
        Arc::new(Self {
            state,
            limit,
            handled: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Answers with something other than a WebSocket, if nobody has answered.
    pub(super) fn refuse(&self, response: Response<ResponseBody>) {
        if let Some((answer, handshaking)) = self.take() {
            handshaking.done(Handshake::Refused(response.status()));
            answer.refuse(response);
        }
    }

    /// Ready when the answer is given, and when nobody waits for it any more
    /// or it is late: then nobody can give it after this.
    pub(super) fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<Settled> {
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
        let limit = self.limit;
        let sleep = state
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(sleep.as_mut().poll(cx));
        let late = state.answer.take();
        drop(state);
        if let Some((answer, handshaking)) = late {
            tracing::debug!(?limit, "a request for a WebSocket was not answered in time");
            let unavailable = StatusCode::SERVICE_UNAVAILABLE;
            handshaking.done(Handshake::Refused(unavailable));
            answer.refuse(status(unavailable));
        }
        Poll::Ready(Settled::Void)
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    Answered,
    /// Nobody can answer it any more.
    Void,
}
