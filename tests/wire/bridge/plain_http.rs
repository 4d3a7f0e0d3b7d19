//! Plain HTTP requests through a bridge: which fields and interim responses are
//! forwarded, and which requests the bridge answers itself.

use std::future::poll_fn;
use std::time::Duration;

use h2ws::bridge::{Bridge, BridgeBuilder};
use h2ws::handshake::{AllowedHosts, AllowedOrigins};
use h2ws::{HttpVersion, Server};
use http::{HeaderValue, Method};

use crate::support::bridge::{Bridging, to, to_text};
use crate::support::client::listen;
use crate::support::plain_http::{GET, OK, answered, request};
use crate::support::text::Text;
use crate::support::{h2peer, within};

/// RFC 8441: a page and the sockets that it opens use one connection.
#[tokio::test]
async fn a_page_and_its_socket_share_a_connection() {
    let (bridging, listener) = to_text().await;
    let client = h2peer::connect(bridging.addr).await;
    let upgrade = h2peer::websocket("http://a.test/socket");
    let (opened, mut backend) = tokio::join!(
        h2peer::ask(&client, upgrade, false),
        Text::accept(&listener)
    );
    let (accepted, mut socket) = opened;
    assert_eq!(accepted.status(), 200);
    let (asked, ()) = tokio::join!(
        h2peer::ask(&client, request(Method::GET, "/page?a=b"), true),
        async {
            let mut backend = Text::asked(&listener).await;
            assert!(backend.head.starts_with("GET /page?a=b HTTP/1.1\r\n"));
            backend.write(OK).await;
        }
    );
    let (page, _) = asked;
    assert_eq!(
        (page.status().as_u16(), &page.headers()["content-length"]),
        (200, &"2".parse().unwrap())
    );
    assert_eq!(h2peer::body(page.into_body()).await, b"ok");
    let message = crate::support::frames::from_client(1, b"beside");
    socket.send_data(message.into(), false).unwrap();
    assert_eq!(backend.frame().await.payload, b"beside");
}

/// RFC 9110 §7.6.1, RFC 7239: the hop-by-hop fields of either side are not forwarded,
/// nor are the fields in which a client describes itself.
#[tokio::test]
async fn hop_by_hop_and_forged_fields_are_removed() {
    let (bridging, listener) = to_text().await;
    let asked = "GET /page HTTP/1.1\r\nHost: a.test\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\
        Keep-Alive: timeout=5\r\nProxy-Authorization: Basic eDp5\r\nUpgrade: h2c\r\n\
        HTTP2-Settings: AAMAAABk\r\nForwarded: for=10.0.0.1\r\nX-Forwarded-For: 10.0.0.1\r\n\
        X-Forwarded-Prefix: /evil\r\nX-Real-IP: 10.0.0.1\r\nCookie: a=b\r\nX-End: 1\r\n\r\n";
    let mut client = Text::client(bridging.addr, asked).await;
    let mut backend = Text::asked(&listener).await;
    let mut names: Vec<String> = backend
        .head
        .lines()
        .skip(1)
        .filter_map(|line| Some(line.split_once(':')?.0.to_lowercase()))
        .collect();
    names.sort();
    let passed = [
        "cookie",
        "forwarded",
        "host",
        "x-end",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-request-id",
    ];
    assert_eq!(names, passed, "{}", backend.head);
    assert_eq!(backend.field("host"), Some("a.test"));
    assert_eq!(
        backend.field("forwarded"),
        Some("for=127.0.0.1;host=\"a.test\";proto=http")
    );
    let answer = "HTTP/1.1 200 OK\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\
        Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nSet-Cookie: a=1\r\n\
        Set-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok";
    backend.write(answer).await;
    let got = String::from_utf8(client.rest().await)
        .unwrap()
        .to_lowercase();
    for hop in ["x-hop", "keep-alive", "proxy-authenticate"] {
        assert!(!got.contains(hop), "{got}");
    }
    assert!(
        got.contains("set-cookie: a=1\r\nset-cookie: b=2\r\n"),
        "{got}"
    );
    assert!(
        got.contains("content-length: 2\r\n") && got.ends_with("\r\n\r\nok"),
        "{got}"
    );
}

/// Returns the head of a response that the bridge generates itself.
async fn response_head(builder: BridgeBuilder, asked: &str) -> String {
    let bridging = Bridging::start(builder).await;
    let mut client = Text::client(bridging.addr, asked).await;
    client.read_head().await;
    client.head
}

#[tokio::test]
async fn responses_of_the_bridge_itself_have_their_own_statuses() {
    let (listener, addr) = listen().await;
    let ws = || to("ws", addr, HttpVersion::Http1);
    let short = Duration::from_millis(30);
    let tcp = Bridge::to(&format!("tcp://{addr}")).allowed_origins(AllowedOrigins::any());
    for no_plain_http in [tcp, ws().websockets_only(true)] {
        let head = response_head(no_plain_http.clone(), GET).await;
        assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
        assert!(
            head.to_lowercase().contains("upgrade: websocket\r\n"),
            "{head}"
        );
        let bridging = Bridging::start(no_plain_http).await;
        let client = h2peer::connect(bridging.addr).await;
        let (response, _) = h2peer::ask(&client, request(Method::GET, "/"), true).await;
        assert_eq!(response.status(), 400);
    }
    let head = response_head(ws().max_sockets(0), GET).await;
    assert!(
        head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: 1\r\n"),
        "{head}"
    );
    let head = response_head(ws().response_timeout(short), GET).await;
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    let upload = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\n";
    let head = response_head(ws().request_body_timeout(short), upload).await;
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    for (asked, status) in [
        (GET.replace("GET", "TRACE"), 501),
        (GET.replace("Host: a.test\r\n", ""), 400),
        (GET.replace("/page", "/a/../b"), 400),
    ] {
        let head = response_head(ws(), &asked).await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{asked}{head}"
        );
    }
    drop(listener);
    let head = response_head(ws(), GET).await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
}

/// The server's `allowed_hosts` applies to requests for the bridge as well.
#[tokio::test]
async fn a_host_that_the_server_does_not_allow_is_answered_with_421() {
    let (_listener, addr) = listen().await;
    let bridge = to("ws", addr, HttpVersion::Http1).build().unwrap();
    let server = Server::builder()
        .allowed_hosts(AllowedHosts::parse(["b.test"]).unwrap())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let addr = server.local_addr().unwrap();
    let serve = server.serve(bridge.handler()).fallback(bridge.service());
    let serving = tokio::spawn(serve.into_future());
    let mut client = Text::client(addr, GET).await;
    client.read_head().await;
    assert!(client.head.starts_with("HTTP/1.1 421 "), "{}", client.head);
    serving.abort();
}

/// RFC 9110 §10.1.1: 100 (Continue) is sent once an upstream is ready for the body.
#[tokio::test]
async fn expect_100_continue_is_answered() {
    let (bridging, listener) = to_text().await;
    let asked = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\
        Expect: 100-continue\r\n\r\n";
    let mut client = Text::client(bridging.addr, asked).await;
    client.read_head().await;
    assert!(client.head.starts_with("HTTP/1.1 100 "), "{}", client.head);
    client.write("hello").await;
    let mut backend = Text::asked(&listener).await;
    assert_eq!(backend.field("expect"), None);
    assert_eq!(backend.take(5).await, "hello");
    backend.write(OK).await;
    client.read_head().await;
    assert!(client.head.starts_with("HTTP/1.1 200 "), "{}", client.head);
}

#[tokio::test]
async fn expect_100_continue_is_answered_over_http2() {
    let (bridging, listener) = to_text().await;
    let client = h2peer::connect(bridging.addr).await;
    let mut asked = request(Method::POST, "/");
    let expect = HeaderValue::from_static("100-continue");
    asked.headers_mut().insert("expect", expect);
    let mut send = within(client.clone().ready()).await.unwrap();
    let (mut response, mut body) = send.send_request(asked, false).unwrap();
    let mut backend = Text::asked(&listener).await;
    assert_eq!(backend.field("expect"), None);
    let interim = within(poll_fn(|cx| response.poll_informational(cx))).await;
    assert_eq!(interim.unwrap().unwrap().status(), 100);
    body.send_data("hello".into(), true).unwrap();
    assert_eq!(backend.take(15).await, "5\r\nhello\r\n0\r\n\r\n");
    backend.write(OK).await;
    assert_eq!(within(response).await.unwrap().status(), 200);
}

/// RFC 9110 §15.2: interim responses are skipped. A 101 without an Upgrade request is
/// answered with 502.
#[tokio::test]
async fn interim_responses_are_not_forwarded() {
    let (bridging, listener) = to_text().await;
    let early =
        format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n{OK}");
    let response = answered(&bridging, &listener, Method::GET, &early).await;
    assert_eq!(response.status(), 200);
    assert_eq!(h2peer::body(response.into_body()).await, b"ok");
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    let response = answered(&bridging, &listener, Method::GET, switch).await;
    assert_eq!(response.status(), 502);
}
