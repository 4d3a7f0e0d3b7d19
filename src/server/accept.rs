//! The accept loop, and the graceful shutdown after it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::accept_errors::AcceptErrors;
use super::connection_slots::{ConnectionSlot, ConnectionSlots, TooMany};
use super::connections::{Connections, ShutdownReport};
use super::listener::BoxListener;
use super::rejection_log;
use crate::transport::BoxIo;

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
        let (io, peer, slot) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = tasks.join_next() => {
                errors.connection_ended();
                continue;
            }
            accepted = accept_one(&mut listener, slots, &mut waiting, &mut errors) => accepted,
        };
        let counted = connections.count();
        let connection = connections.connection(peer, slot);
        tasks.spawn(async move {
            let _counted = counted;
            if let Err(error) = connection.serve(io).await {
                rejection_log::connection(peer, &error);
            }
        });
    }
    drop((listener, waiting));
    let report = connections.shutdown().await;
    tasks.shutdown().await;
    report
}

/// Returns the next connection once there is a slot for it. Until then the connection
/// is kept in `waiting`, because the loop drops this future whenever a connection ends.
async fn accept_one(
    listener: &mut BoxListener,
    slots: &Arc<ConnectionSlots>,
    waiting: &mut Option<(BoxIo, SocketAddr)>,
    errors: &mut AcceptErrors,
) -> (BoxIo, SocketAddr, Arc<ConnectionSlot>) {
    loop {
        let Some((_, peer)) = waiting else {
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
        let Some((io, peer)) = waiting.take() else {
            continue;
        };
        match slot {
            Ok(slot) => return (io, peer, slot),
            Err(TooMany) => {
                tracing::debug!(%peer, "max_connections_per_client reached: connection closed");
            }
        }
    }
}
