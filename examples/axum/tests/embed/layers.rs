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
use h2ws::{Client, CloseCode, Error, HttpVersion, Message, Server, Transport, WebSocket};
use tower::ServiceExt;
use tower::timeout::Timeout;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use tower_layer::Layer;

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

/// The layers that services commonly use do not interfere with WebSockets.
#[tokio::test]
async fn tracing_compression_cors_and_timeout_layers_pass_websockets() {
    for (under, version) in EVERYWHERE {
        let app = Router::new().route("/", any(echo)).layer((
            TraceLayer::new_for_http(),
            CompressionLayer::new(),
            CorsLayer::permissive(),
            TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_secs(10)),
        ));
        let running = Running::start(under, app).await;
        assert_echo(&mut running.connect("/", version).await.unwrap()).await;
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

/// A WebSocket request has the same extensions as any other request: axum's `ConnectInfo`, and
/// h2ws's `Peer` and `Transport`.
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
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let app = Router::new().route("/", get(facts));
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
        let addr = server.local_addr().unwrap();
        let serving = tokio::spawn(server.serve_make_service(app).into_future());
        let client = Client::builder().version(version).build().unwrap();
        let result = within(client.connect(&format!("ws://{addr}/"))).await;
        let Err(Error::Rejected(rejection)) = result else {
            panic!("expected a rejection: {result:?}");
        };
        assert_eq!(rejection.status, 403);
        let body = String::from_utf8_lossy(&rejection.body);
        let name = if version == HttpVersion::Http2 {
            "HTTP/2"
        } else {
            "HTTP/1.1"
        };
        assert!(body.starts_with(name), "{body}");
        serving.abort();
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
