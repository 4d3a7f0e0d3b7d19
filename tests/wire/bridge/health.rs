//! Which failures count toward the ejection of an upstream: only those that the
//! bridge observes itself, unless configured otherwise.

use std::time::Duration;

use h2ws::bridge::{Bridge, Ejection};
use h2ws::{HttpVersion, WebSocketConfig};
use http::Method;

use crate::support::bridge::{Bridging, to};
use crate::support::client::listen;
use crate::support::plain_http::{GET, OK, request};
use crate::support::table::{Table, nobody, route, table};
use crate::support::text::Text;
use crate::support::{h2peer, within};

const POST: &str = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
const UNAVAILABLE: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";

/// Returns whether the only upstream of the first route is healthy, that is, not
/// ejected.
fn is_healthy(bridge: &Bridge) -> bool {
    let routes = bridge.routes();
    let route = routes.iter().next().unwrap();
    route.upstreams()[0].is_healthy
}

/// A long poll may stay unanswered for a while although its upstream is healthy.
#[tokio::test]
async fn a_slow_response_is_504_and_ejects_no_upstream() {
    let (listener, addr) = listen().await;
    let builder = to("ws", addr, HttpVersion::Http1).response_timeout(Duration::from_millis(20));
    let bridge = builder.build().unwrap();
    let bridging = Bridging::of(&bridge, WebSocketConfig::default()).await;
    for _ in 0..5 {
        let mut client = Text::client(bridging.addr, GET).await;
        let _backend = Text::asked(&listener).await;
        client.read_head().await;
        assert!(client.head.starts_with("HTTP/1.1 504 "), "{}", client.head);
    }
    assert!(is_healthy(&bridge));
}

/// The handshake timeout applies to opening requests, not to plain HTTP requests.
#[tokio::test(start_paused = true)]
async fn a_long_poll_may_outlast_the_handshake_timeout() {
    let limits = h2ws::bridge::Timeouts::default();
    assert!(limits.response > Some(Duration::from_secs(120)));
    let (listener, addr) = listen().await;
    let builder = to("ws", addr, HttpVersion::Http1).handshake_timeout(Duration::from_millis(20));
    let bridging = Bridging::start(builder).await;
    let mut client = Text::client(bridging.addr, GET).await;
    let mut backend = Text::asked(&listener).await;
    tokio::time::sleep(Duration::from_secs(25)).await;
    backend.write(OK).await;
    client.read_head().await;
    assert!(client.head.starts_with("HTTP/1.1 200 "), "{}", client.head);
}

/// An application may reject one user with 503 and be healthy otherwise.
#[tokio::test]
async fn a_503_response_ejects_an_upstream_only_if_configured() {
    for counts in [false, true] {
        for opens_socket in [false, true] {
            let (listener, addr) = listen().await;
            let ejection = Ejection::default().gateway_errors(counts);
            let routes = table([route("/*", &[addr]).ejection(ejection)]);
            let table = Table::start(routes).await;
            for n in 1..=3 {
                let mut client = if opens_socket {
                    Text::ask(table.addr, "/", "").await
                } else {
                    Text::client(table.addr, GET).await
                };
                let mut backend = Text::asked(&listener).await;
                backend.write(UNAVAILABLE).await;
                client.read_head().await;
                assert!(client.head.starts_with("HTTP/1.1 503 "), "{}", client.head);
                let expected = !counts || n < 3;
                assert_eq!(is_healthy(&table.bridge), expected, "{opens_socket} {n}");
            }
        }
    }
}

/// An upstream that sends an invalid response is still reachable, and may serve
/// other clients.
#[tokio::test]
async fn an_invalid_response_ejects_no_upstream() {
    let (listener, addr) = listen().await;
    let table = Table::start(table([route("/*", &[addr])])).await;
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: wrong\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    ] {
        for _ in 0..3 {
            let mut client = Text::client(table.addr, GET).await;
            Text::asked(&listener).await.write(answer).await;
            client.read_head().await;
        }
    }
    for _ in 0..4 {
        let mut client = Text::ask(table.addr, "/", "Sec-WebSocket-Protocol: a\r\n").await;
        let mut backend = Text::asked(&listener).await;
        let unoffered = format!("{}Sec-WebSocket-Protocol: b\r\n\r\n", backend.switching());
        backend.write(unoffered).await;
        client.read_head().await;
        assert!(client.head.starts_with("HTTP/1.1 502 "), "{}", client.head);
    }
    assert!(is_healthy(&table.bridge));
}

/// A refused connection is a failure, and so is a new connection that the upstream
/// closes without a response.
#[tokio::test]
async fn an_unreachable_upstream_is_ejected() {
    let unreachable = Table::start(table([route("/*", &[nobody().await])])).await;
    for n in 1..=3 {
        let mut client = Text::client(unreachable.addr, GET).await;
        client.read_head().await;
        assert!(client.head.starts_with("HTTP/1.1 502 "), "{}", client.head);
        assert_eq!(is_healthy(&unreachable.bridge), n < 3);
    }
    let (listener, addr) = listen().await;
    let silent = Table::start(table([route("/*", &[addr])])).await;
    for n in 1..=3 {
        let mut client = Text::client(silent.addr, GET).await;
        drop(Text::asked(&listener).await);
        client.read_head().await;
        assert!(client.head.starts_with("HTTP/1.1 502 "), "{}", client.head);
        assert_eq!(is_healthy(&silent.bridge), n < 3);
    }
}

/// RFC 9112 §9.3.1: a server may close a kept connection at any time. That is not a
/// failure, even if a request was in flight that must not be repeated.
#[tokio::test]
async fn the_end_of_a_kept_connection_is_not_a_failure() {
    let (listener, addr) = listen().await;
    let table = Table::start(table([route("/*", &[addr])])).await;
    for _ in 0..5 {
        let mut client = Text::client(table.addr, GET).await;
        let mut backend = Text::asked(&listener).await;
        backend.write(OK).await;
        client.read_head().await;
        assert_eq!(client.take(2).await, "ok");
        client.write(POST).await;
        backend.read_head().await;
        drop(backend);
        client.read_head().await;
        assert!(client.head.starts_with("HTTP/1.1 502 "), "{}", client.head);
    }
    assert!(is_healthy(&table.bridge));
}

/// The upstream may have closed the connection because of the request's body, for
/// which the client is responsible.
#[tokio::test]
async fn a_connection_closed_within_a_request_body_is_not_a_failure() {
    let (listener, addr) = listen().await;
    let table = Table::start(table([route("/*", &[addr])])).await;
    let upload = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nhalf";
    for _ in 0..4 {
        let mut client = Text::client(table.addr, upload).await;
        let mut backend = Text::asked(&listener).await;
        assert_eq!(backend.take(4).await, "half");
        drop(backend);
        client.read_head().await;
        assert!(client.head.starts_with("HTTP/1.1 502 "), "{}", client.head);
    }
    assert!(is_healthy(&table.bridge));
}

/// A reset of the stream shows that the HTTP/2 upstream is reachable.
#[tokio::test]
async fn a_reset_stream_ejects_no_upstream() {
    let (listener, addr) = listen().await;
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            let builder = h2::server::Builder::new();
            tokio::spawn(h2peer::serve(io, builder, |_, mut respond| {
                respond.send_reset(h2::Reason::INTERNAL_ERROR);
            }));
        }
    });
    let bridge = to("ws", addr, HttpVersion::Http2).build().unwrap();
    let bridging = Bridging::of(&bridge, WebSocketConfig::default()).await;
    let client = h2peer::connect(bridging.addr).await;
    for _ in 0..4 {
        let get = request(Method::GET, "/");
        let (response, _) = within(h2peer::ask(&client, get, true)).await;
        assert_eq!(response.status(), 502);
    }
    assert!(is_healthy(&bridge));
}
