//! How the bridge forwards opening requests and their responses, and which
//! responses it generates itself.

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

/// An opening request with these fields, in the form that the `h2` crate expects.
fn request(addr: std::net::SocketAddr, fields: &[(&str, &str)]) -> http::Request<()> {
    let mut request = h2peer::websocket(&format!("http://{addr}/chat?room=1"));
    for (name, value) in fields {
        let name: HeaderName = name.parse().unwrap();
        let value = HeaderValue::from_str(value).unwrap();
        request.headers_mut().append(name, value);
    }
    request
}

/// Opens a WebSocket over HTTP/2 exchange an HTTP/1.1 upstream that sends `answer`
/// and nothing more. Returns the response that the client receives, and the
/// upstream, which holds the request that it received.
async fn exchange(
    fields: &[(&str, &str)],
    answer: impl FnOnce(&Text) -> String,
) -> (Response<Vec<u8>>, Text) {
    let (bridging, listener) = to_text().await;
    exchange_on(&bridging, &listener, fields, answer).await
}

async fn exchange_on(
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

/// End-to-end fields are forwarded, hop-by-hop fields are removed, and the fields
/// that describe the client are replaced.
#[tokio::test]
async fn an_opening_request_is_translated_for_an_rfc6455_upstream() {
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
    let (response, backend) = exchange(&fields, |text| {
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
    // Computed from the client's key, not from the key that the bridge sent.
    assert_eq!(
        headers["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    for name in ["connection", "upgrade", "keep-alive", "content-length"] {
        assert!(!headers.contains_key(name), "{name}");
    }
}

/// RFC 9110 §7.6.3: each hop appends its name, with the HTTP version of the message
/// that it received. A response that the bridge generates itself has no `Via`.
#[tokio::test]
async fn a_named_bridge_adds_itself_to_via_in_both_directions() {
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

/// The upstream receives the host that the client requested, or its own if
/// `upstream_host` is set.
#[tokio::test]
async fn the_host_is_the_clients_unless_configured_otherwise() {
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

/// A request to an RFC 8441 upstream has `:protocol`, and no `Sec-WebSocket-Key`.
#[tokio::test]
async fn an_opening_request_is_translated_for_an_rfc8441_upstream() {
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

/// The client receives an upstream's rejection with its fields and body, over
/// either HTTP version.
#[tokio::test]
async fn rejections_are_forwarded_with_fields_and_body() {
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
        let (response, mut backend) = exchange(&[], |_| answer.clone()).await;
        assert_eq!(response.status().as_str(), &line[..3]);
        assert_eq!(response.body(), b"sorry\n");
        let (name, value) = fields.split_once(": ").unwrap();
        assert_eq!(response.headers()[name.to_ascii_lowercase()], value);
        assert_eq!(response.headers()["content-length"], "6");
        assert!(!response.headers().contains_key("x-hop"));
        // RFC 9931: the connection to the upstream is not reused.
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
        // RFC 9931: the client's connection is closed as well.
        let connection = client.field("connection").unwrap();
        assert!(connection.ends_with("close"), "{connection}");
        assert_eq!(client.rest().await, b"sorry\n");
    }
}

/// A response that neither opens a WebSocket nor rejects it is answered with 502
/// (Bad Gateway).
#[tokio::test]
async fn invalid_responses_are_answered_with_502() {
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
        let (response, mut backend) = exchange(&offer, answer).await;
        assert_eq!(response.status(), 502);
        assert!(!response.body().is_empty());
        // The upstream may have switched protocols, so the connection is not reused.
        assert_eq!(backend.seen().await.err(), Some(Over::End));
    }
}

/// Returns the statuses of opening requests over HTTP/2 and over HTTP/1.1, and the
/// `Retry-After` of the latter.
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
async fn an_unreachable_upstream_is_answered_with_502() {
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let (listener, addr) = listen().await;
        drop(listener);
        let (h2, h1, _) = statuses(to("ws", addr, version), "").await;
        assert_eq!((h2, h1), (502, 502), "{version:?}");
    }
}

#[tokio::test]
async fn an_unresponsive_upstream_is_answered_with_504() {
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        // The operating system accepts the connections, and nothing reads them.
        let (_listener, addr) = listen().await;
        let builder = to("ws", addr, version)
            .connect_timeout(Duration::from_millis(20))
            .handshake_timeout(Duration::from_millis(20));
        let (h2, h1, _) = statuses(builder, "").await;
        assert_eq!((h2, h1), (504, 504), "{version:?}");
    }
}

#[tokio::test]
async fn a_socket_above_the_limit_is_answered_with_503_and_retry_after() {
    let (_listener, addr) = listen().await;
    let builder = to("ws", addr, HttpVersion::Http1).max_sockets(0);
    let (h2, h1, retry) = statuses(builder, "").await;
    assert_eq!((h2, h1, retry.as_deref()), (503, 503, Some("1")));
}

/// RFC 6455 §10.2: the origin is checked before the bridge connects to the upstream,
/// which is unreachable here.
#[tokio::test]
async fn a_disallowed_origin_is_answered_with_403() {
    let (listener, addr) = listen().await;
    drop(listener);
    let builder = || {
        let origins = AllowedOrigins::parse(["https://page.example"]).unwrap();
        to("ws", addr, HttpVersion::Http1).allowed_origins(origins)
    };
    let (h2, h1, _) = statuses(builder(), "Origin: https://evil.example\r\n").await;
    assert_eq!((h2, h1), (403, 403));
    let (h2, h1, _) = statuses(builder(), "Origin: https://page.example\r\n").await;
    assert_eq!(
        (h2, h1),
        (502, 502),
        "an allowed origin is forwarded to an unreachable upstream"
    );
}

/// A rejected socket stops counting toward `max_sockets`.
#[tokio::test]
async fn a_rejected_socket_does_not_count_toward_the_limit() {
    let (listener, addr) = listen().await;
    let builder = to("ws", addr, HttpVersion::Http1).max_sockets(1);
    let bridging = Bridging::start(builder).await;
    for _ in 0..3 {
        let rejection = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned();
        let (response, _) = exchange_on(&bridging, &listener, &[], |_| rejection).await;
        assert_eq!(response.status(), 403);
    }
}

/// If the client does not wait for the response, the bridge closes its connection to
/// the upstream.
#[tokio::test]
async fn a_client_that_gives_up_cancels_the_upstream_request() {
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

/// Frames that arrive in one packet with the upstream's 101 belong to the socket.
#[tokio::test]
async fn frames_received_with_a_101_are_forwarded() {
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

/// RFC 9931: frames that a client sends before it receives the 200 wait for the
/// upstream's 101.
#[tokio::test]
async fn frames_sent_before_the_101_are_held_back() {
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
