//! A bridge before a backend by hand.

use std::net::SocketAddr;
use std::time::Duration;

use h2ws::bridge::{Bridge, BridgeBuilder};
use h2ws::server::{ServerBuilder, ShutdownReport};
use h2ws::{Client, HttpVersion, Server, WebSocketConfig};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::client::{accept, listen};
use super::frames::{self, TEXT, from_client};
use super::raw::{Raw, Seen};
use super::text::Text;
use super::{tasks, tls, until, within};

pub(crate) struct Bridging {
    pub(crate) addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<ShutdownReport>>,
}

impl Bridging {
    /// Runs what was configured, with times for the closing of sockets that
    /// tests can wait for.
    pub(crate) async fn start(builder: BridgeBuilder) -> Self {
        let config = WebSocketConfig::default()
            .close_timeout(Duration::from_millis(200))
            .linger(Duration::from_millis(50));
        Self::with(builder, config).await
    }

    pub(crate) async fn with(builder: BridgeBuilder, config: WebSocketConfig) -> Self {
        Self::of(&builder.build().unwrap(), config).await
    }

    pub(crate) async fn of(bridge: &Bridge, config: WebSocketConfig) -> Self {
        Self::with_grace(bridge, config, Duration::from_secs(600)).await
    }

    pub(crate) async fn with_grace(
        bridge: &Bridge,
        config: WebSocketConfig,
        grace: Duration,
    ) -> Self {
        Self::behind(Server::builder().socket(config), bridge, grace).await
    }

    /// A bridge behind a server of the caller's.
    pub(crate) async fn behind(server: ServerBuilder, bridge: &Bridge, grace: Duration) -> Self {
        let server = server.bind("127.0.0.1:0").await.unwrap();
        let addr = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = server
            .serve(bridge.handler())
            .fallback(bridge.service())
            .drain_timeout(grace)
            .with_graceful_shutdown(async {
                if stopped.await.is_err() {
                    std::future::pending::<()>().await;
                }
            });
        Self {
            addr,
            stop: Some(stop),
            task: tokio::spawn(serve.into_future()),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/", self.addr)
    }

    pub(crate) fn drain(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn drained(&mut self) -> ShutdownReport {
        within(&mut self.task).await.unwrap().unwrap()
    }
}

impl Drop for Bridging {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client for upstreams.
fn client(version: HttpVersion) -> Client {
    let builder = Client::builder().tls(tls::none()).version(version);
    builder.build().unwrap()
}

/// A configuration of a bridge to a backend on this machine.
pub(crate) fn to(scheme: &str, addr: SocketAddr, version: HttpVersion) -> BridgeBuilder {
    Bridge::to(&format!("{scheme}://{addr}"))
        .client(client(version))
        .upstream_version(version)
}

/// A bridge to an RFC 6455 backend by hand.
pub(crate) async fn to_text() -> (Bridging, TcpListener) {
    let (listener, addr) = listen().await;
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http1)).await;
    (bridging, listener)
}

/// A bridge to an RFC 8441 upstream by hand, and both ends of the socket on
/// stream 1 of either connection.
pub(crate) async fn to_raw() -> (Bridging, Raw, Raw) {
    let (listener, addr) = listen().await;
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http2)).await;
    let (client, upstream) = open_to_raw(&bridging, &listener).await;
    (bridging, client, upstream)
}

pub(crate) async fn open_to_raw(bridging: &Bridging, upstream: &TcpListener) -> (Raw, Raw) {
    let mut client = Raw::connect(bridging.addr).await;
    let ((), upstream) = tokio::join!(client.open(1, "/"), async {
        let mut upstream = accept(upstream, &[]).await;
        upstream.take(1).await;
        upstream
    });
    (client, upstream)
}

/// The next frame is a Close frame with this code, and no END_STREAM.
pub(crate) async fn closes(peer: &mut Raw, stream: u32, code: u16) {
    let Seen::Frame(close, false) = peer.seen(stream).await else {
        panic!("no Close frame by itself");
    };
    assert_eq!(close.code(), Some(code));
}

/// An HTTP/2 client before a bridge and the RFC 6455 backend behind it, with a
/// socket on stream 1 that has to live through whatever happens on stream 3.
pub(crate) struct BridgeFixture {
    _bridging: Bridging,
    pub(crate) listener: TcpListener,
    pub(crate) client: Raw,
    sibling: Text,
    idle: usize,
}

impl BridgeFixture {
    pub(crate) async fn new() -> Self {
        let (bridging, listener) = to_text().await;
        Self::on(bridging, listener).await
    }

    pub(crate) async fn on(bridging: Bridging, listener: TcpListener) -> Self {
        let mut client = Raw::connect(bridging.addr).await;
        let ((), sibling) = tokio::join!(client.open(1, "/sibling"), Text::accept(&listener));
        let mut beside = Self {
            _bridging: bridging,
            listener,
            client,
            sibling,
            idle: 0,
        };
        beside.echo().await;
        beside.idle = tasks();
        beside
    }

    async fn echo(&mut self) {
        let message = from_client(TEXT, b"sibling");
        self.client.data(1, &message).await;
        let (_, back) = tokio::join!(self.sibling.answer(), self.client.frame(1));
        assert_eq!((back.head, &back.payload[..]), (0x81, &b"sibling"[..]));
    }

    /// Opens stream 3; returns the backend's end.
    pub(crate) async fn open(&mut self) -> Text {
        let (listener, client) = (&self.listener, &mut self.client);
        tokio::join!(client.open(3, "/"), Text::accept(listener)).1
    }

    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.client.data(3, &from_client(opcode, payload)).await;
    }

    pub(crate) async fn seen(&mut self) -> Seen {
        self.client.seen(3).await
    }

    /// The sibling works, and nothing is left of the other socket.
    pub(crate) async fn unharmed(mut self) {
        self.echo().await;
        let idle = self.idle;
        until(|| tasks() <= idle).await;
        let close = frames::close(1000, "");
        self.client
            .data(1, &from_client(frames::CLOSE, &close))
            .await;
        self.sibling.answer().await;
        assert_eq!(self.client.close_then_end(1).await, Some(1000));
    }
}
