//! The connections of a server, whether its listener or its user accepted them, and
//! the drain that ends them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;

use super::connection::Connection;
use super::connection_slots::{ConnectionSlot, ConnectionSlots, TooMany};
use super::handler::OnUpgrade;
use super::peer::Peer;
use super::registry::{ConnectionGuard, Registry};
use super::service::Fallback;
use super::settings::Settings;
use crate::error::Error;

/// The outcome of a graceful shutdown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// WebSockets that did not close in time and were cut.
    pub sockets_cut: usize,
    /// Connections that did not end in time and were cut.
    pub connections_cut: usize,
}

/// Serves connections that the caller accepts. It comes from
/// [`Serve::connections`](super::Serve::connections); clones share the server's
/// settings, limits and shutdown.
///
/// # Example
///
/// ```no_run
/// use h2ws::Server;
/// use h2ws::server::WebSocketRequest;
/// use tokio::net::TcpListener;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::builder().unbound()?;
/// let connections = server
///     .serve(|request: WebSocketRequest| async { drop(request.accept().await) })
///     .connections();
///
/// let listener = TcpListener::bind("127.0.0.1:8080").await?;
/// loop {
///     tokio::select! {
///         accepted = listener.accept() => {
///             let (stream, peer) = accepted?;
///             tokio::spawn(connections.serve_connection(stream, peer));
///         }
///         _ = tokio::signal::ctrl_c() => break,
///     }
/// }
/// connections.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connections(Arc<Shared>);

struct Shared {
    settings: Arc<Settings>,
    on_upgrade: OnUpgrade,
    fallback: Option<Fallback>,
    drain_timeout: Duration,
    slots: Arc<ConnectionSlots>,
    registry: Arc<Registry>,
    drain: watch::Sender<bool>,
    /// The drain has timed out.
    cut: watch::Sender<bool>,
}

impl Connections {
    pub(super) fn new(
        settings: Arc<Settings>,
        on_upgrade: OnUpgrade,
        fallback: Option<Fallback>,
        drain_timeout: Duration,
    ) -> Self {
        let slots = settings.slots().clone();
        Self(Arc::new(Shared {
            settings,
            on_upgrade,
            fallback,
            drain_timeout,
            slots,
            registry: Registry::new(),
            drain: watch::Sender::new(false),
            cut: watch::Sender::new(false),
        }))
    }

    /// Serves a connection until it ends: TLS if the server has it, then HTTP/2 or
    /// HTTP/1.1, as ALPN or the first bytes say, with the server's settings and timeouts.
    /// `peer` is what handlers see; `0.0.0.0:0` is the address of a peer without one. A
    /// `tokio::net::TcpStream` is set up as
    /// [`ServerBuilder::tcp`](super::ServerBuilder::tcp) says.
    ///
    /// While there are as many connections as
    /// [`max_connections`](super::ServerBuilder::max_connections), it waits. A WebSocket
    /// over HTTP/1.1 outlives this future: from then on it belongs to its handler.
    /// Dropping the future ends the connection and its WebSockets over HTTP/2. During and
    /// after a [`shutdown`](Self::shutdown) new connections are closed at once.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] of the kind [`QuotaExceeded`](io::ErrorKind::QuotaExceeded) if the
    /// client has
    /// [too many connections](super::ServerBuilder::max_connections_per_client); else what
    /// the TLS handshake or HTTP failed by.
    pub fn serve_connection<I>(
        &self,
        io: I,
        peer: SocketAddr,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<I>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let this = self.clone();
        let io = this.0.settings.tcp.boxed(io);
        async move {
            let _counted = this.count();
            let mut drain = this.0.drain.subscribe();
            let mut cut = this.0.cut.subscribe();
            let serving = async {
                let slot = tokio::select! {
                    biased;
                    _ = drain.wait_for(|drain| *drain) => return Ok(()),
                    slot = this.0.slots.take(peer.ip()) => slot,
                };
                let slot = slot.map_err(|TooMany| {
                    let reason = "too many connections of this client";
                    Error::Io(Arc::new(io::Error::new(
                        io::ErrorKind::QuotaExceeded,
                        reason,
                    )))
                })?;
                this.connection(peer, slot).serve(io).await
            };
            tokio::select! {
                biased;
                _ = cut.wait_for(|cut| *cut) => Ok(()),
                served = serving => served,
            }
        }
    }

    /// Sends clients GOAWAY over HTTP/2, closes the open WebSockets with code 1001, and
    /// waits until all connections have ended, at most the
    /// [`drain_timeout`](super::Serve::drain_timeout); then cuts what is left.
    pub async fn shutdown(&self) -> ShutdownReport {
        let shared = &*self.0;
        shared.drain.send_replace(true);
        shared.registry.drain();
        if timeout(shared.drain_timeout, shared.registry.closed())
            .await
            .is_ok()
        {
            return ShutdownReport::default();
        }
        let report = ShutdownReport {
            sockets_cut: shared.registry.stop(),
            connections_cut: shared.registry.connections(),
        };
        shared.cut.send_replace(true);
        report
    }

    pub(super) fn slots(&self) -> &Arc<ConnectionSlots> {
        &self.0.slots
    }

    /// Counts a connection for the drain.
    pub(super) fn count(&self) -> ConnectionGuard {
        self.0.registry.connection()
    }

    pub(super) fn connection(&self, addr: SocketAddr, slot: Arc<ConnectionSlot>) -> Connection {
        let shared = &*self.0;
        Connection {
            peer: Peer::new(addr, None),
            lacks_tls: false,
            settings: shared.settings.clone(),
            on_upgrade: shared.on_upgrade.clone(),
            fallback: shared.fallback.clone(),
            draining: shared.drain.subscribe(),
            registry: shared.registry.clone(),
            slot,
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("open", &self.0.registry.connections())
            .finish_non_exhaustive()
    }
}
