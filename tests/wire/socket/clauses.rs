//! Individual requirements of the RFCs, on servers and clients and over both
//! versions of HTTP.

use h2ws::handshake::HandshakeError;
use h2ws::{Error, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::http1::{head, switching};
use crate::support::client::{ClientFixture, http1, listen};
use crate::support::plain_http::OK;
use crate::support::raw::{CANCEL, END_STREAM, Fields, PROTOCOL_ERROR, RST_STREAM, Seen};
use crate::support::server::{self, ServerFixture};
use crate::support::text::Text;
use crate::support::{bridge, within};

fn trailers() -> Fields {
    Fields::status("200").without(":status").with("x-late", "1")
}

/// RFC 9113 §8.5: any frame but DATA in a tunnel is a stream error, so trailers do
/// not end a socket in order.
#[tokio::test]
async fn trailers_on_an_open_socket_are_a_stream_error() {
    let mut beside = ServerFixture::new().await;
    beside.peer.open(3, "/").await;
    beside.peer.echo(3, "before").await;
    beside.peer.headers(3, &trailers(), END_STREAM).await;
    assert_eq!(beside.peer.seen(3).await, Seen::Reset(PROTOCOL_ERROR));
    let ended = beside.server.ended().await;
    let by_us = |error: &Error| matches!(error, Error::Reset { code, by_peer: false } if *code == PROTOCOL_ERROR);
    assert!(ended.error.is_some_and(|error| by_us(&error)));
    beside.unharmed().await;

    let mut beside = ClientFixture::new().await;
    let (ws, ()) = tokio::join!(beside.client.connect(&beside.url), beside.peer.take(3));
    beside.peer.headers(3, &trailers(), END_STREAM).await;
    let mut ws = ws.unwrap();
    let ended = within(futures_util::StreamExt::next(&mut ws)).await;
    assert!(ended.is_some_and(|ended| by_us(&ended.unwrap_err())));
    assert_eq!(beside.peer.seen(3).await, Seen::Reset(PROTOCOL_ERROR));
    beside.unharmed().await;
}

/// RFC 9113 §8.2.1: a field value with leading or trailing whitespace is malformed.
#[tokio::test]
async fn whitespace_around_a_field_value_is_a_stream_error() {
    for padded in [" v", "v ", "\tv", "v\t", " "] {
        let mut beside = ServerFixture::new().await;
        let get = Fields::websocket("/")
            .without(":protocol")
            .with(":method", "GET");
        for (stream, fields) in [(3, Fields::websocket("/")), (5, get)] {
            let fields = fields.with("x-padded", padded);
            beside.peer.headers(stream, &fields, 0).await;
            let answer = beside.peer.on(stream).await.unwrap();
            assert_eq!(answer.kind, RST_STREAM, "{padded:?}");
            assert_eq!(answer.error_code(), PROTOCOL_ERROR, "{padded:?}");
        }
        beside.unharmed().await;

        let mut beside = ClientFixture::new().await;
        let peer = &mut beside.peer;
        let (failed, ()) = tokio::join!(beside.client.connect(&beside.url), async {
            peer.request(3).await;
            let answer = Fields::status("200").with("x-padded", padded);
            peer.headers(3, &answer, 0).await;
        });
        assert!(
            matches!(failed, Err(Error::Reset { by_peer: false, .. })),
            "{padded:?}: {failed:?}"
        );
        assert_eq!(beside.peer.seen(3).await, Seen::Reset(CANCEL));
        beside.unharmed().await;
    }
}

/// For HTTP/1.1, a unit test of the answer's parser covers the same.
#[tokio::test]
async fn endless_interim_answers_fail_the_handshake() {
    let mut beside = ClientFixture::new().await;
    let peer = &mut beside.peer;
    let (failed, ()) = tokio::join!(beside.client.connect(&beside.url), async {
        peer.request(3).await;
        for _ in 0..101 {
            peer.headers(3, &Fields::status("103"), 0).await;
        }
    });
    assert!(matches!(failed, Err(Error::Reset { by_peer: false, .. })));
    assert_eq!(beside.peer.seen(3).await, Seen::Reset(CANCEL));
    beside.unharmed().await;
}

/// RFC 9110 §7.8: protocol names are compared without regard to case.
#[tokio::test]
async fn a_protocol_is_compared_without_regard_to_case() {
    let mut beside = ServerFixture::new().await;
    let fields = Fields::websocket("/").with(":protocol", "WebSocket");
    beside.peer.headers(3, &fields, 0).await;
    let answer = beside.peer.on(3).await.unwrap();
    assert_ne!(answer.kind, RST_STREAM);
    beside.peer.echo(3, "accepted").await;
    beside.peer.close(3).await;
    beside.unharmed().await;
}

/// Sends a request over HTTP/1.1 and returns the status of its answer.
async fn status(server: &server::Running, request: &str) -> String {
    let mut io = TcpStream::connect(server.addr).await.unwrap();
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(io.read_to_string(&mut answer)).await.unwrap();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A `content-length` of 0 announces no content, but over HTTP/2 the frames of a
/// socket are content (RFC 9113 §8.1.1).
#[tokio::test]
async fn a_content_length_of_0_is_rejected_over_either_version() {
    let mut beside = ServerFixture::new().await;
    let request = format!("{UPGRADE}Content-Length: 0\r\n\r\n");
    assert_eq!(status(&beside.server, &request).await, "400");
    let fields = Fields::websocket("/").with("content-length", "0");
    beside.peer.headers(3, &fields, 0).await;
    let answer = beside.peer.on(3).await.unwrap();
    assert_eq!(answer.status(), 400);
    beside.peer.end(3).await;
}

/// RFC 9112 §6.1: an unknown transfer coding is neither decoded nor ignored.
#[tokio::test]
async fn a_transfer_coding_other_than_chunked_is_answered_with_501() {
    let server = server::echo(Server::builder()).await;
    let post = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: ";
    for (codings, expected) in [
        ("chunked", "404"),
        ("CHUNKED", "404"),
        ("gzip, chunked", "501"),
        ("x, chunked", "501"),
        ("identity, chunked", "501"),
    ] {
        let request = format!("{post}{codings}\r\n\r\n0\r\n\r\n");
        assert_eq!(status(&server, &request).await, expected, "{codings}");
    }
}

/// RFC 9112 §6.1: a request with both a `Content-Length` and a `Transfer-Encoding` is the last one
/// of its connection, because the two may end it at different bytes.
#[tokio::test]
async fn a_connection_is_closed_after_a_request_with_two_lengths() {
    let server = server::echo(Server::builder()).await;
    let (bridging, listener) = bridge::to_text().await;
    tokio::spawn(async move {
        loop {
            let mut backend = Text::asked(&listener).await;
            tokio::spawn(async move {
                backend.take(5).await;
                let last = OK.replacen("\r\n", "\r\nConnection: close\r\n", 1);
                backend.write(last).await;
            });
        }
    });
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for both in [
        [length, chunked].concat(),
        [chunked, length].concat(),
        [length, chunked, length].concat(),
        [chunked, "content-LENGTH: x\r\n"].concat(),
        ["Connection: keep-alive\r\n", chunked, length].concat(),
    ] {
        for (addr, status) in [(server.addr, 404), (bridging.addr, 200)] {
            let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
            let asked = format!("POST / HTTP/1.1\r\nHost: a\r\n{both}\r\n0\r\n\r\n{hidden}");
            let mut client = Text::client(addr, &asked).await;
            let answer = String::from_utf8(client.rest().await).unwrap();
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{both}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{both}: {answer}");
            let answer = answer.to_lowercase();
            assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        }
    }
}

/// RFC 9110 §7.8: HTTP/1.0 does not support upgrades.
#[tokio::test]
async fn a_101_answer_over_http_1_0_is_an_error() {
    let (listener, addr) = listen().await;
    let url = format!("ws://{addr}/");
    let client = http1().build().unwrap();
    let (failed, ()) = tokio::join!(client.connect(&url), async {
        let (mut io, _) = within(listener.accept()).await.unwrap();
        let head = head(&mut io).await;
        let answer = switching(&head).replace("HTTP/1.1", "HTTP/1.0") + "\r\n";
        io.write_all(answer.as_bytes()).await.unwrap();
    });
    assert!(
        matches!(failed, Err(Error::Handshake(HandshakeError::HttpVersion))),
        "{failed:?}"
    );
}
