//! Ordinary requests through a bridge, between peers by hand.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use h2::RecvStream;
use h2ws::handshake::{AllowedAuthorities, AllowedOrigins};
use h2ws::{
    Access, Bridge, BridgeBuilder, BridgeObserver, Closed, Config, HttpVersion, Party, Route,
    Routes, Server,
};
use http::{HeaderMap, Method, Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

use crate::support::bridge::{Bridging, to, to_text};
use crate::support::client::listen;
use crate::support::text::Text;
use crate::support::{h2peer, tls, within};

const GET: &str = "GET /page HTTP/1.1\r\nHost: a.test\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn request(method: Method, path: &str) -> Request<()> {
    let uri = format!("http://a.test{path}");
    let request = Request::builder().method(method).uri(uri);
    request.body(()).unwrap()
}

/// An HTTP/2 client's answer to a request without a body, given by hand.
async fn answered(
    bridging: &Bridging,
    listener: &TcpListener,
    method: Method,
    answer: &str,
) -> Response<RecvStream> {
    let client = h2peer::connect(bridging.addr).await;
    let asked = h2peer::ask(&client, request(method, "/page"), true);
    let answering = async {
        let mut backend = Text::asked(listener).await;
        backend.write(answer).await;
        backend
    };
    let ((response, _), _backend) = tokio::join!(asked, answering);
    response
}

/// An HTTP/1.1 client's answer, as it came, until its connection is closed. The
/// backend's is when it has answered.
async fn answered_in_text(
    bridging: &Bridging,
    listener: &TcpListener,
    asked: &str,
    answer: &str,
) -> String {
    let mut client = Text::client(bridging.addr, asked).await;
    let mut backend = Text::asked(listener).await;
    backend.write(answer).await;
    drop(backend);
    String::from_utf8(client.rest().await)
        .unwrap()
        .to_lowercase()
}

async fn chunk(recv: &mut RecvStream) -> Bytes {
    let data = within(recv.data()).await.unwrap().unwrap();
    recv.flow_control().release_capacity(data.len()).unwrap();
    data
}

/// RFC 8441: the page that opens sockets comes over their connection.
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

/// Each chunk arrives before the next is there; a body of unknown length is
/// chunked (RFC 9112 §7.1), for GET too, of which hyper thinks otherwise.
#[tokio::test]
async fn bodies_stream_both_ways() {
    for method in [Method::POST, Method::GET] {
        let (bridging, listener) = to_text().await;
        let client = h2peer::connect(bridging.addr).await;
        let mut send = within(client.clone().ready()).await.unwrap();
        let (response, mut upload) = send.send_request(request(method, "/"), false).unwrap();
        let mut backend = Text::asked(&listener).await;
        assert_eq!(backend.field("transfer-encoding"), Some("chunked"));
        assert_eq!(backend.field("content-length"), None);
        upload.send_data("one".into(), false).unwrap();
        assert_eq!(backend.take(8).await, "3\r\none\r\n");
        backend
            .write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        let mut body = within(response).await.unwrap().into_body();
        for _ in 0..3 {
            backend.write("4\r\nback\r\n").await;
            assert_eq!(chunk(&mut body).await, "back");
            upload.send_data("more".into(), false).unwrap();
            assert_eq!(backend.take(9).await, "4\r\nmore\r\n");
        }
        upload.send_data(Bytes::new(), true).unwrap();
        assert_eq!(backend.take(5).await, "0\r\n\r\n");
        backend.write("0\r\n\r\n").await;
        assert!(h2peer::body(body).await.is_empty());
    }
}

/// RFC 9110 §7.6.1, RFC 7239: neither side's fields of one hop pass, nor what
/// the client says of itself.
#[tokio::test]
async fn fields_of_one_hop_stay_and_forged_ones_are_dropped() {
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

/// RFC 9112 §6.3: lengths that contradict each other never reach an upstream,
/// nor does a body that another reader could cut elsewhere.
#[tokio::test]
async fn conflicting_lengths_never_go_on() {
    let (bridging, listener) = to_text().await;
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Host: b.test\r\n",
    ] {
        let asked = format!("POST / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\nhello");
        let mut client = Text::client(bridging.addr, &asked).await;
        client.read_head().await;
        assert!(
            client.head.starts_with("HTTP/1.1 400 "),
            "{fields}: {}",
            client.head
        );
    }
    for both in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    ] {
        let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
        let asked =
            format!("POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{both}\r\n{smuggled}");
        let _client = Text::client(bridging.addr, &asked).await;
        let mut backend = Text::asked(&listener).await;
        assert!(
            backend.head.starts_with("POST / "),
            "the first that is seen"
        );
        assert_eq!(backend.field("content-length"), None);
        assert_eq!(backend.field("transfer-encoding"), Some("chunked"));
        assert_eq!(backend.take(5).await, "0\r\n\r\n");
        backend.write(OK).await;
    }
}

/// The same of an answer: one that says two lengths is none, one that says a
/// length beside its chunks loses it.
#[tokio::test]
async fn conflicting_lengths_never_come_back() {
    let (bridging, listener) = to_text().await;
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!";
    assert_eq!(
        answered(&bridging, &listener, Method::GET, two)
            .await
            .status(),
        502
    );
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n\
        4\r\nfour\r\n0\r\n\r\n";
    let response = answered(&bridging, &listener, Method::GET, both).await;
    assert_eq!(response.headers().get("content-length"), None);
    assert_eq!(h2peer::body(response.into_body()).await, b"four");
}

/// RFC 9113 §8.1.1: a body that is not as long as it was said is cut at the
/// upstream, which cannot take it for whole.
#[tokio::test]
async fn a_request_that_breaks_off_is_cut_at_the_upstream() {
    let (bridging, listener) = to_text().await;
    for (length, reset) in [
        (Some("5"), None),
        (None, Some(h2::Reason::CANCEL)),
        (None, Some(h2::Reason::NO_ERROR)),
    ] {
        let client = h2peer::connect(bridging.addr).await;
        let mut send = within(client.clone().ready()).await.unwrap();
        let mut asked = request(Method::POST, "/");
        if let Some(length) = length {
            asked
                .headers_mut()
                .insert("content-length", length.parse().unwrap());
        }
        let (response, mut upload) = send.send_request(asked, false).unwrap();
        upload.send_data("abc".into(), false).unwrap();
        let mut backend = Text::asked(&listener).await;
        let sent = if length.is_some() {
            "abc"
        } else {
            "3\r\nabc\r\n"
        };
        assert_eq!(backend.take(sent.len()).await, sent);
        match reset {
            Some(reason) => upload.send_reset(reason),
            None => upload.send_data(Bytes::new(), true).unwrap(),
        }
        let mut rest = Vec::new();
        let _ = within(backend.io.read_to_end(&mut rest)).await;
        assert_eq!(rest, b"", "{length:?} {reset:?}: no end of the body");
        let _ = within(response).await;
    }
}

/// RFC 9110 §8.6, §9.3.2, §15.4.5: what has no body says of its length what
/// the upstream said, and nothing else.
#[tokio::test]
async fn answers_without_a_body_keep_their_lengths() {
    let (bridging, listener) = to_text().await;
    let mut mistakes = Vec::new();
    for (method, answer, status, length) in [
        (
            Method::HEAD,
            "200 OK\r\nContent-Length: 7\r\n",
            200,
            Some("7"),
        ),
        (
            Method::HEAD,
            "200 OK\r\nTransfer-Encoding: chunked\r\n",
            200,
            None,
        ),
        (Method::HEAD, "200 OK\r\n", 200, None),
        (Method::GET, "204 No Content\r\n", 204, None),
        (
            Method::GET,
            "304 Not Modified\r\nETag: \"x\"\r\n",
            304,
            None,
        ),
        (
            Method::GET,
            "304 Not Modified\r\nContent-Length: 7\r\n",
            304,
            Some("7"),
        ),
    ] {
        let answer = format!("HTTP/1.1 {answer}\r\n");
        let response = answered(&bridging, &listener, method.clone(), &answer).await;
        assert_eq!(response.status(), status);
        let got = response.headers().get("content-length").cloned();
        if got.as_ref().map(|got| got.to_str().unwrap()) != length {
            mistakes.push(format!("HTTP/2 {method} {answer}: {got:?}"));
        }
        assert!(h2peer::body(response.into_body()).await.is_empty());

        let asked = format!("{method} / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        let got = answered_in_text(&bridging, &listener, &asked, &answer).await;
        assert!(got.starts_with(&format!("http/1.1 {status} ")), "{got}");
        assert!(got.ends_with("\r\n\r\n"), "no body: {got}");
        // Which hyper's server leaves out of its 304s.
        let length = length.filter(|_| status != 304);
        let got_length = got
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if got_length != length || got.contains("transfer-encoding") {
            mistakes.push(format!("HTTP/1.1 {method} {answer}: {got}"));
        }
    }
    assert!(mistakes.is_empty(), "{mistakes:#?}");
}

/// RFC 9112 §9.3: an upstream's connection is used again, and replaced where
/// the upstream has closed it meanwhile.
#[tokio::test]
async fn connections_to_upstreams_are_used_again() {
    let (bridging, listener) = to_text().await;
    let client = h2peer::connect(bridging.addr).await;
    let ask = || async {
        let (response, _) = h2peer::ask(&client, request(Method::GET, "/"), true).await;
        assert_eq!(response.status(), 200);
        assert_eq!(h2peer::body(response.into_body()).await, b"ok");
    };
    let (mut backend, ()) = tokio::join!(
        async {
            let mut backend = Text::asked(&listener).await;
            backend.write(OK).await;
            for _ in 0..2 {
                backend.read_head().await;
                backend.write(OK).await;
            }
            backend
        },
        async {
            for _ in 0..3 {
                ask().await;
            }
        }
    );
    // Asked once more it closes instead of answering, as one that was idle for
    // too long: whether it saw the request does not matter for GET.
    tokio::join!(ask(), async {
        backend.read_head().await;
        drop(backend);
        let mut another = Text::asked(&listener).await;
        another.write(OK).await;
    });
}

/// RFC 9110 §9.2.2: a request that may have been carried out is not repeated.
#[tokio::test]
async fn what_may_not_be_repeated_is_502() {
    let (bridging, listener) = to_text().await;
    let client = h2peer::connect(bridging.addr).await;
    tokio::join!(
        async {
            let mut backend = Text::asked(&listener).await;
            backend.write(OK).await;
            backend.read_head().await;
            assert_eq!(backend.field("content-length"), Some("0"));
        },
        async {
            let get = request(Method::GET, "/");
            let (response, _) = h2peer::ask(&client, get, true).await;
            assert_eq!(h2peer::body(response.into_body()).await, b"ok");
            let post = request(Method::POST, "/");
            let (response, _) = h2peer::ask(&client, post, true).await;
            assert_eq!(response.status(), 502);
        }
    );
}

/// Status and head of an answer without an upstream's.
async fn refused(builder: BridgeBuilder, asked: &str) -> String {
    let bridging = Bridging::start(builder).await;
    let mut client = Text::client(bridging.addr, asked).await;
    client.read_head().await;
    client.head
}

#[tokio::test]
async fn what_is_not_answered_by_an_upstream_has_its_status() {
    let (listener, addr) = listen().await;
    let ws = || to("ws", addr, HttpVersion::Http1);
    let short = Duration::from_millis(30);
    let tcp = Bridge::to(&format!("tcp://{addr}")).allowed_origins(AllowedOrigins::any());
    for sockets_alone in [tcp, ws().ordinary(false)] {
        let head = refused(sockets_alone.clone(), GET).await;
        assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
        assert!(
            head.to_lowercase().contains("upgrade: websocket\r\n"),
            "{head}"
        );
        let bridging = Bridging::start(sockets_alone).await;
        let client = h2peer::connect(bridging.addr).await;
        let (response, _) = h2peer::ask(&client, request(Method::GET, "/"), true).await;
        assert_eq!(response.status(), 400);
    }
    let head = refused(ws().max_sockets(0), GET).await;
    assert!(
        head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: 1\r\n"),
        "{head}"
    );
    let head = refused(ws().handshake_timeout(short), GET).await;
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    let upload = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\n";
    let head = refused(ws().handshake_timeout(short), upload).await;
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    for (asked, status) in [
        (GET.replace("GET", "TRACE"), 501),
        (GET.replace("Host: a.test\r\n", ""), 400),
        (GET.replace("/page", "/a/../b"), 404),
    ] {
        let head = refused(ws(), &asked).await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{asked}{head}"
        );
    }
    drop(listener);
    let head = refused(ws(), GET).await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
}

/// The server's own rule holds for what a bridge answers, too.
#[tokio::test]
async fn another_name_than_the_servers_is_421() {
    let (_listener, addr) = listen().await;
    let bridge = to("ws", addr, HttpVersion::Http1).build().unwrap();
    let server = Server::builder()
        .allowed_authorities(AllowedAuthorities::parse(["b.test"]).unwrap())
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

/// A client that goes away, before the answer or within it, leaves nothing
/// behind at the upstream.
#[tokio::test]
async fn a_client_that_goes_away_cancels_its_request() {
    let (bridging, listener) = to_text().await;
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"] {
        let client = h2peer::connect(bridging.addr).await;
        let mut send = within(client.clone().ready()).await.unwrap();
        let (response, mut upload) = send.send_request(request(Method::GET, "/"), true).unwrap();
        let mut backend = Text::asked(&listener).await;
        backend.write(answer).await;
        let mut response = Some(response);
        if !answer.is_empty() {
            let mut body = within(response.take().unwrap()).await.unwrap().into_body();
            assert_eq!(chunk(&mut body).await, "ok");
            upload.send_reset(h2::Reason::CANCEL);
        } else {
            upload.send_reset(h2::Reason::CANCEL);
        }
        let _ = within(backend.io.read_to_end(&mut Vec::new())).await;

        let client = Text::client(bridging.addr, GET).await;
        let mut backend = Text::asked(&listener).await;
        backend.write(answer).await;
        drop(client);
        let _ = within(backend.io.read_to_end(&mut Vec::new())).await;
    }
}

/// An upstream that breaks off within its body ends nothing cleanly.
#[tokio::test]
async fn an_upstream_that_breaks_off_resets_or_cuts() {
    let (bridging, listener) = to_text().await;
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let mut body = answered(&bridging, &listener, Method::GET, answer)
            .await
            .into_body();
        assert_eq!(chunk(&mut body).await, "half");
        let error = within(body.data()).await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::INTERNAL_ERROR));

        let got = answered_in_text(&bridging, &listener, GET, answer).await;
        assert!(got.contains("half"), "{got}");
        assert!(!got.ends_with("0\r\n\r\n"), "no end of the chunks: {got}");
    }
}

/// RFC 9110 §10.1.1: 100 (Continue) once an upstream takes the body.
#[tokio::test]
async fn expect_100_continue_is_met() {
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

/// RFC 9110 §15.2: what comes before an answer is skipped; a switch of
/// protocols that nobody asked for is no answer.
#[tokio::test]
async fn statuses_1xx_do_not_pass() {
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

/// RFC 9110 §6.5: trailers pass both ways, without what must not be in them.
#[tokio::test]
async fn trailers_pass() {
    let (bridging, listener) = to_text().await;
    let client = h2peer::connect(bridging.addr).await;
    let mut send = within(client.clone().ready()).await.unwrap();
    let mut asked = request(Method::POST, "/");
    let fields = asked.headers_mut();
    fields.insert("te", "trailers".parse().unwrap());
    fields.insert("trailer", "x-sum, x-forwarded-for".parse().unwrap());
    let (response, mut upload) = send.send_request(asked, false).unwrap();
    let trailers: HeaderMap = [("x-sum", "1"), ("x-forwarded-for", "10.0.0.1")]
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .into_iter()
        .collect();
    upload.send_data("one".into(), false).unwrap();
    upload.send_trailers(trailers).unwrap();
    let mut backend = Text::asked(&listener).await;
    assert_eq!(backend.field("te"), Some("trailers"));
    assert_eq!(backend.field("connection"), Some("te"));
    let sent = "3\r\none\r\n0\r\nx-sum: 1\r\n\r\n";
    assert_eq!(backend.take(sent.len()).await.to_lowercase(), sent);
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
        3\r\ntwo\r\n0\r\nx-sum: 2\r\ncontent-length: 9\r\n\r\n";
    backend.write(answer).await;
    let response = within(response).await.unwrap();
    assert_eq!(response.headers()["trailer"], "x-sum");
    let mut body = response.into_body();
    assert_eq!(chunk(&mut body).await, "two");
    assert!(within(body.data()).await.is_none());
    let trailers = within(body.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers.len(), 1);
    assert_eq!(trailers["x-sum"], "2");
}

/// A listener whose connections buffer little.
fn narrow() -> (TcpListener, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(64 * 1024).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(8).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Who does not read is waited for: what is under way is bounded, and the
/// kernel holds most of it (up to 6 MB for a receiver, net.ipv4.tcp_rmem).
#[tokio::test]
async fn a_client_that_never_reads_stops_its_upstream() {
    let (listener, addr) = narrow();
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http1)).await;
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let client = h2peer::connect(bridging.addr).await;
    let mut send = within(client.clone().ready()).await.unwrap();
    let (response, _) = send.send_request(request(Method::GET, "/"), true).unwrap();
    let mut backend = Text::asked(&listener).await;
    backend.write(answer).await;
    let mut body = within(response).await.unwrap().into_body();
    let chunk = format!("fde8\r\n{}\r\n", "x".repeat(65_000));
    let mut written = 0;
    while let Ok(all) = tokio::time::timeout(
        Duration::from_millis(300),
        backend.io.write_all(chunk.as_bytes()),
    )
    .await
    {
        all.unwrap();
        written += chunk.len();
        assert!(written < 64 << 20, "nothing stops the upstream");
    }
    assert!(
        written < 12 << 20,
        "{written} bytes for a client that reads none"
    );
    // Its window and no more came over.
    let mut received = 0;
    while received < 65_535 {
        received += within(body.data()).await.unwrap().unwrap().len();
    }
    assert_eq!(received, 65_535);
}

/// The same the other way round: the client's window does not open again.
#[tokio::test]
async fn an_upstream_that_never_reads_stops_its_client() {
    let (listener, addr) = narrow();
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http1)).await;
    let client = h2peer::connect(bridging.addr).await;
    let mut send = within(client.clone().ready()).await.unwrap();
    let (_response, mut upload) = send
        .send_request(request(Method::POST, "/"), false)
        .unwrap();
    let _backend = Text::asked(&listener).await;
    let piece = Bytes::from(vec![7; 64 * 1024]);
    let mut written = 0;
    while let Ok(sent) = tokio::time::timeout(
        Duration::from_millis(300),
        h2peer::send_all(&mut upload, piece.clone()),
    )
    .await
    {
        sent.unwrap();
        written += piece.len();
        assert!(written < 64 << 20, "nothing stops the client");
    }
    assert!(
        written < 12 << 20,
        "{written} bytes for an upstream that reads none"
    );
}

/// RFC 9113 §8.3.1: an HTTP/2 upstream is told the client's name for it, and
/// its connection is shared.
#[tokio::test]
async fn an_http2_upstream_is_asked_over_one_connection() {
    let (listener, addr) = listen().await;
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let record = seen.clone();
    let upstream = tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        let served = h2peer::serve(
            io,
            h2::server::Builder::new(),
            move |request, mut respond| {
                record.lock().unwrap().push(request.uri().to_string());
                tokio::spawn(async move {
                    let mut send = respond.send_response(Response::new(()), false).unwrap();
                    let body = h2peer::body(request.into_body()).await;
                    send.send_data(body.into(), false).unwrap();
                    let sum = [("x-sum".parse().unwrap(), "1".parse().unwrap())];
                    send.send_trailers(sum.into_iter().collect()).unwrap();
                });
            },
        );
        let _ = served.await;
        panic!("one connection is all");
    });
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http2)).await;
    let client = h2peer::connect(bridging.addr).await;
    let ask = |n: usize| {
        let client = client.clone();
        async move {
            let mut send = within(client.ready()).await.unwrap();
            let asked = request(Method::POST, &format!("/{n}"));
            let (response, mut upload) = send.send_request(asked, false).unwrap();
            upload.send_data(vec![n as u8; 1000].into(), true).unwrap();
            let mut body = within(response).await.unwrap().into_body();
            assert_eq!(chunk(&mut body).await, vec![n as u8; 1000]);
            assert!(within(body.data()).await.is_none());
            assert_eq!(
                within(body.trailers()).await.unwrap().unwrap()["x-sum"],
                "1"
            );
        }
    };
    futures_util::future::join_all((0..20).map(ask)).await;
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.sort();
    let mut expected: Vec<_> = (0..20).map(|n| format!("http://a.test/{n}")).collect();
    expected.sort();
    assert_eq!(seen, expected);
    assert!(!upstream.is_finished());
}

/// An HTTP/2 upstream that resets its stream resets the client's, also by
/// NO_ERROR, which is no end; and a client that goes away cancels there.
#[tokio::test]
async fn streams_of_an_http2_upstream_are_reset_and_cancelled() {
    let (listener, addr) = listen().await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let arrived = Arc::new(tokio::sync::Notify::new());
    let half_is_there = arrived.clone();
    tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        let builder = h2::server::Builder::new();
        let _ = h2peer::serve(io, builder, move |request, mut respond| {
            let (tell, half_is_there) = (tell.clone(), half_is_there.clone());
            tokio::spawn(async move {
                let mut send = respond.send_response(Response::new(()), false).unwrap();
                send.send_data("half".into(), false).unwrap();
                half_is_there.notified().await;
                match request.uri().path() {
                    "/break" => send.send_reset(h2::Reason::INTERNAL_ERROR),
                    "/no-error" => send.send_reset(h2::Reason::NO_ERROR),
                    _ => {
                        let reset = std::future::poll_fn(|cx| send.poll_reset(cx)).await;
                        tell.send(reset.unwrap()).unwrap();
                    }
                }
            });
        })
        .await;
    });
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http2)).await;
    let client = h2peer::connect(bridging.addr).await;
    for path in ["/break", "/no-error", "/stay"] {
        let asked = request(Method::GET, path);
        let (response, mut stream) = h2peer::ask(&client, asked, true).await;
        let mut body = response.into_body();
        assert_eq!(chunk(&mut body).await, "half");
        arrived.notify_one();
        if path == "/stay" {
            stream.send_reset(h2::Reason::CANCEL);
            assert_eq!(within(told.recv()).await, Some(h2::Reason::CANCEL));
        } else {
            let ended = within(body.data()).await.expect("no clean end");
            let reason = ended.unwrap_err().reason();
            assert_eq!(reason, Some(h2::Reason::INTERNAL_ERROR), "{path}");
        }
    }
}

/// Status, end, bytes up and down.
type Told = (Option<u16>, Closed, u64, u64);

#[derive(Default)]
struct Record(Mutex<Vec<Told>>);

impl BridgeObserver for Record {
    fn passed(&self, access: &Access) {
        assert_eq!(access.method(), Some(&Method::GET));
        let status = access.status().map(|status| status.as_u16());
        let (up, down) = (access.bytes_up(), access.bytes_down());
        let closed = access.closed().unwrap();
        self.0.lock().unwrap().push((status, closed, up, down));
    }
}

/// Each request is told of once, with how it ended; its places are free then.
#[tokio::test]
async fn each_request_is_told_of_and_leaves_no_trace() {
    let (listener, addr) = listen().await;
    let builder = to("ws", addr, HttpVersion::Http1).max_sockets(1);
    let bridge = builder.build().unwrap();
    let record = Arc::new(Record::default());
    bridge.observe(record.clone());
    let bridging = Bridging::of(&bridge, Config::default()).await;
    let broken = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    for answer in [OK, broken] {
        let response = answered(&bridging, &listener, Method::GET, answer).await;
        let mut body = response.into_body();
        while let Some(Ok(_)) = within(body.data()).await {}
    }
    let client = Text::client(bridging.addr, GET).await;
    let backend = Text::asked(&listener).await;
    assert_eq!(bridge.idle().now_or_never(), None);
    drop(client);
    within(bridge.idle()).await;
    assert_eq!(record.0.lock().unwrap().len(), 3);
    drop((backend, listener));
    let mut client = Text::client(bridging.addr, GET).await;
    client.read_head().await;
    within(bridge.idle()).await;
    let record = record.0.lock().unwrap();
    let expected = [
        (Some(200), Closed::Answered, 0, 2),
        (Some(200), Closed::Broken(Party::Upstream), 0, 4),
        (None, Closed::Gone, 0, 0),
        (Some(502), Closed::Refused, 0, 0),
    ];
    assert_eq!(*record, expected);
    let routes = bridge.routes();
    let route = routes.iter().next().unwrap();
    assert_eq!(route.sockets(), 0);
    assert_eq!(route.upstreams()[0].sockets, 0);
}

/// Over TLS, ALPN chooses (RFC 7301).
#[tokio::test]
async fn a_wss_upstream_is_asked_as_alpn_chooses() {
    for (protocol, version) in [(&b"h2"[..], "HTTP/2.0"), (b"http/1.1", "HTTP/1.1")] {
        let (mut server_tls, client_tls) = tls::pair();
        server_tls.alpn_protocols = vec![protocol.to_vec()];
        let upstream = Server::builder()
            .tls(server_tls)
            .bind("127.0.0.1:0")
            .await
            .unwrap();
        let addr = upstream.local_addr().unwrap();
        let pages = axum::Router::new().fallback(|request: axum::extract::Request| async move {
            format!("{:?}", request.version())
        });
        let refuse = |upgrade: h2ws::Upgrade| async { upgrade.reject(http::StatusCode::NOT_FOUND) };
        tokio::spawn(upstream.serve(refuse).fallback(pages).into_future());
        let client = h2ws::Client::builder().tls(client_tls).build().unwrap();
        let to = format!("wss://localhost:{}", addr.port());
        let bridging = Bridging::start(Bridge::to(&to).client(client)).await;
        let client = h2peer::connect(bridging.addr).await;
        for _ in 0..3 {
            let (response, _) = h2peer::ask(&client, request(Method::GET, "/"), true).await;
            assert_eq!(response.status(), 200);
            assert_eq!(h2peer::body(response.into_body()).await, version.as_bytes());
        }
    }
}

/// What one route's client trusts is not open to another route.
#[tokio::test]
async fn a_routes_own_client_shares_no_connection() {
    let (mut server_tls, client_tls) = tls::pair();
    server_tls.alpn_protocols = vec![b"h2".to_vec()];
    let upstream = Server::builder().tls(server_tls);
    let upstream = upstream.bind("127.0.0.1:0").await.unwrap();
    let to = format!("wss://localhost:{}", upstream.local_addr().unwrap().port());
    let refuse = |upgrade: h2ws::Upgrade| async { upgrade.reject(http::StatusCode::NOT_FOUND) };
    let pages = axum::Router::new().fallback(|| async { "page" });
    tokio::spawn(upstream.serve(refuse).fallback(pages).into_future());
    let client = |tls| h2ws::Client::builder().tls(tls).build().unwrap();
    let route = |path: &str| {
        let route = Route::builder("*", path).unwrap();
        route.upstream(to.parse().unwrap())
    };
    let trusting = route("/trusted").client(client(client_tls));
    let routes = [trusting, route("/page")];
    let routes = routes.into_iter().fold(Routes::builder(), |table, route| {
        table.route(route.build().unwrap())
    });
    let bridge = Bridge::new(client(tls::none()), routes.build().unwrap());
    assert_eq!(bridge.clients().len(), 2);
    let bridging = Bridging::of(&bridge, Config::default()).await;
    let client = h2peer::connect(bridging.addr).await;
    for _ in 0..2 {
        for (path, status) in [("/trusted", 200), ("/page", 502)] {
            let (response, _) = h2peer::ask(&client, request(Method::GET, path), true).await;
            assert_eq!(response.status(), status, "{path}");
        }
    }
}
