//! Timeouts of HTTP/1.1 connections, and the responses to malformed or too large
//! requests.

use std::time::Duration;

use axum::Router;
use h2ws::Server;
use h2ws::server::ServerBuilder;
use tokio::task::JoinHandle;

use crate::support::text::{Over, Text};
use crate::support::{h2peer, within};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

struct Running(std::net::SocketAddr, JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.1.abort();
    }
}

/// Starts a server that answers every plain HTTP request with 200.
async fn serve(builder: ServerBuilder) -> Running {
    let server = builder.bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    let pages = Router::new().fallback(|| async { "ok" });
    let reject = |upgrade: h2ws::server::WebSocketRequest| async {
        upgrade.reject(http::StatusCode::NOT_FOUND);
    };
    let serve = server.serve(reject).fallback(pages).into_future();
    let task = tokio::spawn(async move {
        let _ = serve.await;
    });
    Running(addr, task)
}

/// Asserts that the client gets the expected response.
async fn assert_answered(client: &mut Text) {
    client.read_head().await;
    assert!(client.head.starts_with("HTTP/1.1 200 "), "{}", client.head);
    assert_eq!(client.take(2).await, "ok");
}

/// Whether the server has kept the connection open, without sending anything.
async fn is_open(client: &mut Text) -> bool {
    let closed = tokio::time::timeout(Duration::from_millis(1), client.seen());
    closed.await.is_err()
}

/// The default idle timeout is longer than that of load balancers, which keep
/// connections for a minute or more. The connection then ends with FIN.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_the_default_timeout() {
    let server = serve(Server::builder()).await;
    let mut client = Text::client(server.0, GET).await;
    assert_answered(&mut client).await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert!(is_open(&mut client).await);
    client.write(GET).await;
    assert_answered(&mut client).await;
    tokio::time::sleep(Duration::from_secs(310)).await;
    assert_eq!(client.seen().await, Err(Over::End));
}

#[tokio::test(start_paused = true)]
async fn the_idle_timeout_can_be_set_and_disabled() {
    let seconds = Duration::from_secs;
    let server = serve(Server::builder().idle_timeout(seconds(2))).await;
    let mut client = Text::client(server.0, GET).await;
    assert_answered(&mut client).await;
    tokio::time::sleep(seconds(3)).await;
    assert_eq!(client.seen().await, Err(Over::End));
    let server = serve(Server::builder().idle_timeout(None)).await;
    let mut client = Text::client(server.0, GET).await;
    assert_answered(&mut client).await;
    tokio::time::sleep(seconds(100_000)).await;
    client.write(GET).await;
    assert_answered(&mut client).await;
}

/// A request head that arrives slowly has its own timeout, on a new connection and
/// after another request.
#[tokio::test(start_paused = true)]
async fn a_slow_request_head_is_timed_out() {
    for first in ["", GET] {
        let server = serve(Server::builder()).await;
        let mut client = Text::client(server.0, first).await;
        if !first.is_empty() {
            assert_answered(&mut client).await;
            tokio::time::sleep(Duration::from_secs(100)).await;
        }
        let begun = tokio::time::Instant::now();
        let mut head = GET.bytes();
        while let Ok(()) = client.try_write(&[head.next().unwrap()]).await {
            if !is_open(&mut client).await {
                break;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(15) && took < Duration::from_secs(40));
    }
    // A connection on which the client sends nothing is closed in that time too.
    let server = serve(Server::builder()).await;
    let mut silent = Text::client(server.0, "").await;
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert!(!is_open(&mut silent).await);
}

/// Neither timeout covers the time that a service takes to respond.
#[tokio::test(start_paused = true)]
async fn a_request_in_progress_is_not_idle() {
    let builder = Server::builder().idle_timeout(Duration::from_secs(1));
    let builder = builder.handshake_timeout(Duration::from_secs(1));
    let server = builder.bind("127.0.0.1:0").await.unwrap();
    let addr = server.local_addr().unwrap();
    let pages = Router::new().fallback(|| async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        "ok"
    });
    let reject = |upgrade: h2ws::server::WebSocketRequest| async {
        upgrade.reject(http::StatusCode::NOT_FOUND);
    };
    let task = tokio::spawn(server.serve(reject).fallback(pages).into_future());
    let mut client = Text::client(addr, GET).await;
    // `within` would time out, because the paused clock passes its limit.
    let mut head = vec![0; 15];
    tokio::io::AsyncReadExt::read_exact(&mut client.io, &mut head)
        .await
        .unwrap();
    assert_eq!(head, b"HTTP/1.1 200 OK");
    task.abort();
}

/// A request that cannot be parsed gets a response that explains why.
#[tokio::test]
async fn a_malformed_request_is_answered_with_the_reason() {
    let server = serve(Server::builder()).await;
    let many = |n: usize| "a: b\r\n".repeat(n);
    let latin1 = b"GET /\xe4 HTTP/1.1\r\nHost: a\r\n\r\n";
    let text = |text: &str| text.as_bytes().to_vec();
    for (request, status, reason) in [
        (
            text("GET /<x> HTTP/1.1\r\nHost: a\r\n\r\n"),
            400,
            "invalid URI",
        ),
        (latin1.to_vec(), 400, "cannot be parsed"),
        (text("GET / HTTP/1.1\r\nHo st: a\r\n\r\n"), 400, "header"),
        (
            text(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", many(256))),
            431,
            "256 header fields",
        ),
        (
            text(&format!(
                "GET / HTTP/1.1\r\nHost: a\r\nb: {}\r\n\r\n",
                "x".repeat(200_000)
            )),
            431,
            "bytes",
        ),
    ] {
        // As the first request of the connection, and as the second.
        for before in ["", GET] {
            let mut client = Text::client(server.0, before).await;
            if !before.is_empty() {
                assert_answered(&mut client).await;
            }
            // The server may close the connection before it has read everything.
            let _ = client.try_write(&request).await;
            let answer = String::from_utf8(client.rest().await).unwrap();
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(body.contains(reason) && body.ends_with('\n'), "{answer}");
            assert!(
                head.contains(&format!("content-length: {}", body.len())),
                "{answer}"
            );
        }
    }
}

/// The limit is the same in both HTTP versions (RFC 6585 §5).
#[tokio::test]
async fn both_http_versions_have_the_same_header_field_limit() {
    let server = serve(Server::builder()).await;
    for (extra, status) in [(255, 200), (256, 431)] {
        let fields = "a: b\r\n".repeat(extra);
        let asked = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut client = Text::client(server.0, &asked).await;
        client.read_head().await;
        assert!(
            client.head.contains(&format!(" {status} ")),
            "{}",
            client.head
        );
    }
    let client = h2peer::connect(server.0).await;
    for (number, status) in [(256, 200), (257, 431)] {
        let mut asked = http::Request::get("http://a.test/").body(()).unwrap();
        for _ in 0..number {
            let (name, value) = ("a".parse::<http::HeaderName>(), "b".parse());
            asked.headers_mut().append(name.unwrap(), value.unwrap());
        }
        let (response, _) = h2peer::ask(&client, asked, true).await;
        assert_eq!(response.status(), status);
        let body = within(h2peer::body(response.into_body())).await;
        assert_eq!(
            body.starts_with(b"the request has more than 256 header fields"),
            status == 431
        );
    }
}
