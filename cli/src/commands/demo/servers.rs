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

/// WebSockets of the page, which opens 200, and of another tab.
const PAGE_SOCKETS: u32 = 400;

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

/// Returns a connection limit with room for every WebSocket, or for those of the page, and for some
/// that are closing.
fn max_connections(args: &DemoArgs) -> usize {
    let page = if args.keep { PAGE_SOCKETS } else { 0 };
    args.sockets.max(page) as usize + 100
}

/// The bridge.
pub(super) struct Front {
    pub(super) address: SocketAddr,
    pub(super) server: JoinHandle<()>,
}

/// Starts the bridge, and with `--keep` a port for the page's WebSockets over HTTP/1.1.
pub(super) async fn bridge(
    args: &DemoArgs,
    identity: &Identity,
    backend: &Backend,
) -> Result<Front, Failure> {
    let bridge = Bridge::to(&backend.url())
        .max_sockets(max_connections(args))
        .build()?;
    let tls = || tls::server_config(Certificates::new(identity.clone())?, ClientAuth::None);
    let http1_port = if args.keep {
        let mut config = tls()?;
        tls::http1_only(&mut config);
        let server = Server::builder().tls(config).bind("127.0.0.1:0").await?;
        let port = server.local_addr()?.port();
        run_server(passing(server, &bridge).fallback(Page::Http1Port));
        Some(port)
    } else {
        None
    };
    let streams = args.sockets.max(PAGE_SOCKETS);
    let server = Server::builder()
        .tls(tls()?)
        .http2(Http2Config::default().max_concurrent_streams(streams))
        .bind("127.0.0.1:0")
        .await?;
    let address = server.local_addr()?;
    let serve = passing(server, &bridge).fallback(Page::Whole { http1_port });
    Ok(Front {
        address,
        server: run_server(serve),
    })
}

/// Passes WebSockets to the bridge.
fn passing(server: Server, bridge: &Bridge) -> Serve {
    let bridge = bridge.clone();
    server.serve(move |mut request| {
        add_carrier_header(&mut request);
        let bridge = bridge.clone();
        async move { bridge.pass(request).await }
    })
}

fn run_server(serve: Serve) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = serve.await {
            tracing::error!(%error, "the server failed");
        }
    })
}
