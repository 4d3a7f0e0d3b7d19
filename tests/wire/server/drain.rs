//! Graceful shutdown of a server (RFC 9113 §6.8, RFC 6455 §7.4.1).

use std::time::Duration;

use futures_util::StreamExt;
use h2ws::server::ShutdownReport;
use h2ws::{CloseCode, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::client::{echo, http1, http2};
use crate::support::frames::{CLOSE, close, from_client};
use crate::support::raw::{GOAWAY, NO_ERROR, Raw, Seen};
use crate::support::{server, tasks, until, within};

/// A running server that a test can shut down.
struct Draining {
    addr: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    done: JoinHandle<std::io::Result<ShutdownReport>>,
}

impl Draining {
    /// Starts an echo server whose handler at `/stuck` never reads.
    async fn start(timeout: Duration) -> Self {
        let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
        let addr = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serve = server
            .serve(|upgrade| async move {
                let path = upgrade.path().to_owned();
                let ws = upgrade.accept().await.unwrap();
                if path == "/stuck" {
                    std::future::pending::<()>().await;
                }
                server::echo_socket(ws, path).await;
            })
            .drain_timeout(timeout)
            .with_graceful_shutdown(async {
                let _ = stopped.await;
            });
        Self {
            addr,
            stop,
            done: tokio::spawn(serve.into_future()),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.addr)
    }
}

const LONG: Duration = Duration::from_secs(600);

/// RFC 6455 §7.4.1: open sockets, including idle ones, are closed with 1001 in
/// both HTTP versions. The shutdown completes when they have closed.
#[tokio::test]
async fn a_drain_closes_sockets_with_1001() {
    let draining = Draining::start(LONG).await;
    let (h2, h1) = (http2().build().unwrap(), http1().build().unwrap());
    let mut sockets = Vec::new();
    for client in [&h2, &h2, &h1, &h1] {
        let mut ws = within(client.connect(&draining.url("/"))).await.unwrap();
        echo(&mut ws, "open").await;
        sockets.push(ws);
    }
    draining.stop.send(()).unwrap();
    for ws in &mut sockets {
        assert!(within(ws.next()).await.is_none());
        assert_eq!(ws.close_code(), Some(CloseCode::GOING_AWAY));
    }
    let drained = within(draining.done).await.unwrap().unwrap();
    assert_eq!(drained, ShutdownReport::default());
}

/// RFC 9113 §6.8: the server sends GOAWAY without ending the open streams, whose
/// sockets then perform the closing handshake.
#[tokio::test]
async fn a_drain_sends_goaway() {
    let before = tasks();
    let draining = Draining::start(LONG).await;
    let mut peer = Raw::connect(draining.addr).await;
    peer.open(1, "/").await;
    peer.echo(1, "open").await;
    draining.stop.send(()).unwrap();
    let goaway = peer.on(0).await.unwrap();
    assert_eq!((goaway.kind, goaway.error_code()), (GOAWAY, NO_ERROR));
    let Seen::Frame(got, false) = peer.seen(1).await else {
        panic!("expected a Close frame without END_STREAM");
    };
    assert_eq!(got.code(), Some(1001));
    peer.data(1, &from_client(CLOSE, &close(1001, ""))).await;
    assert_eq!(peer.seen(1).await, Seen::End);
    peer.end(1).await;
    assert!(within(draining.done).await.unwrap().is_ok());
    for frame in peer.rest().await {
        assert_eq!((frame.kind, frame.error_code()), (GOAWAY, NO_ERROR));
    }
    until(|| tasks() <= before).await;
}

/// Sockets that are still open after the drain timeout are cut and counted. One
/// of the two has a handler that does not read, the other a client that does not.
#[tokio::test]
async fn a_drain_cuts_sockets_left_after_its_timeout() {
    let draining = Draining::start(Duration::from_millis(50)).await;
    let (h2, h1) = (http2().build().unwrap(), http1().build().unwrap());
    let mut stuck = within(h2.connect(&draining.url("/stuck"))).await.unwrap();
    let mut unread = within(h1.connect(&draining.url("/"))).await.unwrap();
    echo(&mut unread, "open").await;
    draining.stop.send(()).unwrap();
    let drained = within(draining.done).await.unwrap().unwrap();
    assert_eq!(drained.sockets_cut, 2);
    let error = within(stuck.next()).await.unwrap().unwrap_err();
    assert!(error.is_abnormal_closure(), "{error:?}");
    assert_eq!(stuck.close_code(), Some(CloseCode::ABNORMAL));
    assert!(within(unread.next()).await.is_none());
    assert_eq!(unread.close_code(), Some(CloseCode::GOING_AWAY));
}

/// Over HTTP/1.1 the handler owns the connection. One that never reads from its
/// socket cannot keep the connection open.
#[tokio::test]
async fn a_drain_cuts_the_connection_of_a_handler_that_hangs() {
    let draining = Draining::start(Duration::from_millis(50)).await;
    let mut tcp = TcpStream::connect(draining.addr).await.unwrap();
    let request = "GET /stuck HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
        connection: upgrade\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(tcp.read_u8()).await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    draining.stop.send(()).unwrap();
    let drained = within(draining.done).await.unwrap().unwrap();
    assert_eq!(drained.sockets_cut, 1);
    assert_eq!(
        within(tcp.read(&mut [0])).await.unwrap(),
        0,
        "expected the end"
    );
}

/// Connections without a stream end at once, and the drain does not wait for
/// them.
#[tokio::test]
async fn idle_connections_do_not_delay_a_drain() {
    let draining = Draining::start(LONG).await;
    let _h2 = Raw::connect(draining.addr).await;
    let mut h2 = Raw::connect(draining.addr).await;
    h2.barrier().await;
    draining.stop.send(()).unwrap();
    let goaway = h2.on(0).await.unwrap();
    assert_eq!(goaway.kind, GOAWAY);
    h2.rest().await;
}
