//! Plain HTTP requests to a server, alongside its sockets.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2ws::server::Body;
use h2ws::{Server, Transport};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{echo, http1, http2};
use crate::support::server::Running;
use crate::support::{h2peer, server, until, within};

/// A `tower` service that counts its calls in progress.
#[derive(Clone, Default)]
struct Pages {
    in_progress: Arc<AtomicUsize>,
}

/// Decrements the count when the call is dropped.
struct InProgress(Arc<AtomicUsize>);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl tower_service::Service<Request<Body>> for Pages {
    type Response = Response<Full<Bytes>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.in_progress.fetch_add(1, Ordering::SeqCst);
        let in_progress = InProgress(self.in_progress.clone());
        Box::pin(async move {
            let _in_progress = in_progress;
            let response = Response::builder().header("x-method", request.method().as_str());
            let body = match request.uri().path() {
                "/echo" => request
                    .into_body()
                    .collect()
                    .await
                    .map_err(std::io::Error::other)?
                    .to_bytes(),
                "/fail" => return Err(std::io::Error::other("as intended")),
                "/never" => std::future::pending().await,
                "/hop" => {
                    return Ok(response
                        .header("connection", "close, x-hop")
                        .header("keep-alive", "timeout=5")
                        .body(Full::from("hop"))
                        .unwrap());
                }
                "/transport" => match request.extensions().get::<Transport>() {
                    Some(Transport::Http2 { .. }) => Bytes::from_static(b"h2"),
                    Some(Transport::Http1 { .. }) => Bytes::from_static(b"h1"),
                    _ => Bytes::new(),
                },
                _ => Bytes::from_static(b"a page"),
            };
            Ok(response.body(Full::new(body)).unwrap())
        })
    }
}

async fn start(pages: Pages) -> Running {
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    server::run(server, |server, ended| {
        server.serve(server::echoing(ended)).fallback(pages)
    })
}

/// A service that responds without reading the request's body. Its own body fails
/// at once at `/at-once`, after some data at `/word`, and not at other paths.
#[derive(Clone)]
struct EarlyResponse;

type Pieces = futures_util::stream::Iter<std::vec::IntoIter<std::io::Result<Frame<Bytes>>>>;

impl tower_service::Service<Request<Body>> for EarlyResponse {
    type Response = Response<StreamBody<Pieces>>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let word = || Ok(Frame::data(Bytes::from_static(b"word")));
        let cut = || Err(std::io::Error::other("as intended"));
        let pieces = match request.uri().path() {
            "/at-once" => vec![cut()],
            "/word" => vec![word(), cut()],
            _ => vec![word(), word()],
        };
        let body = StreamBody::new(futures_util::stream::iter(pieces));
        let answer = Response::builder().status(413).body(body);
        std::future::ready(Ok(answer.unwrap()))
    }
}

async fn serve_early_response() -> Running {
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    server::run(server, |server, ended| {
        server.serve(server::echoing(ended)).fallback(EarlyResponse)
    })
}

/// The server does not map other schemes to HTTP, so only `http` and `https` have a
/// meaning (RFC 9113 §8.3.1).
#[tokio::test]
async fn a_scheme_other_than_http_or_https_is_400() {
    let server = start(Pages::default()).await;
    let client = h2peer::connect(server.addr).await;
    for (scheme, status) in [
        ("ws", 400),
        ("wss", 400),
        ("ftp", 400),
        ("http", 200),
        ("https", 200),
    ] {
        let request = Request::get(format!("{scheme}://a.test/"))
            .body(())
            .unwrap();
        let (response, _) = h2peer::ask(&client, request, true).await;
        assert_eq!(response.status(), status, "{scheme} over HTTP/2");
        let mut io = TcpStream::connect(server.addr).await.unwrap();
        let request = format!("GET {scheme}://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        within(io.read_exact(&mut head)).await.unwrap();
        let expected = format!("HTTP/1.1 {status}");
        assert_eq!(head, expected.as_bytes(), "{scheme} over HTTP/1.1");
    }
}

/// If a response body fails, the client gets the data before the error, and then an
/// error rather than a clean end.
#[tokio::test]
async fn a_failed_response_body_arrives_up_to_its_error() {
    let server = serve_early_response().await;
    for (path, word) in [("/at-once", &b""[..]), ("/word", b"word")] {
        let client = h2peer::connect(server.addr).await;
        for _ in 0..20 {
            let (response, _) = h2peer::ask(&client, get(path), true).await;
            assert_eq!(response.status(), 413, "{path}");
            let mut body = response.into_body();
            let mut got = Vec::new();
            let error = loop {
                match within(body.data())
                    .await
                    .expect("expected an error, not a clean end")
                {
                    Ok(chunk) => got.extend_from_slice(&chunk),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));
            assert_eq!(got, word, "{path}");

            let mut client = TcpStream::connect(server.addr).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            let mut got = Vec::new();
            within(client.read_to_end(&mut got)).await.unwrap();
            let got = String::from_utf8(got).unwrap();
            assert!(got.starts_with("HTTP/1.1 413 "), "{path}: {got:?}");
            assert!(!got.ends_with("0\r\n\r\n"), "{path}: {got:?}");
            assert_eq!(got.contains("word"), !word.is_empty(), "{path}: {got:?}");
        }
    }
}

/// RFC 9113 §8.1: the server sends the complete response before it resets the stream
/// with NO_ERROR to stop the upload.
#[tokio::test]
async fn a_response_to_an_unread_upload_arrives_complete() {
    let server = serve_early_response().await;
    let client = h2peer::connect(server.addr).await;
    for _ in 0..20 {
        let mut post = get("/upload");
        *post.method_mut() = Method::POST;
        let mut send = within(client.clone().ready()).await.unwrap();
        let (response, mut upload) = send.send_request(post, false).unwrap();
        upload.send_data(vec![0; 60_000].into(), false).unwrap();
        let response = within(response).await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(h2peer::body(response.into_body()).await, b"wordword");
        let reset = within(std::future::poll_fn(|cx| upload.poll_reset(cx))).await;
        assert_eq!(reset.unwrap(), h2::Reason::NO_ERROR);
    }
}

fn get(path: &str) -> Request<()> {
    Request::builder()
        .uri(format!("http://localhost{path}"))
        .body(())
        .unwrap()
}

/// RFC 9113 §8.1: plain HTTP requests and sockets share one connection.
#[tokio::test]
async fn requests_and_sockets_share_an_http2_connection() {
    let server = start(Pages::default()).await;
    let client = h2peer::connect(server.addr).await;
    let upgrade = h2peer::websocket("http://localhost/socket");
    let (accepted, mut socket) = h2peer::ask(&client, upgrade, false).await;
    assert_eq!(accepted.status(), 200);
    let mut messages = accepted.into_body();
    for _ in 0..10 {
        let (response, _) = h2peer::ask(&client, get("/page"), true).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-method"], "GET");
        assert_eq!(response.headers()["content-length"], "6");
        assert_eq!(h2peer::body(response.into_body()).await, b"a page");
        let text = crate::support::frames::from_client(1, b"beside");
        socket.send_data(text.into(), false).unwrap();
        let back = within(messages.data()).await.unwrap().unwrap();
        assert_eq!(back, crate::support::frames::from_server(1, b"beside"));
    }
}

/// RFC 9113 §8.1: a body larger than any window is echoed.
#[tokio::test]
async fn a_large_body_is_echoed_over_http2() {
    let server = start(Pages::default()).await;
    let client = h2peer::connect(server.addr).await;
    let body: Vec<u8> = (0..1 << 20).map(|n: u32| (n >> 4) as u8).collect();
    for length in [None, Some(body.len())] {
        let mut request = Request::post("http://localhost/echo");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let mut send = within(client.clone().ready()).await.unwrap();
        let request = request.body(()).unwrap();
        let (response, mut upload) = send.send_request(request, false).unwrap();
        let sent = Bytes::from(body.clone());
        tokio::spawn(async move {
            h2peer::send_all(&mut upload, sent).await.unwrap();
            upload.send_data(Bytes::new(), true).unwrap();
        });
        let response = within(response).await.unwrap();
        assert_eq!(response.headers()["x-method"], "POST");
        assert!(h2peer::body(response.into_body()).await == body);
    }
}

/// RFC 9110 §9.3.2: the response to HEAD is that to GET without the content.
#[tokio::test]
async fn head_has_no_body_over_http2() {
    let server = start(Pages::default()).await;
    let client = h2peer::connect(server.addr).await;
    let mut request = get("/page");
    *request.method_mut() = Method::HEAD;
    let (response, _) = h2peer::ask(&client, request, true).await;
    assert_eq!(response.headers()["content-length"], "6");
    assert!(h2peer::body(response.into_body()).await.is_empty());
}

/// RFC 9113 §8.2.2: fields that would make the response malformed are removed.
#[tokio::test]
async fn connection_specific_fields_are_removed_over_http2() {
    let server = start(Pages::default()).await;
    let client = h2peer::connect(server.addr).await;
    let (response, _) = h2peer::ask(&client, get("/hop"), true).await;
    assert!(!response.headers().contains_key("connection"));
    assert!(!response.headers().contains_key("keep-alive"));
    assert_eq!(h2peer::body(response.into_body()).await, b"hop");
}

/// If the service fails, only that request gets 500.
#[tokio::test]
async fn a_service_error_is_500() {
    let server = start(Pages::default()).await;
    let client = h2peer::connect(server.addr).await;
    let (response, _) = h2peer::ask(&client, get("/fail"), true).await;
    assert_eq!(response.status(), 500);
    let (response, _) = h2peer::ask(&client, get("/page"), true).await;
    assert_eq!(response.status(), 200);
}

/// RFC 9113 §8.1: when the client cancels a request, its service is dropped.
#[tokio::test]
async fn a_cancelled_request_drops_its_service_call() {
    let pages = Pages::default();
    let in_progress = pages.in_progress.clone();
    let server = start(pages).await;
    let client = h2peer::connect(server.addr).await;
    let mut send = within(client.clone().ready()).await.unwrap();
    let (response, mut stream) = send.send_request(get("/never"), true).unwrap();
    until(|| in_progress.load(Ordering::SeqCst) == 1).await;
    stream.send_reset(h2::Reason::CANCEL);
    until(|| in_progress.load(Ordering::SeqCst) == 0).await;
    drop(response);
}

/// Without a fallback every plain HTTP request is 404 in both HTTP versions, and the
/// connection stays open.
#[tokio::test]
async fn every_plain_http_request_is_404_without_a_fallback() {
    let server = server::echo(Server::builder()).await;
    let client = h2peer::connect(server.addr).await;
    for method in [Method::GET, Method::POST, Method::HEAD, Method::OPTIONS] {
        let mut request = get("/page");
        *request.method_mut() = method;
        let (response, _) = h2peer::ask(&client, request, true).await;
        assert_eq!(response.status(), 404);
    }
    let mut io = TcpStream::connect(server.addr).await.unwrap();
    for _ in 0..2 {
        let (head, _) = http1_request(&mut io, "GET", "/page", b"").await;
        assert!(head.starts_with("http/1.1 404 "), "{head}");
    }
    let mut ws = within(http2().build().unwrap().connect(&server.url("/page"))).await;
    echo(ws.as_mut().unwrap(), "sockets are served").await;
}

/// Sends a request and returns the head of the response, in lower case, and its
/// body.
async fn http1_request(
    io: &mut TcpStream,
    method: &str,
    path: &str,
    body: &[u8],
) -> (String, Vec<u8>) {
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend(body);
    within(io.write_all(&bytes)).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(io.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; if method == "HEAD" { 0 } else { length }];
    within(io.read_exact(&mut body)).await.unwrap();
    (head, body)
}

/// RFC 9112 §9.3: over HTTP/1.1, requests are answered one after another on a
/// persistent connection.
#[tokio::test]
async fn requests_are_answered_over_http1() {
    let server = start(Pages::default()).await;
    let mut io = TcpStream::connect(server.addr).await.unwrap();
    let (head, body) = http1_request(&mut io, "GET", "/page", b"").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(body, b"a page");
    let (head, body) = http1_request(&mut io, "HEAD", "/page", b"").await;
    assert!(head.contains("content-length: 6\r\n"), "{head}");
    assert!(body.is_empty());
    let upload = vec![7; 30_000];
    let (_, body) = http1_request(&mut io, "POST", "/echo", &upload).await;
    assert_eq!(body, upload);
    let (_, body) = http1_request(&mut io, "GET", "/transport", b"").await;
    assert_eq!(body, b"h1");
    let (head, _) = http1_request(&mut io, "GET", "/fail", b"").await;
    assert!(head.starts_with("http/1.1 500 "), "{head}");
    let mut ws = within(http1().build().unwrap().connect(&server.url("/page"))).await;
    echo(ws.as_mut().unwrap(), "beside them").await;
}

/// The request has its `Transport` as an extension.
#[tokio::test]
async fn a_request_has_its_transport() {
    let server = start(Pages::default()).await;
    let client = h2peer::connect(server.addr).await;
    let (response, _) = h2peer::ask(&client, get("/transport"), true).await;
    assert_eq!(h2peer::body(response.into_body()).await, b"h2");
}

/// RFC 9110 §7.8: an `upgrade` to another protocol is a plain HTTP request.
#[tokio::test]
async fn an_upgrade_to_another_protocol_goes_to_the_fallback() {
    let server = start(Pages::default()).await;
    let mut io = TcpStream::connect(server.addr).await.unwrap();
    let request =
        "GET /page HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    within(io.write_all(request.as_bytes())).await.unwrap();
    let mut bytes = vec![0; 12];
    within(io.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(bytes, b"HTTP/1.1 200");
}
