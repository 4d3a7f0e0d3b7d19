//! The response to a WebSocket request: sent once, and in time.

use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::{Response, StatusCode};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::connection_slots::InUse;
use super::http_service;
use super::registry::{Registry, UpgradedFrom};
use super::response::status;
use super::service::ResponseBody;
use crate::frame::Role;
use crate::metrics::{Handshake, Handshaking, Observed};
use crate::sync::{Mutex, MutexGuard};
use crate::transport::Transport;
use crate::transport::h2::H2Responder;

/// Sends the response, over either version of HTTP.
pub(super) enum Responder {
    Http2(H2Responder, InUse),
    Http1 {
        respond: oneshot::Sender<Response<ResponseBody>>,
        on: hyper::upgrade::OnUpgrade,
        registry: Arc<Registry>,
        from: UpgradedFrom,
    },
}

impl Responder {
    pub(super) fn observed(&self) -> &Observed {
        match self {
            Self::Http2(responder, _) => responder.observed(),
            Self::Http1 { from, .. } => from.connection.observed(),
        }
    }

    /// The connection, and over HTTP/2 the stream, of the request.
    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::Http2(responder, _) => responder.transport(),
            Self::Http1 { from, .. } => Transport::Http1 {
                connection: from.connection.observed().info.id,
            },
        }
    }

    /// Sends a response that opens no WebSocket.
    pub(super) fn reject(self, response: Response<ResponseBody>) {
        match self {
            Self::Http2(responder, _) => http_service::reject(responder, response),
            Self::Http1 { respond, .. } => {
                // Fails if the client is gone, which then needs no response.
                let _ = respond.send(response);
            }
        }
    }

    /// Ready when the client no longer waits for a response.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http2(responder, _) => responder.poll_gone(cx),
            Self::Http1 { respond, .. } => respond.poll_closed(cx),
        }
    }
}

/// A request that may be answered once: by its handler, or with 503 after the handler
/// timeout.
pub(super) struct Pending {
    state: Mutex<State>,
    /// The handler timeout.
    limit: Duration,
    /// The handler has returned. It may have passed the request on to another task.
    pub(super) handled: AtomicBool,
}

struct State {
    responder: Option<(Responder, Handshaking)>,
    /// Woken when the request is answered.
    waiter: Option<Waker>,
    /// Allocated only if the handler does not answer at once.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Pending {
    pub(super) fn new(responder: Responder, limit: Duration) -> Arc<Self> {
        let observed = responder.observed();
        let (observer, version) = (observed.observer.clone(), observed.info.version);
        let handshaking = Handshaking::new(observer, Role::Server, Some(version));
        let state = Mutex::new(State {
            responder: Some((responder, handshaking)),
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

    /// Takes the responder, unless the request has been answered.
    pub(super) fn take(&self) -> Option<(Responder, Handshaking)> {
        let mut state = self.lock();
        let waiter = state.waiter.take();
        let responder = state.responder.take();
        drop(state);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        responder
    }

    /// Sends a response that opens no WebSocket, unless the request has been answered.
    pub(super) fn reject(&self, response: Response<ResponseBody>) {
        if let Some((responder, handshaking)) = self.take() {
            let status = response.status();
            handshaking.done(Handshake::Refused(status));
            // In the span of the request, if its handler rejects it.
            tracing::debug!(status = status.as_u16(), "rejected");
            responder.reject(response);
        }
    }

    /// Ready when the request is answered or void. Answers with 503 after the handler
    /// timeout.
    pub(super) fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<Settled> {
        let mut state = self.lock();
        let Some((responder, _)) = &mut state.responder else {
            return Poll::Ready(Settled::Answered);
        };
        if responder.poll_gone(cx).is_ready() {
            let responder = state.responder.take();
            drop(state);
            drop(responder);
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
        let late = state.responder.take();
        drop(state);
        if let Some((responder, handshaking)) = late {
            tracing::warn!(?limit, "a WebSocket request was not answered in time");
            let unavailable = StatusCode::SERVICE_UNAVAILABLE;
            handshaking.done(Handshake::Refused(unavailable));
            responder.reject(status(unavailable));
        }
        Poll::Ready(Settled::Void)
    }
}

/// The state of a request that the handler no longer has to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// The handler has answered.
    Answered,
    /// The handler can no longer answer: the client is gone, or the time is over.
    Void,
}
