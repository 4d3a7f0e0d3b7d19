//! What a bridge makes of opening requests and their answers.

use std::time::Duration;

use h2ws::HttpVersion;
use h2ws::bridge::BridgeBuilder;
use h2ws::handshake::AllowedOrigins;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::bridge::{Bridging, to, to_text};
use crate::support::client::listen;
use crate::support::frames::{BINARY, TEXT, from_client, from_server};
use crate::support::raw::{CANCEL, Fields, Raw};
use crate::support::text::{Over, Text};
use crate::support::{h2peer, within};

/// A request over HTTP/2 with these fields, to the `h2` crate's own liking.
fn request(addr: std::net::SocketAddr, fields: &[(&str, &str)]) -> http::Request<()> {
    let mut request = h2peer::websocket(&format!("http://{addr}/chat?room=1"));
    for (name, value) in fields {
        let name: HeaderName = name.parse().unwrap();
        let value = HeaderValue::from_str(value).unwrap();
        request.headers_mut().append(name, value);
    }
    request
}

/// What a backend that answers by `answer` and then says no more makes a
/// client see over HTTP/2, with the request as the backend saw it.
async fn against(
    fields: &[(&str, &str)],
    answer: impl FnOnce(&Text) -> String,
) -> (Response<Vec<u8>>, Text) {
    let (bridging, listener) = to_text().await;
    against_on(&bridging, &listener, fields, answer).await
}

async fn against_on(
    bridging: &Bridging,
    listener: &TcpListener,
    fields: &[(&str, &str)],
    answer: impl FnOnce(&Text) -> String,
) -> (Response<Vec<u8>>, Text) {
    let send = h2peer::connect(bridging.addr).await;
    let request = request(bridging.addr, fields);
    let ((response, _stream), backend) = tokio::join!(h2peer::ask(&send, request, false), async {
        let mut backend = Text::asked(listener).await;
        let answer = answer(&backend);
        backend.write(answer).await;
        backend
    });
    let (parts, body) = response.into_parts();
    let body = if parts.status == 200 {
        Vec::new()
    } else {
        h2peer::body(body).await
    };
    (Response::from_parts(parts, body), backend)
}

/// PROTOCOL: what is end to end passes, what is of one hop does not, whom the
/// request comes from is said anew.
#[tokio::test]
async fn a_request_reaches_an_rfc6455_backend_as_in_the_rfc() {
    let fields = [
        ("origin", "https://page.example"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("authorization", "Bearer x"),
        ("sec-websocket-protocol", "one, two"),
        (
            "sec-websocket-extensions",
            "permessage-deflate; client_max_window_bits",
        ),
        ("sec-websocket-extensions", "x-other"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("proxy-authorization", "Basic eDp5"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
    ];
    let (response, backend) = against(&fields, |text| {
        format!(
            "{}Sec-WebSocket-Protocol: two\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=10\r\n\
             Set-Cookie: c=3\r\nSet-Cookie: d=4\r\nKeep-Alive: timeout=5\r\n\r\n",
            text.switching()
        )
    })
    .await;
    let head = &backend.head;
    assert!(head.starts_with("GET /chat?room=1 HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("origin", "https://page.example"),
        ("cookie", "a=1; b=2"),
        ("authorization", "Bearer x"),
        ("sec-websocket-protocol", "one, two"),
        (
            "sec-websocket-extensions",
            "permessage-deflate; client_max_window_bits, x-other",
        ),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
    ] {
        assert_eq!(backend.field(name), Some(value), "{name}");
    }
    let host = backend.field("host").unwrap();
    assert_eq!(backend.field("x-forwarded-host"), Some(host));
    let forwarded = format!("for=127.0.0.1;host=\"{host}\";proto=http");
    assert_eq!(backend.field("forwarded"), Some(&forwarded[..]));
    assert_ne!(
        backend.field("sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
    for name in [
        "proxy-authorization",
        "x-real-ip",
        ":protocol",
        "content-length",
    ] {
        assert_eq!(backend.field(name), None, "{name}");
    }

    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert_eq!(headers["sec-websocket-protocol"], "two");
    assert_eq!(
        headers["sec-websocket-extensions"],
        "permessage-deflate; client_max_window_bits=10"
    );
    let cookies: Vec<_> = headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["c=3", "d=4"]);
    // Of the client's key, not of the one that the backend saw.
    assert_eq!(
        headers["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    for name in ["connection", "upgrade", "keep-alive", "content-length"] {
        assert!(!headers.contains_key(name), "{name}");
    }
}

/// RFC 9110 §7.6.3: each hop is named behind those before it, with the version
/// of HTTP that the message came by. What a bridge says itself came by none.
#[tokio::test]
async fn a_hop_that_is_named_adds_to_via_both_ways() {
    let (listener, addr) = listen().await;
    let builder = to("ws", addr, HttpVersion::Http1).via("edge");
    let bridging = Bridging::start(builder).await;
    let sent = "Via: 1.0 fred\r\nVia: 1.1 p.example\r\n";
    for (status, rest) in [
        ("101 ", ""),
        ("404 Not Found", "Content-Length: 0\r\n"),
        ("200 OK", "Content-Length: 0\r\n"),
    ] {
        let (mut client, mut backend) = tokio::join!(
            async {
                if status == "200 OK" {
                    let get = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{sent}\r\n");
                    Text::client(bridging.addr, &get).await
                } else {
                    Text::ask(bridging.addr, "/", sent).await
                }
            },
            Text::asked(&listener)
        );
        assert_eq!(
            backend.field("via"),
            Some("1.0 fred, 1.1 p.example, 1.1 edge")
        );
        let answer = match status {
            "101 " => backend.switching(),
            _ => format!("HTTP/1.1 {status}\r\n"),
        };
        backend
            .write(format!("{answer}{rest}Via: 1.1 origin\r\n\r\n"))
            .await;
        client.read_head().await;
        assert_eq!(client.field("via"), Some("1.1 origin, 1.1 edge"));
    }
    let mut client = Raw::connect(bridging.addr).await;
    client.headers(1, &Fields::websocket("/"), 0).await;
    let backend = Text::asked(&listener).await;
    assert_eq!(backend.field("via"), Some("2 edge"));
    drop((backend, listener));
    let mut client = Text::ask(bridging.addr, "/", "").await;
    client.read_head().await;
    assert!(client.head.starts_with("HTTP/1.1 502 "), "{}", client.head);
    assert_eq!(client.field("via"), None);
}

/// The backend is told the name that the client asked for, or its own.
#[tokio::test]
async fn the_host_is_the_clients_unless_asked_otherwise() {
    for own in [false, true] {
        let (listener, addr) = listen().await;
        let builder = to("ws", addr, HttpVersion::Http1).upstream_host(own);
        let bridging = Bridging::start(builder).await;
        let (_client, backend) =
            tokio::join!(Text::ask(bridging.addr, "/", ""), Text::asked(&listener));
        let expected = if own {
            addr.to_string()
        } else {
            "localhost".into()
        };
        assert_eq!(backend.field("host"), Some(&expected[..]));
        assert_eq!(backend.field("x-forwarded-host"), Some("localhost"));
    }
}

/// Towards an RFC 8441 upstream there is a `:protocol`, and no key.
#[tokio::test]
async fn a_request_reaches_an_rfc8441_upstream_as_in_the_rfc() {
    let (listener, addr) = listen().await;
    let bridging = Bridging::start(to("ws", addr, HttpVersion::Http2)).await;
    let (saw, mut requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        let serve = h2peer::serve(io, builder, move |request, mut respond| {
            let (parts, _) = request.into_parts();
            saw.send(parts).unwrap();
            let mut response = Response::new(());
            let headers: &mut HeaderMap = response.headers_mut();
            headers.insert("sec-websocket-protocol", HeaderValue::from_static("b"));
            headers.insert("sec-websocket-accept", HeaderValue::from_static("odd"));
            let stream = respond.send_response(response, false).unwrap();
            std::mem::forget(stream);
        });
        let _ = serve.await;
    });
    let fields = "Sec-WebSocket-Protocol: a, b\r\nCookie: a=1\r\nX-Hop: 1\r\nTE: trailers\r\n\
                  Connection: X-Hop\r\n";
    let mut client = Text::ask(bridging.addr, "/chat?room=1", fields).await;
    let parts = within(requests.recv()).await.unwrap();
    assert_eq!(parts.method, http::Method::CONNECT);
    assert_eq!(parts.uri, "http://localhost/chat?room=1");
    let protocol = parts.extensions.get::<h2::ext::Protocol>().unwrap();
    assert_eq!(protocol.as_str(), "websocket");
    assert_eq!(parts.headers["sec-websocket-protocol"], "a, b");
    assert_eq!(parts.headers["cookie"], "a=1");
    for name in [
        "sec-websocket-key",
        "upgrade",
        "connection",
        "x-hop",
        "te",
        "host",
    ] {
        assert!(!parts.headers.contains_key(name), "{name}");
    }
    client.read_head().await;
    assert!(client.head.starts_with("HTTP/1.1 101 "), "{}", client.head);
    assert_eq!(client.field("sec-websocket-protocol"), Some("b"));
    assert_eq!(
        client.field("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
}

/// A backend's refusal is the client's, with fields and body, in both
/// versions.
#[tokio::test]
async fn refusals_pass_whole() {
    for (line, fields) in [
        ("403 Forbidden", "X-Why: paused"),
        ("302 Found", "Location: /login"),
        ("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\""),
        ("404 Not Found", "Set-Cookie: a=1"),
        ("426 Upgrade Required", "Sec-WebSocket-Version: 8"),
        ("500 Internal Server Error", "Retry-After: 7"),
    ] {
        let answer = format!(
            "HTTP/1.1 {line}\r\n{fields}\r\nContent-Length: 6\r\nConnection: close, X-Hop\r\n\
             X-Hop: 1\r\n\r\nsorry\n"
        );
        let (response, mut backend) = against(&[], |_| answer.clone()).await;
        assert_eq!(response.status().as_str(), &line[..3]);
        assert_eq!(response.body(), b"sorry\n");
        let (name, value) = fields.split_once(": ").unwrap();
        assert_eq!(response.headers()[name.to_ascii_lowercase()], value);
        assert_eq!(response.headers()["content-length"], "6");
        assert!(!response.headers().contains_key("x-hop"));
        // RFC 9931: nothing more is asked of that connection.
        assert_eq!(backend.seen().await.err(), Some(Over::End));

        let (bridging, listener) = to_text().await;
        let (mut client, mut backend) =
            tokio::join!(Text::ask(bridging.addr, "/", ""), Text::asked(&listener));
        backend.write(&answer).await;
        client.read_head().await;
        assert!(
            client.head.starts_with(&format!("HTTP/1.1 {line}\r\n")),
            "{}",
            client.head
        );
        assert_eq!(client.field(name), Some(value));
        assert_eq!(client.field("x-hop"), None);
        if line.starts_with("426") {
            // RFC 9110 §15.5.22.
            assert_eq!(client.field("upgrade"), Some("websocket"));
        }
        // RFC 9931: nor is the client asked for more.
        let connection = client.field("connection").unwrap();
        assert!(connection.ends_with("close"), "{connection}");
        assert_eq!(client.rest().await, b"sorry\n");
    }
}

/// What is neither a socket nor a refusal is a bad gateway.
#[tokio::test]
async fn answers_that_make_no_sense_are_502() {
    let offer = [("sec-websocket-protocol", "a")];
    type Answer = fn(&Text) -> String;
    let answers: [Answer; 7] = [
        |_| "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into(),
        |_| "HTTP/1.1 101 Switching Protocols\r\n\r\n".into(),
        |text| text.switching().replace("Accept: ", "Accept: x") + "\r\n",
        |text| text.switching() + "Sec-WebSocket-Protocol: b\r\n\r\n",
        |text| text.switching() + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        |text| text.switching().replace("websocket", "h2c") + "\r\n",
        |_| "SSH-2.0-OpenSSH_9.2\r\n\r\n".into(),
    ];
    for answer in answers {
        let (response, mut backend) = against(&offer, answer).await;
        assert_eq!(response.status(), 502);
        assert!(!response.body().is_empty());
        // A connection that may have been switched carries no second request.
        assert_eq!(backend.seen().await.err(), Some(Over::End));
    }
}

/// The status that a client gets from a bridge of this configuration, over
/// HTTP/2 and HTTP/1.1, and its `Retry-After`.
async fn statuses(builder: BridgeBuilder, fields: &str) -> (u16, u16, Option<String>) {
    let bridging = Bridging::start(builder).await;
    let mut raw = Raw::connect(bridging.addr).await;
    let mut request = Fields::websocket("/");
    for line in fields.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.with(&name.to_ascii_lowercase(), value);
    }
    raw.headers(1, &request, 0).await;
    let over_http2 = raw.status(1).await;
    let mut text = Text::ask(bridging.addr, "/", fields).await;
    text.read_head().await;
    let over_http1 = text.head[9..12].parse().unwrap();
    let retry = text.field("retry-after").map(str::to_owned);
    (over_http2, over_http1, retry)
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_502() {
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let (listener, addr) = listen().await;
        drop(listener);
        let (h2, h1, _) = statuses(to("ws", addr, version), "").await;
        assert_eq!((h2, h1), (502, 502), "{version:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_504() {
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        // Connections are made, by the operating system, and never read.
        let (_listener, addr) = listen().await;
        let builder = to("ws", addr, version)
            .connect_timeout(Duration::from_millis(20))
            .handshake_timeout(Duration::from_millis(20));
        let (h2, h1, _) = statuses(builder, "").await;
        assert_eq!((h2, h1), (504, 504), "{version:?}");
    }
}

#[tokio::test]
async fn a_bridge_without_a_place_is_503_with_a_time_to_come_back() {
    let (_listener, addr) = listen().await;
    let builder = to("ws", addr, HttpVersion::Http1).max_sockets(0);
    let (h2, h1, retry) = statuses(builder, "").await;
    assert_eq!((h2, h1, retry.as_deref()), (503, 503, Some("1")));
}

/// RFC 6455 §10.2, before anything is asked of the upstream, which is not
/// even there.
#[tokio::test]
async fn origins_that_are_not_allowed_are_403() {
    let (listener, addr) = listen().await;
    drop(listener);
    let builder = || {
        let origins = AllowedOrigins::parse(["https://page.example"]).unwrap();
        to("ws", addr, HttpVersion::Http1).allowed_origins(origins)
    };
    let (h2, h1, _) = statuses(builder(), "Origin: https://evil.example\r\n").await;
    assert_eq!((h2, h1), (403, 403));
    let (h2, h1, _) = statuses(builder(), "Origin: https://page.example\r\n").await;
    assert_eq!((h2, h1), (502, 502), "allowed, and then nobody is there");
}

/// Places of sockets are given back, also of those that were refused.
#[tokio::test]
async fn a_place_is_free_again_after_its_socket() {
    let (listener, addr) = listen().await;
    let builder = to("ws", addr, HttpVersion::Http1).max_sockets(1);
    let bridging = Bridging::start(builder).await;
    for _ in 0..3 {
        let refused = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned();
        let (response, _) = against_on(&bridging, &listener, &[], |_| refused).await;
        assert_eq!(response.status(), 403);
    }
}

/// Who does not wait for the answer leaves nothing behind at the backend.
#[tokio::test]
async fn a_client_that_gives_up_gives_up_the_request() {
    let (bridging, listener) = to_text().await;
    let mut raw = Raw::connect(bridging.addr).await;
    raw.headers(1, &Fields::websocket("/"), 0).await;
    let mut backend = Text::asked(&listener).await;
    raw.reset(1, CANCEL).await;
    assert_eq!(backend.seen().await.err(), Some(Over::End));

    let (text, mut backend) =
        tokio::join!(Text::ask(bridging.addr, "/", ""), Text::asked(&listener));
    drop(text);
    assert_eq!(backend.seen().await.err(), Some(Over::End));
}

/// Frames in the packet of the backend's 101 belong to the socket.
#[tokio::test]
async fn what_comes_with_a_101_is_not_lost() {
    let (bridging, listener) = to_text().await;
    let mut raw = Raw::connect(bridging.addr).await;
    raw.headers(1, &Fields::websocket("/"), 0).await;
    let mut backend = Text::asked(&listener).await;
    let mut answer = format!("{}\r\n", backend.switching()).into_bytes();
    answer.extend(from_server(TEXT, b"early"));
    backend.write(answer).await;
    assert_eq!(raw.status(1).await, 200);
    assert_eq!(raw.frame(1).await.payload, b"early");
}

/// RFC 9931: what a client sends before its 200 waits for the backend's 101.
#[tokio::test]
async fn what_comes_before_a_101_is_held() {
    let (bridging, listener) = to_text().await;
    let mut raw = Raw::connect(bridging.addr).await;
    raw.headers(1, &Fields::websocket("/"), 0).await;
    raw.data(1, &from_client(BINARY, b"early")).await;
    let mut backend = Text::asked(&listener).await;
    raw.barrier().await;
    let mut byte = [0];
    let read = backend.io.try_read(&mut byte);
    assert!(read.is_err(), "sent before the 101: {read:?}");
    let answer = format!("{}\r\n", backend.switching());
    backend.write(answer).await;
    assert_eq!(raw.status(1).await, 200);
    assert_eq!(backend.frame().await.payload, b"early");
}
