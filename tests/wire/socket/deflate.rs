//! permessage-deflate (RFC 7692) on the wire, over HTTP/1.1 and HTTP/2. The frames are written and
//! read by hand, without the code under test.

use std::net::SocketAddr;

use base64::Engine;
use bytes::Bytes;
use futures_util::StreamExt;
use h2ws::handshake::DeflateConfig;
use h2ws::server::ServerBuilder;
use h2ws::{Client, HttpVersion, Message, Server};
use http::{Method, Request, Response};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::within;

/// "Hello", and "Hello" again from within the window (RFC 7692 §7.2.3.1, §7.2.3.2).
const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
const AGAIN: &[u8] = &[0xf2, 0x00, 0x11, 0x00, 0x00];
/// "Hello" a third time: a match of length 5 at distance 5, and no literal (RFC 1951 §3.2.5).
const MATCH: &[u8] = &[0x02, 0x13, 0x00, 0x00];
const KEY: [u8; 4] = [1, 2, 3, 4];
const VERSIONS: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];

/// A stream to the implementation under test.
enum Raw {
    Http1(TcpStream),
    Http2(h2::SendStream<Bytes>, h2::RecvStream, Vec<u8>),
}

impl Raw {
    async fn send(&mut self, frames: &[&[u8]]) {
        let bytes = frames.concat();
        match self {
            Self::Http1(tcp) => tcp.write_all(&bytes).await.unwrap(),
            Self::Http2(send, ..) => send.send_data(bytes.into(), false).unwrap(),
        }
    }

    async fn byte(&mut self) -> u8 {
        match self {
            Self::Http1(tcp) => tcp.read_u8().await.unwrap(),
            Self::Http2(_, receive, rest) => {
                while rest.is_empty() {
                    let data = receive.data().await.expect("not ended").unwrap();
                    receive.flow_control().release_capacity(data.len()).unwrap();
                    rest.extend_from_slice(&data);
                }
                rest.remove(0)
            }
        }
    }

    /// Returns the first byte of a short frame and its payload, unmasked if it was masked.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let (first, len) = (self.byte().await, self.byte().await);
        assert!(len & 0x7f < 126, "the frame is too long for this parser");
        let mut key = [0; 4];
        if len & 0x80 != 0 {
            for byte in &mut key {
                *byte = self.byte().await;
            }
        }
        let mut payload = Vec::new();
        for at in 0..usize::from(len & 0x7f) {
            payload.push(self.byte().await ^ key[at % 4]);
        }
        (first, payload)
    }
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let body = payload.iter().zip(KEY.iter().cycle());
    let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap()];
    frame.extend(KEY);
    frame.extend(body.map(|(byte, key)| byte ^ key));
    frame
}

fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, u8::try_from(payload.len()).unwrap()], payload].concat()
}

/// Starts an echo server. It declines compression at `/plain`.
async fn echo(builder: ServerBuilder) -> SocketAddr {
    let server = builder.bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(
        server
            .serve(|mut upgrade: h2ws::server::WebSocketRequest| async move {
                if upgrade.path() == "/plain" {
                    upgrade.set_deflate(None);
                }
                let mut socket = upgrade.accept().await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if socket.send(message).await.is_err() {
                        break;
                    }
                }
            })
            .into_future(),
    );
    address
}

/// Opens a socket by hand. Returns the extensions of the answer as well.
async fn open(
    address: SocketAddr,
    version: HttpVersion,
    path: &str,
    offer: Option<&str>,
) -> (Raw, Option<String>) {
    let tcp = TcpStream::connect(address).await.unwrap();
    if version == HttpVersion::Http1 {
        return open_http1(tcp, path, offer).await;
    }
    let (mut client, mut connection) = h2::client::handshake(tcp).await.unwrap();
    let mut ping = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    // The answer to the PING arrives after the server's SETTINGS.
    ping.ping(h2::Ping::opaque()).await.unwrap();
    assert!(client.is_extended_connect_protocol_enabled());
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://{address}{path}"))
        .extension(h2::ext::Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13");
    if let Some(offer) = offer {
        request = request.header("sec-websocket-extensions", offer);
    }
    let request = request.body(()).unwrap();
    let (response, send) = client.send_request(request, false).unwrap();
    let (parts, receive) = response.await.unwrap().into_parts();
    assert_eq!(parts.status, 200);
    let extensions = parts.headers.get("sec-websocket-extensions");
    let extensions = extensions.map(|value| value.to_str().unwrap().to_owned());
    (Raw::Http2(send, receive, Vec::new()), extensions)
}

async fn open_http1(mut tcp: TcpStream, path: &str, offer: Option<&str>) -> (Raw, Option<String>) {
    let offer = offer.map_or_else(String::new, |offer| {
        format!("Sec-WebSocket-Extensions: {offer}\r\n")
    });
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    let head = head(&mut tcp).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let extensions = field(&head, "sec-websocket-extensions");
    (Raw::Http1(tcp), extensions)
}

/// Reads the head of an HTTP/1.1 message.
async fn head(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn field(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

/// Accepts a socket by hand and answers with these extensions. Returns the offer as well.
async fn accept(
    listener: &TcpListener,
    version: HttpVersion,
    answer: Option<&'static str>,
) -> (Raw, Option<String>) {
    let (mut tcp, _) = listener.accept().await.unwrap();
    if version == HttpVersion::Http1 {
        let head = head(&mut tcp).await;
        let key = field(&head, "sec-websocket-key").unwrap();
        let digest = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        let digest = base64::engine::general_purpose::STANDARD.encode(digest);
        let answer = answer.map_or_else(String::new, |answer| {
            format!("Sec-WebSocket-Extensions: {answer}\r\n")
        });
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {digest}\r\n{answer}\r\n"
        );
        tcp.write_all(response.as_bytes()).await.unwrap();
        return (Raw::Http1(tcp), field(&head, "sec-websocket-extensions"));
    }
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    let mut connection = builder.handshake::<_, Bytes>(tcp).await.unwrap();
    let (request, mut respond) = connection.accept().await.unwrap().unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    let (parts, receive) = request.into_parts();
    let mut response = Response::builder();
    if let Some(answer) = answer {
        response = response.header("sec-websocket-extensions", answer);
    }
    let send = respond
        .send_response(response.body(()).unwrap(), false)
        .unwrap();
    let offer = parts.headers.get("sec-websocket-extensions");
    let offer = offer.map(|value| value.to_str().unwrap().to_owned());
    (Raw::Http2(send, receive, Vec::new()), offer)
}

/// Compresses every message, at the level that produces the RFC's examples.
fn compress_all() -> DeflateConfig {
    DeflateConfig::default().threshold(0).level(6)
}

/// RFC 7692 §6, §7.2.1: the RSV1 bit, the removed tail and the shared window.
#[tokio::test]
async fn a_server_sets_rsv1_and_keeps_its_window() {
    let address = echo(Server::builder().deflate(compress_all())).await;
    for version in VERSIONS {
        let (mut raw, answer) = open(address, version, "/", Some("permessage-deflate")).await;
        assert_eq!(answer.as_deref(), Some("permessage-deflate"));
        raw.send(&[&masked(0xc1, HELLO), &masked(0xc1, AGAIN)])
            .await;
        assert_eq!(raw.frame().await, (0xc1, HELLO.to_vec()));
        assert_eq!(raw.frame().await, (0xc1, AGAIN.to_vec()));
        // A fragmented message with a Ping in between, then an uncompressed message.
        let fragments = [masked(0x41, &AGAIN[..2]), masked(0x89, b"p")];
        raw.send(&[&fragments.concat(), &masked(0x80, &AGAIN[2..])])
            .await;
        let pong = raw.frame().await;
        let echo = raw.frame().await;
        assert_eq!(
            (pong, echo),
            ((0x8a, b"p".to_vec()), (0xc1, MATCH.to_vec()))
        );
        raw.send(&[&masked(0x81, b"Hello")]).await;
        assert_eq!(raw.frame().await, (0xc1, MATCH.to_vec()));
        raw.send(&[&masked(0x88, b"\x03\xe8")]).await;
        assert_eq!(raw.frame().await, (0x88, b"\x03\xe8".to_vec()));
    }
}

/// RFC 7692 §7.1.1: the server confirms the requested parameters and adheres to them.
#[tokio::test]
async fn a_server_honours_no_context_takeover() {
    let address = echo(Server::builder().deflate(compress_all())).await;
    let offer = "permessage-deflate; server_no_context_takeover; server_max_window_bits=9";
    for version in VERSIONS {
        let (mut raw, answer) = open(address, version, "/", Some(offer)).await;
        assert_eq!(answer.as_deref(), Some(offer));
        let message = b"Hello, Hello, Hello, Hello";
        raw.send(&[&masked(0x81, message), &masked(0x81, message)])
            .await;
        let first = raw.frame().await;
        assert_eq!(first.0, 0xc1);
        assert_eq!(raw.frame().await, first);
    }
}

#[tokio::test]
async fn a_server_compresses_only_if_offered_and_configured() {
    let configured = echo(Server::builder().deflate(compress_all())).await;
    let unconfigured = echo(Server::builder()).await;
    let deflate = Some("permessage-deflate");
    for version in VERSIONS {
        for (address, path, offer) in [
            (configured, "/", None),
            (configured, "/", Some("x-unknown")),
            (configured, "/plain", deflate),
            (unconfigured, "/", deflate),
        ] {
            let (mut raw, answer) = open(address, version, path, offer).await;
            assert_eq!(answer, None);
            raw.send(&[&masked(0x81, b"Hello")]).await;
            assert_eq!(raw.frame().await, (0x81, b"Hello".to_vec()));
            // Without an extension RSV1 is a protocol error (RFC 6455 §5.2).
            raw.send(&[&masked(0xc1, HELLO)]).await;
            let (first, payload) = raw.frame().await;
            assert_eq!((first, &payload[..2]), (0x88, &b"\x03\xea"[..]));
        }
    }
}

#[tokio::test]
async fn a_client_offers_and_sets_rsv1() {
    let client = Client::builder().deflate(compress_all()).build().unwrap();
    for version in VERSIONS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/", listener.local_addr().unwrap());
        let answer = Some("permessage-deflate");
        let request = client.request(&url).version(version).connect();
        let (socket, (mut raw, offer)) = tokio::join!(request, accept(&listener, version, answer));
        assert_eq!(
            offer.as_deref(),
            Some("permessage-deflate; client_max_window_bits")
        );
        let mut socket = socket.unwrap();
        let agreed = socket.deflate().expect("agreed");
        assert_eq!(
            (agreed.send_window_bits, agreed.send_context_takeover),
            (15, true)
        );
        for expected in [HELLO, AGAIN] {
            socket.send(Message::text("Hello")).await.unwrap();
            assert_eq!(raw.frame().await, (0xc1, expected.to_vec()));
        }
        raw.send(&[&plain(0xc1, HELLO), &plain(0xc1, AGAIN)]).await;
        for _ in 0..2 {
            let message = socket.next().await.unwrap().unwrap();
            assert_eq!(message, Message::text("Hello"));
        }
        // The Close frame that answers invalid data is not compressed.
        raw.send(&[&plain(0xc1, b"\x06")]).await;
        assert!(socket.next().await.unwrap().is_err());
        let (first, payload) = raw.frame().await;
        assert_eq!((first, &payload[..2]), (0x88, &b"\x03\xef"[..]));
    }
}

#[tokio::test]
async fn a_client_does_not_compress_if_the_server_or_the_caller_declines() {
    let client = Client::builder().deflate(compress_all()).build().unwrap();
    for version in VERSIONS {
        for offers in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("ws://{}/", listener.local_addr().unwrap());
            let mut request = client.request(&url).version(version);
            if !offers {
                request = request.deflate(None);
            }
            let (socket, (mut raw, offer)) =
                tokio::join!(request.connect(), accept(&listener, version, None));
            assert_eq!(offer.is_some(), offers);
            let mut socket = socket.unwrap();
            assert_eq!(socket.deflate(), None);
            socket.send(Message::text("Hello")).await.unwrap();
            assert_eq!(raw.frame().await, (0x81, b"Hello".to_vec()));
        }
    }
}

/// Messages that inflate to more than one chunk are received whole, whatever the chunk boundaries.
#[tokio::test]
async fn highly_compressible_messages_are_echoed() {
    for version in VERSIONS {
        for len in [16 << 10, 128 << 10, 1 << 20] {
            let address = echo(Server::builder().deflate(DeflateConfig::default())).await;
            let client = Client::builder().deflate(DeflateConfig::default());
            let client = client.version(version).build().unwrap();
            let mut socket = client.connect(&format!("ws://{address}/")).await.unwrap();
            for message in [
                Message::binary(vec![7; len]),
                Message::text("x".repeat(len)),
            ] {
                socket.send(message.clone()).await.unwrap();
                let back = within(socket.next()).await.unwrap().unwrap();
                assert!(back == message, "{version:?}, {len} bytes");
            }
        }
    }
}
