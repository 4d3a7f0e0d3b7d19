//! A bridge in front of a hand-written backend.

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

/// A running bridge. Its server is aborted on drop.
pub(crate) struct Bridging {
    pub(crate) addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<ShutdownReport>>,
}

impl Bridging {
    /// Runs the configured bridge with short closing timeouts, which tests can
    /// wait for.
    pub(crate) async fn start(builder: BridgeBuilder) -> Self {
        let config = WebSocketConfig::default()
            .close_timeout(Duration::from_millis(200))
            .linger(Duration::from_millis(50));
        Self::with(builder, config).await
    }

    /// As [`start`](Self::start), with this socket configuration.
    pub(crate) async fn with(builder: BridgeBuilder, config: WebSocketConfig) -> Self {
        Self::of(&builder.build().unwrap(), config).await
    }

    /// Runs a bridge that is built already.
    pub(crate) async fn of(bridge: &Bridge, config: WebSocketConfig) -> Self {
        Self::with_grace(bridge, config, Duration::from_secs(600)).await
    }

    /// As [`of`](Self::of), with a drain timeout of `grace`.
    pub(crate) async fn with_grace(
        bridge: &Bridge,
        config: WebSocketConfig,
        grace: Duration,
    ) -> Self {
        Self::behind(Server::builder().socket(config), bridge, grace).await
    }

    /// Runs a bridge on the given server.
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

    /// Starts a graceful shutdown.
    pub(crate) fn drain(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the shutdown to complete.
    pub(crate) async fn drained(&mut self) -> ShutdownReport {
        within(&mut self.task).await.unwrap().unwrap()
    }
}

impl Drop for Bridging {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The bridge's client, which connects to upstreams.
fn client(version: HttpVersion) -> Client {
    let builder = Client::builder().tls(tls::none()).version(version);
    builder.build().unwrap()
}

/// Configures a bridge to the backend at `addr`.
pub(crate) fn to(scheme: &str, addr: SocketAddr, version: HttpVersion) -> BridgeBuilder {
    Bridge::to(&format!("{scheme}://{addr}"))
        .client(client(version))
        .upstream_version(version)
}

/// Starts a bridge to a hand-written RFC 6455 backend.
pub(crate) async fn to_text() -> (Bridging, TcpListener) {
    let (listener, addr) = listen().await;
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http1)).await;
    (bridging, listener)
}

/// Starts a bridge to a hand-written RFC 8441 upstream and opens a socket
/// through it. Returns the client's and the upstream's connection; the socket
/// is on stream 1 of both.
pub(crate) async fn to_raw() -> (Bridging, Raw, Raw) {
    let (listener, addr) = listen().await;
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http2)).await;
    let (client, upstream) = open_to_raw(&bridging, &listener).await;
    (bridging, client, upstream)
}

/// Opens a socket on stream 1 through a bridge that runs already. Returns the
/// client's and the upstream's connection.
pub(crate) async fn open_to_raw(bridging: &Bridging, upstream: &TcpListener) -> (Raw, Raw) {
    let mut client = Raw::connect(bridging.addr).await;
    let ((), upstream) = tokio::join!(client.open(1, "/"), async {
        let mut upstream = accept(upstream, &[]).await;
        upstream.take(1).await;
        upstream
    });
    (client, upstream)
}

/// Asserts that the next frame is a Close frame with this code, without
/// END_STREAM.
pub(crate) async fn closes(peer: &mut Raw, stream: u32, code: u16) {
    let Seen::Frame(close, false) = peer.seen(stream).await else {
        panic!("expected a Close frame without END_STREAM");
    };
    assert_eq!(close.code(), Some(code));
}

/// A hand-written HTTP/2 client, a bridge, and a hand-written RFC 6455 backend.
///
/// A healthy sibling socket is open on stream 1 of the client's connection,
/// forwarded to a backend connection of its own. The test
/// [opens](Self::open) stream 3, does to it whatever it wants to test, and ends
/// with [`unharmed`](Self::unharmed).
pub(crate) struct BridgeFixture {
    _bridging: Bridging,
    pub(crate) listener: TcpListener,
    pub(crate) client: Raw,
    sibling: Text,
    idle: usize,
}

impl BridgeFixture {
    /// Starts a bridge with the defaults of [`to_text`].
    pub(crate) async fn new() -> Self {
        let (bridging, listener) = to_text().await;
        Self::on(bridging, listener).await
    }

    /// Opens the sibling through a bridge of the caller's.
    pub(crate) async fn on(bridging: Bridging, listener: TcpListener) -> Self {
        let mut client = Raw::connect(bridging.addr).await;
        let ((), sibling) = tokio::join!(client.open(1, "/sibling"), Text::accept(&listener));
        let mut fixture = Self {
            _bridging: bridging,
            listener,
            client,
            sibling,
            idle: 0,
        };
        fixture.echo().await;
        fixture.idle = tasks();
        fixture
    }

    /// Exchanges a message on the sibling in both directions.
    async fn echo(&mut self) {
        let message = from_client(TEXT, b"sibling");
        self.client.data(1, &message).await;
        let (_, back) = tokio::join!(self.sibling.answer(), self.client.frame(1));
        assert_eq!((back.head, &back.payload[..]), (0x81, &b"sibling"[..]));
    }

    /// Opens stream 3 and returns the backend's end of it.
    pub(crate) async fn open(&mut self) -> Text {
        let (listener, client) = (&self.listener, &mut self.client);
        tokio::join!(client.open(3, "/"), Text::accept(listener)).1
    }

    /// Sends a frame on stream 3.
    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.client.data(3, &from_client(opcode, payload)).await;
    }

    /// Returns what the client sees next on stream 3.
    pub(crate) async fn seen(&mut self) -> Seen {
        self.client.seen(3).await
    }

    /// Ends the test: asserts that the sibling still echoes, that every task of
    /// the other socket has ended, and that the sibling closes cleanly.
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
