//! Services that respond incorrectly, late or never: only their own request gets an error status or
//! a reset, and another WebSocket on the connection is not affected.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::any;
use futures_util::StreamExt;
use h2ws::axum::WebSocketUpgrade;
use h2ws::{Client, Error, HttpVersion, Message, Server, WebSocket};
use tokio::sync::{Notify, mpsc};

use crate::support::{Running, within};

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
}

impl Sibling {
    async fn start(app: Router, version: HttpVersion) -> Self {
        let builder = Server::builder().handler_timeout(Duration::from_millis(300));
        let server = builder.bind("127.0.0.1:0").await.unwrap();
        let echo = any(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo_messages));
        let running = Running::serve(server, app.route("/sibling", echo));
        let client = Client::builder().version(version).build().unwrap();
        let url = format!("ws://{}/sibling", running.addr);
        let socket = within(client.connect(&url)).await.unwrap();
        Self {
            running,
            client,
            socket,
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

    async fn assert_works(mut self) {
        self.socket.send(Message::text("still here")).await.unwrap();
        let message = within(self.socket.next()).await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some("still here"));
    }
}

/// By RFC 8441 §5, status 200 would open a WebSocket, which no handler holds.
#[tokio::test]
async fn success_without_an_extracted_websocket_is_501() {
    for version in VERSIONS {
        let app = Router::new().route("/", any(async || "a page"));
        let sibling = Sibling::start(app, version).await;
        assert_eq!(sibling.status("/").await, 501);
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
        let app = Router::new().route("/", echo.layer(middleware::from_fn(other)));
        let sibling = Sibling::start(app, version).await;
        assert_eq!(sibling.status("/").await, 500);
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
        let sibling = Sibling::start(Router::new().route("/", never), version).await;
        assert_eq!(sibling.status("/").await, 503);
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

#[tokio::test]
async fn a_second_extractor_is_500() {
    for version in VERSIONS {
        let twice = any(async |first: WebSocketUpgrade, _second: WebSocketUpgrade| {
            first.on_upgrade(echo_messages)
        });
        let sibling = Sibling::start(Router::new().route("/", twice), version).await;
        assert_eq!(sibling.status("/").await, 500);
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
        let mut io = tokio::net::TcpStream::connect(sibling.running.addr)
            .await
            .unwrap();
        let head = format!("{method} /sibling HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
        io.write_all(head.as_bytes()).await.unwrap();
        let mut status_line = [0; 12];
        within(io.read_exact(&mut status_line)).await.unwrap();
        let status_line = String::from_utf8_lossy(&status_line);
        assert_eq!(
            status_line,
            format!("HTTP/1.1 {status}"),
            "{method} {fields:?}"
        );
    }
    sibling.assert_works().await;
}
