//! How a bridge forwards the bytes of sockets, and how the end of one side becomes
//! the end of the other (RFC 8441 §5).

use std::time::Duration;

use futures_util::StreamExt;
use h2ws::{Client, CloseCode, CloseFrame, HttpVersion, Message, Server, WebSocketConfig};
use tokio::net::TcpStream;

use crate::support::bridge::{BridgeFixture, Bridging, closes, to, to_raw, to_text};
use crate::support::client::{accept, echo, http1, http2, listen};
use crate::support::frames::{BINARY, CLOSE, TEXT, close, from_client, from_server};
use crate::support::raw::{CANCEL, DATA, END_STREAM, INITIAL_WINDOW_SIZE, NO_ERROR, Raw, Seen};
use crate::support::text::{Over, Text};
use crate::support::{h2peer, server, tasks, tls, until, within};

/// Clients and upstreams over either HTTP version exchange messages of various sizes
/// and a close code.
#[tokio::test]
async fn messages_pass_between_all_combinations_of_http_versions() {
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

/// Many sockets share few connections to an RFC 8441 upstream, which here allows ten
/// streams on each.
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

/// A client's Close ends both sides as a WebSocket endpoint would.
#[tokio::test]
async fn a_clients_close_closes_both_sides() {
    let mut fixture = BridgeFixture::new().await;
    let mut backend = fixture.open().await;
    fixture.send(TEXT, b"last").await;
    fixture.send(CLOSE, &close(3001, "bye")).await;
    assert_eq!(backend.frame().await.payload, b"last");
    let got = backend.frame().await;
    assert_eq!((got.code(), &got.payload[2..]), (Some(3001), &b"bye"[..]));
    backend.write(from_server(CLOSE, &got.payload)).await;
    backend.end().await;
    // RFC 6455 §7.1.1: the server closes the connection first, then the bridge.
    assert_eq!(backend.seen().await, Err(Over::End));
    closes(&mut fixture.client, 3, 3001).await;
    assert_eq!(fixture.seen().await, Seen::End);
    fixture.client.end(3).await;
    fixture.unharmed().await;
}

/// Firefox treats END_STREAM with a Close frame as an abnormal closure, so the
/// upstream's end is forwarded only after the client's Close.
#[tokio::test]
async fn the_end_after_an_upstreams_close_waits_for_the_clients_close() {
    let mut fixture = BridgeFixture::new().await;
    let mut backend = fixture.open().await;
    backend.write(from_server(CLOSE, &close(1001, ""))).await;
    backend.end().await;
    closes(&mut fixture.client, 3, 1001).await;
    fixture.client.barrier().await;
    assert_eq!(
        fixture.client.pending(),
        0,
        "ended before the client closed"
    );
    fixture.send(CLOSE, &close(1001, "")).await;
    assert_eq!(backend.frame().await.code(), Some(1001));
    assert_eq!(fixture.seen().await, Seen::End);
    fixture.client.end(3).await;
    fixture.unharmed().await;
}

/// An upstream may disconnect or reset after its Close without waiting for the
/// reply.
#[tokio::test]
async fn an_upstream_that_disconnects_after_its_close_still_closes_cleanly() {
    for reset in [false, true] {
        let mut fixture = BridgeFixture::new().await;
        let mut backend = fixture.open().await;
        backend.write(from_server(CLOSE, &close(1000, ""))).await;
        closes(&mut fixture.client, 3, 1000).await;
        if reset {
            backend.reset();
        } else {
            drop(backend);
        }
        for _ in 0..3 {
            fixture.send(BINARY, &[0; 1000]).await;
            fixture.client.barrier().await;
        }
        assert_eq!(
            fixture.client.pending(),
            0,
            "ended before the client closed"
        );
        fixture.send(CLOSE, &close(1000, "")).await;
        assert_eq!(fixture.seen().await, Seen::End);
        fixture.client.end(3).await;
        fixture.unharmed().await;
    }
}

/// Chromium sends END_STREAM with its Close. With some servers, an early end would
/// lose the reply or the connection, so the bridge forwards it after the reply.
#[tokio::test]
async fn the_end_after_a_clients_close_waits_for_the_upstreams_close() {
    let mut fixture = BridgeFixture::new().await;
    let mut backend = fixture.open().await;
    let bytes = from_client(CLOSE, &close(1000, ""));
    fixture.client.send(DATA, END_STREAM, 3, &bytes).await;
    let got = backend.frame().await;
    fixture.client.barrier().await;
    let read = backend.io.try_read(&mut [0]);
    assert!(
        read.is_err(),
        "the end was forwarded before the reply: {read:?}"
    );
    backend.write(from_server(CLOSE, &got.payload)).await;
    closes(&mut fixture.client, 3, 1000).await;
    assert_eq!(fixture.seen().await, Seen::End);
    backend.end().await;
    assert_eq!(backend.seen().await, Err(Over::End));
    fixture.unharmed().await;
}

/// Hypercorn never ends its side of a stream, and allows a hundred streams.
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
async fn an_upstream_stream_that_ends_is_not_reset() {
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

/// RFC 8441 §5: END_STREAM becomes FIN and FIN becomes END_STREAM, after the data that
/// was sent before. The other direction stays open.
#[tokio::test]
async fn half_closes_are_forwarded_in_both_directions() {
    let mut fixture = BridgeFixture::new().await;
    let mut backend = fixture.open().await;
    fixture.send(BINARY, b"last").await;
    fixture.client.end(3).await;
    assert_eq!(backend.frame().await.payload, b"last");
    assert_eq!(backend.seen().await, Err(Over::End));
    backend.write(from_server(BINARY, b"more")).await;
    let Seen::Frame(more, false) = fixture.seen().await else {
        panic!("the other direction ended too");
    };
    assert_eq!(more.payload, b"more");
    backend.end().await;
    assert_eq!(fixture.seen().await, Seen::End);
    fixture.unharmed().await;

    let mut fixture = BridgeFixture::new().await;
    let mut backend = fixture.open().await;
    backend.write(from_server(BINARY, b"last")).await;
    backend.end().await;
    let Seen::Frame(last, _) = fixture.seen().await else {
        panic!("the last message is lost");
    };
    assert_eq!(last.payload, b"last");
    assert_eq!(fixture.seen().await, Seen::End);
    fixture.send(BINARY, b"more").await;
    assert_eq!(backend.frame().await.payload, b"more");
    fixture.client.end(3).await;
    assert_eq!(backend.seen().await, Err(Over::End));
    fixture.unharmed().await;
}

/// RFC 8441 §5: a reset is forwarded as CANCEL, and does not affect other sockets.
#[tokio::test]
async fn resets_are_forwarded_in_both_directions() {
    let mut fixture = BridgeFixture::new().await;
    let mut backend = fixture.open().await;
    fixture.client.reset(3, CANCEL).await;
    // The upstream sees no Close frame (1006).
    assert!(backend.seen().await.is_err());
    fixture.unharmed().await;

    let mut fixture = BridgeFixture::new().await;
    let backend = fixture.open().await;
    backend.reset();
    assert_eq!(fixture.seen().await, Seen::Reset(CANCEL));
    fixture.unharmed().await;

    let (_bridging, mut client, mut upstream) = to_raw().await;
    client.reset(1, CANCEL).await;
    assert_eq!(upstream.seen(1).await, Seen::Reset(CANCEL));

    let (_bridging, mut client, mut upstream) = to_raw().await;
    upstream.reset(1, NO_ERROR).await;
    assert_eq!(client.seen(1).await, Seen::Reset(CANCEL));
}

/// What a side sent before its reset arrives, even if the other side has no window for it yet.
#[tokio::test]
async fn what_was_sent_before_a_reset_arrives_before_it() {
    let no_window = [(INITIAL_WINDOW_SIZE, 0)];
    for from_upstream in [true, false] {
        let (listener, addr) = listen().await;
        let config = WebSocketConfig::default().linger(Duration::from_secs(600));
        let bridge = Client::builder().tls(tls::none()).socket(config.clone());
        let bridge = to("ws", addr, HttpVersion::Http2).client(bridge.build().unwrap());
        let bridging = Bridging::with(bridge, config).await;
        let io = TcpStream::connect(bridging.addr).await.unwrap();
        let mut client = Raw::begin(io, &no_window).await;
        let ((), mut upstream) = tokio::join!(client.open(1, "/"), async {
            let mut upstream = accept(&listener, &no_window).await;
            upstream.take(1).await;
            upstream
        });
        let (sender, receiver, message) = match from_upstream {
            true => (&mut upstream, &mut client, from_server(TEXT, b"last words")),
            false => (&mut client, &mut upstream, from_client(TEXT, b"last words")),
        };
        sender.data(1, &message).await;
        sender.reset(1, CANCEL).await;
        sender.barrier().await;
        receiver.barrier().await;
        receiver.window(1, 1000).await;
        let seen = receiver.seen(1).await;
        let Seen::Frame(last, _) = seen else {
            panic!("{seen:?}, from the upstream: {from_upstream}");
        };
        assert_eq!(last.payload, b"last words");
        assert_eq!(receiver.seen(1).await, Seen::Reset(CANCEL));
    }
}

/// When the process of an upstream is killed, its last message arrives, and then the
/// end without a Close frame (1006).
#[tokio::test]
async fn a_killed_upstream_ends_the_socket_without_a_close_frame() {
    let mut fixture = BridgeFixture::new().await;
    let mut backend = fixture.open().await;
    fixture.send(TEXT, b"read").await;
    backend.frame().await;
    backend.write(from_server(TEXT, b"last words")).await;
    drop(backend);
    let Seen::Frame(last, _) = fixture.seen().await else {
        panic!("the last message is lost");
    };
    assert_eq!(last.payload, b"last words");
    assert_eq!(fixture.seen().await, Seen::End);
    fixture.client.end(3).await;
    fixture.unharmed().await;
}

/// The end of an upstream's HTTP/2 connection resets the clients' streams.
#[tokio::test]
async fn a_broken_upstream_connection_resets_its_sockets() {
    let (_bridging, mut client, upstream) = to_raw().await;
    drop(upstream);
    assert_eq!(client.seen(1).await, Seen::Reset(CANCEL));
}

/// When a client's TCP connection ends, the upstream of each of its sockets sees the
/// end.
#[tokio::test]
async fn a_client_that_disconnects_ends_all_its_sockets() {
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

/// The close timeout applies to an unanswered Close, and the linger to an unanswered
/// end.
#[tokio::test]
async fn a_side_that_never_ends_is_reset_after_the_timeout() {
    let mut fixture = BridgeFixture::new().await;
    let mut backend = fixture.open().await;
    fixture.send(CLOSE, &close(1000, "")).await;
    backend.frame().await;
    assert_eq!(fixture.seen().await, Seen::Reset(CANCEL));
    assert!(backend.seen().await.is_err());
    fixture.unharmed().await;

    let mut fixture = BridgeFixture::new().await;
    let mut backend = fixture.open().await;
    backend.end().await;
    assert_eq!(fixture.seen().await, Seen::End);
    assert!(backend.seen().await.is_err());
    assert_eq!(fixture.seen().await, Seen::Reset(NO_ERROR));
    fixture.unharmed().await;
}

/// The bridge does not require valid WebSocket frames.
#[tokio::test]
async fn bytes_that_are_not_websocket_frames_are_forwarded() {
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
