//! The client's side of the HTTP/1.1 Upgrade (RFC 6455 §4.1), and the fallback to it
//! where HTTP/2 cannot carry sockets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use futures_util::StreamExt;
use h2ws::handshake::HandshakeError;
use h2ws::{Client, CloseCode, Error, HttpVersion, Message, Timeout};
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::client::{echo, http1, listen};
use crate::support::frames::{self, CLOSE, Parser, TEXT, close, from_server};
use crate::support::text::Text;
use crate::support::{h2peer, tasks, tls, until, within};

/// Reads the head of a request.
pub(crate) async fn head(io: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(io.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// Computes the `Sec-WebSocket-Accept` of the request's key (RFC 6455 §4.2.2).
fn accept_value(head: &str) -> String {
    let key = field(head, "sec-websocket-key").expect("a key");
    let mut sha1 = Sha1::new();
    sha1.update(key);
    sha1.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64::engine::general_purpose::STANDARD.encode(sha1.finalize())
}

pub(crate) fn switching(head: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n",
        accept_value(head)
    )
}

/// Echoes on an upgraded connection until it is closed.
pub(super) async fn echo_frames(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let mut parser = Parser::default();
    let mut bytes = vec![0; 16 * 1024];
    loop {
        match io.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(n) => parser.push(&bytes[..n]),
        }
        let mut out = Vec::new();
        let closed = frames::echo(&mut parser, &mut out);
        io.write_all(&out).await.unwrap();
        if closed {
            let _ = io.shutdown().await;
        }
    }
}

/// Connects while a server answers with what `answer` makes of the request's head.
/// Returns the client's result, the head and the server's end of the connection.
async fn connect_with_answer(
    answer: impl FnOnce(&str) -> Vec<u8>,
) -> (
    Result<h2ws::WebSocket, Error>,
    String,
    tokio::net::TcpStream,
) {
    let (listener, addr) = listen().await;
    let client = http1().build().unwrap();
    let url = format!("ws://{addr}/chat?room=1");
    let request = client.request(&url).subprotocol("one").subprotocol("two");
    let (opened, (head, io)) = tokio::join!(request.connect(), async {
        let (mut io, _) = within(listener.accept()).await.unwrap();
        let head = head(&mut io).await;
        io.write_all(&answer(&head)).await.unwrap();
        (head, io)
    });
    (opened, head, io)
}

/// RFC 9112 §6.1: a body with another coding than `chunked` cannot be read.
#[tokio::test]
async fn a_rejection_with_an_unknown_transfer_coding_is_an_error() {
    let (failed, ..) = connect_with_answer(|_| {
        b"HTTP/1.1 403 No\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_vec()
    })
    .await;
    let is_coding =
        |error: Error| matches!(error, Error::Handshake(HandshakeError::TransferCoding));
    assert!(failed.is_err_and(is_coding));
}

/// RFC 6455 §4.1, point by point.
#[tokio::test]
async fn the_request_follows_the_rfc() {
    let (opened, head, io) =
        connect_with_answer(|head| format!("{}\r\n", switching(head)).into()).await;
    let mut ws = opened.unwrap();
    assert!(head.starts_with("GET /chat?room=1 HTTP/1.1\r\n"), "{head}");
    let addr = io.local_addr().unwrap().to_string();
    for (name, value) in [
        ("host", &addr[..]),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "one, two"),
    ] {
        assert_eq!(field(&head, name), Some(value));
    }
    let key = field(&head, "sec-websocket-key").unwrap();
    let key = base64::engine::general_purpose::STANDARD.decode(key);
    assert_eq!(key.unwrap().len(), 16);
    assert_eq!(field(&head, "sec-websocket-extensions"), None);
    assert_eq!(field(&head, "content-length"), None);
    assert!(!ws.transport().is_http2());
    tokio::spawn(echo_frames(io));
    echo(&mut ws, "hello").await;
}

/// RFC 6455 §4.1: each connection has a fresh nonce.
#[tokio::test]
async fn every_key_is_fresh() {
    let mut seen = std::collections::HashSet::new();
    for _ in 0..20 {
        let (_, head, _) =
            connect_with_answer(|_| b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
        assert!(seen.insert(accept_value(&head)));
    }
}

/// RFC 6455 §5.3: each frame has a masking key of its own, which cannot be predicted.
#[tokio::test]
async fn every_mask_is_fresh() {
    let (opened, _, mut io) =
        connect_with_answer(|head| format!("{}\r\n", switching(head)).into()).await;
    let mut ws = opened.unwrap();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..100 {
        ws.send(Message::text("")).await.unwrap();
        let mut bytes = [0; 6];
        within(io.read_exact(&mut bytes)).await.unwrap();
        assert_eq!(bytes[..2], [0x81, 0x80]);
        seen.insert([bytes[2], bytes[3], bytes[4], bytes[5]]);
    }
    assert!(seen.len() > 98, "{seen:?}");
}

/// RFC 6455 §4.1: the answer has to prove that the server understood the request.
#[tokio::test]
async fn an_invalid_answer_fails_the_connection() {
    type Change = fn(String) -> String;
    type Expected = fn(&HandshakeError) -> bool;
    let table: [(Change, Expected); 6] = [
        (
            |answer| answer.replace("Upgrade: websocket", "Upgrade: h2c"),
            |e| matches!(e, HandshakeError::Upgrade),
        ),
        (
            |answer| answer.replace("Connection: Upgrade", "Connection: close"),
            |e| matches!(e, HandshakeError::Connection),
        ),
        (
            |answer| answer.replace("Accept: ", "Accept: A"),
            |e| matches!(e, HandshakeError::WrongAccept),
        ),
        (
            |answer| answer.replace("Sec-WebSocket-Accept", "X-Accept"),
            |e| matches!(e, HandshakeError::MissingAccept),
        ),
        (
            |answer| answer + "Sec-WebSocket-Protocol: three\r\n",
            |e| matches!(e, HandshakeError::UnofferedSubprotocol(_)),
        ),
        (
            |answer| answer + "Sec-WebSocket-Extensions: permessage-deflate\r\n",
            |e| matches!(e, HandshakeError::UnofferedExtension(_)),
        ),
    ];
    for (change, expected) in table {
        let (opened, _, mut io) =
            connect_with_answer(|head| format!("{}\r\n", change(switching(head))).into()).await;
        match opened {
            Err(Error::Handshake(error)) => assert!(expected(&error), "{error:?}"),
            other => panic!("{other:?}"),
        }
        let mut rest = Vec::new();
        let _ = within(io.read_to_end(&mut rest)).await;
        assert!(
            rest.is_empty(),
            "bytes were sent before the connection was closed"
        );
    }
}

/// RFC 6455 §4.2.2: frames in the same packet as the 101 belong to the socket.
#[tokio::test]
async fn frames_after_the_101_belong_to_the_socket() {
    let (opened, _, mut io) = connect_with_answer(|head| {
        let mut bytes = format!("{}\r\n", switching(head)).into_bytes();
        bytes.extend(from_server(TEXT, b"welcome"));
        bytes.extend(from_server(CLOSE, &close(1000, "and goodbye")));
        bytes
    })
    .await;
    let mut ws = opened.unwrap();
    let message = within(ws.next()).await.unwrap().unwrap();
    assert_eq!(message, Message::text("welcome"));
    assert!(within(ws.next()).await.is_none());
    assert_eq!(ws.close_code(), Some(CloseCode::NORMAL));
    assert_eq!(ws.close_frame().unwrap().reason, "and goodbye");
    let mut bytes = [0; 4096];
    let n = within(io.read(&mut bytes)).await.unwrap();
    let mut parser = Parser::default();
    parser.push(&bytes[..n]);
    let answer = parser.pop().unwrap();
    assert_eq!((answer.code(), answer.masked), (Some(1000), true));
}

/// RFC 6455 §4.1: any other status is a rejection, with its body, and so is a 200.
#[tokio::test]
async fn a_rejection_keeps_its_status_fields_and_body() {
    for status in ["200 OK", "301 Moved", "401 Who", "426 Upgrade", "503 No"] {
        let (opened, _, mut io) = connect_with_answer(|_| {
            format!("HTTP/1.1 {status}\r\nX-Why: because\r\nContent-Length: 4\r\n\r\nbody").into()
        })
        .await;
        let error = opened.unwrap_err();
        let rejection = error.rejected_response().expect("a rejection");
        assert!(status.starts_with(rejection.status.as_str()));
        assert_eq!(rejection.headers["x-why"], "because");
        assert_eq!(rejection.body, Bytes::from_static(b"body"));
        // RFC 9931: a connection with a rejected Upgrade is not used again.
        assert_eq!(within(io.read(&mut [0])).await.unwrap(), 0);
    }
}

/// The server accepts the connection and sends nothing.
#[tokio::test]
async fn an_unanswered_request_times_out() {
    let (listener, addr) = listen().await;
    let before = tasks();
    let client = http1()
        .handshake_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    let failed = within(client.connect(&format!("ws://{addr}/"))).await;
    assert!(matches!(failed, Err(Error::Timeout(Timeout::Handshake))));
    let (mut io, _) = listener.accept().await.unwrap();
    head(&mut io).await;
    assert_eq!(within(io.read(&mut [0])).await.unwrap(), 0);
    until(|| tasks() <= before).await;
}

/// RFC 6455 §5.1: a client closes the connection on a masked frame, and reports why in
/// its Close frame.
#[tokio::test]
async fn a_masked_frame_is_closed_with_1002() {
    let (opened, _, mut io) = connect_with_answer(|head| {
        let mut bytes = format!("{}\r\n", switching(head)).into_bytes();
        bytes.extend(frames::from_client(TEXT, b"masked"));
        bytes
    })
    .await;
    let mut ws = opened.unwrap();
    let failed = within(ws.next()).await.unwrap();
    assert!(matches!(
        failed,
        Err(Error::Protocol(h2ws::frame::ProtocolError::MaskedFrame))
    ));
    let mut bytes = Vec::new();
    within(io.read_to_end(&mut bytes)).await.unwrap();
    let mut parser = Parser::default();
    parser.push(&bytes);
    assert_eq!(parser.pop().unwrap().code(), Some(1002));
}

/// A TLS server that records the ALPN protocol of each connection, supports HTTP/2
/// without RFC 8441, and accepts sockets over HTTP/1.1.
struct TlsServer {
    url: String,
    alpn: Arc<Mutex<Vec<String>>>,
}

impl TlsServer {
    fn start(listener: TcpListener, mut config: rustls::ServerConfig, alpn: &[&str]) -> Self {
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = log.clone();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let Ok(mut tls) = acceptor.accept(tcp).await else {
                    continue;
                };
                let alpn = tls.get_ref().1.alpn_protocol().unwrap_or_default();
                let alpn = String::from_utf8(alpn.to_vec()).unwrap();
                seen.lock().unwrap().push(alpn.clone());
                tokio::spawn(async move {
                    if alpn == "h2" {
                        let builder = h2::server::Builder::new();
                        let _ = h2peer::serve(tls, builder, |_, _| panic!("a request over HTTP/2"))
                            .await;
                        return;
                    }
                    let head = head(&mut tls).await;
                    let answer = format!("{}\r\n", switching(&head));
                    tls.write_all(answer.as_bytes()).await.unwrap();
                    echo_frames(tls).await;
                });
            }
        });
        Self {
            url: format!("wss://localhost:{port}/"),
            alpn: log,
        }
    }

    fn alpn(&self) -> Vec<String> {
        self.alpn.lock().unwrap().clone()
    }
}

async fn tls_server(alpn: &[&str]) -> (TlsServer, rustls::ClientConfig) {
    let (listener, _) = listen().await;
    let (config, trusting) = tls::pair();
    (TlsServer::start(listener, config, alpn), trusting)
}

/// ALPN selects h2, and the SETTINGS do not enable RFC 8441: the client dials again for
/// HTTP/1.1, and the next time it does so directly.
#[tokio::test]
async fn http2_without_rfc_8441_falls_back_and_is_remembered() {
    let (server, trusting) = tls_server(&["h2", "http/1.1"]).await;
    let client = Client::builder().tls(trusting).build().unwrap();
    let mut first = within(client.connect(&server.url)).await.unwrap();
    assert!(!first.transport().is_http2());
    echo(&mut first, "fallen back").await;
    assert_eq!(server.alpn(), ["h2", "http/1.1"]);
    let mut second = within(client.connect(&server.url)).await.unwrap();
    echo(&mut second, "remembered").await;
    assert_eq!(server.alpn(), ["h2", "http/1.1", "http/1.1"]);
    assert!(client.connections().is_empty(), "the h2 connection is kept");
}

/// What the client remembers of a server expires, since the server may have changed.
#[tokio::test]
async fn a_remembered_fallback_expires() {
    let (server, trusting) = tls_server(&["h2", "http/1.1"]).await;
    let client = Client::builder()
        .tls(trusting)
        .http1_cache_ttl(Duration::ZERO);
    let client = client.build().unwrap();
    for _ in 0..2 {
        let mut ws = within(client.connect(&server.url)).await.unwrap();
        echo(&mut ws, "hello").await;
    }
    assert_eq!(server.alpn(), ["h2", "http/1.1", "h2", "http/1.1"]);
}

/// If the server selects HTTP/1.1, there is one connection, and it is used.
#[tokio::test]
async fn a_server_that_selects_http1_is_not_dialled_twice() {
    for alpn in [&["http/1.1"][..], &[]] {
        let (server, trusting) = tls_server(alpn).await;
        let client = Client::builder().tls(trusting).build().unwrap();
        let mut ws = within(client.connect(&server.url)).await.unwrap();
        echo(&mut ws, "hello").await;
        assert_eq!(server.alpn().len(), 1);
    }
}

/// With `HttpVersion::Http2` there is no fallback without the caller's knowledge.
#[tokio::test]
async fn an_explicit_http2_version_does_not_fall_back() {
    for alpn in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
        let (server, trusting) = tls_server(alpn).await;
        let client = Client::builder().tls(trusting).version(HttpVersion::Http2);
        let client = client.build().unwrap();
        let failed = within(client.connect(&server.url)).await;
        assert!(
            matches!(failed, Err(Error::NoExtendedConnect)),
            "{failed:?}"
        );
    }
}

/// If both versions are offered and RFC 8441 is supported, one TLS connection carries all
/// sockets.
#[tokio::test]
async fn alpn_and_the_setting_select_http2_over_tls() {
    let (config, trusting) = tls::pair();
    let server = crate::support::server::echo(h2ws::Server::builder().tls(config)).await;
    let url = format!("wss://localhost:{}/", server.addr.port());
    let client = Client::builder().tls(trusting.clone()).build().unwrap();
    let mut sockets = Vec::new();
    for _ in 0..10 {
        sockets.push(within(client.connect(&url)).await.unwrap());
    }
    for ws in &mut sockets {
        assert!(ws.transport().is_http2());
        echo(ws, "hello").await;
    }
    assert_eq!(client.connections().len(), 1);
    let plain = Client::builder().tls(trusting).version(HttpVersion::Http1);
    let mut ws = within(plain.build().unwrap().connect(&url)).await.unwrap();
    assert!(!ws.transport().is_http2());
    echo(&mut ws, "beside them").await;
}

/// RFC 6455 §4.1: an untrusted certificate fails the connection.
#[tokio::test]
async fn an_untrusted_certificate_fails_the_connection() {
    let (server, _) = tls_server(&["h2", "http/1.1"]).await;
    let client = Client::builder().tls(tls::none()).build().unwrap();
    let failed = within(client.connect(&server.url)).await;
    assert!(matches!(failed, Err(Error::Tls(_))), "{failed:?}");
    assert!(server.alpn().is_empty());
}

/// A server that closes and does not read what is still sent resets the connection. Its
/// Close frame says more than the write error.
#[tokio::test]
async fn a_close_before_a_reset_takes_precedence_over_the_write_error() {
    for reads in [true, false] {
        let (listener, addr) = listen().await;
        let client = http1().build().unwrap();
        let url = format!("ws://{addr}/");
        let (ws, mut server) = tokio::join!(client.connect(&url), Text::accept(&listener));
        let mut ws = ws.unwrap();
        server
            .write(from_server(CLOSE, &close(1008, "policy")))
            .await;
        server.reset();
        let fails = async { while ws.send(Message::text("more")).await.is_ok() {} };
        within(fails).await;
        if reads {
            let read = within(ws.next()).await;
            assert!(read.is_none(), "{read:?}");
        } else {
            within(ws.close(None)).await.unwrap();
        }
        assert_eq!(ws.close_code(), Some(CloseCode::POLICY_VIOLATION));
    }
}

/// Without a Close frame, the reader gets the I/O error instead of an orderly end.
#[tokio::test]
async fn a_reset_without_a_close_fails_writes_and_reads() {
    let (listener, addr) = listen().await;
    let client = http1().build().unwrap();
    let url = format!("ws://{addr}/");
    let (ws, server) = tokio::join!(client.connect(&url), Text::accept(&listener));
    let mut ws = ws.unwrap();
    server.reset();
    let fails = async { while ws.send(Message::text("more")).await.is_ok() {} };
    within(fails).await;
    let read = within(ws.next()).await;
    assert!(matches!(read, Some(Err(Error::Io(_)))), "{read:?}");
    assert_eq!(ws.close_code(), Some(CloseCode::ABNORMAL));
}
