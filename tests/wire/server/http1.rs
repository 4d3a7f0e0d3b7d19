//! The HTTP/1.1 Upgrade (RFC 6455 §4), sent as text over TCP; how sockets end over
//! HTTP/1.1; and detection of the HTTP version.

use std::net::SocketAddr;
use std::time::Duration;

use h2ws::handshake::{AllowedHosts, AllowedOrigins};
use h2ws::{CloseCode, Error, Server, WebSocketConfig};
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::frames::{self, CLOSE, PING, PONG, Parser, TEXT, close, frame, from_client};
use crate::support::raw::Raw;
use crate::support::server::{self, Running};
use crate::support::{tasks, until, within};

/// The example of RFC 6455 §1.2 with only the required fields.
const REQUEST: &str = "GET /chat HTTP/1.1\r\n\
    Host: localhost\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n";

/// A hand-written HTTP/1.1 client.
struct Peer {
    io: TcpStream,
    parser: Parser,
}

impl Peer {
    async fn connect(addr: SocketAddr) -> Self {
        let io = TcpStream::connect(addr).await.unwrap();
        io.set_nodelay(true).unwrap();
        Self {
            io,
            parser: Parser::default(),
        }
    }

    async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.io.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Reads the head of a response, in lower case.
    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(self.io.read_u8()).await.unwrap());
        }
        String::from_utf8(head).unwrap().to_lowercase()
    }

    /// Returns the next frame, or `None` if the connection ended with FIN.
    async fn frame(&mut self) -> Option<frames::Frame> {
        loop {
            if let Some(frame) = self.parser.pop() {
                return Some(frame);
            }
            let mut bytes = [0; 4096];
            match within(self.io.read(&mut bytes)).await.unwrap() {
                0 => return None,
                n => self.parser.push(&bytes[..n]),
            }
        }
    }

    /// Opens a socket.
    async fn open(addr: SocketAddr) -> Self {
        let mut peer = Self::connect(addr).await;
        peer.write(format!("{REQUEST}\r\n")).await;
        let head = peer.head().await;
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        peer
    }
}

/// Sends a request on a new connection and returns the head of the response.
async fn ask(server: &Running, request: &str) -> String {
    let mut peer = Peer::connect(server.addr).await;
    peer.write(request).await;
    peer.head().await
}

/// Asserts that an echo server rejects the request with this status, and returns
/// the head of the response.
async fn assert_rejected(request: &str, status: u16) -> String {
    let server = server::echo(Server::builder()).await;
    let head = ask(&server, request).await;
    assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
    head
}

/// RFC 6455 §4.2.2, with the key and the `Sec-WebSocket-Accept` of §1.3.
#[tokio::test]
async fn an_upgrade_is_answered_as_in_the_rfc() {
    let server = server::echo(Server::builder()).await;
    let head = ask(&server, &format!("{REQUEST}\r\n")).await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for field in [
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
    ] {
        assert!(head.contains(field), "no {field} in {head}");
    }
    assert!(!head.contains("sec-websocket-protocol"), "{head}");
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
}

/// RFC 6455 §4.2.1: `upgrade` and `connection` are lists of case-insensitive
/// tokens.
#[tokio::test]
async fn tokens_are_found_in_lists_ignoring_case() {
    let server = server::echo(Server::builder()).await;
    let request = REQUEST
        .replace("Upgrade: websocket", "Upgrade: h2c, WebSocket")
        .replace("Connection: Upgrade", "Connection: keep-alive, uPGRADE");
    let head = ask(&server, &format!("{request}\r\n")).await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
}

/// RFC 6455 §4.2.1: exactly one key, which decodes to 16 bytes, is required.
#[tokio::test]
async fn a_missing_repeated_or_invalid_key_is_400() {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for instead in [
        "",
        "Sec-WebSocket-Key: short\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n",
        &key.repeat(2),
    ] {
        let request = REQUEST.replace(key, instead);
        assert_rejected(&format!("{request}\r\n"), 400).await;
    }
}

/// RFC 6455 §4.4: the response names the supported version. A 426 has an `upgrade`
/// field (RFC 9110 §15.5.22).
#[tokio::test]
async fn an_unsupported_version_is_426() {
    let request = REQUEST.replace("Version: 13", "Version: 8");
    let head = assert_rejected(&format!("{request}\r\n"), 426).await;
    assert!(head.contains("sec-websocket-version: 13\r\n"), "{head}");
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
    let request = REQUEST.replace("Sec-WebSocket-Version: 13\r\n", "");
    assert_rejected(&format!("{request}\r\n"), 426).await;
}

/// RFC 9110 §7.8: `connection` must list `upgrade`. If it does not, the field was
/// meant for an intermediary.
#[tokio::test]
async fn a_missing_connection_field_is_400() {
    let request = REQUEST.replace("Connection: Upgrade\r\n", "");
    assert_rejected(&format!("{request}\r\n"), 400).await;
}

/// RFC 6455 §4.1: the method must be GET.
#[tokio::test]
async fn a_method_other_than_get_is_405() {
    let request = REQUEST.replace("GET", "POST");
    let head = assert_rejected(&format!("{request}Content-Length: 0\r\n\r\n"), 405).await;
    assert!(head.contains("allow: get\r\n"), "{head}");
}

/// RFC 6455 §4.2.1: exactly one valid `Host` is required (RFC 9112 §3.2).
#[tokio::test]
async fn a_missing_repeated_or_invalid_host_is_400() {
    let host = "Host: localhost\r\n";
    for instead in ["", "Host: a\r\nHost: b\r\n", "Host: user@localhost\r\n"] {
        let request = REQUEST.replace(host, instead);
        assert_rejected(&format!("{request}\r\n"), 400).await;
    }
}

/// RFC 9110 §7.8 allows a body before the protocol switch. Confusing its bytes with
/// frames would permit request smuggling (RFC 9931).
#[tokio::test]
async fn a_request_with_a_body_is_400() {
    assert_rejected(&format!("{REQUEST}Content-Length: 5\r\n\r\nhello"), 400).await;
    let chunked = "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_rejected(&format!("{REQUEST}{chunked}"), 400).await;
}

/// RFC 9110 §7.8: an `upgrade` field in HTTP/1.0 is ignored, so this is a plain
/// HTTP request.
#[tokio::test]
async fn http_1_0_does_not_upgrade() {
    let request = REQUEST.replace("HTTP/1.1", "HTTP/1.0");
    let server = server::echo(Server::builder()).await;
    let head = ask(&server, &format!("{request}\r\n")).await;
    assert!(head.starts_with("http/1.0 404 "), "{head}");
}

/// RFC 9110 §9.3.6: the server is not a proxy.
#[tokio::test]
async fn connect_is_rejected() {
    let server = server::echo(Server::builder()).await;
    let request = "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n";
    let head = ask(&server, request).await;
    let status: u16 = head[9..12].parse().unwrap();
    assert!((400..=501).contains(&status), "{head}");
}

/// RFC 6455 §10.2 and RFC 9110 §15.5.20, as over HTTP/2.
#[tokio::test]
async fn a_foreign_origin_is_403_and_a_foreign_host_421() {
    let builder = Server::builder()
        .allowed_origins(AllowedOrigins::parse(["https://good.example"]).unwrap())
        .allowed_hosts(AllowedHosts::parse(["localhost"]).unwrap());
    let server = server::echo(builder).await;
    for (origin, host, status) in [
        ("https://good.example", "localhost", 101),
        ("https://evil.example", "localhost", 403),
        ("https://good.example", "evil.example", 421),
    ] {
        let request = REQUEST.replace("Host: localhost", &format!("Host: {host}"));
        let head = ask(&server, &format!("{request}Origin: {origin}\r\n\r\n")).await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
    }
}

/// RFC 6455 §4.2.2: the server selects one of the offered subprotocols, or none.
#[tokio::test]
async fn only_an_offered_subprotocol_can_be_selected() {
    let server = server::serve(Server::builder(), |mut upgrade, _| async move {
        assert!(upgrade.select_subprotocol("unoffered").is_err());
        upgrade.select_subprotocol("two").unwrap();
        let ws = upgrade.accept().await.unwrap();
        assert_eq!(ws.subprotocol(), Some("two"));
        server::echo_socket(ws, String::new()).await;
    })
    .await;
    let offer = "Sec-WebSocket-Protocol: one, two\r\n\r\n";
    let head = ask(&server, &format!("{REQUEST}{offer}")).await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-protocol: two\r\n"), "{head}");
}

/// RFC 9110 §15: a rejection is a full response, with header fields and a body.
#[tokio::test]
async fn a_handler_can_reject_with_a_full_response() {
    let server = server::serve(Server::builder(), |upgrade, _| async move {
        let response = http::Response::builder()
            .status(401)
            .header("www-authenticate", "Bearer")
            .body("who are you?")
            .unwrap();
        upgrade.reject_with(response);
    })
    .await;
    let mut peer = Peer::connect(server.addr).await;
    peer.write(format!("{REQUEST}\r\n")).await;
    let head = peer.head().await;
    assert!(head.starts_with("http/1.1 401 "), "{head}");
    assert!(head.contains("www-authenticate: bearer\r\n"), "{head}");
    assert!(head.contains("content-length: 12\r\n"), "{head}");
    let mut body = [0; 12];
    within(peer.io.read_exact(&mut body)).await.unwrap();
    assert_eq!(&body, b"who are you?");
}

/// RFC 9931: after a rejection, whatever its cause, the bytes that the client sent
/// for the socket must not be parsed as a request.
#[tokio::test]
async fn a_rejection_closes_its_connection() {
    let builder = Server::builder().handler_timeout(Duration::from_millis(20));
    let server = server::serve(builder, |upgrade, _| async move {
        match upgrade.path() {
            "/reject" => upgrade.reject(StatusCode::FORBIDDEN),
            "/late" => std::future::pending().await,
            _ => drop(upgrade),
        }
    })
    .await;
    let at = |path| REQUEST.replace("/chat", path);
    for (request, status) in [
        (at("/reject"), 403),
        (at("/drop"), 500),
        (at("/late"), 503),
        (REQUEST.replace("Version: 13", "Version: 8"), 426),
        (REQUEST.replace("GET", "POST"), 405),
        (
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n".into(),
            426,
        ),
    ] {
        let mut peer = Peer::connect(server.addr).await;
        let smuggled = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        peer.write(format!("{request}\r\n{smuggled}")).await;
        let mut answers = String::new();
        within(peer.io.read_to_string(&mut answers)).await.unwrap();
        let answers = answers.to_lowercase();
        let (head, _) = answers.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
        assert_eq!(answers.matches("http/1.1 ").count(), 1, "{answers}");
        let mut connection = head.lines().filter_map(|l| l.strip_prefix("connection: "));
        assert!(connection.any(|value| value.ends_with("close")), "{head}");
    }
}

/// A request that the handler drops without an answer does not leave the client
/// waiting.
#[tokio::test]
async fn a_request_dropped_unanswered_is_500() {
    let server = server::serve(Server::builder(), |_, _| async {}).await;
    let head = ask(&server, &format!("{REQUEST}\r\n")).await;
    assert!(head.starts_with("http/1.1 500 "), "{head}");
}

/// RFC 6455 §4.1 requires clients to wait for the 101. Frames sent earlier belong
/// to the socket nevertheless, whether they arrive in one segment with the request
/// or split anywhere.
#[tokio::test]
async fn frames_sent_before_the_101_belong_to_the_socket() {
    let server = server::echo(Server::builder()).await;
    let mut bytes = format!("{REQUEST}\r\n").into_bytes();
    let head = bytes.len();
    bytes.extend(from_client(TEXT, b"early"));
    bytes.extend(from_client(PING, b"bird"));
    for cut in [bytes.len(), head, head + 1, head + 8, head - 2] {
        let mut peer = Peer::connect(server.addr).await;
        peer.write(&bytes[..cut]).await;
        tokio::task::yield_now().await;
        peer.write(&bytes[cut..]).await;
        assert!(peer.head().await.starts_with("http/1.1 101 "));
        let back = peer.frame().await.unwrap();
        assert_eq!((back.head, &back.payload[..]), (0x81, &b"early"[..]));
        let pong = peer.frame().await.unwrap();
        assert_eq!((pong.opcode(), &pong.payload[..]), (PONG, &b"bird"[..]));
    }
}

/// RFC 6455 §7.1.1: after the closing handshake the server ends the connection
/// first. Nothing is left of it.
#[tokio::test]
async fn a_closed_socket_ends_its_connection() {
    let mut server = server::echo(Server::builder()).await;
    tokio::task::yield_now().await;
    let idle = tasks();
    let mut peer = Peer::open(server.addr).await;
    peer.write(from_client(CLOSE, &close(4000, "bye"))).await;
    let got = peer.frame().await.unwrap();
    assert_eq!((got.masked, got.code()), (false, Some(4000)));
    assert_eq!(peer.frame().await, None);
    let ended = server.ended().await;
    assert!(ended.error.is_none(), "{ended:?}");
    drop(peer);
    until(|| tasks() <= idle).await;
}

/// RFC 6455 §7.1.1: the connection of a client that does not end its side after
/// the closing handshake is dropped after the linger.
#[tokio::test]
async fn a_client_that_keeps_its_side_open_is_disconnected() {
    let linger = std::time::Duration::from_millis(50);
    let server =
        server::echo(Server::builder().socket(WebSocketConfig::default().linger(linger))).await;
    tokio::task::yield_now().await;
    let idle = tasks();
    let mut peer = Peer::open(server.addr).await;
    peer.write(from_client(CLOSE, &close(1000, ""))).await;
    assert_eq!(peer.frame().await.unwrap().code(), Some(1000));
    assert_eq!(peer.frame().await, None);
    until(|| tasks() <= idle).await;
}

/// RFC 6455 §7.1.7: an invalid frame is answered with a Close frame. It arrives
/// although the client keeps writing.
#[tokio::test]
async fn an_invalid_frame_is_answered_with_its_close_code() {
    let mut server = server::echo(Server::builder()).await;
    for (bytes, code) in [
        (frame(0x81, false, b"bare"), 1002),
        (from_client(TEXT, b"\xff"), 1007),
        (vec![0x82, 0xff, 0, 0, 0, 0, 0x10, 0, 0, 0], 1009),
    ] {
        let mut peer = Peer::open(server.addr).await;
        peer.write(&bytes).await;
        peer.write(vec![0; 50_000]).await;
        let got = peer.frame().await.unwrap();
        assert_eq!(got.code(), Some(code));
        assert_eq!(peer.frame().await, None);
        match server.ended().await.error {
            Some(Error::Protocol(error)) => {
                assert_eq!(u16::from(error.close_code()), code);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// RFC 6455 §7.1.5: FIN without a Close frame is 1006.
#[tokio::test]
async fn fin_without_close_is_abnormal() {
    let mut server = server::echo(Server::builder()).await;
    let mut peer = Peer::open(server.addr).await;
    within(peer.io.shutdown()).await.unwrap();
    let ended = server.ended().await;
    assert!(matches!(ended.error, Some(Error::Abnormal)), "{ended:?}");
    assert_eq!(ended.code, Some(CloseCode::ABNORMAL));
    assert_eq!(peer.frame().await, None);
}

/// RFC 9113 §3.4: the HTTP/2 preface is distinguished from HTTP/1.1 wherever it is
/// split.
#[tokio::test]
async fn the_http_version_is_detected_byte_by_byte() {
    let server = server::echo(Server::builder()).await;
    let mut h1 = Peer::connect(server.addr).await;
    for byte in format!("{REQUEST}\r\n").as_bytes() {
        h1.write([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert!(h1.head().await.starts_with("http/1.1 101 "));

    let mut h2 = Peer::connect(server.addr).await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    for byte in bytes {
        h2.write([byte]).await;
        tokio::task::yield_now().await;
    }
    let mut settings = [0; 9];
    within(h2.io.read_exact(&mut settings)).await.unwrap();
    assert_eq!(settings[3..], [4, 0, 0, 0, 0, 0], "SETTINGS on stream 0");

    // Sockets of both versions at the same time.
    let mut raw = Raw::connect(server.addr).await;
    raw.open(1, "/").await;
    raw.echo(1, "over h2").await;
    h1.write(from_client(TEXT, b"over http/1.1")).await;
    assert_eq!(h1.frame().await.unwrap().payload, b"over http/1.1");
}
