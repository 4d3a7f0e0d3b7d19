//! The bridge and the backend of the demo.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use h2ws::bridge::Bridge;
use h2ws::server::Serve;
use h2ws::tls::{Certificates, ClientAuth, Identity};
use h2ws::{Http2Config, Server};
use tokio::task::JoinHandle;

use super::super::echo::{add_carrier_header, echo};
use super::super::page::Page;
use crate::args::DemoArgs;
use crate::error::Failure;
use crate::tls;

/// An echo server for HTTP/1.1 only.
pub(super) struct Backend {
    address: SocketAddr,
    /// Number of connections that were upgraded to WebSockets.
    pub(super) upgraded: Arc<AtomicU64>,
}

impl Backend {
    pub(super) async fn start(args: &DemoArgs) -> Result<Self, Failure> {
        let server = Server::builder()
            .extended_connect(false)
            .max_connections(max_connections(args))
            .bind("127.0.0.1:0")
            .await?;
        let address = server.local_addr()?;
        let upgraded = Arc::new(AtomicU64::new(0));
        let count = upgraded.clone();
        let serve = server.serve(move |request| {
            if request.version() == http::Version::HTTP_11 {
                count.fetch_add(1, Ordering::Relaxed);
            }
            echo(request, Arc::default())
        });
        run_server(serve);
        Ok(Self { address, upgraded })
    }

    pub(super) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

/// Returns a connection limit with room for every WebSocket, and for some that are closing.
fn max_connections(args: &DemoArgs) -> usize {
    args.sockets as usize + 100
}

/// Starts the bridge.
pub(super) async fn bridge(
    args: &DemoArgs,
    identity: &Identity,
    backend: &Backend,
) -> Result<(SocketAddr, JoinHandle<()>), Failure> {
    let bridge = Bridge::to(&backend.url())
        .max_sockets(max_connections(args))
        .build()?;
    let server = Server::builder()
        .tls(tls::server_config(
            Certificates::new(identity.clone())?,
            ClientAuth::None,
        )?)
        .http2(Http2Config::default().max_concurrent_streams(args.sockets.max(100)))
        .bind("127.0.0.1:0")
        .await?;
    let address = server.local_addr()?;
    let serve = server.serve(move |mut request| {
        add_carrier_header(&mut request);
        let bridge = bridge.clone();
        async move { bridge.pass(request).await }
    });
    Ok((address, run_server(serve.fallback(Page))))
}

fn run_server(serve: Serve) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = serve.await {
            tracing::error!(%error, "the server failed");
        }
    })
}
