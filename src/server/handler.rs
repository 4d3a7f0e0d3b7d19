//! Runs the handler of a WebSocket request.
//!
//! Until the request is answered, the handler runs only while the client waits
//! and for at most the handler timeout. A client that opens and resets streams
//! over and over must not pile up handlers, because its reset streams no longer
//! count towards `max_concurrent_streams`. Once the request is answered, the
//! handler runs to its end.
//!
//! A handler that returns an error ends only itself: the error is logged with the
//! request's path and the client's address.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::pending::{Pending, Settled};
use super::rejection_log::cut;
use super::request::WebSocketRequest;
use crate::error::{Chain, Error};

use sealed::Outcome;

/// Starts a task that handles a WebSocket request.
pub(super) type OnUpgrade = Arc<dyn Fn(WebSocketRequest) + Send + Sync>;

/// The output of a WebSocket handler: `()`, or a [`Result`] whose error is logged.
///
/// An error never affects other WebSockets. It is logged through `tracing` with the
/// request's path and the client's address:
///
/// - at level debug if it is an [`h2ws::Error`](crate::Error), alone or in a
///   `Box<dyn Error>`: the peer or the network ended the WebSocket;
/// - at level warn otherwise, in its alternate form (`{:#}`), in which `anyhow`
///   prints the causes as well.
///
/// The trait is sealed.
pub trait HandlerResult: Outcome {}

impl HandlerResult for () {}

impl<E: fmt::Display + 'static> HandlerResult for Result<(), E> {}

mod sealed {
    use super::WebSocketRequest;

    #[expect(unnameable_types, reason = "this is what seals `HandlerResult`")]
    pub trait Outcome {
        /// What a log line needs, kept for as long as the handler runs.
        type Origin: Send + 'static;

        fn origin(request: &WebSocketRequest) -> Self::Origin;

        fn report(self, origin: &Self::Origin);
    }
}

impl Outcome for () {
    type Origin = ();

    fn origin(_: &WebSocketRequest) {}

    fn report(self, (): &()) {}
}

impl<E: fmt::Display + 'static> Outcome for Result<(), E> {
    // Boxed, because it is part of every handler's task.
    type Origin = Box<Origin>;

    fn origin(request: &WebSocketRequest) -> Box<Origin> {
        Box::new(Origin {
            peer: request.peer_addr(),
            path: cut(request.path().as_bytes()),
        })
    }

    fn report(self, origin: &Box<Origin>) {
        let Err(error) = self else { return };
        let Origin { peer, path } = &**origin;
        match of_websocket(&error) {
            Some(error) => {
                let error = Chain(error);
                tracing::debug!(%peer, path, %error, "a WebSocket handler returned an error");
            }
            None => {
                let error = format_args!("{error:#}");
                tracing::warn!(%peer, path, %error, "a WebSocket handler returned an error");
            }
        }
    }
}

/// Where a handler's request came from.
#[expect(unnameable_types, reason = "the sealed `Outcome` shows it")]
pub struct Origin {
    peer: SocketAddr,
    path: String,
}

/// The WebSocket's own error, if a handler returned that.
fn of_websocket(error: &dyn Any) -> Option<&Error> {
    type Shared = Box<dyn StdError + Send + Sync>;
    if let Some(boxed) = error.downcast_ref::<Shared>() {
        return boxed.downcast_ref();
    }
    if let Some(boxed) = error.downcast_ref::<Box<dyn StdError>>() {
        return boxed.downcast_ref();
    }
    error.downcast_ref()
}

pin_project! {
    /// The task of a WebSocket request.
    // Not an async function, which would store the handler twice: as its argument and
    // while it is awaited.
    pub(super) struct HandlerTask<F>
    where
        F: Future,
        F::Output: Outcome,
    {
        // `None` once the request is answered, which frees it while the WebSocket is open.
        pending: Option<Arc<Pending>>,
        origin: <F::Output as Outcome>::Origin,
        #[pin]
        handler: F,
    }
}

impl<F: Future<Output: HandlerResult>> HandlerTask<F> {
    pub(super) fn new(
        request: WebSocketRequest,
        handler: impl FnOnce(WebSocketRequest) -> F,
    ) -> Self {
        Self {
            pending: Some(request.pending()),
            origin: F::Output::origin(&request),
            handler: handler(request),
        }
    }
}

impl<F: Future<Output: HandlerResult>> Future for HandlerTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let Some(pending) = this.pending else {
            let result = ready!(this.handler.poll(cx));
            result.report(this.origin);
            return Poll::Ready(());
        };
        let handled = &pending.handled;
        if !handled.load(Ordering::Relaxed)
            && let Poll::Ready(result) = this.handler.poll(cx)
        {
            handled.store(true, Ordering::Relaxed);
            result.report(this.origin);
        }
        let settled = ready!(pending.poll_settled(cx));
        if settled == Settled::Void || handled.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        *this.pending = None;
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, F>(_: impl Fn(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_task_is_little_larger_than_its_handler() {
        let handler = |request: WebSocketRequest| async { drop(request) };
        let task = |request| HandlerTask::new(request, handler);
        let more = size_of_future(task) - size_of_future(handler);
        assert!(more <= 8, "{more} bytes, once per socket");
        let handler = |request: WebSocketRequest| async { request.accept().await.map(drop) };
        let task = |request| HandlerTask::new(request, handler);
        let more = size_of_future(task) - size_of_future(handler);
        assert!(more <= 16, "{more} bytes, once per socket");
    }

    #[test]
    fn errors_of_the_websocket_are_distinguished_from_those_of_the_application() {
        let shared: Box<dyn StdError + Send + Sync> = Error::Closed.into();
        let boxed: Box<dyn StdError> = Error::Closed.into();
        assert!(of_websocket(&Error::Closed).is_some());
        assert!(of_websocket(&shared).is_some());
        assert!(of_websocket(&boxed).is_some());
        assert!(of_websocket(&"a database is gone".to_owned()).is_none());
        let other: Box<dyn StdError> = "a database is gone".into();
        assert!(of_websocket(&other).is_none());
    }
}
