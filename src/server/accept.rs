//! The accept loop, and the graceful shutdown after it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};

use super::accept_errors::AcceptErrors;
use super::connection::Connection;
use super::connection_slots::{ConnectionSlot, ConnectionSlots, TooMany};
use super::handler::OnUpgrade;
use super::peer::Peer;
use super::registry::Registry;
use super::rejection_log;
use super::service::Fallback;
use super::settings::Settings;

/// The outcome of a graceful shutdown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// WebSockets that did not close in time and were cut.
    pub sockets_cut: usize,
    /// Connections that did not end in time and were cut.
    pub connections_cut: usize,
}

/// Accepts connections until `shutdown`, then drains the open ones.
pub(super) async fn accept(
    listener: TcpListener,
    settings: Arc<Settings>,
    on_upgrade: OnUpgrade,
    fallback: Option<Fallback>,
    shutdown: impl Future<Output = ()>,
    drain_timeout: Duration,
) -> ShutdownReport {
    let slots = ConnectionSlots::new(
        settings.max_connections,
        settings.max_connections_per_client,
    );
    let (drain, draining) = watch::channel(false);
    let registry = Registry::new();
    let mut connections = JoinSet::new();
    let mut errors = AcceptErrors::new();
    let mut waiting = None;
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (tcp, peer, slot) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {
                errors.connection_ended();
                continue;
            }
            accepted = accept_one(&listener, &slots, &mut waiting, &mut errors) => accepted,
        };
        let connection = Connection {
            peer: Peer::new(peer, None),
            settings: settings.clone(),
            on_upgrade: on_upgrade.clone(),
            fallback: fallback.clone(),
            draining: draining.clone(),
            registry: registry.clone(),
            slot,
        };
        connections.spawn(async move {
            if let Err(error) = connection.serve(tcp).await {
                rejection_log::connection(peer, &error);
            }
        });
    }
    drop(listener);
    drain.send_replace(true);
    registry.drain();
    let ended = async {
        while connections.join_next().await.is_some() {}
        registry.closed().await;
    };
    if timeout(drain_timeout, ended).await.is_ok() {
        return ShutdownReport::default();
    }
    let report = ShutdownReport {
        sockets_cut: registry.stop(),
        connections_cut: connections.len(),
    };
    connections.shutdown().await;
    report
}

/// Returns the next connection once there is a slot for it. Until then the connection
/// is kept in `waiting`, because the loop drops this future whenever a connection ends.
async fn accept_one(
    listener: &TcpListener,
    slots: &Arc<ConnectionSlots>,
    waiting: &mut Option<(TcpStream, SocketAddr)>,
    errors: &mut AcceptErrors,
) -> (TcpStream, SocketAddr, Arc<ConnectionSlot>) {
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
        let Some((tcp, peer)) = waiting.take() else {
            continue;
        };
        match slot {
            Ok(slot) => return (tcp, peer, slot),
            Err(TooMany) => {
                tracing::debug!(%peer, "max_connections_per_client reached: connection closed");
            }
        }
    }
}
