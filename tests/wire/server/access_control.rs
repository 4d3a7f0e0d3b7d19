//! Access control by the handler: credentials, cookies and allowed hosts, the
//! handler timeout, and the number of handlers in progress.

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

/// Accepts requests that carry the secret, after an asynchronous check, and
/// selects `chat.v2`.
async fn authenticate(mut request: WebSocketRequest, ended: mpsc::UnboundedSender<Ended>) {
    tokio::task::yield_now().await;
    let secret = HeaderValue::from_static("Bearer sesame");
    let known = request.headers().get(AUTHORIZATION) == Some(&secret)
        || request.cookie("session") == Some("sesame");
    if !known {
        let rejection = Response::builder()
            .status(StatusCode::UNAUTHORIZED)
            .header(WWW_AUTHENTICATE, "Bearer realm=\"cave\"")
            .body(Bytes::from_static(b"say the word\n"));
        return request.reject_with(rejection.unwrap());
    }
    request.select_subprotocol("chat.v2").unwrap();
    request.response_header(SET_COOKIE, HeaderValue::from_static("session=sesame"));
    let path = request.path().to_owned();
    let ws = request.accept().await.unwrap();
    let _ = ended.send(server::echo_socket(ws, path).await);
}

/// RFC 9110 §11.6.1: a request without credentials gets 401 with a challenge and
/// a body, and one with credentials is accepted, by the same handler in both HTTP
/// versions.
#[tokio::test]
async fn a_handler_can_require_credentials() {
    let server = server::serve(Server::builder(), authenticate).await;
    for client in [http1(), http2()] {
        let client = client.build().unwrap();
        let url = server.url("/");
        let request = || client.request(&url).subprotocol("chat.v2");
        let error = within(request().connect()).await.unwrap_err();
        let rejection = error.rejected_response().expect("a rejection");
        assert_eq!(rejection.status, StatusCode::UNAUTHORIZED);
        assert_eq!(rejection.headers[WWW_AUTHENTICATE], "Bearer realm=\"cave\"");
        assert_eq!(rejection.body, "say the word\n");
        let request = request().header(AUTHORIZATION.as_str(), "Bearer sesame");
        let mut ws = within(request.connect()).await.unwrap();
        assert_eq!(ws.subprotocol(), Some("chat.v2"));
        echo(&mut ws, "in").await;
    }
}

/// RFC 9113 §8.2.3: over HTTP/2, cookies may be split into several header fields.
/// The header fields that the handler adds reach the client.
#[tokio::test]
async fn a_cookie_is_found_in_split_cookie_fields() {
    let server = server::serve(Server::builder(), |request, ended| async move {
        let fields = request.headers().get_all(COOKIE).iter().count();
        assert_eq!((fields, request.query()), (1, Some("q=1")));
        assert_eq!(request.authority().to_string(), "localhost");
        assert_eq!(request.method(), http::Method::CONNECT);
        authenticate(request, ended).await;
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

/// Number of handlers at `/hung` that have not been dropped.
type Hung = Arc<AtomicUsize>;

/// Decrements the number when the handler is dropped.
struct Guard(Hung);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn count(hung: &Hung) -> usize {
    hung.load(Ordering::SeqCst)
}

/// Starts an echo server that never answers requests for `/hung`.
async fn serve_with_hung(builder: ServerBuilder) -> (Running, Hung) {
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

const HANDLER_TIMEOUT: Duration = Duration::from_millis(50);

/// A handler that exceeds its timeout is dropped, and the client gets 503. Nothing
/// is left of the request, and the other sockets of the connection keep working
/// throughout.
#[tokio::test]
async fn a_handler_that_exceeds_its_timeout_is_dropped_with_503() {
    let (server, hung) = serve_with_hung(Server::builder().handler_timeout(HANDLER_TIMEOUT)).await;
    let mut fixture = ServerFixture::on(server).await;
    let http1 = http1().build().unwrap();
    let error = within(http1.connect(&fixture.server.url("/hung"))).await;
    let error = error.unwrap_err();
    assert_eq!(
        error
            .rejected_response()
            .map(|rejection| rejection.status.as_u16()),
        Some(503)
    );
    for stream in [3, 5] {
        fixture
            .peer
            .headers(stream, &Fields::websocket("/hung"), 0)
            .await;
        fixture.peer.echo(1, "meanwhile").await;
        assert_eq!(fixture.peer.status(stream).await, 503);
        // RFC 9113 §8.1: the response is complete, but the request is not.
        fixture.peer.reset(stream, CANCEL).await;
    }
    until(|| count(&hung) == 0).await;
    drop(http1);
    fixture.unharmed().await;
}

/// A handler that does not answer does not delay the other requests of its
/// connection.
#[tokio::test]
async fn a_slow_handler_does_not_delay_other_requests() {
    let (server, hung) = serve_with_hung(Server::builder()).await;
    let mut peer = Raw::connect(server.addr).await;
    peer.headers(1, &Fields::websocket("/hung"), 0).await;
    until(|| count(&hung) == 1).await;
    for stream in [3, 5, 7] {
        peer.open(stream, "/").await;
        peer.echo(stream, "hello").await;
    }
    assert_eq!(count(&hung), 1);
}

/// The handler timeout also covers a request that was sent to another task:
/// accepting it too late is an error.
#[tokio::test]
async fn the_handler_timeout_covers_a_request_sent_to_another_task() {
    let (sender, mut handed) = mpsc::unbounded_channel::<WebSocketRequest>();
    let builder = Server::builder().handler_timeout(HANDLER_TIMEOUT);
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
                .map(|rejection| rejection.status.as_u16())
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

/// A client that repeatedly opens and resets requests (CVE-2023-44487, "rapid
/// reset") cannot accumulate handlers: the handler is dropped with its request.
#[tokio::test]
async fn a_handler_is_dropped_when_its_request_is_reset() {
    let (server, hung) = serve_with_hung(Server::builder()).await;
    let mut fixture = ServerFixture::on(server).await;
    for stream in (3..403).step_by(2) {
        fixture
            .peer
            .headers(stream, &Fields::websocket("/hung"), 0)
            .await;
        until(|| count(&hung) == 1).await;
        fixture.peer.reset(stream, CANCEL).await;
        until(|| count(&hung) == 0).await;
    }
    let mut http1 = TcpStream::connect(fixture.server.addr).await.unwrap();
    let request = "GET /hung HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
        connection: upgrade\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    http1.write_all(request.as_bytes()).await.unwrap();
    until(|| count(&hung) == 1).await;
    drop(http1);
    until(|| count(&hung) == 0).await;
    fixture.unharmed().await;
}

/// RFC 9113 §5.1.2: unanswered requests count as open streams.
#[tokio::test]
async fn unanswered_requests_count_against_the_stream_limit() {
    let builder = Server::builder().http2(Http2Config::default().max_concurrent_streams(4));
    let (server, hung) = serve_with_hung(builder).await;
    let mut peer = Raw::connect(server.addr).await;
    for stream in [1, 3, 5, 7, 9, 11] {
        peer.headers(stream, &Fields::websocket("/hung"), 0).await;
    }
    for stream in [9, 11] {
        let rejected = peer.on(stream).await.unwrap();
        assert_eq!(
            (rejected.kind, rejected.error_code()),
            (RST_STREAM, REFUSED_STREAM)
        );
    }
    until(|| count(&hung) == 4).await;
    peer.reset(1, CANCEL).await;
    peer.open(13, "/").await;
    assert_eq!(count(&hung), 3);
}

/// RFC 9110 §15.5.20: plain HTTP requests for other hosts are rejected too, which
/// prevents DNS rebinding.
#[tokio::test]
async fn a_plain_http_request_for_another_host_is_rejected() {
    let allowed = AllowedHosts::parse(["ours.test"]).unwrap();
    let builder = Server::builder().allowed_hosts(allowed);
    // There is no fallback, so requests for an allowed host get 404.
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
