//! Services that respond incorrectly, late or never: only their own request gets an error status or
//! a reset, and another WebSocket on the connection is not affected.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use futures_util::StreamExt;
use h2ws::axum::WebSocketUpgrade;
use h2ws::{Client, Error, HttpVersion, Message, Server, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tower_http::timeout::TimeoutLayer;

use crate::support::{Running, Under, logs, tasks, until, within};

const VERSIONS: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];

async fn echo_messages(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.next().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
}

/// An open WebSocket, which over HTTP/2 shares its connection with those under test.
struct Sibling {
    running: Running,
    client: Client,
    socket: WebSocket,
    /// Tasks while only this WebSocket is open.
    tasks: usize,
}

impl Sibling {
    async fn start(app: Router, version: HttpVersion) -> Self {
        let builder = Server::builder().handler_timeout(Duration::from_millis(300));
        let server = builder.bind("127.0.0.1:0").await.unwrap();
        let echo = any(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo_messages));
        let running = Running::serve(server, app.route("/sibling", echo));
        let client = Client::builder().version(version).build().unwrap();
        let url = format!("ws://{}/sibling", running.addr);
        let mut socket = within(client.connect(&url)).await.unwrap();
        echoes(&mut socket).await;
        Self {
            running,
            client,
            socket,
            tasks: tasks(),
        }
    }

    async fn connect(&self, path: &str) -> Result<WebSocket, Error> {
        let url = format!("ws://{}{path}", self.running.addr);
        within(self.client.connect(&url)).await
    }

    async fn status(&self, path: &str) -> u16 {
        match self.connect(path).await {
            Err(Error::Rejected(rejection)) => rejection.status.as_u16(),
            other => panic!("expected a rejection: {other:?}"),
        }
    }

    /// Ends the test: the other WebSocket still works, and no task of those under test is left.
    async fn assert_works(mut self) {
        echoes(&mut self.socket).await;
        until(|| tasks() <= self.tasks).await;
    }
}

async fn echoes(socket: &mut WebSocket) {
    socket.send(Message::text("still here")).await.unwrap();
    let message = within(socket.next()).await.unwrap().unwrap();
    assert_eq!(message.as_text(), Some("still here"));
}

/// By RFC 8441 §5, status 200 would open a WebSocket, which no handler holds.
#[tokio::test]
async fn success_without_an_extracted_websocket_is_501() {
    for version in VERSIONS {
        let logs = logs();
        let app = Router::new().route("/", any(async || "a page"));
        let sibling = Sibling::start(app, version).await;
        assert_eq!(sibling.status("/").await, 501);
        logs.assert_warns("success but extracted no WebSocket");
        sibling.assert_works().await;
    }
}

/// The handler gets the same error as for a client that has disconnected.
#[tokio::test]
async fn replacing_the_accepting_response_is_reported_to_the_handler() {
    for version in VERSIONS {
        let (failed, mut failures) = mpsc::unbounded_channel();
        let handler = async move |upgrade: WebSocketUpgrade| {
            let upgrade = upgrade.on_failed_upgrade(move |error| drop(failed.send(error)));
            upgrade.on_upgrade(echo_messages)
        };
        let replace = async |request: Request, next: Next| {
            let _ = next.run(request).await;
            (StatusCode::FORBIDDEN, "replaced").into_response()
        };
        let app = Router::new()
            .route("/", any(handler))
            .layer(middleware::from_fn(replace));
        let sibling = Sibling::start(app, version).await;
        assert_eq!(sibling.status("/").await, 403);
        assert!(matches!(within(failures.recv()).await, Some(Error::Closed)));
        sibling.assert_works().await;
    }
}

/// Status 101 is not valid in HTTP/2, and 200 does not open a WebSocket over HTTP/1.1.
#[tokio::test]
async fn a_status_that_cannot_open_the_websocket_is_500() {
    for version in VERSIONS {
        let other = async |request: Request, next: Next| {
            let mut response = next.run(request).await;
            *response.status_mut() = match response.status() {
                StatusCode::SWITCHING_PROTOCOLS => StatusCode::OK,
                _ => StatusCode::SWITCHING_PROTOCOLS,
            };
            response
        };
        let echo = any(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo_messages));
        let logs = logs();
        let app = Router::new().route("/", echo.layer(middleware::from_fn(other)));
        let sibling = Sibling::start(app, version).await;
        assert_eq!(sibling.status("/").await, 500);
        logs.assert_warns("given a status that cannot open it");
        sibling.assert_works().await;
    }
}

/// Handshake fields, lengths and transfer encodings that a layer adds are removed.
#[tokio::test]
async fn fields_that_would_break_the_handshake_are_removed() {
    for version in VERSIONS {
        let add_fields = async |request: Request, next: Next| {
            let mut response = next.run(request).await;
            let headers = response.headers_mut();
            headers.insert("content-length", "0".parse().unwrap());
            headers.insert("transfer-encoding", "chunked".parse().unwrap());
            headers.insert("sec-websocket-protocol", "not-offered".parse().unwrap());
            headers.insert("x-kept", "1".parse().unwrap());
            response
        };
        let echo = any(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo_messages));
        let app = Router::new().route("/", echo.layer(middleware::from_fn(add_fields)));
        let sibling = Sibling::start(app, version).await;
        let url = format!("ws://{}/", sibling.running.addr);
        let request = sibling.client.request(&url);
        let (socket, response) = within(request.connect_with_response()).await.unwrap();
        assert_eq!(response.headers()["x-kept"], "1");
        assert_eq!(socket.subprotocol(), None);
        assert!(!response.headers().contains_key("content-length"));
        drop(socket);
        sibling.assert_works().await;
    }
}

/// The service's future is dropped, together with everything that it holds.
#[tokio::test]
async fn a_service_that_never_responds_is_503() {
    for version in VERSIONS {
        let dropped = Arc::new(Notify::new());
        let notify = dropped.clone();
        let never = any(async move |_upgrade: WebSocketUpgrade| {
            struct NotifyOnDrop(Arc<Notify>);
            impl Drop for NotifyOnDrop {
                fn drop(&mut self) {
                    self.0.notify_one();
                }
            }
            let _held = NotifyOnDrop(notify);
            std::future::pending::<()>().await;
        });
        let logs = logs();
        let sibling = Sibling::start(Router::new().route("/", never), version).await;
        assert_eq!(sibling.status("/").await, 503);
        logs.assert_warns("not answered in time");
        within(dropped.notified()).await;
        sibling.assert_works().await;
    }
}

/// When the client gives up, the service's future is dropped.
#[tokio::test]
async fn the_service_is_dropped_when_the_client_gives_up() {
    for version in VERSIONS {
        let (began, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begin, notify) = (began.clone(), dropped.clone());
        let never = any(async move |_upgrade: WebSocketUpgrade| {
            struct NotifyOnDrop(Arc<Notify>);
            impl Drop for NotifyOnDrop {
                fn drop(&mut self) {
                    self.0.notify_one();
                }
            }
            let _held = NotifyOnDrop(notify);
            begin.notify_one();
            std::future::pending::<()>().await;
        });
        let sibling = Sibling::start(Router::new().route("/", never), version).await;
        let connecting = sibling.connect("/");
        tokio::select! {
            opened = connecting => panic!("got a response: {opened:?}"),
            () = within(began.notified()) => {}
        }
        within(dropped.notified()).await;
        sibling.assert_works().await;
    }
}

/// The WebSocket that the handler accepted does not open any more.
#[tokio::test]
async fn a_late_response_opens_nothing() {
    for version in VERSIONS {
        let (failed, mut failures) = mpsc::unbounded_channel();
        let handler = async move |upgrade: WebSocketUpgrade| {
            let upgrade = upgrade.on_failed_upgrade(move |error| drop(failed.send(error)));
            upgrade.on_upgrade(echo_messages)
        };
        let late = async |request: Request, next: Next| {
            let response = next.run(request).await;
            std::future::pending::<()>().await;
            response
        };
        let app = Router::new().route("/", any(handler).layer(middleware::from_fn(late)));
        let sibling = Sibling::start(app, version).await;
        assert_eq!(sibling.status("/").await, 503);
        assert!(matches!(within(failures.recv()).await, Some(Error::Closed)));
        sibling.assert_works().await;
    }
}

/// A layer such as a time limit drops the future of the service, and answers for it.
#[tokio::test]
async fn a_layer_may_drop_the_service_and_answer() {
    for version in VERSIONS {
        let never = any(async |_upgrade: WebSocketUpgrade| std::future::pending::<()>().await);
        let limit = Duration::from_millis(1);
        let limit = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, limit);
        let app = Router::new().route("/", never.layer(limit));
        let sibling = Sibling::start(app, version).await;
        assert_eq!(sibling.status("/").await, 408);
        sibling.assert_works().await;
    }
}

/// The client resets its stream, or ends its connection, after the handler has accepted and before
/// the response is sent.
#[tokio::test]
async fn a_client_that_is_gone_when_the_response_comes_is_reported() {
    for version in VERSIONS {
        let (failed, mut failures) = mpsc::unbounded_channel();
        let (accepted, mut accepting) = mpsc::unbounded_channel();
        let handler = async move |upgrade: WebSocketUpgrade| {
            let upgrade = upgrade.on_failed_upgrade(move |error| drop(failed.send(error)));
            upgrade.on_upgrade(echo_messages)
        };
        let slow = move |request: Request, next: Next| {
            let accepted = accepted.clone();
            async move {
                let response = next.run(request).await;
                let _ = accepted.send(());
                std::future::pending::<()>().await;
                response
            }
        };
        let app = Router::new().route("/", any(handler).layer(middleware::from_fn(slow)));
        let sibling = Sibling::start(app, version).await;
        tokio::select! {
            opened = sibling.connect("/") => panic!("got a response: {opened:?}"),
            _ = within(accepting.recv()) => {}
        }
        assert!(within(failures.recv()).await.is_some());
        sibling.assert_works().await;
    }
}

/// Over HTTP/1.1, what follows the request would be a body to one reader and frames to another
/// (RFC 9931). Over HTTP/2 `h2ws::handshake::extended_connect` has the same rule.
#[tokio::test]
async fn a_websocket_request_with_a_body_is_400() {
    for under in [Under::H2ws, Under::AxumServe] {
        let echo = get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo_messages));
        let running = Running::start(under, Router::new().route("/", echo)).await;
        for fields in [
            "content-length: 5\r\n\r\nhello",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ] {
            let request = format!(
                "GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
                 connection: upgrade\r\nsec-websocket-version: 13\r\n\
                 sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}"
            );
            let status_line = status_line(&running, &request).await;
            assert_eq!(status_line, "HTTP/1.1 400", "{under:?} {fields:?}");
        }
    }
}

async fn status_line(running: &Running, request: &str) -> String {
    let mut io = tokio::net::TcpStream::connect(running.addr).await.unwrap();
    io.write_all(request.as_bytes()).await.unwrap();
    let mut line = [0; 12];
    within(io.read_exact(&mut line)).await.unwrap();
    String::from_utf8_lossy(&line).into_owned()
}

#[tokio::test]
async fn a_second_extractor_is_500() {
    for version in VERSIONS {
        let twice = any(async |first: WebSocketUpgrade, _second: WebSocketUpgrade| {
            first.on_upgrade(echo_messages)
        });
        let logs = logs();
        let sibling = Sibling::start(Router::new().route("/", twice), version).await;
        assert_eq!(sibling.status("/").await, 500);
        logs.assert_warns("extracted twice");
        sibling.assert_works().await;
    }
}

/// A panic ends only its own WebSocket, without a closing handshake, or only its own request.
#[tokio::test]
async fn a_panic_does_not_affect_other_websockets() {
    for version in VERSIONS {
        let open = any(async |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async |mut socket: WebSocket| {
                let _ = socket.next().await;
                panic!("in the task of the WebSocket");
            })
        });
        let early = any(async |_upgrade: WebSocketUpgrade| {
            if true {
                panic!("before the response");
            }
        });
        let app = Router::new().route("/open", open).route("/early", early);
        let sibling = Sibling::start(app, version).await;
        let mut socket = sibling.connect("/open").await.unwrap();
        socket.send(Message::text("now")).await.unwrap();
        let ended = within(socket.next()).await;
        assert!(
            ended.is_none_or(|ended| ended.is_err()),
            "no message arrives"
        );
        assert_ne!(socket.close_code().map(u16::from), Some(1000));
        assert!(sibling.connect("/early").await.is_err());
        sibling.assert_works().await;
    }
}

/// The extractor rejects a plain HTTP request with the same status as axum's own extractor.
#[tokio::test]
async fn a_plain_http_request_to_a_websocket_route_is_rejected() {
    let sibling = Sibling::start(Router::new(), HttpVersion::Http1).await;
    let cases = [
        ("GET", "", "426"),
        (
            "POST",
            "upgrade: websocket\r\nconnection: upgrade\r\n",
            "405",
        ),
        (
            "GET",
            "upgrade: websocket\r\nconnection: upgrade\r\n",
            "426",
        ),
        (
            "GET",
            "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n",
            "400",
        ),
    ];
    for (method, fields, status) in cases {
        let request = format!("{method} /sibling HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
        let status_line = status_line(&sibling.running, &request).await;
        assert_eq!(
            status_line,
            format!("HTTP/1.1 {status}"),
            "{method} {fields:?}"
        );
    }
    sibling.assert_works().await;
}
