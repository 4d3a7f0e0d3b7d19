//! What ties a service's response to the WebSocket that it opens: [`Slot`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::error::Error;
use crate::server::WebSocketRequest;
use crate::socket::WebSocket;

/// A WebSocket request among the extensions of a request to a service.
///
/// The server holds one clone, the request another (extensions have to be
/// [`Clone`]); whatever the service does with its own, the server can answer.
#[derive(Clone)]
pub(super) struct Slot(Arc<Mutex<State>>);

enum State {
    /// Nobody has extracted the request.
    Waiting(WebSocketRequest),
    Extracted,
    Accepted(Accepted),
    /// The service has answered.
    Over,
}

/// A request that the service wants to be opened.
pub(super) struct Accepted {
    pub(super) request: WebSocketRequest,
    /// Takes the WebSocket to its handler.
    pub(super) socket: oneshot::Sender<Result<WebSocket, Error>>,
}

impl Slot {
    pub(super) fn new(request: WebSocketRequest) -> Self {
        Self(Arc::new(Mutex::new(State::Waiting(request))))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request, if nobody has extracted it before.
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

    /// Asks for the WebSocket to be opened by the service's response.
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

    /// Ends the slot when the service has answered.
    pub(super) fn settle(&self) -> Option<Accepted> {
        match std::mem::replace(&mut *self.lock(), State::Over) {
            State::Accepted(accepted) => Some(accepted),
            State::Waiting(_) | State::Extracted | State::Over => None,
        }
    }
}
