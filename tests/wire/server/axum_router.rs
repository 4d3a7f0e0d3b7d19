//! Plain HTTP requests served by an axum `Router`: bodies stream in both
//! directions, and a slow reader applies backpressure to the sender.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::routing::{get, post};
use bytes::Bytes;
use h2ws::Server;
use http::header::EXPECT;
use http::{HeaderValue, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::server::Running;
use crate::support::{h2peer, server, until, within};

/// Size of one chunk of a body, in bytes.
const CHUNK: usize = 16 * 1024;
/// Size of a large body, in bytes: more than all buffers between the two ends.
const LARGE: usize = 64 << 20;

/// Counts the bytes that the handlers process.
#[derive(Clone, Debug, Default)]
struct Counters {
    /// Response bytes that were read from a handler's body.
    produced: Arc<AtomicUsize>,
    /// Request bytes that a handler has read.
    consumed: Arc<AtomicUsize>,
    /// Lets the handler at `/read` begin to read.
    read: Arc<Notify>,
}

/// A body of [`LARGE`] bytes that counts the bytes read from it.
struct Counted(Arc<AtomicUsize>);

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0.load(Ordering::SeqCst) == LARGE {
            return Poll::Ready(None);
        }
        self.0.fetch_add(CHUNK, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[7; CHUNK])))))
    }
}

async fn page(Path(name): Path<String>) -> String {
    format!("page {name}")
}

async fn large(State(seen): State<Counters>) -> Response<Body> {
    Response::new(Body::new(Counted(seen.produced)))
}

async fn echo(request: Request) -> Response<Body> {
    Response::new(request.into_body())
}

/// Reads the request's body after a notification.
async fn read(State(seen): State<Counters>, request: Request) -> String {
    seen.read.notified().await;
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        let len = frame.data_ref().map_or(0, Bytes::len);
        seen.consumed.fetch_add(len, Ordering::SeqCst);
    }
    seen.consumed.load(Ordering::SeqCst).to_string()
}

async fn start() -> (Running, Counters) {
    let seen = Counters::default();
    let router = Router::new()
        .route("/page/{name}", get(page))
        .route("/large", get(large))
        .route("/echo", post(echo))
        .route("/read", post(read))
        .with_state(seen.clone());
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    let running = server::run(server, |server, ended| {
        server.serve(server::echoing(ended)).fallback(router)
    });
    (running, seen)
}

fn get_request(path: &str) -> http::Request<()> {
    let request = http::Request::get(format!("http://localhost{path}"));
    request.body(()).unwrap()
}

fn post_request(path: &str) -> http::Request<()> {
    let request = http::Request::post(format!("http://localhost{path}"));
    request.body(()).unwrap()
}

/// Waits until a value has stopped changing, and returns it.
async fn settled(value: impl Fn() -> usize) -> usize {
    let (mut last, mut same) = (0, 0);
    until(|| {
        let now = value();
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        same == 50
    })
    .await;
    last
}

/// Connects over HTTP/1.1 and sends the head of a request.
async fn http1(addr: SocketAddr, head: &str) -> TcpStream {
    let mut io = TcpStream::connect(addr).await.unwrap();
    let request = format!("{head}\r\nHost: localhost\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    io
}

/// The router serves both HTTP versions.
#[tokio::test]
async fn a_router_answers_over_both_http_versions() {
    let (server, _) = start().await;
    let client = h2peer::connect(server.addr).await;
    let (response, _) = h2peer::ask(&client, get_request("/page/one"), true).await;
    assert_eq!(h2peer::body(response.into_body()).await, b"page one");
    let (response, _) = h2peer::ask(&client, get_request("/nowhere"), true).await;
    assert_eq!(response.status(), 404);
    let mut io = http1(server.addr, "GET /page/two HTTP/1.1\r\nConnection: close").await;
    let mut text = String::new();
    within(io.read_to_string(&mut text)).await.unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200") && text.ends_with("page two"),
        "{text}"
    );
}

/// The response begins before the request has ended.
#[tokio::test]
async fn bodies_stream_in_both_directions() {
    let (server, _) = start().await;
    let client = h2peer::connect(server.addr).await;
    let (response, mut send) = h2peer::ask(&client, post_request("/echo"), false).await;
    let mut recv = response.into_body();
    for n in 0..10_u8 {
        send.send_data(Bytes::from(vec![n; 100]), n == 9).unwrap();
        assert_eq!(within(recv.data()).await.unwrap().unwrap(), vec![n; 100]);
    }
    assert!(
        h2peer::body(recv).await.is_empty(),
        "unexpected data after the body"
    );

    let head = "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close";
    let mut io = http1(server.addr, head).await;
    let mut text = String::new();
    for part in ["one", "two", "three"] {
        let chunk = format!("{:x}\r\n{part}\r\n", part.len());
        io.write_all(chunk.as_bytes()).await.unwrap();
        while !text.contains(part) {
            let mut bytes = [0; 1000];
            let n = within(io.read(&mut bytes)).await.unwrap();
            assert!(n > 0, "the response ended early: {text}");
            text.push_str(std::str::from_utf8(&bytes[..n]).unwrap());
        }
    }
    io.write_all(b"0\r\n\r\n").await.unwrap();
    within(io.read_to_string(&mut text)).await.unwrap();
}

/// RFC 9110 §10.1.1: a client that sends `Expect: 100-continue` gets 100 when the
/// handler begins to read the body, and no 100 if the handler answers without
/// reading it.
#[tokio::test]
async fn a_100_continue_is_sent_when_the_handler_reads_the_body_over_http2() {
    let (server, seen) = start().await;
    let client = h2peer::connect(server.addr).await;
    let expecting = |path| {
        let mut request = post_request(path);
        let expect = HeaderValue::from_static("100-Continue");
        request.headers_mut().insert(EXPECT, expect);
        request
    };
    let mut send = within(client.clone().ready()).await.unwrap();
    let (mut response, mut body) = send.send_request(expecting("/read"), false).unwrap();
    seen.read.notify_one();
    let interim = within(poll_fn(|cx| response.poll_informational(cx))).await;
    assert_eq!(interim.unwrap().unwrap().status(), 100);
    body.send_data("one".into(), false).unwrap();
    until(|| seen.consumed.load(Ordering::SeqCst) == 3).await;
    body.send_data("two".into(), true).unwrap();
    // 100 is sent once, however often the body is read.
    let none = poll_fn(|cx| Poll::Ready(response.poll_informational(cx))).await;
    assert!(none.is_pending());
    let response = within(response).await.unwrap();
    assert_eq!(h2peer::body(response.into_body()).await, b"6");

    for path in ["/nowhere", "/echo"] {
        let mut send = within(client.clone().ready()).await.unwrap();
        let (mut response, _body) = send.send_request(expecting(path), false).unwrap();
        let interim = within(poll_fn(|cx| response.poll_informational(cx))).await;
        assert!(interim.is_none(), "{interim:?}");
        within(response).await.unwrap();
    }
}

/// A client that does not read stops the response body: over HTTP/2 once one
/// window is full.
#[tokio::test]
async fn an_unread_response_stops_its_body_over_http2() {
    let (server, seen) = start().await;
    let client = h2peer::connect(server.addr).await;
    let (response, _) = h2peer::ask(&client, get_request("/large"), true).await;
    let mut recv = response.into_body();
    let produced = settled(|| seen.produced.load(Ordering::SeqCst)).await;
    // The h2 crate's window of 65,535 bytes, and the chunk that is waiting for it.
    assert!(produced <= 65_535 + 2 * CHUNK, "{produced}");
    // When the client reads, the body continues to its end.
    let mut got = 0;
    while let Some(chunk) = within(recv.data()).await {
        let len = chunk.unwrap().len();
        got += len;
        assert!(seen.produced.load(Ordering::SeqCst) <= got + 65_535 + 2 * CHUNK);
        recv.flow_control().release_capacity(len).unwrap();
    }
    assert_eq!(got, LARGE);
}

/// Over HTTP/1.1 the response body stops once the system's socket buffers are
/// full.
#[tokio::test]
async fn an_unread_response_stops_its_body_over_http1() {
    let (server, seen) = start().await;
    let head = "GET /large HTTP/1.1\r\nConnection: close";
    let mut io = http1(server.addr, head).await;
    let produced = settled(|| seen.produced.load(Ordering::SeqCst)).await;
    assert!(produced < LARGE / 2, "{produced}");
    let mut bytes = vec![0; 1 << 20];
    let mut got = 0;
    loop {
        match within(io.read(&mut bytes)).await.unwrap() {
            0 => break,
            n => got += n,
        }
    }
    assert!(
        got > LARGE,
        "{got} bytes, including the head and chunk sizes"
    );
}

/// A handler that does not read stops the client: over HTTP/2 once one window is
/// full.
#[tokio::test]
async fn an_unread_request_stops_its_client_over_http2() {
    let (server, seen) = start().await;
    let client = h2peer::connect(server.addr).await;
    let mut client = within(client.ready()).await.unwrap();
    let (response, mut send) = client.send_request(post_request("/read"), false).unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    tokio::spawn(async move {
        while count.load(Ordering::SeqCst) < LARGE {
            h2peer::send_all(&mut send, Bytes::from_static(&[7; CHUNK]))
                .await
                .unwrap();
            count.fetch_add(CHUNK, Ordering::SeqCst);
        }
        send.send_data(Bytes::new(), true).unwrap();
    });
    let held = settled(|| sent.load(Ordering::SeqCst)).await;
    // `Http2Config::stream_window`.
    assert!(held <= 256 * 1024, "{held}");
    assert_eq!(seen.consumed.load(Ordering::SeqCst), 0);
    seen.read.notify_one();
    let response = within(response).await.unwrap();
    let body = h2peer::body(response.into_body()).await;
    assert_eq!(body, LARGE.to_string().as_bytes());
}

/// Over HTTP/1.1 the client stops once the system's socket buffers are full.
#[tokio::test]
async fn an_unread_request_stops_its_client_over_http1() {
    let (server, seen) = start().await;
    let head = format!("POST /read HTTP/1.1\r\nConnection: close\r\nContent-Length: {LARGE}");
    let io = http1(server.addr, &head).await;
    let (mut recv, mut send) = io.into_split();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    // `send` is kept until the response is complete: dropping it would send FIN,
    // which hyper treats as the end of the connection.
    let sending = tokio::spawn(async move {
        while count.load(Ordering::SeqCst) < LARGE {
            send.write_all(&[7; CHUNK]).await.unwrap();
            count.fetch_add(CHUNK, Ordering::SeqCst);
        }
        send
    });
    let held = settled(|| sent.load(Ordering::SeqCst)).await;
    assert!(held < LARGE / 2, "{held}");
    assert_eq!(seen.consumed.load(Ordering::SeqCst), 0);
    seen.read.notify_one();
    let mut text = String::new();
    within(recv.read_to_string(&mut text)).await.unwrap();
    assert!(text.ends_with(&LARGE.to_string()), "{text}");
    drop(sending.await.unwrap());
}
