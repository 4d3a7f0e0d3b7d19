//! The accept loop.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::Server;
use super::connection::Connection;
use super::serve::{Fallback, OnUpgrade};

/// Pause after an error of accepting, such as a lack of file descriptors,
/// that another connection's end may mend.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until `shutdown`, then waits for those it has.
pub(super) async fn accept(
    server: Server,
    on_upgrade: OnUpgrade,
    fallback: Option<Fallback>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let Server { listener, settings } = server;
    let slots = Arc::new(Semaphore::new(settings.max_connections));
    let (drain, draining) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = async {
                let slot = slots.clone().acquire_owned().await;
                (listener.accept().await, slot)
            } => accepted,
        };
        let (tcp, peer) = match accepted.0 {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let connection = Connection {
            peer,
            settings: settings.clone(),
            on_upgrade: on_upgrade.clone(),
            fallback: fallback.clone(),
            draining: draining.clone(),
        };
        let slot = accepted.1;
        connections.spawn(async move {
            if let Err(error) = connection.serve(tcp).await {
                tracing::debug!(%peer, %error, "connection failed");
            }
            drop(slot);
        });
    }
    drop(listener);
    drain.send_replace(true);
    while connections.join_next().await.is_some() {}
    Ok(())
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
