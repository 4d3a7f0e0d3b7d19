//! The maximum lifetime of WebSockets.

use std::sync::Arc;
use std::time::Duration;

use h2ws::bridge::{BridgeBuilder, Outcome, Side};
use h2ws::handshake::AllowedOrigins;
use h2ws::{CloseCode, HttpVersion, WebSocketConfig};

use crate::support::bridge::{Bridging, closes, to};
use crate::support::client::listen;
use crate::support::frames::{BINARY, CLOSE, TEXT, close, from_client, from_server};
use crate::support::raw::{Raw, Seen};
use crate::support::recorder::{Event, Recorder};
use crate::support::text::{Over, Text};

const LIFETIME: Duration = Duration::from_millis(50);

/// The outcome of a WebSocket, and the reason in the log.
type End = (Outcome, String);

async fn expect(recorder: &Recorder<End>, outcome: Outcome) {
    let reason = "open for its maximum lifetime".to_owned();
    assert_eq!(recorder.next().await, (outcome, reason));
}

async fn start(builder: BridgeBuilder, close_timeout: Duration) -> (Bridging, Arc<Recorder<End>>) {
    let bridge = builder.max_lifetime(LIFETIME).build().unwrap();
    let recorder = Recorder::of(&bridge, |event, access| {
        let reason = access.reason()?.to_owned();
        (event == Event::WebSocketEnd).then_some((access.closed()?, reason))
    });
    let config = WebSocketConfig::default().close_timeout(close_timeout);
    (Bridging::of(&bridge, config).await, recorder)
}

/// For conditions that must hold without a timeout.
const LONG: Duration = Duration::from_secs(600);

const CLOSED: Outcome = Outcome::By(Side::Bridge, CloseCode::GOING_AWAY);

/// A WebSocket that is never idle is closed too, between two frames of the upstream, and
/// what the client sent before its own Close arrives.
#[tokio::test]
async fn a_socket_is_closed_between_two_frames_when_its_lifetime_ends() {
    let (listener, addr) = listen().await;
    let (bridging, recorder) = start(to("ws", addr, HttpVersion::Http1), LONG).await;
    let mut client = Raw::connect(bridging.addr).await;
    let whole = from_server(BINARY, &[7; 3000]);
    let (first, second) = whole.split_at(1000);
    // With the acceptance, so before the lifetime can end.
    let accept = async {
        let mut backend = Text::asked(&listener).await;
        let head = format!("{}\r\n", backend.switching());
        backend.write([head.as_bytes(), first].concat()).await;
        backend
    };
    let ((), mut backend) = tokio::join!(client.open(1, "/"), accept);
    assert_eq!(client.on(1).await.unwrap().payload, first);
    tokio::time::sleep(2 * LIFETIME).await;
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
    let expected = [second, &from_server(CLOSE, &close(1001, ""))].concat();
    assert_eq!(rest, expected);
    client.data(1, &from_client(TEXT, b"on its way")).await;
    client.data(1, &from_client(CLOSE, &close(1001, ""))).await;
    assert_eq!(backend.frame().await.payload, b"on its way");
    assert_eq!(backend.frame().await.code(), Some(1001));
    backend.write(from_server(CLOSE, &close(1001, ""))).await;
    assert_eq!(client.seen(1).await, Seen::End);
    client.end(1).await;
    expect(&recorder, CLOSED).await;
}

#[tokio::test]
async fn a_lifetime_ends_over_http1_and_for_an_http2_upstream_too() {
    let (listener, addr) = listen().await;
    let (bridging, recorder) = start(to("ws", addr, HttpVersion::Http1), LONG).await;
    let (mut client, mut backend) =
        tokio::join!(Text::open(bridging.addr, "/"), Text::accept(&listener));
    assert_eq!(client.frame().await.code(), Some(1001));
    client.write(from_client(CLOSE, &close(1001, ""))).await;
    assert_eq!(backend.frame().await.code(), Some(1001));
    backend.write(from_server(CLOSE, &close(1001, ""))).await;
    assert_eq!(client.seen().await, Err(Over::End));
    expect(&recorder, CLOSED).await;

    let (bridging, recorder) = start(to("ws", addr, HttpVersion::Http2), LONG).await;
    let (mut client, mut upstream) =
        crate::support::bridge::open_to_raw(&bridging, &listener).await;
    closes(&mut client, 1, 1001).await;
    client.data(1, &from_client(CLOSE, &close(1001, ""))).await;
    closes(&mut upstream, 1, 1001).await;
    upstream
        .data(1, &from_server(CLOSE, &close(1001, "")))
        .await;
    assert_eq!(client.seen(1).await, Seen::End);
    expect(&recorder, CLOSED).await;
}

/// A client that ignores the Close, and never stops sending, is cut.
#[tokio::test]
async fn a_socket_that_outlives_its_close_timeout_is_cut() {
    let (listener, addr) = listen().await;
    let timeout = Duration::from_millis(50);
    let (bridging, recorder) = start(to("ws", addr, HttpVersion::Http1), timeout).await;
    let (mut client, mut backend) =
        tokio::join!(Text::open(bridging.addr, "/"), Text::accept(&listener));
    let busy = async {
        while client
            .try_write(&from_client(TEXT, b"still here"))
            .await
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let reads = async { while backend.seen().await.is_ok() {} };
    let cut = Outcome::TimedOut(Side::Bridge);
    tokio::join!(busy, reads, expect(&recorder, cut));
}

#[tokio::test]
async fn a_tunnel_is_closed_when_its_lifetime_ends() {
    let (listener, addr) = listen().await;
    let builder = || to("tcp", addr, HttpVersion::Auto).allowed_origins(AllowedOrigins::any());
    let (bridging, recorder) = start(builder(), LONG).await;
    let mut client = Raw::connect(bridging.addr).await;
    client.open(1, "/").await;
    assert_eq!(client.frame(1).await.code(), Some(1001));
    client.data(1, &from_client(CLOSE, &close(1001, ""))).await;
    assert_eq!(client.seen(1).await, Seen::End);
    expect(&recorder, CLOSED).await;

    let (bridging, recorder) = start(builder(), Duration::from_millis(20)).await;
    let mut client = Raw::connect(bridging.addr).await;
    client.open(1, "/").await;
    assert_eq!(client.frame(1).await.code(), Some(1001));
    let (outcome, reason) = recorder.next().await;
    assert_eq!(outcome, Outcome::TimedOut(Side::Bridge), "{reason}");
    drop(listener);
}
