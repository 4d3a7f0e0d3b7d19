//! Opening requests over HTTP/2: which ones the server accepts or rejects, with
//! which response, and that other streams are not affected.

use h2ws::Server;
use h2ws::handshake::{AllowedHosts, AllowedOrigins};
use http::Method;

use crate::support::h2peer;
use crate::support::raw::{
    DATA, ENABLE_CONNECT_PROTOCOL, END_STREAM, Fields, PROTOCOL_ERROR, RST_STREAM,
};
use crate::support::server::{self, ServerFixture};

/// Sends a request on stream 3 and asserts that the response has this status, that
/// the stream ends, and that the sibling is unharmed.
async fn assert_answer(mut fixture: ServerFixture, fields: &Fields, flags: u8, status: u16) {
    fixture.peer.headers(3, fields, flags).await;
    let answer = fixture.peer.on(3).await.expect("a response");
    assert_eq!(answer.status(), status);
    let mut ended = answer.ends();
    while !ended {
        let frame = fixture.peer.on(3).await.expect("the end of the response");
        assert_eq!(frame.kind, DATA, "{frame:?}");
        ended = frame.ends();
    }
    if flags & END_STREAM == 0 {
        fixture.peer.end(3).await;
    }
    fixture.unharmed().await;
}

/// Asserts that a malformed request resets its stream (RFC 9113 §8.1.1) and that the
/// sibling is unharmed.
async fn assert_malformed(fields: &Fields) {
    let mut fixture = ServerFixture::new().await;
    fixture.peer.headers(3, fields, 0).await;
    let answer = fixture.peer.on(3).await.expect("a response");
    assert_eq!(answer.kind, RST_STREAM, "{answer:?}");
    assert_eq!(answer.error_code(), PROTOCOL_ERROR);
    fixture.unharmed().await;
}

fn websocket() -> Fields {
    Fields::websocket("/")
}

/// RFC 8441 §3: the setting is in the first SETTINGS frame.
#[tokio::test]
async fn the_first_settings_enable_extended_connect() {
    let fixture = ServerFixture::new().await;
    assert!(
        fixture
            .peer
            .settings
            .contains(&(ENABLE_CONNECT_PROTOCOL, 1))
    );
    fixture.unharmed().await;
}

/// RFC 8441 §3: the setting is not sent if extended CONNECT is disabled, and an
/// extended CONNECT is then malformed.
#[tokio::test]
async fn a_disabled_extended_connect_is_not_advertised() {
    let server = server::echo(Server::builder().extended_connect(false)).await;
    let mut peer = crate::support::raw::Raw::connect(server.addr).await;
    let sent = peer.settings.iter();
    assert!(!sent.copied().any(|s| s == (ENABLE_CONNECT_PROTOCOL, 1)));
    peer.headers(1, &websocket(), 0).await;
    let answer = peer.on(1).await.expect("a response");
    assert_eq!(answer.kind, RST_STREAM);
    assert_eq!(answer.error_code(), PROTOCOL_ERROR);
}

/// RFC 9110 §9.3.6: the server does not open tunnels to the host in `:authority`.
#[tokio::test]
async fn plain_connect_is_not_implemented() {
    let fields = websocket()
        .without(":protocol")
        .without(":scheme")
        .without(":path");
    assert_answer(ServerFixture::new().await, &fields, 0, 501).await;
}

/// RFC 8441 §4: `websocket` is the only supported protocol of extended CONNECT.
#[tokio::test]
async fn an_unknown_protocol_is_not_implemented() {
    let fields = websocket().with(":protocol", "connect-udp");
    assert_answer(ServerFixture::new().await, &fields, 0, 501).await;
}

/// RFC 6455 §4.4, with 400 instead of 426, because 426 requires an `upgrade` field,
/// which HTTP/2 does not allow (RFC 9113 §8.2.2).
#[tokio::test]
async fn an_unsupported_version_is_rejected() {
    let fields = websocket().with("sec-websocket-version", "8");
    assert_answer(ServerFixture::new().await, &fields, 0, 400).await;
    let fields = websocket().without("sec-websocket-version");
    assert_answer(ServerFixture::new().await, &fields, 0, 400).await;
}

/// RFC 6455 §4.4: the response names the supported version.
#[tokio::test]
async fn the_rejection_of_a_version_names_the_supported_one() {
    let server = server::echo(Server::builder()).await;
    let client = h2peer::connect(server.addr).await;
    let mut request = h2peer::websocket("http://localhost/");
    let headers = request.headers_mut();
    headers.insert("sec-websocket-version", "8".parse().unwrap());
    let (response, _) = h2peer::ask(&client, request, false).await;
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["sec-websocket-version"], "13");
    assert!(!h2peer::body(response.into_body()).await.is_empty());
}

/// RFC 8441 §4: `:protocol` requires `:path` and `:scheme`.
#[tokio::test]
async fn a_missing_path_or_scheme_is_malformed() {
    assert_malformed(&websocket().without(":path")).await;
    assert_malformed(&websocket().without(":scheme")).await;
    assert_malformed(&websocket().with(":path", "")).await;
    assert_malformed(&websocket().with(":path", "*")).await;
}

/// RFC 8441 §5: `:scheme` is `https` for `wss` and `http` for `ws`.
#[tokio::test]
async fn a_websocket_scheme_is_malformed() {
    assert_malformed(&websocket().with(":scheme", "ws")).await;
    assert_malformed(&websocket().with(":scheme", "wss")).await;
}

/// RFC 8441 §5: `:scheme` is `http` or `https`. The server accepts both, because a
/// proxy may terminate TLS.
#[tokio::test]
async fn either_http_scheme_is_accepted() {
    let mut fixture = ServerFixture::new().await;
    fixture
        .peer
        .headers(3, &websocket().with(":scheme", "https"), 0)
        .await;
    assert_eq!(fixture.peer.status(3).await, 200);
    fixture.peer.echo(3, "https over cleartext").await;
    fixture.peer.close(3).await;
    fixture.unharmed().await;
}

/// RFC 9113 §8.3.1: `:authority` is required and must not include user information.
#[tokio::test]
async fn an_invalid_or_missing_authority_is_malformed() {
    assert_malformed(&websocket().with(":authority", "user:secret@localhost")).await;
    assert_malformed(&websocket().without(":authority")).await;
}

/// RFC 9113 §8.3.1: `host` must not differ from `:authority`.
#[tokio::test]
async fn a_host_that_contradicts_the_authority_is_malformed() {
    assert_malformed(&websocket().with("host", "elsewhere")).await;
}

/// RFC 9113 §8.2.2: connection-specific fields are not allowed in HTTP/2.
#[tokio::test]
async fn connection_specific_fields_are_malformed() {
    assert_malformed(&websocket().with("connection", "upgrade")).await;
    assert_malformed(&websocket().with("upgrade", "websocket")).await;
}

/// RFC 8441 §4: `:protocol` is allowed only with CONNECT.
#[tokio::test]
async fn protocol_with_get_is_malformed() {
    assert_malformed(&websocket().with(":method", "GET")).await;
}

/// RFC 8441 §5: the stream takes the place of the TCP connection, so a stream that
/// ends with its request cannot carry a WebSocket.
#[tokio::test]
async fn end_stream_on_the_request_is_rejected() {
    assert_answer(ServerFixture::new().await, &websocket(), END_STREAM, 400).await;
}

/// RFC 9110 §9.3.6: CONNECT has no content.
#[tokio::test]
async fn a_content_length_is_rejected() {
    let fields = websocket().with("content-length", "0");
    assert_answer(ServerFixture::new().await, &fields, 0, 400).await;
}

/// RFC 6455 §10.2: browsers send the page's origin, and origins that are not
/// allowed are rejected.
#[tokio::test]
async fn a_foreign_origin_is_forbidden() {
    let builder = || {
        let origins = AllowedOrigins::parse(["https://good.example"]).unwrap();
        Server::builder().allowed_origins(origins)
    };
    let foreign = websocket().with("origin", "https://evil.example");
    assert_answer(ServerFixture::with(builder()).await, &foreign, 0, 403).await;

    let mut fixture = ServerFixture::with(builder()).await;
    let allowed = websocket().with("origin", "https://good.example");
    fixture.peer.headers(3, &allowed, 0).await;
    assert_eq!(fixture.peer.status(3).await, 200);
    fixture.peer.close(3).await;
    fixture.unharmed().await;
}

/// RFC 9110 §15.5.20: a host that is not allowed is rejected, which prevents DNS
/// rebinding.
#[tokio::test]
async fn a_foreign_authority_is_misdirected() {
    let hosts = AllowedHosts::parse(["localhost"]).unwrap();
    let builder = Server::builder().allowed_hosts(hosts);
    let fields = websocket().with(":authority", "evil.example");
    assert_answer(ServerFixture::with(builder).await, &fields, 0, 421).await;
}

/// RFC 8441 §5: the response is 200 without fields of an Upgrade. HTTP/2 does not use
/// keys, and some proxies would forward an unrequested `sec-websocket-accept` in
/// addition to their own.
#[tokio::test]
async fn a_request_without_a_key_gets_no_accept_field() {
    let server = server::echo(Server::builder()).await;
    let client = h2peer::connect(server.addr).await;
    let request = h2peer::websocket("http://localhost/");
    let (response, _stream) = h2peer::ask(&client, request, false).await;
    assert_eq!(response.status(), 200);
    for absent in [
        "sec-websocket-accept",
        "upgrade",
        "connection",
        "content-length",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
    ] {
        assert!(!response.headers().contains_key(absent), "{absent}");
    }
    assert!(!response.body().is_end_stream());
}

/// Clients that send a key over HTTP/2 require `sec-websocket-accept`. The example
/// is that of RFC 6455 §1.3.
#[tokio::test]
async fn a_request_with_a_key_gets_its_accept_field() {
    let server = server::echo(Server::builder()).await;
    let client = h2peer::connect(server.addr).await;
    let mut request = h2peer::websocket("http://localhost/");
    let key = "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap();
    request.headers_mut().insert("sec-websocket-key", key);
    let (response, _stream) = h2peer::ask(&client, request, false).await;
    assert_eq!(
        response.headers()["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
}

/// RFC 6455 §4.2.2: the server selects one of the offered subprotocols, or none.
#[tokio::test]
async fn only_an_offered_subprotocol_can_be_selected() {
    let server = server::serve(Server::builder(), |mut upgrade, _| async move {
        assert!(upgrade.select_subprotocol("unoffered").is_err());
        if upgrade.path() == "/picky" {
            let offered: Vec<_> = upgrade
                .requested_subprotocols()
                .map(str::to_owned)
                .collect();
            assert_eq!(offered, ["one", "two", "three"]);
            upgrade.select_subprotocol("two").unwrap();
        }
        let ws = upgrade.accept().await.unwrap();
        server::echo_socket(ws, String::new()).await;
    })
    .await;
    let client = h2peer::connect(server.addr).await;
    for (path, agreed) in [("/picky", Some("two")), ("/none", None)] {
        let mut request = h2peer::websocket(&format!("http://localhost{path}"));
        let headers = request.headers_mut();
        headers.append("sec-websocket-protocol", "one, two".parse().unwrap());
        headers.append("sec-websocket-protocol", "three".parse().unwrap());
        let (response, _stream) = h2peer::ask(&client, request, false).await;
        assert_eq!(response.status(), 200);
        let named = response.headers().get("sec-websocket-protocol");
        assert_eq!(named.map(|name| name.to_str().unwrap()), agreed);
    }
}

/// RFC 9110 §15: a rejection is a full response, with header fields and a body.
#[tokio::test]
async fn a_handler_can_reject_with_a_full_response() {
    let server = server::serve(Server::builder(), |upgrade, _| async move {
        let response = http::Response::builder()
            .status(401)
            .header("www-authenticate", "Bearer")
            .body("who are you?")
            .unwrap();
        upgrade.reject_with(response);
    })
    .await;
    let client = h2peer::connect(server.addr).await;
    let request = h2peer::websocket("http://localhost/");
    let (response, _stream) = h2peer::ask(&client, request, false).await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    assert_eq!(h2peer::body(response.into_body()).await, b"who are you?");
}

/// RFC 8441 §5: any 2xx accepts the socket, so a rejection with one becomes 500.
#[tokio::test]
async fn a_rejection_is_never_a_2xx() {
    let server = server::serve(Server::builder(), |upgrade, _| async move {
        upgrade.reject(http::StatusCode::NO_CONTENT);
    })
    .await;
    let client = h2peer::connect(server.addr).await;
    let request = h2peer::websocket("http://localhost/");
    let (response, _stream) = h2peer::ask(&client, request, false).await;
    assert_eq!(response.status(), 500);
}

/// If the handler drops the request without an answer, the stream is reset, so that
/// the client does not wait.
#[tokio::test]
async fn a_request_dropped_unanswered_is_reset() {
    let server = server::serve(Server::builder(), |upgrade, ended| async move {
        if upgrade.path() == "/sibling" {
            let ws = upgrade.accept().await.unwrap();
            let _ = ended.send(server::echo_socket(ws, "/sibling".to_owned()).await);
        }
    })
    .await;
    let mut fixture = ServerFixture::on(server).await;
    fixture.peer.headers(3, &websocket(), 0).await;
    let answer = fixture.peer.on(3).await.expect("a response");
    assert_eq!(answer.kind, RST_STREAM, "{answer:?}");
    fixture.unharmed().await;
}

/// A panic in a handler ends only its own socket.
#[tokio::test]
async fn a_panicking_handler_ends_only_its_own_socket() {
    let server = server::serve(Server::builder(), |upgrade, ended| async move {
        let path = upgrade.path().to_owned();
        let mut ws = upgrade.accept().await.unwrap();
        if path != "/sibling" {
            let _ = futures_util::StreamExt::next(&mut ws).await;
            panic!("as intended");
        }
        let _ = ended.send(server::echo_socket(ws, path).await);
    })
    .await;
    let mut fixture = ServerFixture::on(server).await;
    fixture.peer.open(3, "/").await;
    let text = crate::support::frames::from_client(1, b"go");
    fixture.peer.data(3, &text).await;
    fixture.peer.let_go(3).await;
    fixture.unharmed().await;
}

/// RFC 8441 §5: every stream can carry a WebSocket, and a stream that has ended does
/// not count against the limit.
#[tokio::test]
async fn ended_streams_do_not_count_against_the_limit() {
    let http2 = h2ws::Http2Config::default().max_concurrent_streams(2);
    let mut fixture = ServerFixture::with(Server::builder().http2(http2)).await;
    for n in 1..=50 {
        let stream = 1 + 2 * n;
        fixture.peer.open(stream, "/").await;
        fixture.peer.echo(stream, "hello").await;
        fixture.peer.close(stream).await;
    }
    fixture.unharmed().await;
}

/// RFC 9113 §5.1.2: a stream above the limit is rejected with REFUSED_STREAM, and the
/// others are kept.
#[tokio::test]
async fn a_stream_above_the_limit_is_rejected() {
    let http2 = h2ws::Http2Config::default().max_concurrent_streams(1);
    let mut fixture = ServerFixture::with(Server::builder().http2(http2)).await;
    fixture.peer.headers(3, &websocket(), 0).await;
    let answer = fixture.peer.on(3).await.expect("a response");
    assert_eq!(answer.kind, RST_STREAM, "{answer:?}");
    assert_eq!(answer.error_code(), crate::support::raw::REFUSED_STREAM);
    fixture.unharmed().await;
}

/// RFC 8441 §5.1: a socket is opened with CONNECT. A GET to the same path is a plain
/// HTTP request, which is 404 without a fallback.
#[tokio::test]
async fn a_plain_http_request_is_404_without_a_fallback() {
    let fields = Fields(Vec::new())
        .with(":method", Method::GET.as_str())
        .with(":scheme", "http")
        .with(":path", "/")
        .with(":authority", "localhost");
    assert_answer(ServerFixture::new().await, &fields, END_STREAM, 404).await;
}
