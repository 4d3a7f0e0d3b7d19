//! Counts the WebSockets over HTTP/1.1, for
//! [`Client::shutdown`](crate::Client::shutdown) to wait for.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

/// The WebSockets that were opened since the last shutdown.
pub(super) struct Http1Sockets(Mutex<Channel>);

/// Nothing is ever sent; the channel closes with the last of its senders.
type Channel = (mpsc::Sender<Infallible>, mpsc::Receiver<Infallible>);

impl Http1Sockets {
    pub(super) fn new() -> Self {
        Self(Mutex::new(mpsc::channel(1)))
    }

    /// Returns a guard that the stream holds until its connection is closed.
    pub(super) fn guard(&self) -> impl Send + Sync + use<> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone()
    }

    /// Waits until all current WebSockets have ended.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let (own, mut ended) = std::mem::replace(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            mpsc::channel(1),
        );
        drop(own);
        async move {
            let _ = ended.recv().await;
        }
    }
}
