//! The accept loop, and the graceful shutdown after it.
//!
//! The operating system resets the connections that wait in the queue of a listener when it is
//! closed. A shutdown therefore accepts what has arrived before it closes the listener: their first
//! requests are answered, as those of other connections during a drain.

use std::future::Future;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, timeout, timeout_at};

use super::accept_errors::AcceptErrors;
use super::connection_slots::{ConnectionSlot, ConnectionSlots, TooMany};
use super::connections::{Connections, ShutdownReport};
use super::listener::{Accepted, BoxListener};
use super::rejection_log;

/// After a shutdown, the queue of the listener is empty if no connection comes out of it for so long.
const QUEUE_IS_EMPTY: Duration = Duration::from_millis(2);

/// Maximum time after a shutdown for which connections are accepted.
const LAST_ACCEPT: Duration = Duration::from_millis(100);

/// Accepts connections until `shutdown`, then drains the open ones.
pub(super) async fn accept(
    mut listener: BoxListener,
    connections: Connections,
    shutdown: impl Future<Output = ()>,
) -> ShutdownReport {
    let mut tasks = JoinSet::new();
    let mut errors = AcceptErrors::new();
    let mut waiting = None;
    let mut shutdown = std::pin::pin!(shutdown);
    let slots = connections.slots();
    loop {
        let (accepted, slot) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = tasks.join_next() => {
                errors.connection_ended();
                continue;
            }
            accepted = accept_one(&mut listener, slots, &mut waiting, &mut errors) => accepted,
        };
        serve(&connections, &mut tasks, accepted, slot);
    }
    let accept_last = async {
        loop {
            let next = accept_one(&mut listener, slots, &mut waiting, &mut errors);
            let Ok((accepted, slot)) = timeout(QUEUE_IS_EMPTY, next).await else {
                return;
            };
            serve(&connections, &mut tasks, accepted, slot);
        }
    };
    // An error means that connections still arrive. They would do so for ever.
    let _ = timeout_at(Instant::now() + LAST_ACCEPT, accept_last).await;
    drop((listener, waiting));
    let report = connections.shutdown().await;
    tasks.shutdown().await;
    report
}

/// Serves a connection in a task of its own.
fn serve(
    connections: &Connections,
    tasks: &mut JoinSet<()>,
    accepted: Accepted,
    slot: Arc<ConnectionSlot>,
) {
    let Accepted { io, peer, runtime } = accepted;
    let counted = connections.count();
    let connection = connections.connection(peer, slot);
    let serve = async move {
        let _counted = counted;
        if let Err(error) = connection.serve(io).await {
            rejection_log::connection(peer, &error);
        }
    };
    match runtime {
        Some(runtime) => tasks.spawn_on(serve, &runtime),
        None => tasks.spawn(serve),
    };
}

/// Returns the next connection once there is a slot for it. Until then the connection
/// is kept in `waiting`, because the loop drops this future whenever a connection ends.
async fn accept_one(
    listener: &mut BoxListener,
    slots: &Arc<ConnectionSlots>,
    waiting: &mut Option<Accepted>,
    errors: &mut AcceptErrors,
) -> (Accepted, Arc<ConnectionSlot>) {
    loop {
        let Some(Accepted { peer, .. }) = waiting else {
            errors.pause().await;
            match listener.accept().await {
                Ok(accepted) => {
                    errors.accepted();
                    *waiting = Some(accepted);
                }
                Err(error) => errors.failed(&error),
            }
            continue;
        };
        let slot = slots.take(peer.ip()).await;
        let Some(accepted) = waiting.take() else {
            continue;
        };
        match slot {
            Ok(slot) => return (accepted, slot),
            Err(TooMany) => {
                let peer = accepted.peer;
                tracing::debug!(%peer, "max_connections_per_client reached: connection closed");
            }
        }
    }
}
