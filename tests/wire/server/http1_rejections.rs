//! Rejections over HTTP/1.1 of clients that are still sending. Closing a
//! connection with unread bytes would reset it, and the response might be lost
//! (RFC 9112 §9.6).

use http::{Response, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use h2ws::Server;
use h2ws::server::ServerBuilder;

use crate::support::frames::{BINARY, from_client};
use crate::support::{server, tasks, tls, until, within};

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// Size of the rejection's body, in bytes. It must fit into the socket buffers,
/// because the client does not read while it sends.
const LONG: usize = 64 * 1024;

/// Sends all of `request`, then reads the response to the end of the connection,
/// which must be FIN. Returns its head, in lower case, and its body.
async fn answer(mut io: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> (String, Vec<u8>) {
    within(io.write_all(request)).await.unwrap();
    let mut answer = Vec::new();
    within(io.read_to_end(&mut answer)).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = answer.split_off(end.expect("a complete head") + 4);
    (String::from_utf8(answer).unwrap().to_lowercase(), body)
}

/// Asserts that a client which sends frames without waiting for the response
/// receives the handler's rejection.
async fn assert_rejected(io: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = UPGRADE.as_bytes().to_vec();
    for _ in 0..64 {
        request.extend(from_client(BINARY, &[0; 64 * 1024]));
    }
    let (head, body) = answer(io, &request).await;
    assert!(head.starts_with("http/1.1 403 "), "{head}");
    assert!(head.contains("connection: close\r\n"), "{head}");
    assert_eq!(body.len(), LONG);
}

/// Starts a server whose handler rejects every request with 403 and a large body.
async fn serve_rejecting(builder: ServerBuilder) -> server::Running {
    server::serve(builder, |upgrade, _| async move {
        let mut rejection = Response::new(vec![b'.'; LONG]);
        *rejection.status_mut() = StatusCode::FORBIDDEN;
        upgrade.reject_with(rejection);
    })
    .await
}

#[tokio::test]
async fn a_rejection_arrives_despite_frames_sent_for_the_socket() {
    let server = serve_rejecting(Server::builder()).await;
    tokio::task::yield_now().await;
    let idle = tasks();
    assert_rejected(TcpStream::connect(server.addr).await.unwrap()).await;
    until(|| tasks() <= idle).await;
}

#[tokio::test]
async fn a_rejection_arrives_over_tls() {
    let (ours, theirs) = tls::pair();
    let server = serve_rejecting(Server::builder().tls(ours)).await;
    let client = tls::connect(server.addr, "localhost", b"http/1.1", theirs).await;
    assert_rejected(client.unwrap()).await;
}

/// The requests are rejected by the handshake, by the missing fallback, and by
/// hyper.
#[tokio::test]
async fn a_rejection_arrives_despite_bytes_after_the_request() {
    let server = server::echo(Server::builder()).await;
    let body = "Content-Length: 4194304\r\n\r\n";
    for (head, status) in [
        (UPGRADE.replace("Version: 13", "Version: 8"), 426),
        (UPGRADE.replace("13\r\n\r\n", &format!("13\r\n{body}")), 400),
        (format!("POST / HTTP/1.1\r\nHost: a\r\n{body}"), 404),
        ("GET / HTTP/1.1\r\nHost a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nlong: ".to_owned(), 431),
    ] {
        let mut request = head.into_bytes();
        request.resize(4 << 20, b'a');
        let (head, _) = answer(TcpStream::connect(server.addr).await.unwrap(), &request).await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
    }
}

/// A connection that the client keeps open after the server has closed it still
/// counts against the limit.
#[tokio::test]
async fn a_connection_kept_open_after_a_close_counts_against_the_limit() {
    let server = server::echo(Server::builder().max_connections(1)).await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut first = TcpStream::connect(server.addr).await.unwrap();
    let (head, _) = answer(&mut first, request).await;
    assert!(head.starts_with("http/1.1 404 "), "{head}");
    let lingering = tasks();

    let mut second = TcpStream::connect(server.addr).await.unwrap();
    second.write_all(request).await.unwrap();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tasks(), lingering, "more connections than the limit");
    drop(first);
    let (head, _) = answer(second, b"").await;
    assert!(head.starts_with("http/1.1 404 "), "{head}");
}
