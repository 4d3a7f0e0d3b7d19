//! The server's side of an opening over HTTP/2: what it refuses, how, and that
//! nobody else feels it.

use h2ws::Server;
use h2ws::handshake::{AllowedHosts, AllowedOrigins};
use http::Method;

use crate::support::h2peer;
use crate::support::raw::{
    DATA, ENABLE_CONNECT_PROTOCOL, END_STREAM, Fields, PROTOCOL_ERROR, RST_STREAM,
};
use crate::support::server::{self, ServerFixture};

/// Sends a request on stream 3 and expects this status, an end of the stream,
/// and no harm.
async fn answers(beside: ServerFixture, fields: &Fields, flags: u8, status: u16) {
    let mut beside = beside;
    beside.peer.headers(3, fields, flags).await;
    let answer = beside.peer.on(3).await.expect("an answer");
    assert_eq!(answer.status(), status);
    let mut ended = answer.ends();
    while !ended {
        let frame = beside.peer.on(3).await.expect("the answer's end");
        assert_eq!(frame.kind, DATA, "{frame:?}");
        ended = frame.ends();
    }
    if flags & END_STREAM == 0 {
        beside.peer.end(3).await;
    }
    beside.unharmed().await;
}

/// As [`answers`], for a request that is malformed: its stream is reset
/// (RFC 9113 §8.1.1).
async fn malformed(fields: &Fields) {
    let mut beside = ServerFixture::new().await;
    beside.peer.headers(3, fields, 0).await;
    let answer = beside.peer.on(3).await.expect("an answer");
    assert_eq!(answer.kind, RST_STREAM, "{answer:?}");
    assert_eq!(answer.error_code(), PROTOCOL_ERROR);
    beside.unharmed().await;
}

fn websocket() -> Fields {
    Fields::websocket("/")
}

/// RFC 8441 §3: the setting is sent, before anything else.
#[tokio::test]
async fn the_first_settings_say_extended_connect() {
    let beside = ServerFixture::new().await;
    assert!(beside.peer.settings.contains(&(ENABLE_CONNECT_PROTOCOL, 1)));
    beside.unharmed().await;
}

/// RFC 8441 §3: the setting is a promise, so it can be kept back; a CONNECT
/// that comes nevertheless is malformed.
#[tokio::test]
async fn where_it_is_off_the_setting_is_not_sent() {
    let server = server::echo(Server::builder().extended_connect(false)).await;
    let mut peer = crate::support::raw::Raw::connect(server.addr).await;
    let sent = peer.settings.iter();
    assert!(!sent.copied().any(|s| s == (ENABLE_CONNECT_PROTOCOL, 1)));
    peer.headers(1, &websocket(), 0).await;
    let answer = peer.on(1).await.expect("an answer");
    assert_eq!(answer.kind, RST_STREAM);
    assert_eq!(answer.error_code(), PROTOCOL_ERROR);
}

/// RFC 9110 §9.3.6: a tunnel to wherever `:authority` says is not for us to
/// open.
#[tokio::test]
async fn plain_connect_is_not_implemented() {
    let fields = websocket()
        .without(":protocol")
        .without(":scheme")
        .without(":path");
    answers(ServerFixture::new().await, &fields, 0, 501).await;
}

/// RFC 8441 §4: of extended CONNECT's protocols only one is served.
#[tokio::test]
async fn another_protocol_is_not_implemented() {
    let fields = websocket().with(":protocol", "connect-udp");
    answers(ServerFixture::new().await, &fields, 0, 501).await;
}

/// RFC 6455 §4.4, with 400 for a 426 that would need an `upgrade` field, which
/// HTTP/2 has not (RFC 9113 §8.2.2).
#[tokio::test]
async fn another_version_is_refused() {
    let fields = websocket().with("sec-websocket-version", "8");
    answers(ServerFixture::new().await, &fields, 0, 400).await;
    let fields = websocket().without("sec-websocket-version");
    answers(ServerFixture::new().await, &fields, 0, 400).await;
}

/// RFC 6455 §4.4: the refusal names the version that would do.
#[tokio::test]
async fn a_wrong_version_learns_the_right_one() {
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

/// RFC 8441 §4: `:path` and `:scheme` are required where `:protocol` is.
#[tokio::test]
async fn a_missing_path_or_scheme_is_malformed() {
    malformed(&websocket().without(":path")).await;
    malformed(&websocket().without(":scheme")).await;
    malformed(&websocket().with(":path", "")).await;
    malformed(&websocket().with(":path", "*")).await;
}

/// RFC 8441 §5: `:scheme` is `https` for `wss` and `http` for `ws`.
#[tokio::test]
async fn a_websocket_scheme_is_malformed() {
    malformed(&websocket().with(":scheme", "ws")).await;
    malformed(&websocket().with(":scheme", "wss")).await;
}

/// RFC 8441 §5 has `http` or `https`; which of them says nothing here, as TLS
/// may end on the way.
#[tokio::test]
async fn either_http_scheme_is_taken() {
    let mut beside = ServerFixture::new().await;
    beside
        .peer
        .headers(3, &websocket().with(":scheme", "https"), 0)
        .await;
    assert_eq!(beside.peer.status(3).await, 200);
    beside.peer.echo(3, "https over cleartext").await;
    beside.peer.close(3).await;
    beside.unharmed().await;
}

/// RFC 9113 §8.3.1: no user information in `:authority`, and none missing.
#[tokio::test]
async fn a_bad_authority_is_malformed() {
    malformed(&websocket().with(":authority", "user:secret@localhost")).await;
    malformed(&websocket().without(":authority")).await;
}

/// RFC 9113 §8.3.1: a `host` that says something else.
#[tokio::test]
async fn a_host_that_contradicts_the_authority_is_malformed() {
    malformed(&websocket().with("host", "elsewhere")).await;
}

/// RFC 9113 §8.2.2: fields of HTTP/1.1 connections have no place here.
#[tokio::test]
async fn connection_specific_fields_are_malformed() {
    malformed(&websocket().with("connection", "upgrade")).await;
    malformed(&websocket().with("upgrade", "websocket")).await;
}

/// RFC 8441 §4: `:protocol` goes with CONNECT only.
#[tokio::test]
async fn protocol_with_get_is_malformed() {
    malformed(&websocket().with(":method", "GET")).await;
}

/// RFC 8441 §5: the stream is the connection; ended with its request it can
/// carry no WebSocket.
#[tokio::test]
async fn end_stream_on_the_request_is_refused() {
    answers(ServerFixture::new().await, &websocket(), END_STREAM, 400).await;
}

/// RFC 9110 §9.3.6: CONNECT has no content.
#[tokio::test]
async fn a_content_length_is_refused() {
    let fields = websocket().with("content-length", "0");
    answers(ServerFixture::new().await, &fields, 0, 400).await;
}

/// RFC 6455 §10.2: browsers name the page's origin, and the rest stays out.
#[tokio::test]
async fn a_foreign_origin_is_forbidden() {
    let builder = || {
        let origins = AllowedOrigins::parse(["https://good.example"]).unwrap();
        Server::builder().allowed_origins(origins)
    };
    let foreign = websocket().with("origin", "https://evil.example");
    answers(ServerFixture::with(builder()).await, &foreign, 0, 403).await;

    let mut beside = ServerFixture::with(builder()).await;
    let ours = websocket().with("origin", "https://good.example");
    beside.peer.headers(3, &ours, 0).await;
    assert_eq!(beside.peer.status(3).await, 200);
    beside.peer.close(3).await;
    beside.unharmed().await;
}

/// RFC 9110 §15.5.20: an authority that is not served here, as DNS rebinding
/// brings.
#[tokio::test]
async fn a_foreign_authority_is_misdirected() {
    let authorities = AllowedHosts::parse(["localhost"]).unwrap();
    let builder = Server::builder().allowed_hosts(authorities);
    let fields = websocket().with(":authority", "evil.example");
    answers(ServerFixture::with(builder).await, &fields, 0, 421).await;
}

/// RFC 8441 §5: the answer is 200 with no trace of an Upgrade. Keys are not
/// used, and an answer to one that nobody sent would be passed on as a second
/// by some proxies.
#[tokio::test]
async fn without_a_key_there_is_no_accept() {
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

/// RFC 6455 §1.3, with its own example: clients that send a key over HTTP/2
/// insist on the answer.
#[tokio::test]
async fn with_a_key_there_is_its_accept() {
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

/// RFC 6455 §4.2.2: the server picks one of what was offered, or none.
#[tokio::test]
async fn a_subprotocol_is_one_that_was_offered() {
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

/// RFC 9110 §15: a refusal is a response like any other, with its body.
#[tokio::test]
async fn an_application_refuses_with_a_whole_response() {
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

/// RFC 8441 §5: any 2xx would accept, so a refusal never is one.
#[tokio::test]
async fn a_refusal_never_accepts() {
    let server = server::serve(Server::builder(), |upgrade, _| async move {
        upgrade.reject(http::StatusCode::NO_CONTENT);
    })
    .await;
    let client = h2peer::connect(server.addr).await;
    let request = h2peer::websocket("http://localhost/");
    let (response, _stream) = h2peer::ask(&client, request, false).await;
    assert_eq!(response.status(), 500);
}

/// A handler that lets go of the request answers nothing: the stream is reset,
/// so that the client does not wait.
#[tokio::test]
async fn a_request_dropped_unanswered_is_reset() {
    let server = server::serve(Server::builder(), |upgrade, ended| async move {
        if upgrade.path() == "/sibling" {
            let ws = upgrade.accept().await.unwrap();
            let _ = ended.send(server::echo_socket(ws, "/sibling".to_owned()).await);
        }
    })
    .await;
    let mut beside = ServerFixture::on(server).await;
    beside.peer.headers(3, &websocket(), 0).await;
    let answer = beside.peer.on(3).await.expect("an answer");
    assert_eq!(answer.kind, RST_STREAM, "{answer:?}");
    beside.unharmed().await;
}

/// One handler's panic is that socket's end alone.
#[tokio::test]
async fn a_handler_that_panics_harms_no_sibling() {
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
    let mut beside = ServerFixture::on(server).await;
    beside.peer.open(3, "/").await;
    let text = crate::support::frames::from_client(1, b"go");
    beside.peer.data(3, &text).await;
    beside.peer.let_go(3).await;
    beside.unharmed().await;
}

/// RFC 8441 §5: the second stream is a WebSocket as much as the first, and
/// ends of streams make room for others.
#[tokio::test]
async fn streams_that_ended_do_not_count_against_the_limit() {
    let http2 = h2ws::Http2Config::default().max_concurrent_streams(2);
    let mut beside = ServerFixture::with(Server::builder().http2(http2)).await;
    for n in 1..=50 {
        let stream = 1 + 2 * n;
        beside.peer.open(stream, "/").await;
        beside.peer.echo(stream, "hello").await;
        beside.peer.close(stream).await;
    }
    beside.unharmed().await;
}

/// RFC 9113 §5.1.2: a stream above the limit is refused, by itself.
#[tokio::test]
async fn a_stream_above_the_limit_is_refused() {
    let http2 = h2ws::Http2Config::default().max_concurrent_streams(1);
    let mut beside = ServerFixture::with(Server::builder().http2(http2)).await;
    beside.peer.headers(3, &websocket(), 0).await;
    let answer = beside.peer.on(3).await.expect("an answer");
    assert_eq!(answer.kind, RST_STREAM, "{answer:?}");
    assert_eq!(answer.error_code(), crate::support::raw::REFUSED_STREAM);
    beside.unharmed().await;
}

/// RFC 8441 §5.1 says CONNECT; a GET to the same path is an ordinary request,
/// 404 without a fallback.
#[tokio::test]
async fn an_ordinary_request_is_none_of_the_sockets() {
    let fields = Fields(Vec::new())
        .with(":method", Method::GET.as_str())
        .with(":scheme", "http")
        .with(":path", "/")
        .with(":authority", "localhost");
    answers(ServerFixture::new().await, &fields, END_STREAM, 404).await;
}
