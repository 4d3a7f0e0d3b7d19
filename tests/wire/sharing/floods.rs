//! What a peer may make the other side work for nothing, and how long it may
//! take over what it began: RFC 9113 §10.5, CVE-2023-44487, CVE-2025-8671.

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

/// The identifier of the `n`th stream after a sibling on stream 1.
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

/// A request with a body that is announced to be of one byte.
fn post(stream: u32) -> Vec<u8> {
    let fields = Fields(Vec::new())
        .with(":method", "POST")
        .with(":scheme", "http")
        .with(":path", "/")
        .with(":authority", "localhost")
        .with("content-length", "1");
    encode(HEADERS, END_HEADERS, stream, &fields.encode())
}

/// Streams that are reset before their answer are what impatient users behind
/// a proxy make: they harm nobody who shares the connection.
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

/// So do sockets that are dropped all at once after they were open: as many as
/// the limit of streams allows, again and again.
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

/// The frames of each step of a flood.
type Frames<'a> = &'a dyn Fn(usize) -> Vec<u8>;

/// What costs without end is ended by ENHANCE_YOUR_CALM, in whichever frames
/// it comes; the next connection is served.
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
        ("WINDOW_UPDATE of a stream", &|_| {
            encode(WINDOW_UPDATE, 0, 1, &1u32.to_be_bytes())
        }),
        ("GOAWAY", &|_| encode(GOAWAY, 0, 0, &[0; 8])),
        ("SETTINGS among DATA", &|_| {
            let mut frames = encode(SETTINGS, 0, 0, &[]).repeat(20);
            frames.extend(encode(DATA, 0, 1, b"\x8a\x80\0\0\0\0"));
            frames
        }),
        ("rapid reset", &|n| [request(id(n)), reset(id(n))].concat()),
        ("resets of a stream that has ended", &|n| match n {
            0 => [request(3), reset(3)].concat(),
            _ => reset(3),
        }),
        ("MadeYouReset by an overflow of the window", &|n| {
            [request(id(n)), encode(WINDOW_UPDATE, 0, id(n), &full)].concat()
        }),
        ("MadeYouReset by a dependency on itself", &|n| {
            let own = [&id(n).to_be_bytes()[..], &[1]].concat();
            [request(id(n)), encode(PRIORITY, 0, id(n), &own)].concat()
        }),
        ("MadeYouReset by trailers that do not end", &|n| {
            let trailers = Fields(Vec::new()).with("x-sum", "1").encode();
            let trailers = encode(HEADERS, END_HEADERS, id(n), &trailers);
            [request(id(n)), trailers].concat()
        }),
        ("MadeYouReset by a wrong length", &|n| {
            [post(id(n)), encode(DATA, END_STREAM, id(n), b"xyz")].concat()
        }),
    ];
    for (name, frames) in floods {
        let server = server::echo(Server::builder()).await;
        let mut peer = Raw::connect(server.addr).await;
        peer.open(1, "/flood").await;
        let per_round = 100;
        let told = peer
            .flood(1_000, |round| {
                let first = round * per_round;
                (first..first + per_round).flat_map(frames).collect()
            })
            .await;
        assert_eq!(told, Some(ENHANCE_YOUR_CALM), "{name}");
        let mut next = Raw::connect(server.addr).await;
        next.open(1, "/").await;
        next.echo(1, "another's connection").await;
    }
}

/// The same against a client, which tells the server as well.
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
        let (error, told) = tokio::join!(within(sibling.next()), flood);
        assert_eq!(told, Some(ENHANCE_YOUR_CALM), "{name}");
        let error = error.unwrap().unwrap_err();
        assert!(error.is_abnormal_closure(), "{name}: {error:?}");
    }
}

/// A header block holds up everything behind it, so it gets the time of a
/// handshake and not the idle time, however its bytes come.
#[tokio::test]
async fn a_header_block_that_does_not_end_is_cut() {
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

/// A client is that once its SETTINGS have come (RFC 9113 §3.4).
#[tokio::test]
async fn a_client_without_settings_is_cut() {
    let limit = Duration::from_millis(200);
    let server = server::echo(Server::builder().handshake_timeout(limit)).await;
    let mut io = TcpStream::connect(server.addr).await.unwrap();
    io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut bytes = Vec::new();
    within(io.read_to_end(&mut bytes)).await.unwrap();
    // SETTINGS_TIMEOUT at the end of what came.
    assert!(bytes.ends_with(&[0, 0, 0, 4]), "{bytes:?}");
}
