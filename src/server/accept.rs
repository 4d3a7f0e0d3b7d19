//! The accept loop, and the drain at its end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};

use super::accept_errors::AcceptErrors;
use super::connection::Connection;
use super::connection_slots::{ConnectionSlot, ConnectionSlots, TooMany};
use super::registry::Registry;
use super::serve::{Fallback, OnUpgrade};
use super::{Peer, Server, ShutdownReport, rejection_log};

/// Takes connections until `shutdown`, then drains those it has.
pub(super) async fn accept(
    server: Server,
    on_upgrade: OnUpgrade,
    fallback: Option<Fallback>,
    shutdown: impl Future<Output = ()>,
    drain_timeout: Duration,
) -> io::Result<ShutdownReport> {
    let Server { listener, settings } = server;
    let places = ConnectionSlots::new(
        settings.max_connections,
        settings.max_connections_per_client,
    );
    let (drain, draining) = watch::channel(false);
    let open = Registry::new();
    let mut connections = JoinSet::new();
    let mut trouble = AcceptErrors::new();
    let mut waiting = None;
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (tcp, peer, place) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {
                trouble.relieved();
                continue;
            }
            accepted = accept_one(&listener, &places, &mut waiting, &mut trouble) => accepted,
        };
        let connection = Connection {
            peer: Peer {
                addr: peer,
                tls: None,
            },
            settings: settings.clone(),
            on_upgrade: on_upgrade.clone(),
            fallback: fallback.clone(),
            draining: draining.clone(),
            open: open.clone(),
            place,
        };
        connections.spawn(async move {
            if let Err(error) = connection.serve(tcp).await {
                rejection_log::connection(peer, &error);
            }
        });
    }
    drop(listener);
    drain.send_replace(true);
    open.drain();
    let ended = async {
        while connections.join_next().await.is_some() {}
        open.closed().await;
    };
    if timeout(drain_timeout, ended).await.is_ok() {
        return Ok(ShutdownReport::default());
    }
    let drained = ShutdownReport {
        sockets_cut: open.stop(),
        connections_cut: connections.len(),
    };
    connections.shutdown().await;
    Ok(drained)
}

/// The next connection, once there is a place for it; until then it is
/// `waiting`.
///
/// Cancel safe: the loop drops it whenever a connection ends.
async fn accept_one(
    listener: &TcpListener,
    places: &Arc<ConnectionSlots>,
    waiting: &mut Option<(TcpStream, SocketAddr)>,
    trouble: &mut AcceptErrors,
) -> (TcpStream, SocketAddr, Arc<ConnectionSlot>) {
    loop {
        let Some((_, peer)) = waiting else {
            trouble.pause().await;
            match listener.accept().await {
                Ok(accepted) => {
                    trouble.over();
                    *waiting = Some(accepted);
                }
                Err(error) => trouble.met(&error),
            }
            continue;
        };
        let place = places.take(peer.ip()).await;
        let Some((tcp, peer)) = waiting.take() else {
            continue;
        };
        match place {
            Ok(place) => return (tcp, peer, place),
            Err(TooMany) => tracing::debug!(%peer, "too many connections of this client"),
        }
    }
}
