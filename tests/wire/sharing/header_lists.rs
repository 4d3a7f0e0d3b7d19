//! Header lists that exceed the other side's limit (RFC 9113 §6.5.2): only the
//! request they belong to fails, and the rest of the connection is not affected.

use h2ws::handshake::HandshakeError;
use h2ws::{Error, Http2Config, HttpVersion, Server, WebSocket};
use http::{HeaderValue, Response};

use crate::support::bridge::{self, Bridging};
use crate::support::client::{self, ClientFixture, echo, http2};
use crate::support::h2peer::{self, EchoServer};
use crate::support::hyperpeer::HyperServer;
use crate::support::raw::{CANCEL, END_STREAM, Fields, MAX_HEADER_LIST_SIZE, RST_STREAM, Raw};
use crate::support::table::status;
use crate::support::text::Text;
use crate::support::{server, within};

const KIB: usize = 1024;

/// Returns fields of at least `size` bytes in all, and not much more.
fn large(size: usize) -> Vec<(String, String)> {
    let fields = 0..size.div_ceil(KIB);
    fields
        .map(|n| (format!("x-{n:03}"), "y".repeat(KIB - 32 - 5)))
        .collect()
}

/// Sends a request with `size` bytes of fields. Returns whether the client rejected
/// it as too large.
async fn is_too_large_to_send(client: &h2ws::Client, url: &str, size: usize) -> bool {
    let request = client.request(url);
    let request = large(size)
        .into_iter()
        .fold(request, |request, (name, value)| {
            request.header(name, value)
        });
    match within(request.connect()).await {
        Ok(_) => false,
        Err(Error::Handshake(HandshakeError::RequestTooLarge(of, limit))) => {
            assert!(of >= size && of > limit as usize);
            true
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// The limit is the one that the server announced last.
#[tokio::test]
async fn a_client_respects_the_servers_header_list_limit() {
    let mut beside = ClientFixture::new().await;
    let (client, url) = (beside.client.clone(), beside.url.clone());
    assert!(
        is_too_large_to_send(&client, &url, 17 * KIB).await,
        "nothing announced"
    );
    for (limit, sent) in [(2 * KIB, 3 * KIB), (64 * KIB, 65 * KIB)] {
        let settings = [(MAX_HEADER_LIST_SIZE, limit as u32)];
        beside.peer.send_settings(&settings).await;
        beside.peer.barrier().await;
        assert!(is_too_large_to_send(&client, &url, sent).await, "{limit}");
        assert_eq!(beside.peer.pending(), 0, "nothing was sent");
    }
    let (too_large, ()) = tokio::join!(
        is_too_large_to_send(&client, &url, 40 * KIB),
        beside.peer.take(3)
    );
    assert!(!too_large);
    while !matches!(beside.peer.on(3).await.unwrap(), frame if frame.ends() || frame.kind == RST_STREAM)
    {
    }
    beside.peer.end(3).await;
    beside.unharmed().await;
}

/// An answer that is too large fails only its own socket.
#[tokio::test]
async fn an_oversized_answer_fails_only_its_socket() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        let _ = h2peer::serve(io, builder, |request, mut respond| {
            let size: usize = request.uri().path()[1..].parse().unwrap();
            if size == 0 {
                tokio::spawn(h2peer::echo(request, respond));
                return;
            }
            let mut answer = Response::new(());
            for (name, value) in large(size) {
                let name: http::HeaderName = name.parse().unwrap();
                let value: HeaderValue = value.parse().unwrap();
                answer.headers_mut().append(name, value);
            }
            let _ = respond.send_response(answer, false);
        })
        .await;
    });
    let client = http2().build().unwrap();
    let url = |size: usize| format!("ws://{addr}/{size}");
    let mut sibling = within(client.connect(&url(0))).await.unwrap();
    drop(within(client.connect(&url(60 * KIB))).await.unwrap());
    for size in [65 * KIB, 300 * KIB, KIB * KIB] {
        let failed = within(client.connect(&url(size))).await;
        assert!(
            matches!(
                failed,
                Err(Error::Handshake(HandshakeError::AnswerTooLarge(..)))
            ),
            "{failed:?}"
        );
        echo(&mut sibling, "does not notice").await;
    }
    assert_eq!(client.connections().len(), 1);
}

/// An answer with too many fields fails alone, as over HTTP/1.1, whose parser limits them:
/// at a client, and at a bridge for sockets and plain HTTP requests.
#[tokio::test]
async fn an_answer_with_too_many_fields_fails_alone() {
    let (listener, addr) = client::listen().await;
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            let mut builder = h2::server::Builder::new();
            builder.enable_connect_protocol();
            tokio::spawn(h2peer::serve(io, builder, |request, mut respond| {
                let fields: usize = request.uri().path()[1..].parse().unwrap();
                if fields == 0 {
                    tokio::spawn(h2peer::echo(request, respond));
                    return;
                }
                let mut answer = Response::new(());
                for _ in 0..fields {
                    let value = HeaderValue::from_static("y");
                    answer.headers_mut().append("x", value);
                }
                *answer.status_mut() = http::StatusCode::FORBIDDEN;
                let _ = respond.send_response(answer, true);
            }));
        }
    });
    let client = http2().build().unwrap();
    let bridging = Bridging::start(bridge::to("ws", addr, HttpVersion::Http2)).await;
    for server in [addr, bridging.addr] {
        let url = |fields: usize| format!("ws://{server}/{fields}");
        let mut sibling = within(client.connect(&url(0))).await.unwrap();
        for fields in [250, 257, 1000] {
            let failed = within(client.connect(&url(fields))).await.unwrap_err();
            match failed {
                Error::Rejected(response) if fields == 250 => assert_eq!(response.status, 403),
                Error::Rejected(response) if server == bridging.addr => {
                    assert_eq!(response.status, 502);
                }
                Error::Handshake(HandshakeError::TooManyFields(count, 256)) => {
                    assert_eq!(count, fields);
                }
                other => panic!("{fields} fields: {other:?}"),
            }
            echo(&mut sibling, "does not notice").await;
        }
    }
    let client = h2peer::connect(bridging.addr).await;
    for (fields, status) in [(250, 403), (257, 502), (250, 403)] {
        let request = http::Request::get(format!("http://a.test/{fields}"));
        let request = request.body(()).unwrap();
        let (response, _) = h2peer::ask(&client, request, true).await;
        assert_eq!(response.status(), status, "{fields} fields");
    }
}

/// A front proxy may send the requests of all its users on one connection, so a
/// request that is too large for the server fails alone.
#[tokio::test]
async fn an_oversized_request_is_rejected_with_431() {
    for limit in [KIB, 16 * KIB, 64 * KIB] {
        let config = Http2Config::default().max_header_list_size(limit as u32);
        let builder = Server::builder().http2(config);
        let server = server::serve(builder, |request, ended| async move {
            server::echoing(ended)(request).await;
        })
        .await;
        let mut beside = server::ServerFixture::on(server).await;
        let sizes = [limit + KIB, 4 * limit, 100 * KIB, 250 * KIB];
        for (n, size) in sizes.into_iter().enumerate() {
            let size = size.max(limit + KIB);
            let (socket, page) = (3 + 4 * n as u32, 5 + 4 * n as u32);
            for (stream, mut fields) in
                [(socket, Fields::websocket("/")), (page, plain("GET", "/"))]
            {
                fields.0.extend(large(size));
                beside.peer.headers(stream, &fields, END_STREAM).await;
                assert_eq!(beside.peer.status(stream).await, 431, "{size} of {limit}");
            }
            beside.peer.echo(1, "does not notice").await;
        }
    }
}

/// A server announces its configured limit, although it reads larger header lists.
#[tokio::test]
async fn a_server_announces_its_configured_limit() {
    let config = Http2Config::default().max_header_list_size(20_000);
    let server = server::serve(Server::builder().http2(config), |_, _| async {}).await;
    let peer = Raw::connect(server.addr).await;
    assert!(peer.settings.contains(&(MAX_HEADER_LIST_SIZE, 20_000)));
}

/// If the answer exceeds the limit that the client announced, the server sends a
/// bare 500 instead.
#[tokio::test]
async fn an_answer_above_the_clients_limit_becomes_a_500() {
    let server = server::serve(Server::builder(), |mut request, ended| async move {
        if request.path() != "/sibling" {
            let value = HeaderValue::from_str(&"y".repeat(KIB)).unwrap();
            request.response_header("x-large", value);
        }
        server::echoing(ended)(request).await;
    })
    .await;
    let mut beside = server::ServerFixture::on(server).await;
    beside
        .peer
        .send_settings(&[(MAX_HEADER_LIST_SIZE, KIB as u32)])
        .await;
    beside.peer.barrier().await;
    beside.peer.headers(3, &Fields::websocket("/"), 0).await;
    let answer = beside.peer.on(3).await.unwrap();
    assert_eq!((answer.status(), answer.ends()), (500, true));
    beside.peer.reset(3, crate::support::raw::CANCEL).await;
    beside.peer.echo(1, "does not notice").await;
}

async fn all_echo(sockets: &mut [WebSocket]) {
    for socket in sockets {
        echo(socket, "does not notice").await;
    }
}

/// The upstream is hyper with its default limits, which closes a connection at
/// 64 KiB.
#[tokio::test]
async fn a_bridge_respects_the_upstreams_header_list_limit() {
    let upstream = HyperServer::start();
    let builder = bridge::to("ws", upstream.addr, HttpVersion::Http2);
    let bridging = Bridging::start(builder).await;
    let client = client::http2().build().unwrap();
    let mut siblings = Vec::new();
    for _ in 0..100 {
        siblings.push(within(client.connect(&bridging.url())).await.unwrap());
    }
    for size in [16, 20, 40, 55, 60] {
        let mut raw = Raw::connect(bridging.addr).await;
        let mut fields = Fields::websocket("/");
        fields.0.extend(large(size * KIB));
        raw.headers(1, &fields, 0).await;
        assert_eq!(raw.status(1).await, 431, "{size} KiB over HTTP/2");
        let lines: String = large(size * KIB)
            .into_iter()
            .take(90)
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let mut text = Text::ask(bridging.addr, "/", &lines).await;
        text.read_head().await;
        assert_eq!(status(&text), 431, "{size} KiB over HTTP/1.1");
        all_echo(&mut siblings).await;
    }
    assert_eq!(upstream.connections(), 1);
}

/// The same with an upstream that announces a low limit, which is exceeded only
/// by the fields that the bridge adds.
#[tokio::test]
async fn the_fields_that_a_bridge_adds_count_towards_the_limit() {
    let upstream = EchoServer::start(|builder| {
        builder.max_header_list_size(600);
    })
    .await;
    let bridging = Bridging::start(bridge::to("ws", upstream.addr, HttpVersion::Http2)).await;
    let mut raw = Raw::connect(bridging.addr).await;
    let bare: usize = Fields::websocket("/")
        .0
        .iter()
        .map(|(n, v)| n.len() + v.len() + 32)
        .sum();
    let fields = Fields::websocket("/").with("x-rest", &"y".repeat(600 - bare - 32 - 6));
    raw.headers(1, &fields, 0).await;
    assert_eq!(raw.status(1).await, 431);
}

fn plain(method: &str, path: &str) -> Fields {
    Fields(Vec::new())
        .with(":method", method)
        .with(":scheme", "http")
        .with(":path", path)
        .with(":authority", "localhost")
}

/// Plain HTTP requests share a connection as well. One that is too large in either
/// direction, or abandoned, fails alone.
#[tokio::test]
async fn oversized_or_abandoned_plain_http_requests_fail_alone() {
    let upstream = HyperServer::start();
    let bridging = Bridging::start(bridge::to("ws", upstream.addr, HttpVersion::Http2)).await;
    let mut sibling = Raw::connect(bridging.addr).await;
    sibling.headers(1, &plain("POST", "/"), 0).await;
    sibling.data(1, b"on its way").await;
    sibling.barrier().await;
    let mut other = Raw::connect(bridging.addr).await;
    other.headers(1, &plain("GET", "/"), END_STREAM).await;
    assert_eq!(other.status(1).await, 200);
    for (n, size) in [20, 40, 60].into_iter().enumerate() {
        let stream = 3 + 2 * n as u32;
        let mut fields = plain("GET", "/");
        fields.0.extend(large(size * KIB));
        other.headers(stream, &fields, END_STREAM).await;
        assert_eq!(other.status(stream).await, 431, "{size} KiB");
    }
    other.headers(11, &plain("GET", "/large"), END_STREAM).await;
    assert_eq!(other.status(11).await, 502);
    let streams = || (0..60).map(|n| 101 + 2 * n);
    for stream in streams() {
        other
            .headers(stream, &plain("GET", "/never"), END_STREAM)
            .await;
    }
    other.barrier().await;
    for stream in streams() {
        other.reset(stream, CANCEL).await;
    }
    // The resets are delayed, and sent a few at a time.
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    other.headers(1_001, &plain("GET", "/"), END_STREAM).await;
    assert_eq!(other.status(1_001).await, 200);
    sibling.end(1).await;
    assert_eq!(sibling.status(1).await, 200);
    assert_eq!(upstream.connections(), 1);
}
