//! tower layers around a WebSocket route, and around the client.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::{self, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Extension, Router};
use futures_util::StreamExt;
use h2ws::axum::{ConnectAsGet, WebSocketUpgrade};
use h2ws::handshake::DeflateConfig;
use h2ws::server::Peer;
use h2ws::{Client, CloseCode, HttpVersion, Message, Transport, WebSocket};
use tokio::sync::mpsc;
use tower::ServiceExt;
use tower::timeout::Timeout;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use tower_layer::Layer;

use crate::requests::http2_response;
use crate::support::{EVERYWHERE, Running, Under, within};

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .protocols(["chat.v2", "chat"])
        .on_upgrade(echo_messages)
}

async fn echo_messages(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.next().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
}

async fn assert_echo(socket: &mut WebSocket) {
    socket.send(Message::text("hello")).await.unwrap();
    let message = within(socket.next()).await.unwrap().unwrap();
    assert_eq!(message.as_text(), Some("hello"));
}

/// Requires a token in a header field, as a service with user accounts does.
async fn authenticate(request: Request, next: Next) -> Response {
    match request.headers().get("authorization") {
        Some(token) if token == "Bearer secret" => next.run(request).await,
        _ => (StatusCode::UNAUTHORIZED, "a token is required").into_response(),
    }
}

#[tokio::test]
async fn an_authenticating_layer_can_reject_a_websocket() {
    for (under, version) in EVERYWHERE {
        let app = Router::new()
            .route("/", any(echo))
            .layer(middleware::from_fn(authenticate));
        let running = Running::start(under, app).await;
        let rejected = running.rejection("/", version).await;
        assert_eq!(rejected, (401, "a token is required".to_owned()));
        let client = Client::builder().version(version).build().unwrap();
        let url = format!("ws://{}/", running.addr);
        let request = client
            .request(&url)
            .header("authorization", "Bearer secret");
        assert_echo(&mut within(request.connect()).await.unwrap()).await;
    }
}

/// What opens a WebSocket over a version of HTTP.
fn accepting(version: HttpVersion) -> StatusCode {
    match version {
        HttpVersion::Http1 => StatusCode::SWITCHING_PROTOCOLS,
        _ => StatusCode::OK,
    }
}

/// `TraceLayer` sees the request and the status that opens the WebSocket. Its span ends with the
/// response, not with the WebSocket.
#[tokio::test]
async fn a_trace_layer_sees_the_opening_response() {
    for (under, version) in EVERYWHERE {
        let (seen, mut statuses) = mpsc::unbounded_channel();
        let trace = TraceLayer::new_for_http().on_response(
            move |response: &http::Response<_>, _: Duration, _: &tracing::Span| {
                let _: &http::Response<axum::body::Body> = response;
                let _ = seen.send(response.status());
            },
        );
        let app = Router::new().route("/", any(echo)).layer(trace);
        let running = Running::start(under, app).await;
        let mut socket = running.connect("/", version).await.unwrap();
        assert_eq!(within(statuses.recv()).await, Some(accepting(version)));
        assert_echo(&mut socket).await;
    }
}

/// `CompressionLayer` compresses the page, and leaves the WebSocket beside it alone.
#[tokio::test]
async fn a_compression_layer_compresses_pages_alone() {
    for (under, version) in EVERYWHERE {
        let app = Router::new()
            .route("/", any(echo))
            .route("/page", get("a page ".repeat(100)))
            .layer(CompressionLayer::new());
        let running = Running::start(under, app).await;
        let client = Client::builder().version(version).build().unwrap();
        let open = |path: &str| {
            let request = client.request(format!("ws://{}{path}", running.addr));
            request.header("accept-encoding", "gzip")
        };
        let (mut socket, response) = within(open("/").connect_with_response()).await.unwrap();
        assert!(!response.headers().contains_key("content-encoding"));
        assert_echo(&mut socket).await;
        let page = http::Request::get(format!("http://{}/page", running.addr));
        let page = page.header("accept-encoding", "gzip").body(()).unwrap();
        let (status, headers) = http2_response(&running, page).await.unwrap();
        assert_eq!(
            (status, &headers["content-encoding"]),
            (StatusCode::OK, &HeaderValue::from_static("gzip"))
        );
    }
}

/// `TimeoutLayer` limits the time until the response, and not the WebSocket that it opened.
#[tokio::test]
async fn a_websocket_outlives_the_limit_of_a_timeout_layer() {
    for (under, version) in EVERYWHERE {
        let limit = Duration::from_secs(1);
        let limit = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, limit);
        let app = Router::new()
            .route("/", any(echo))
            .route("/never", any(std::future::pending::<()>))
            .layer(limit);
        let running = Running::start(under, app).await;
        let mut socket = running.connect("/", version).await.unwrap();
        // By then the limit is over for the WebSocket, too, which was opened before.
        assert_eq!(running.rejection("/never", version).await.0, 408);
        assert_echo(&mut socket).await;
    }
}

/// `CorsLayer` answers the preflight itself, and its fields are in the response that opens the
/// WebSocket.
#[tokio::test]
async fn a_cors_layer_passes_websockets() {
    for (under, version) in EVERYWHERE {
        let app = Router::new().route("/", any(echo));
        let running = Running::start(under, app.layer(CorsLayer::permissive())).await;
        let client = Client::builder().version(version).build().unwrap();
        let request = client.request(format!("ws://{}/", running.addr));
        let request = request.origin("https://example.com");
        let (mut socket, response) = within(request.connect_with_response()).await.unwrap();
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert_echo(&mut socket).await;
    }
}

/// Header fields that a layer adds are in the response that opens the WebSocket. A layer cannot set
/// fields that belong to the handshake.
#[tokio::test]
async fn header_fields_of_layers_are_in_the_accepting_response() {
    for (under, version) in EVERYWHERE {
        let cookie = SetResponseHeaderLayer::overriding(
            HeaderName::from_static("set-cookie"),
            HeaderValue::from_static("session=1"),
        );
        let app = Router::new().route("/", any(echo)).layer(cookie);
        let running = Running::start(under, app).await;
        let client = Client::builder().version(version).build().unwrap();
        let url = format!("ws://{}/", running.addr);
        let request = client.request(&url).subprotocol("chat");
        let (mut socket, response) = within(request.connect_with_response()).await.unwrap();
        assert_eq!(response.headers()["set-cookie"], "session=1");
        assert_eq!(socket.subprotocol(), Some("chat"));
        assert_echo(&mut socket).await;
    }
}

/// The extractor negotiates compression, and its limits are enforced.
#[tokio::test]
async fn the_extractor_sets_compression_and_limits() {
    async fn limited(upgrade: WebSocketUpgrade) -> Response {
        let upgrade = upgrade.deflate(DeflateConfig::default());
        upgrade.max_message_size(1000).on_upgrade(echo_messages)
    }
    for (under, version) in EVERYWHERE {
        let app = Router::new().route("/", any(limited));
        let running = Running::start(under, app).await;
        let client = Client::builder().version(version).build().unwrap();
        let url = format!("ws://{}/", running.addr);
        let request = client.request(&url).deflate(DeflateConfig::default());
        let (mut socket, response) = within(request.connect_with_response()).await.unwrap();
        let extensions = &response.headers()["sec-websocket-extensions"];
        assert!(
            extensions
                .to_str()
                .unwrap()
                .starts_with("permessage-deflate")
        );
        assert_echo(&mut socket).await;
        socket.send(Message::text("x".repeat(1001))).await.unwrap();
        while let Some(Ok(_)) = within(socket.next()).await {}
        assert_eq!(
            socket.close_code(),
            Some(CloseCode::MESSAGE_TOO_BIG),
            "{under:?} {version:?}"
        );
    }
}

/// A `get` route accepts both versions of HTTP under h2ws's server, and under `ConnectAsGet`.
#[tokio::test]
async fn a_get_route_accepts_both_versions_of_http() {
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let app = Router::new().route("/", get(echo));
        let running = Running::start(Under::H2ws, app.clone()).await;
        assert_echo(&mut running.connect("/", version).await.unwrap()).await;

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let app = ConnectAsGet::default().layer(app);
        let app = axum::ServiceExt::<Request>::into_make_service(app);
        let serving = tokio::spawn(async move { axum::serve(listener, app).await });
        let client = Client::builder().version(version).build().unwrap();
        let url = format!("ws://{addr}/");
        assert_echo(&mut within(client.connect(&url)).await.unwrap()).await;
        serving.abort();
    }
}

/// `ConnectInfo` is the client's address under both servers.
#[tokio::test]
async fn a_websocket_request_has_connect_info() {
    async fn address(
        ConnectInfo(addr): ConnectInfo<SocketAddr>,
        upgrade: WebSocketUpgrade,
    ) -> Response {
        upgrade.on_upgrade(async move |mut socket: WebSocket| {
            let _ = socket.send(addr.to_string()).await;
        })
    }
    for (under, version) in EVERYWHERE {
        let app = Router::new().route("/", any(address));
        let running = Running::with_connect_info(under, app).await;
        let mut socket = running.connect("/", version).await.unwrap();
        let message = within(socket.recv()).await.unwrap().unwrap();
        let addr: SocketAddr = message.as_text().unwrap().parse().unwrap();
        assert!(
            addr.ip().is_loopback() && addr.port() != running.addr.port(),
            "{addr}"
        );
    }
}

/// Under h2ws's server a WebSocket request also has `Peer` and `Transport`, as any other request.
#[tokio::test]
async fn a_websocket_request_has_its_connection_as_extensions() {
    async fn facts(
        ConnectInfo(addr): ConnectInfo<SocketAddr>,
        Extension(peer): Extension<Peer>,
        Extension(transport): Extension<Transport>,
    ) -> impl IntoResponse {
        assert_eq!(peer.addr(), addr);
        (StatusCode::FORBIDDEN, transport.to_string())
    }
    for (version, name) in [
        (HttpVersion::Http1, "HTTP/1.1"),
        (HttpVersion::Http2, "HTTP/2"),
    ] {
        let app = Router::new().route("/", get(facts));
        let running = Running::with_connect_info(Under::H2ws, app).await;
        let (status, body) = running.rejection("/", version).await;
        assert_eq!(status, 403);
        assert!(body.starts_with(name), "{body}");
    }
}

/// The client is itself a service, so tower's layers can wrap it.
#[tokio::test]
async fn the_client_can_be_wrapped_in_layers() {
    for (under, version) in EVERYWHERE {
        let app = Router::new()
            .route("/", any(echo))
            .route("/never", any(std::future::pending::<()>))
            .layer(middleware::from_fn(authenticate));
        let running = Running::start(under, app).await;
        let client = Client::builder().version(version).build().unwrap();
        let timed = Timeout::new(client, Duration::from_millis(500));
        let open = |path| {
            let request = http::Request::get(format!("ws://{}{path}", running.addr));
            let request = request.header("authorization", "Bearer secret");
            within(timed.clone().oneshot(request.body(()).unwrap()))
        };
        let (mut socket, response) = open("/").await.unwrap();
        assert_eq!(
            response.version(),
            if version == HttpVersion::Http2 {
                http::Version::HTTP_2
            } else {
                http::Version::HTTP_11
            }
        );
        assert_echo(&mut socket).await;
        let error = open("/never").await.unwrap_err();
        assert!(error.is::<tower::timeout::error::Elapsed>(), "{error}");
        assert_echo(&mut socket).await;
    }
}
