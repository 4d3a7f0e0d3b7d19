//! What a bridge does with the bytes of sockets, and how it ends them
//! (RFC 8441 §5).

use futures_util::StreamExt;
use h2ws::{CloseCode, CloseFrame, HttpVersion, Message, Server};

use crate::support::bridge::{BridgeFixture, Bridging, closes, to, to_raw, to_text};
use crate::support::client::{echo, http1, http2};
use crate::support::frames::{BINARY, CLOSE, TEXT, close, from_client, from_server};
use crate::support::raw::{CANCEL, DATA, END_STREAM, NO_ERROR, Raw, Seen};
use crate::support::text::{Over, Text};
use crate::support::{h2peer, server, tasks, until, within};

/// In over either version, out over either: messages of all sizes, and the
/// code of the Close frame.
#[tokio::test]
async fn any_to_any() {
    let mut upstream = server::echo(Server::builder()).await;
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let bridging = Bridging::start(to("ws", upstream.addr, version)).await;
        for client in [http1(), http2()] {
            let client = client.build().unwrap();
            let mut ws = within(client.connect(&bridging.url())).await.unwrap();
            for size in [0, 1, 125, 126, 65_536, 1 << 20] {
                let message = Message::binary(vec![7; size]);
                within(ws.send(message.clone())).await.unwrap();
                assert_eq!(within(ws.next()).await.unwrap().unwrap(), message);
            }
            let bye = CloseFrame::new(CloseCode::from(3001), "bye");
            within(ws.close(bye)).await.unwrap();
            assert_eq!(ws.close_code(), Some(CloseCode::from(3001)));
            let ended = upstream.ended().await;
            assert_eq!(ended.code, Some(CloseCode::from(3001)), "{ended:?}");
        }
    }
}

/// Many incoming sockets share few connections to an RFC 8441 upstream, which
/// allows ten streams on each here.
#[tokio::test]
async fn sockets_share_connections_to_an_rfc8441_upstream() {
    let upstream = h2peer::EchoServer::start(|builder| {
        builder.max_concurrent_streams(10);
    })
    .await;
    let bridging = Bridging::start(to("ws", upstream.addr, HttpVersion::Http2)).await;
    let client = http1().build().unwrap();
    let mut sockets = Vec::new();
    for n in 0..25 {
        let mut ws = within(client.connect(&bridging.url())).await.unwrap();
        echo(&mut ws, &format!("socket {n}")).await;
        sockets.push(ws);
    }
    assert_eq!(upstream.connections(), 3);
    for ws in &mut sockets {
        echo(ws, "still here").await;
    }
}

/// A client that closes: each side is ended as an endpoint would.
#[tokio::test]
async fn a_clients_close_closes_both_sides() {
    let mut beside = BridgeFixture::new().await;
    let mut backend = beside.open().await;
    beside.send(TEXT, b"last").await;
    beside.send(CLOSE, &close(3001, "bye")).await;
    assert_eq!(backend.frame().await.payload, b"last");
    let got = backend.frame().await;
    assert_eq!((got.code(), &got.payload[2..]), (Some(3001), &b"bye"[..]));
    backend.write(from_server(CLOSE, &got.payload)).await;
    backend.end().await;
    // RFC 6455 §7.1.1: the server goes first, the bridge follows.
    assert_eq!(backend.seen().await, Err(Over::End));
    closes(&mut beside.client, 3, 3001).await;
    assert_eq!(beside.seen().await, Seen::End);
    beside.client.end(3).await;
    beside.unharmed().await;
}

/// Firefox takes a Close frame with END_STREAM for a cut, so the end of the
/// backend's side waits for the client's Close.
#[tokio::test]
async fn a_backends_close_is_not_its_end() {
    let mut beside = BridgeFixture::new().await;
    let mut backend = beside.open().await;
    backend.write(from_server(CLOSE, &close(1001, ""))).await;
    backend.end().await;
    closes(&mut beside.client, 3, 1001).await;
    beside.client.barrier().await;
    assert_eq!(beside.client.pending(), 0, "ended before the client closed");
    beside.send(CLOSE, &close(1001, "")).await;
    assert_eq!(backend.frame().await.code(), Some(1001));
    assert_eq!(beside.seen().await, Seen::End);
    beside.client.end(3).await;
    beside.unharmed().await;
}

/// A backend that closes and does not wait is as good.
#[tokio::test]
async fn a_backend_that_closes_and_is_gone_still_closes_in_order() {
    for reset in [false, true] {
        let mut beside = BridgeFixture::new().await;
        let mut backend = beside.open().await;
        backend.write(from_server(CLOSE, &close(1000, ""))).await;
        closes(&mut beside.client, 3, 1000).await;
        if reset {
            backend.reset();
        } else {
            drop(backend);
        }
        for _ in 0..20 {
            beside.send(BINARY, &[0; 1000]).await;
            beside.client.barrier().await;
        }
        assert_eq!(beside.client.pending(), 0, "ended before the client closed");
        beside.send(CLOSE, &close(1000, "")).await;
        assert_eq!(beside.seen().await, Seen::End);
        beside.client.end(3).await;
        beside.unharmed().await;
    }
}

/// Chromium ends its side in one frame with its Close. There are servers that
/// lose their answer by it, or the connection: so it waits for that answer.
#[tokio::test]
async fn an_end_behind_a_close_waits_for_the_other_close() {
    let mut beside = BridgeFixture::new().await;
    let mut backend = beside.open().await;
    let bytes = from_client(CLOSE, &close(1000, ""));
    beside.client.send(DATA, END_STREAM, 3, &bytes).await;
    let got = backend.frame().await;
    beside.client.barrier().await;
    let read = backend.io.try_read(&mut [0]);
    assert!(read.is_err(), "the end went across: {read:?}");
    backend.write(from_server(CLOSE, &got.payload)).await;
    closes(&mut beside.client, 3, 1000).await;
    assert_eq!(beside.seen().await, Seen::End);
    backend.end().await;
    assert_eq!(backend.seen().await, Err(Over::End));
    beside.unharmed().await;
}

/// Hypercorn never ends its side of a stream, and allows a hundred.
#[tokio::test]
async fn an_upstream_stream_that_never_ends_is_cancelled_after_both_closes() {
    let (_bridging, mut client, mut upstream) = to_raw().await;
    client.data(1, &from_client(CLOSE, &close(1000, ""))).await;
    closes(&mut upstream, 1, 1000).await;
    upstream
        .data(1, &from_server(CLOSE, &close(1000, "")))
        .await;
    assert_eq!(client.close_then_end(1).await, Some(1000));
    assert_eq!(upstream.seen(1).await, Seen::Reset(CANCEL));
    // Firefox never ends its side.
    assert_eq!(client.seen(1).await, Seen::Reset(NO_ERROR));
}

#[tokio::test]
async fn an_upstream_stream_that_ends_is_ended() {
    let (_bridging, mut client, mut upstream) = to_raw().await;
    upstream
        .data(1, &from_server(CLOSE, &close(1000, "")))
        .await;
    closes(&mut client, 1, 1000).await;
    client.data(1, &from_client(CLOSE, &close(1000, ""))).await;
    closes(&mut upstream, 1, 1000).await;
    upstream.end(1).await;
    assert_eq!(upstream.seen(1).await, Seen::End);
    assert_eq!(client.seen(1).await, Seen::End);
}

/// RFC 8441 §5: END_STREAM is FIN and FIN is END_STREAM, behind what was sent,
/// while the other direction goes on.
#[tokio::test]
async fn half_closes_go_across_both_ways() {
    let mut beside = BridgeFixture::new().await;
    let mut backend = beside.open().await;
    beside.send(BINARY, b"last").await;
    beside.client.end(3).await;
    assert_eq!(backend.frame().await.payload, b"last");
    assert_eq!(backend.seen().await, Err(Over::End));
    backend.write(from_server(BINARY, b"more")).await;
    let Seen::Frame(more, false) = beside.seen().await else {
        panic!("the other direction ended too");
    };
    assert_eq!(more.payload, b"more");
    backend.end().await;
    assert_eq!(beside.seen().await, Seen::End);
    beside.unharmed().await;

    let mut beside = BridgeFixture::new().await;
    let mut backend = beside.open().await;
    backend.write(from_server(BINARY, b"last")).await;
    backend.end().await;
    let Seen::Frame(last, _) = beside.seen().await else {
        panic!("the last message is lost");
    };
    assert_eq!(last.payload, b"last");
    assert_eq!(beside.seen().await, Seen::End);
    beside.send(BINARY, b"more").await;
    assert_eq!(backend.frame().await.payload, b"more");
    beside.client.end(3).await;
    assert_eq!(backend.seen().await, Err(Over::End));
    beside.unharmed().await;
}

/// RFC 8441 §5: a reset resets with CANCEL, and nobody beside it.
#[tokio::test]
async fn resets_go_across_both_ways() {
    let mut beside = BridgeFixture::new().await;
    let mut backend = beside.open().await;
    beside.client.reset(3, CANCEL).await;
    // Without a Close frame: 1006.
    assert!(backend.seen().await.is_err());
    beside.unharmed().await;

    let mut beside = BridgeFixture::new().await;
    let backend = beside.open().await;
    backend.reset();
    assert_eq!(beside.seen().await, Seen::Reset(CANCEL));
    beside.unharmed().await;

    let (_bridging, mut client, mut upstream) = to_raw().await;
    client.reset(1, CANCEL).await;
    assert_eq!(upstream.seen(1).await, Seen::Reset(CANCEL));

    let (_bridging, mut client, mut upstream) = to_raw().await;
    upstream.reset(1, NO_ERROR).await;
    assert_eq!(client.seen(1).await, Seen::Reset(CANCEL));
}

/// A backend whose process is killed: what it said last arrives, and then the
/// end, without a Close frame (1006).
#[tokio::test]
async fn a_backend_that_is_killed_looks_like_a_cut() {
    let mut beside = BridgeFixture::new().await;
    let mut backend = beside.open().await;
    beside.send(TEXT, b"read").await;
    backend.frame().await;
    backend.write(from_server(TEXT, b"last words")).await;
    drop(backend);
    let Seen::Frame(last, _) = beside.seen().await else {
        panic!("the last message is lost");
    };
    assert_eq!(last.payload, b"last words");
    assert_eq!(beside.seen().await, Seen::End);
    beside.client.end(3).await;
    beside.unharmed().await;
}

/// The end of an upstream's whole connection cuts its sockets, each in its own
/// way of looking cut.
#[tokio::test]
async fn an_upstream_connection_that_breaks_cuts_its_sockets() {
    let (_bridging, mut client, upstream) = to_raw().await;
    drop(upstream);
    assert_eq!(client.seen(1).await, Seen::Reset(CANCEL));
}

/// A client whose TCP connection is gone: every backend of its sockets sees
/// the end.
#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing_behind() {
    let (bridging, listener) = to_text().await;
    let idle = tasks();
    let mut client = Raw::connect(bridging.addr).await;
    let mut backends = Vec::new();
    for stream in [1, 3, 5] {
        let ((), backend) = tokio::join!(client.open(stream, "/"), Text::accept(&listener));
        backends.push(backend);
    }
    drop(client);
    for backend in &mut backends {
        assert!(backend.seen().await.is_err());
    }
    until(|| tasks() <= idle).await;
}

/// A Close that is never answered, and an end that is never answered, take so
/// long and no longer.
#[tokio::test]
async fn a_side_that_never_ends_is_cut() {
    let mut beside = BridgeFixture::new().await;
    let mut backend = beside.open().await;
    beside.send(CLOSE, &close(1000, "")).await;
    backend.frame().await;
    assert_eq!(beside.seen().await, Seen::Reset(CANCEL));
    assert!(backend.seen().await.is_err());
    beside.unharmed().await;

    let mut beside = BridgeFixture::new().await;
    let mut backend = beside.open().await;
    backend.end().await;
    assert_eq!(beside.seen().await, Seen::End);
    assert!(backend.seen().await.is_err());
    assert_eq!(beside.seen().await, Seen::Reset(NO_ERROR));
    beside.unharmed().await;
}

/// What is no WebSocket passes all the same, to its end.
#[tokio::test]
async fn bytes_that_are_no_frames_pass() {
    let (bridging, listener) = to_text().await;
    let mut client = Raw::connect(bridging.addr).await;
    let ((), mut backend) = tokio::join!(client.open(1, "/"), Text::accept(&listener));
    let bytes: Vec<u8> = (0..50_000_u32).map(|n| (n % 251) as u8).collect();
    for chunk in bytes.chunks(10_000) {
        client.data(1, chunk).await;
    }
    client.end(1).await;
    assert!(backend.rest().await == bytes);
}
