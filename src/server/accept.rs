//! The accept loop, and the drain at its end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};

use super::connection::Connection;
use super::open::Open;
use super::serve::{Fallback, OnUpgrade};
use super::trouble::Trouble;
use super::{Drained, Peer, Server};

/// Takes connections until `shutdown`, then drains those it has.
pub(super) async fn accept(
    server: Server,
    on_upgrade: OnUpgrade,
    fallback: Option<Fallback>,
    shutdown: impl Future<Output = ()>,
    grace: Duration,
) -> io::Result<Drained> {
    let Server { listener, settings } = server;
    let slots = Arc::new(Semaphore::new(settings.max_connections));
    let (drain, draining) = watch::channel(false);
    let open = Open::new();
    let mut connections = JoinSet::new();
    let mut trouble = Trouble::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (tcp, peer, slot) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {
                trouble.relieved();
                continue;
            }
            accepted = accept_one(&listener, &slots, &mut trouble) => accepted,
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
            slot: Arc::new(slot),
        };
        connections.spawn(async move {
            if let Err(error) = connection.serve(tcp).await {
                tracing::debug!(%peer, %error, "connection failed");
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
    if timeout(grace, ended).await.is_ok() {
        return Ok(Drained::default());
    }
    let drained = Drained {
        sockets_cut: open.stop(),
        connections_cut: connections.len(),
    };
    connections.shutdown().await;
    Ok(drained)
}

/// The next connection, once there is a place for it.
///
/// Cancel safe: the loop drops it whenever a connection ends.
async fn accept_one(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    trouble: &mut Trouble,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            // Nobody closes the semaphore.
            return std::future::pending().await;
        };
        trouble.pause().await;
        match listener.accept().await {
            Ok((tcp, peer)) => {
                trouble.over();
                return (tcp, peer, slot);
            }
            Err(error) => trouble.met(&error),
        }
    }
}
