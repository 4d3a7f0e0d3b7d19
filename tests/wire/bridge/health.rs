//! What counts against an upstream: only what the bridge itself saw fail.

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

/// Whether the only upstream is in use, after as many failures as take it out.
fn is_healthy(bridge: &Bridge) -> bool {
    let routes = bridge.routes();
    let route = routes.iter().next().unwrap();
    route.upstreams()[0].is_healthy
}

/// A long poll has nothing to say for a while, and its server is well.
#[tokio::test]
async fn a_slow_answer_is_504_and_takes_nobody_out() {
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

/// A plain HTTP request is not an opening: a socket's time is not its time.
#[tokio::test(start_paused = true)]
async fn a_long_poll_outlasts_the_time_of_an_opening() {
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

/// An application may be busy for one user, and be well.
#[tokio::test]
async fn an_applications_503_takes_nobody_out_unless_it_is_asked_for() {
    for counts in [false, true] {
        for asks_socket in [false, true] {
            let (listener, addr) = listen().await;
            let ejection = Ejection::default().gateway_errors(counts);
            let routes = table([route("/*", &[addr]).ejection(ejection)]);
            let table = Table::start(routes).await;
            for n in 1..=3 {
                let mut client = if asks_socket {
                    Text::ask(table.addr, "/", "").await
                } else {
                    Text::client(table.addr, GET).await
                };
                let mut backend = Text::asked(&listener).await;
                backend.write(UNAVAILABLE).await;
                client.read_head().await;
                assert!(client.head.starts_with("HTTP/1.1 503 "), "{}", client.head);
                let expected = !counts || n < 3;
                assert_eq!(is_healthy(&table.bridge), expected, "{asks_socket} {n}");
            }
        }
    }
}

/// What is answered, however badly, works: another client may be served.
#[tokio::test]
async fn an_answer_that_breaks_the_protocol_takes_nobody_out() {
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

/// What cannot be reached, or ends a new connection without a word, fails.
#[tokio::test]
async fn an_upstream_that_is_not_there_is_left_out() {
    let away = Table::start(table([route("/*", &[nobody().await])])).await;
    for n in 1..=3 {
        let mut client = Text::client(away.addr, GET).await;
        client.read_head().await;
        assert!(client.head.starts_with("HTTP/1.1 502 "), "{}", client.head);
        assert_eq!(is_healthy(&away.bridge), n < 3);
    }
    let (listener, addr) = listen().await;
    let mute = Table::start(table([route("/*", &[addr])])).await;
    for n in 1..=3 {
        let mut client = Text::client(mute.addr, GET).await;
        drop(Text::asked(&listener).await);
        client.read_head().await;
        assert!(client.head.starts_with("HTTP/1.1 502 "), "{}", client.head);
        assert_eq!(is_healthy(&mute.bridge), n < 3);
    }
}

/// RFC 9112 §9.3.1: a server may end a kept connection when it likes, which is
/// no failure, though the request that crossed it cannot be repeated.
#[tokio::test]
async fn a_kept_connection_that_ends_is_no_failure() {
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

/// A body that an upstream does not bear is its client's affair.
#[tokio::test]
async fn a_body_that_an_upstream_hangs_up_on_is_no_failure() {
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

/// A stream that an HTTP/2 upstream resets is an answer of a kind.
#[tokio::test]
async fn a_reset_stream_takes_nobody_out() {
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
