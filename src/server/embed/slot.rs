//! [`Slot`]: connects a service's response to the WebSocket that it opens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::error::Error;
use crate::server::request::WebSocketRequest;
use crate::socket::WebSocket;

/// A WebSocket request among the extensions of a request to a service.
///
/// The server holds one clone and the request another, because extensions have to be
/// [`Clone`]. Whatever the service does with its clone, the server can answer.
#[derive(Clone)]
pub(super) struct Slot(Arc<Mutex<State>>);

enum State {
    /// The request has not been extracted.
    Waiting(WebSocketRequest),
    Extracted,
    Accepted(Accepted),
    /// The service has answered.
    Over,
}

/// A request that a handler has accepted.
pub(super) struct Accepted {
    pub(super) request: WebSocketRequest,
    /// Passes the WebSocket to the handler.
    pub(super) socket: oneshot::Sender<Result<WebSocket, Error>>,
}

impl Slot {
    pub(super) fn new(request: WebSocketRequest) -> Self {
        Self(Arc::new(Mutex::new(State::Waiting(request))))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the request the first time that it is called.
    pub(super) fn extract(&self) -> Option<WebSocketRequest> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Extracted) {
            State::Waiting(request) => Some(request),
            before => {
                *state = before;
                None
            }
        }
    }

    /// Accepts: the service's response opens the WebSocket.
    pub(super) fn accept(
        &self,
        request: WebSocketRequest,
    ) -> oneshot::Receiver<Result<WebSocket, Error>> {
        let (socket, receiver) = oneshot::channel();
        let mut state = self.lock();
        if matches!(*state, State::Extracted) {
            *state = State::Accepted(Accepted { request, socket });
        }
        receiver
    }

    /// Closes the slot once the service has answered, and returns what was accepted.
    pub(super) fn settle(&self) -> Option<Accepted> {
        match std::mem::replace(&mut *self.lock(), State::Over) {
            State::Accepted(accepted) => Some(accepted),
            State::Waiting(_) | State::Extracted | State::Over => None,
        }
    }
}
