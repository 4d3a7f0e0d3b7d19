//! Who is let in: the handler decides, for as long as it needs and no longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2ws::handshake::AllowedHosts;
use h2ws::server::{ServerBuilder, WebSocketRequest};
use h2ws::{Error, Http2Config, Server, Timeout};
use http::header::{AUTHORIZATION, COOKIE, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::client::{echo, http1, http2};
use crate::support::raw::{CANCEL, Fields, REFUSED_STREAM, RST_STREAM, Raw};
use crate::support::server::{self, Ended, Running, ServerFixture};
use crate::support::{h2peer, until, within};

/// Lets in who knows the secret, after a look elsewhere; speaks `chat.v2`.
async fn guard(mut request: WebSocketRequest, ended: mpsc::UnboundedSender<Ended>) {
    tokio::task::yield_now().await;
    let secret = HeaderValue::from_static("Bearer sesame");
    let known = request.headers().get(AUTHORIZATION) == Some(&secret)
        || request.cookie("session") == Some("sesame");
    if !known {
        let refusal = Response::builder()
            .status(StatusCode::UNAUTHORIZED)
            .header(WWW_AUTHENTICATE, "Bearer realm=\"cave\"")
            .body(Bytes::from_static(b"say the word\n"));
        return request.reject_with(refusal.unwrap());
    }
    request.select_subprotocol("chat.v2").unwrap();
    request.response_header(SET_COOKIE, HeaderValue::from_static("session=sesame"));
    let path = request.path().to_owned();
    let ws = request.accept().await.unwrap();
    let _ = ended.send(server::echo_socket(ws, path).await);
}

/// RFC 9110 §11.6.1: 401 with its challenge and body, then the way in, by the
/// same handler in both versions.
#[tokio::test]
async fn a_handler_asks_for_credentials() {
    let server = server::serve(Server::builder(), guard).await;
    for client in [http1(), http2()] {
        let client = client.build().unwrap();
        let url = server.url("/");
        let request = || client.request(&url).subprotocol("chat.v2");
        let error = within(request().connect()).await.unwrap_err();
        let refusal = error.rejected_response().expect("a refusal");
        assert_eq!(refusal.status, StatusCode::UNAUTHORIZED);
        assert_eq!(refusal.headers[WWW_AUTHENTICATE], "Bearer realm=\"cave\"");
        assert_eq!(refusal.body, "say the word\n");
        let request = request().header(AUTHORIZATION.as_str(), "Bearer sesame");
        let mut ws = within(request.connect()).await.unwrap();
        assert_eq!(ws.subprotocol(), Some("chat.v2"));
        echo(&mut ws, "in").await;
    }
}

/// RFC 9113 §8.2.3: over HTTP/2 cookies come in crumbs. The answer's own header
/// fields arrive.
#[tokio::test]
async fn a_handler_finds_a_cookie_among_crumbs() {
    let server = server::serve(Server::builder(), |request, ended| async move {
        let fields = request.headers().get_all(COOKIE).iter().count();
        assert_eq!((fields, request.query()), (1, Some("q=1")));
        assert_eq!(request.authority().to_string(), "localhost");
        assert_eq!(request.method(), http::Method::CONNECT);
        guard(request, ended).await;
    })
    .await;
    let peer = h2peer::connect(server.addr).await;
    let mut request = h2peer::websocket("http://localhost/?q=1");
    for crumb in ["theme=dark", "session=sesame", "a=b"] {
        request
            .headers_mut()
            .append(COOKIE, HeaderValue::from_static(crumb));
    }
    let offer = HeaderValue::from_static("chat.v1, chat.v2");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", offer);
    let (response, _stream) = h2peer::ask(&peer, request, false).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[SET_COOKIE], "session=sesame");
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat.v2");
}

/// Handlers at `/hung` that have not been dropped.
type Hung = Arc<AtomicUsize>;

struct Guard(Hung);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn count(hung: &Hung) -> usize {
    hung.load(Ordering::SeqCst)
}

/// An echo server that never answers at `/hung`.
async fn hanging(builder: ServerBuilder) -> (Running, Hung) {
    let hung = Hung::default();
    let counted = hung.clone();
    let server = server::serve(builder, move |request, ended| {
        let hung = counted.clone();
        async move {
            if request.path() == "/hung" {
                hung.fetch_add(1, Ordering::SeqCst);
                let _guard = Guard(hung);
                std::future::pending::<()>().await;
            }
            server::echoing(ended)(request).await;
        }
    })
    .await;
    (server, hung)
}

const SOON: Duration = Duration::from_millis(50);

/// A handler that does not answer is let go, and the client told 503; nothing
/// is left of either, and the sockets beside it work all the while.
#[tokio::test]
async fn a_handler_that_hangs_is_answered_for() {
    let (server, hung) = hanging(Server::builder().handler_timeout(SOON)).await;
    let mut beside = ServerFixture::on(server).await;
    let http1 = http1().build().unwrap();
    let error = within(http1.connect(&beside.server.url("/hung"))).await;
    let error = error.unwrap_err();
    assert_eq!(
        error
            .rejected_response()
            .map(|refusal| refusal.status.as_u16()),
        Some(503)
    );
    for stream in [3, 5] {
        beside
            .peer
            .headers(stream, &Fields::websocket("/hung"), 0)
            .await;
        beside.peer.echo(1, "meanwhile").await;
        assert_eq!(beside.peer.status(stream).await, 503);
        // RFC 9113 §8.1: the answer is complete, the request need not be.
        beside.peer.reset(stream, CANCEL).await;
    }
    until(|| count(&hung) == 0).await;
    drop(http1);
    beside.unharmed().await;
}

/// A handler that takes its time holds up no other request.
#[tokio::test]
async fn a_slow_handler_holds_nobody_up() {
    let (server, hung) = hanging(Server::builder()).await;
    let mut peer = Raw::connect(server.addr).await;
    peer.headers(1, &Fields::websocket("/hung"), 0).await;
    until(|| count(&hung) == 1).await;
    for stream in [3, 5, 7] {
        peer.open(stream, "/").await;
        peer.echo(stream, "hello").await;
    }
    assert_eq!(count(&hung), 1);
}

/// The time counts for a request that was handed to another task, too: who
/// accepts too late is told so.
#[tokio::test]
async fn a_request_that_was_handed_on_is_answered_for() {
    let (sender, mut handed) = mpsc::unbounded_channel::<WebSocketRequest>();
    let builder = Server::builder().handler_timeout(SOON);
    let server = server::serve(builder, move |request, _| {
        let sent = sender.send(request);
        async move { sent.unwrap() }
    })
    .await;
    for client in [http1(), http2()] {
        let (client, url) = (client.build().unwrap(), server.url("/"));
        let connecting = tokio::spawn(async move {
            let error = client.connect(&url).await.unwrap_err();
            error
                .rejected_response()
                .map(|refusal| refusal.status.as_u16())
        });
        let request = within(handed.recv()).await.unwrap();
        assert_eq!(within(connecting).await.unwrap(), Some(503));
        let error = within(request.accept()).await.unwrap_err();
        assert!(
            matches!(error, Error::Timeout(Timeout::Handshake)),
            "{error:?}"
        );
    }
}

/// A client that asks and resets, again and again (CVE-2023-44487), has no more
/// handlers at work than streams: those for whom nobody waits are dropped.
#[tokio::test]
async fn handlers_end_with_the_requests_that_they_decide_on() {
    let (server, hung) = hanging(Server::builder()).await;
    let mut beside = ServerFixture::on(server).await;
    for stream in (3..403).step_by(2) {
        beside
            .peer
            .headers(stream, &Fields::websocket("/hung"), 0)
            .await;
        until(|| count(&hung) == 1).await;
        beside.peer.reset(stream, CANCEL).await;
        until(|| count(&hung) == 0).await;
    }
    let mut http1 = TcpStream::connect(beside.server.addr).await.unwrap();
    let request = "GET /hung HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
        connection: upgrade\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    http1.write_all(request.as_bytes()).await.unwrap();
    until(|| count(&hung) == 1).await;
    drop(http1);
    until(|| count(&hung) == 0).await;
    beside.unharmed().await;
}

/// RFC 9113 §5.1.2: requests that wait for an answer are streams like others.
#[tokio::test]
async fn requests_under_way_are_bounded() {
    let builder = Server::builder().http2(Http2Config::default().max_concurrent_streams(4));
    let (server, hung) = hanging(builder).await;
    let mut peer = Raw::connect(server.addr).await;
    for stream in [1, 3, 5, 7, 9, 11] {
        peer.headers(stream, &Fields::websocket("/hung"), 0).await;
    }
    for stream in [9, 11] {
        let refused = peer.on(stream).await.unwrap();
        assert_eq!(
            (refused.kind, refused.error_code()),
            (RST_STREAM, REFUSED_STREAM)
        );
    }
    until(|| count(&hung) == 4).await;
    peer.reset(1, CANCEL).await;
    peer.open(13, "/").await;
    assert_eq!(count(&hung), 3);
}

/// RFC 9110 §15.5.20: requests for other hosts reach no page either, which is
/// what DNS rebinding is after.
#[tokio::test]
async fn pages_are_for_our_hosts_alone() {
    let ours = AllowedHosts::parse(["ours.test"]).unwrap();
    let builder = Server::builder().allowed_hosts(ours);
    // Without a fallback a page that is let in is 404.
    let server = server::echo(builder).await;
    let peer = h2peer::connect(server.addr).await;
    for (authority, status) in [
        ("ours.test", 404),
        ("evil.test", 421),
        ("sub.ours.test:8", 421),
    ] {
        let uri = format!("http://{authority}/");
        let request = Request::builder().uri(uri).body(()).unwrap();
        let (response, _) = h2peer::ask(&peer, request, true).await;
        assert_eq!(response.status().as_u16(), status, "{authority}");
    }
    for (host, status) in [
        ("host: ours.test\r\n", "404"),
        ("host: evil.test\r\n", "421"),
        ("", "400"),
        ("host: ours.test\r\nhost: evil.test\r\n", "400"),
    ] {
        let mut io = TcpStream::connect(server.addr).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\n{host}connection: close\r\n\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(io.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{host}: {answer}");
    }
}
