//! Limits on the useless work that a peer may cause, and on the time it may take
//! to finish what it started: RFC 9113 §10.5, CVE-2023-44487, CVE-2025-8671.

use std::time::Duration;

use futures_util::StreamExt;
use h2ws::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::ClientFixture;
use crate::support::raw::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Fields, GOAWAY,
    HEADERS, PING, PRIORITY, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, encode,
};
use crate::support::server::{self, ServerFixture};
use crate::support::within;

/// Returns the identifier of the `n`th stream after the sibling on stream 1.
fn id(n: usize) -> u32 {
    2 * n as u32 + 3
}

fn request(stream: u32) -> Vec<u8> {
    encode(
        HEADERS,
        END_HEADERS,
        stream,
        &Fields::websocket("/").encode(),
    )
}

fn reset(stream: u32) -> Vec<u8> {
    encode(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// Encodes a request that announces a body of one byte.
fn post(stream: u32) -> Vec<u8> {
    let fields = Fields(Vec::new())
        .with(":method", "POST")
        .with(":scheme", "http")
        .with(":path", "/")
        .with(":authority", "localhost")
        .with("content-length", "1");
    encode(HEADERS, END_HEADERS, stream, &fields.encode())
}

/// Users who leave early, behind a proxy, cause streams that are reset before they
/// are answered. Other sockets of the connection are not affected.
#[tokio::test]
async fn cancelled_requests_harm_no_sibling() {
    let mut beside = ServerFixture::new().await;
    for round in 0..8 {
        let burst: Vec<u8> = (round * 1_000..(round + 1) * 1_000)
            .flat_map(|n| [request(id(n)), reset(id(n))].concat())
            .collect();
        beside.peer.write(&burst).await;
        beside.peer.barrier().await;
        beside.peer.echo(1, "does not notice").await;
    }
    beside.unharmed().await;
}

/// The same for open sockets that are dropped all at once, repeatedly, as many as
/// the limit of concurrent streams allows.
#[tokio::test]
async fn dropped_sockets_harm_no_sibling() {
    let mut beside = ServerFixture::new().await;
    for round in 0..15 {
        let streams = || (round * 999..(round + 1) * 999).map(id);
        let burst: Vec<u8> = streams().flat_map(request).collect();
        beside.peer.write(&burst).await;
        for stream in streams() {
            assert_eq!(beside.peer.status(stream).await, 200);
        }
        let burst: Vec<u8> = streams().flat_map(reset).collect();
        beside.peer.write(&burst).await;
        beside.peer.echo(1, "does not notice").await;
    }
    beside.unharmed().await;
}

/// Returns the frames of one step of a flood.
type Frames<'a> = &'a dyn Fn(usize) -> Vec<u8>;

/// Any flood, whatever its frames, ends its connection with ENHANCE_YOUR_CALM.
/// The next connection is served.
#[tokio::test]
async fn a_server_ends_each_kind_of_flood() {
    let full = (u32::MAX >> 1).to_be_bytes();
    let floods: [(&str, Frames<'_>); 14] = [
        ("PING", &|_| encode(PING, 0, 0, &[0; 8])),
        ("SETTINGS", &|_| encode(SETTINGS, 0, 0, &[])),
        ("PRIORITY", &|_| encode(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("unknown", &|_| encode(0xfa, 0, 0, &[])),
        ("WINDOW_UPDATE", &|_| {
            encode(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes())
        }),
        ("WINDOW_UPDATE on a stream", &|_| {
            encode(WINDOW_UPDATE, 0, 1, &1u32.to_be_bytes())
        }),
        ("GOAWAY", &|_| encode(GOAWAY, 0, 0, &[0; 8])),
        ("SETTINGS among DATA", &|_| {
            let mut frames = encode(SETTINGS, 0, 0, &[]).repeat(20);
            frames.extend(encode(DATA, 0, 1, b"\x8a\x80\0\0\0\0"));
            frames
        }),
        ("rapid reset", &|n| [request(id(n)), reset(id(n))].concat()),
        ("resets of a closed stream", &|n| match n {
            0 => [request(3), reset(3)].concat(),
            _ => reset(3),
        }),
        ("MadeYouReset by a window overflow", &|n| {
            [request(id(n)), encode(WINDOW_UPDATE, 0, id(n), &full)].concat()
        }),
        ("MadeYouReset by a self-dependency", &|n| {
            let own = [&id(n).to_be_bytes()[..], &[1]].concat();
            [request(id(n)), encode(PRIORITY, 0, id(n), &own)].concat()
        }),
        ("MadeYouReset by trailers without END_STREAM", &|n| {
            let trailers = Fields(Vec::new()).with("x-sum", "1").encode();
            let trailers = encode(HEADERS, END_HEADERS, id(n), &trailers);
            [request(id(n)), trailers].concat()
        }),
        ("MadeYouReset by a wrong content-length", &|n| {
            [post(id(n)), encode(DATA, END_STREAM, id(n), b"xyz")].concat()
        }),
    ];
    for (name, frames) in floods {
        let server = server::echo(Server::builder()).await;
        let mut peer = Raw::connect(server.addr).await;
        peer.open(1, "/flood").await;
        let per_round = 100;
        let code = peer
            .flood(1_000, |round| {
                let first = round * per_round;
                (first..first + per_round).flat_map(frames).collect()
            })
            .await;
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{name}");
        let mut next = Raw::connect(server.addr).await;
        next.open(1, "/").await;
        next.echo(1, "another's connection").await;
    }
}

/// The same against a client, which sends GOAWAY to the server.
#[tokio::test]
async fn a_client_ends_each_kind_of_flood() {
    let floods: [(&str, Vec<u8>); 5] = [
        ("PING", encode(PING, 0, 0, &[0; 8])),
        ("SETTINGS", encode(SETTINGS, 0, 0, &[])),
        ("unknown", encode(0xfa, 0, 0, &[])),
        (
            "WINDOW_UPDATE",
            encode(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()),
        ),
        ("GOAWAY", {
            let last = [1u32.to_be_bytes(), [0; 4]].concat();
            encode(GOAWAY, 0, 0, &last)
        }),
    ];
    for (name, frame) in floods {
        let mut beside = ClientFixture::new().await;
        let (sibling, peer) = (&mut beside.sibling, &mut beside.peer);
        let flood = peer.flood(1_000, |_| frame.repeat(100));
        let (error, code) = tokio::join!(within(sibling.next()), flood);
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{name}");
        let error = error.unwrap().unwrap_err();
        assert!(error.is_abnormal_closure(), "{name}: {error:?}");
    }
}

/// An unfinished header block blocks every later frame, so it is subject to the
/// handshake timeout rather than the idle timeout, however its bytes arrive.
#[tokio::test]
async fn an_unfinished_header_block_ends_its_connection() {
    let limit = Duration::from_millis(200);
    let server = server::echo(Server::builder().handshake_timeout(limit)).await;
    let block = Fields::websocket("/").encode();
    let started = encode(HEADERS, 0, 3, &block);
    let unfinished = [&started[..], &encode(CONTINUATION, 0, 3, &[])].concat();
    for pieces in [started.chunks(4), unfinished.chunks(1_000)] {
        let mut peer = Raw::connect(server.addr).await;
        peer.open(1, "/").await;
        tokio::time::sleep(2 * limit).await;
        peer.echo(1, "quiet is not late").await;
        for piece in pieces {
            peer.try_write(piece).await;
            tokio::time::sleep(limit / 20).await;
        }
        let frames = within(peer.rest()).await;
        let goaway = frames.iter().find(|frame| frame.kind == GOAWAY).unwrap();
        assert_eq!(goaway.error_code(), ENHANCE_YOUR_CALM);
    }
}

/// A client's connection preface includes SETTINGS (RFC 9113 §3.4). Without them
/// the handshake timeout applies.
#[tokio::test]
async fn a_client_without_settings_is_disconnected() {
    let limit = Duration::from_millis(200);
    let server = server::echo(Server::builder().handshake_timeout(limit)).await;
    let mut io = TcpStream::connect(server.addr).await.unwrap();
    io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    within(io.read_to_end(&mut bytes)).await.unwrap();
    // The received bytes end with the code SETTINGS_TIMEOUT.
    assert!(bytes.ends_with(&[0, 0, 0, 4]), "{bytes:?}");
}
