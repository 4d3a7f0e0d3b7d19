//! Opening requests that are abandoned before they are answered, and the other
//! sockets of their connection.

use std::time::Duration;

use futures_util::FutureExt;
use h2ws::{Client, HttpVersion, WebSocket};
use tokio::time::timeout;

use crate::support::bridge::{self, Bridging};
use crate::support::client::{self, ClientFixture, echo, http2, listen};
use crate::support::hyperpeer::HyperServer;
use crate::support::raw::{ACK, CANCEL, Fields, HEADERS, PING, RST_STREAM, Raw, SETTINGS};
use crate::support::text::Text;
use crate::support::within;

/// Sends an opening request and drops its future before there is an answer.
fn abandon(client: &Client, url: &str) {
    let connected = client.connect(url).now_or_never();
    assert!(connected.is_none(), "the request was answered at once");
}

/// Returns the next HEADERS, RST_STREAM or PING frame. The caller answers PINGs.
async fn next(peer: &mut Raw) -> crate::support::raw::Frame {
    loop {
        let frame = within(peer.read()).await.expect("the connection is open");
        if matches!(frame.kind, HEADERS | RST_STREAM | PING) {
            return frame;
        }
        assert!(frame.kind != SETTINGS || frame.flags & ACK != 0);
    }
}

/// The stream is reset only when the server has answered.
#[tokio::test]
async fn an_abandoned_request_is_reset_once_answered() {
    let mut beside = ClientFixture::new().await;
    abandon(&beside.client, &beside.url);
    beside.peer.request(3).await;
    beside.peer.barrier().await;
    assert_eq!(beside.peer.pending(), 0, "no reset before the answer");
    beside.peer.headers(3, &Fields::status("200"), 0).await;
    assert_eq!(beside.peer.reset_code(3).await, CANCEL);
    beside.unharmed().await;
}

/// If the server does not answer, a PING is sent after the requests. Each answer
/// to a PING allows a few streams to be reset, fewer than half of what a peer
/// that uses `h2` tolerates.
#[tokio::test]
async fn abandoned_requests_without_an_answer_are_reset_a_few_at_a_time() {
    let mut beside = ClientFixture::new().await;
    for _ in 0..100 {
        abandon(&beside.client, &beside.url);
    }
    let peer = &mut beside.peer;
    for _ in 0..100 {
        assert_eq!(next(peer).await.kind, HEADERS);
    }
    let (mut resets, mut since_ping) = (0, 0);
    while resets < 100 {
        let frame = next(peer).await;
        match frame.kind {
            RST_STREAM => {
                assert_eq!(frame.error_code(), CANCEL);
                (resets, since_ping) = (resets + 1, since_ping + 1);
                assert!(since_ping < 10);
            }
            PING => {
                since_ping = 0;
                peer.send(PING, ACK, 0, &frame.payload).await;
            }
            _ => panic!("{frame:?}"),
        }
    }
    beside.unharmed().await;
}

/// The number of streams that wait for their reset is bounded, in case the server
/// answers neither requests nor PINGs. Further sockets use another connection.
#[tokio::test]
async fn a_connection_full_of_abandoned_requests_is_not_reused() {
    let beside = ClientFixture::new().await;
    for _ in 0..1_000 {
        abandon(&beside.client, &beside.url);
    }
    let (ws, _peer) = tokio::join!(beside.client.connect(&beside.url), async {
        let mut peer = client::accept(&beside.listener, &[]).await;
        peer.take(1).await;
        peer
    });
    ws.unwrap();
}

/// `Client::shutdown` completes only after the resets.
#[tokio::test]
async fn shutdown_waits_for_abandoned_requests() {
    let (listener, addr) = listen().await;
    let url = format!("ws://{addr}/");
    let client = http2().build().unwrap();
    let (ws, mut peer) = tokio::join!(client.connect(&url), async {
        let mut peer = client::accept(&listener, &[]).await;
        peer.take(1).await;
        peer
    });
    drop(ws.unwrap());
    for _ in 0..20 {
        abandon(&client, &url);
    }
    let server = async {
        let mut resets = 0;
        while let Some(frame) = peer.next().await {
            resets += usize::from(frame.kind == RST_STREAM);
        }
        resets
    };
    let ((), resets) = within(async { tokio::join!(client.shutdown(), server) }).await;
    assert!(resets >= 20, "{resets}");
}

async fn echo_rounds(socket: &mut WebSocket, rounds: usize) {
    for _ in 0..rounds {
        echo(socket, "does not notice").await;
    }
}

/// hyper closes a connection at the 21st reset of a stream that it has not yet
/// accepted. The client stays below that limit.
#[tokio::test]
async fn hyper_is_not_flooded_with_resets_of_abandoned_requests() {
    let server = HyperServer::start();
    let client = http2().build().unwrap();
    let mut sibling = within(client.connect(&server.url("/"))).await.unwrap();
    for round in 0..20 {
        // As many as the connection allows.
        let path = ["/", "/never"][round % 2];
        for _ in 0..150 {
            abandon(&client, &server.url(path));
        }
        echo_rounds(&mut sibling, 5).await;
        client::resets(&client, 150 * (round as u64 + 1)).await;
    }
    // The server reads nothing for a while, and the clients time out earlier.
    for _ in 0..5 {
        abandon(&client, &server.url("/hiccup"));
        let attempts: Vec<_> = (0..30)
            .map(|_| {
                let (client, url) = (client.clone(), server.url("/never"));
                tokio::spawn(async move {
                    let _ = timeout(Duration::from_millis(50), client.connect(&url)).await;
                })
            })
            .collect();
        for attempt in attempts {
            attempt.await.unwrap();
        }
        echo_rounds(&mut sibling, 5).await;
    }
    echo_rounds(&mut sibling, 5).await;
    assert_eq!(server.connections(), 1);
}

/// The same through a bridge whose clients reset their streams or close their
/// HTTP/1.1 connections.
#[tokio::test]
async fn an_upstream_is_not_flooded_with_resets_of_abandoned_requests() {
    let server = HyperServer::start();
    let upstream = http2().build().unwrap();
    let builder = bridge::to("ws", server.addr, HttpVersion::Http2).client(upstream.clone());
    let bridging = Bridging::start(builder).await;
    let client = http2().build().unwrap();
    let mut sibling = within(client.connect(&bridging.url())).await.unwrap();
    let mut impatient = Raw::connect(bridging.addr).await;
    for round in 0..10 {
        let streams = || (0..60).map(|n| 1 + 2 * (round * 60 + n));
        for stream in streams() {
            let path = ["/never", "/"][stream as usize / 2 % 2];
            impatient.headers(stream, &Fields::websocket(path), 0).await;
        }
        impatient.barrier().await;
        for stream in streams() {
            impatient.reset(stream, CANCEL).await;
        }
        let mut texts = Vec::new();
        for _ in 0..30 {
            texts.push(Text::ask(bridging.addr, "/never", "").await);
        }
        echo_rounds(&mut sibling, 2).await;
        drop(texts);
        echo_rounds(&mut sibling, 2).await;
    }
    // Streams may still wait for their reset, so there may be a second connection.
    let connections = upstream.connections();
    assert!(connections.iter().all(|c| c.goaways_received == 0));
    assert_eq!(server.calmed(), 0);
}
