//! The sockets that have a connection of their own: nobody but
//! [`Client::shutdown`](super::Client::shutdown) asks whether they are gone.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

/// Those that were opened since the last shutdown.
pub(super) struct Http1Sockets(Mutex<Channel>);

/// Nothing is ever sent: it ends with the last of its senders.
type Channel = (mpsc::Sender<Infallible>, mpsc::Receiver<Infallible>);

impl Http1Sockets {
    pub(super) fn new() -> Self {
        Self(Mutex::new(mpsc::channel(1)))
    }

    /// What a stream keeps for as long as it lasts, its linger included.
    pub(super) fn guard(&self) -> impl Send + Sync + use<> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone()
    }

    /// Waits for the end of those that there are.
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
