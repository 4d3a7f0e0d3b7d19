//! Sockets that the bridge itself closes: during a drain, and after the idle
//! timeout.

use std::time::Duration;

use h2ws::server::ShutdownReport;
use h2ws::{HttpVersion, WebSocketConfig};

use crate::support::bridge::{Bridging, closes, open_to_raw, to, to_text};
use crate::support::client::listen;
use crate::support::frames::{BINARY, CLOSE, TEXT, close, from_client, from_server};
use crate::support::raw::{GOAWAY, Raw, Seen, WINDOW_UPDATE};
use crate::support::text::{Over, Text};
use crate::support::within;

/// The idle timeout is off by default. When it expires, the client is sent a Close
/// frame with 1001, and the client's reply closes the upstream.
#[tokio::test]
async fn an_idle_socket_is_closed_with_1001() {
    let (listener, addr) = listen().await;
    let builder = to("ws", addr, HttpVersion::Http1).idle_timeout(Duration::from_millis(30));
    let bridging = Bridging::start(builder).await;
    let mut client = Raw::connect(bridging.addr).await;
    let ((), mut backend) = tokio::join!(client.open(1, "/"), Text::accept(&listener));
    closes(&mut client, 1, 1001).await;
    client.data(1, &from_client(CLOSE, &close(1001, ""))).await;
    assert_eq!(backend.frame().await.code(), Some(1001));
    backend.write(from_server(CLOSE, &close(1001, ""))).await;
    assert_eq!(client.seen(1).await, Seen::End);
}

/// A drain closes sockets with 1001, but never in the middle of a frame. The
/// clients' replies close the upstreams.
#[tokio::test]
async fn a_drain_sends_1001_between_frames() {
    let (mut bridging, listener) = to_text().await;
    let mut client = Raw::connect(bridging.addr).await;
    let ((), mut backend) = tokio::join!(client.open(1, "/"), Text::accept(&listener));
    let whole = from_server(BINARY, &[7; 3000]);
    let (first, second) = whole.split_at(1000);
    backend.write(first).await;
    let data = client.on(1).await.unwrap();
    assert_eq!(data.payload, first);
    bridging.drain();
    // GOAWAY shows that the drain has begun. The frame is still incomplete.
    assert_eq!(client.on(0).await.unwrap().kind, GOAWAY);
    client.barrier().await;
    assert_eq!(
        client.pending(),
        0,
        "the bridge wrote into an unfinished frame"
    );
    backend.write(second).await;
    let mut rest = Vec::new();
    while rest.len() < second.len() + 4 {
        rest.extend(client.on(1).await.unwrap().payload);
    }
    assert_eq!(
        rest,
        [second, &from_server(CLOSE, &close(1001, ""))].concat()
    );
    client.data(1, &from_client(TEXT, b"on its way")).await;
    client.data(1, &from_client(CLOSE, &close(1001, ""))).await;
    assert_eq!(backend.frame().await.payload, b"on its way");
    assert_eq!(backend.frame().await.code(), Some(1001));
    backend.write(from_server(CLOSE, &close(1001, ""))).await;
    assert_eq!(client.seen(1).await, Seen::End);
    client.end(1).await;
    assert_eq!(bridging.drained().await, ShutdownReport::default());
}

/// The same for an HTTP/1.1 client, which has a connection of its own.
#[tokio::test]
async fn a_drain_closes_sockets_over_http1() {
    let (mut bridging, listener) = to_text().await;
    let (mut client, mut backend) =
        tokio::join!(Text::open(bridging.addr, "/"), Text::accept(&listener));
    bridging.drain();
    assert_eq!(client.frame().await.code(), Some(1001));
    client.write(from_client(CLOSE, &close(1001, ""))).await;
    assert_eq!(backend.frame().await.code(), Some(1001));
    assert_eq!(client.seen().await, Err(Over::End));
    drop(client);
    assert_eq!(bridging.drained().await, ShutdownReport::default());
}

/// Starts a bridge to a local upstream with a close timeout that does not expire
/// during a test.
async fn with_long_close_timeout(addr: std::net::SocketAddr, version: HttpVersion) -> Bridging {
    let config = WebSocketConfig::default().close_timeout(Duration::from_secs(600));
    Bridging::with(to("ws", addr, version), config).await
}

/// Sends a message `times` times, as flow control permits.
async fn send_many(peer: &mut Raw, message: &[u8], times: usize) {
    let mut window: usize = 256 * 1024;
    for _ in 0..times {
        while window < message.len() {
            let frame = within(peer.read()).await.expect("open");
            if frame.kind == WINDOW_UPDATE && frame.stream == 1 {
                let step: [u8; 4] = frame.payload[..].try_into().unwrap();
                window += u32::from_be_bytes(step) as usize;
            }
        }
        peer.data(1, message).await;
        window -= message.len();
    }
}

/// After the bridge's Close, the bridge reads and discards what the upstream sends.
/// Otherwise an upstream that answers what it reads would stop reading, and what
/// the client sent before its own Close would never arrive.
#[tokio::test]
async fn an_upstream_that_still_sends_after_a_drain_receives_the_clients_last_message() {
    let (listener, addr) = listen().await;
    let mut bridging = with_long_close_timeout(addr, HttpVersion::Http2).await;
    let (mut client, mut upstream) = open_to_raw(&bridging, &listener).await;
    bridging.drain();
    closes(&mut client, 1, 1001).await;
    send_many(&mut upstream, &from_server(BINARY, &[7; 16_000]), 100).await;
    client.data(1, &from_client(TEXT, b"last")).await;
    client.data(1, &from_client(CLOSE, &close(1001, ""))).await;
    assert_eq!(upstream.frame(1).await.payload, b"last");
    assert_eq!(upstream.frame(1).await.code(), Some(1001));
    let answer = from_server(CLOSE, &close(1001, ""));
    upstream.data(1, &answer).await;
    assert_eq!(client.seen(1).await, Seen::End);
}

/// A client that has already sent a Close receives the upstream's reply and no
/// Close of the drain.
#[tokio::test]
async fn a_drain_does_not_disturb_a_closing_handshake() {
    let (listener, addr) = listen().await;
    let mut bridging = with_long_close_timeout(addr, HttpVersion::Http1).await;
    let mut client = Raw::connect(bridging.addr).await;
    let ((), mut backend) = tokio::join!(client.open(1, "/"), Text::accept(&listener));
    client.data(1, &from_client(CLOSE, &close(3001, ""))).await;
    assert_eq!(backend.frame().await.code(), Some(3001));
    bridging.drain();
    assert_eq!(client.on(0).await.unwrap().kind, GOAWAY);
    backend.write(from_server(TEXT, b"last")).await;
    assert_eq!(client.frame(1).await.payload, b"last");
    backend.write(from_server(CLOSE, &close(3001, ""))).await;
    closes(&mut client, 1, 3001).await;
    assert_eq!(client.seen(1).await, Seen::End);
}
