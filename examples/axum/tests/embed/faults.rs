//! Services that respond incorrectly, late or never, under both servers and over both versions of
//! HTTP. Only their own request gets an error status or a reset, a log line names the mistake, no
//! task is left, and another WebSocket on the connection is not affected.
//!
//! What differs under `axum::serve` is up to hyper's server, which knows nothing of WebSockets:
//!
//! | the service | `h2ws::Server` | `axum::serve` |
//! |---|---|---|
//! | answers 200 and extracts nothing | 501 | 200; over HTTP/2 it opens a stream, which breaks |
//! | answers 101 in place of 200, or the reverse | 500 | 200, or a reset |
//! | accepts, and a layer replaces the answer | an error | the same; over HTTP/1.1 a WebSocket that has ended |
//! | never answers | 503 | waits for the client to give up |

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use h2ws::axum::WebSocketUpgrade;
use h2ws::{Client, Error, HttpVersion, Server, WebSocket};
use tokio::sync::{Notify, mpsc};
use tower_http::timeout::TimeoutLayer;

use crate::support::{EVERYWHERE, Running, Under, logs, tasks, until, within};

pub(crate) async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(echo_messages)
}

async fn echo_messages(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            break;
        }
    }
}

/// An open WebSocket, which over HTTP/2 shares its connection with those under test.
pub(crate) struct Sibling {
    pub(crate) running: Running,
    client: Client,
    socket: WebSocket,
    /// Tasks while only this WebSocket is open.
    tasks: usize,
}

impl Sibling {
    pub(crate) async fn start(under: Under, version: HttpVersion, app: Router) -> Self {
        let app = app.route("/sibling", any(echo));
        Self::of(Running::start(under, app).await, version).await
    }

    /// Starts h2ws's server with a short time limit for handlers.
    async fn impatient(version: HttpVersion, app: Router) -> Self {
        let builder = Server::builder().handler_timeout(Duration::from_millis(300));
        let server = builder.bind("127.0.0.1:0").await.unwrap();
        let app = app.route("/sibling", any(echo));
        Self::of(Running::serve(server, app), version).await
    }

    async fn of(running: Running, version: HttpVersion) -> Self {
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

    pub(crate) async fn connect(&self, path: &str) -> Result<WebSocket, Error> {
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
    pub(crate) async fn assert_works(mut self) {
        echoes(&mut self.socket).await;
        until(|| tasks() <= self.tasks).await;
    }
}

async fn echoes(socket: &mut WebSocket) {
    socket.send("still here").await.unwrap();
    let message = within(socket.recv()).await.unwrap().unwrap();
    assert_eq!(message.as_text(), Some("still here"));
}

/// No message arrives, and the end is not that of a closing handshake.
pub(crate) async fn breaks(mut socket: WebSocket) {
    let ended = within(socket.recv()).await;
    assert!(ended.is_none_or(|ended| ended.is_err()));
    assert_ne!(socket.close_code().map(u16::from), Some(1000));
}

/// What became of a WebSocket that a handler accepted.
#[derive(Debug)]
enum Outcome {
    Failed(Error),
    /// It opened, and has ended.
    Ended,
}

/// Routes `/` to a handler that accepts, with a layer around it. The receiver gets the outcomes.
fn accept_under<F, Fut>(layer: F) -> (Router, mpsc::UnboundedReceiver<Outcome>)
where
    F: Fn(Request, Next) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    let (outcome, outcomes) = mpsc::unbounded_channel();
    let handler = async move |upgrade: WebSocketUpgrade| {
        let failed = outcome.clone();
        let upgrade =
            upgrade.on_failed_upgrade(move |error| drop(failed.send(Outcome::Failed(error))));
        upgrade.on_upgrade(async move |socket| {
            echo_messages(socket).await;
            let _ = outcome.send(Outcome::Ended);
        })
    };
    let route = any(handler).layer(middleware::from_fn(layer));
    (Router::new().route("/", route), outcomes)
}

/// The handler gets the same error whatever kept its WebSocket from opening.
async fn assert_failed(outcomes: &mut mpsc::UnboundedReceiver<Outcome>) {
    let outcome = within(outcomes.recv()).await;
    assert!(
        matches!(outcome, Some(Outcome::Failed(Error::Closed))),
        "{outcome:?}"
    );
}

/// As [`assert_failed`], except that hyper's server, over HTTP/1.1, passes on the connection once it
/// ends, whatever its response was.
async fn assert_not_opened(
    under: Under,
    version: HttpVersion,
    outcomes: &mut mpsc::UnboundedReceiver<Outcome>,
) {
    if (under, version) == (Under::AxumServe, HttpVersion::Http1) {
        let outcome = within(outcomes.recv()).await;
        assert!(matches!(outcome, Some(Outcome::Ended)), "{outcome:?}");
    } else {
        assert_failed(outcomes).await;
    }
}

/// By RFC 8441 §5, status 200 would open a WebSocket, which no handler holds.
#[tokio::test]
async fn success_without_an_extracted_websocket_opens_nothing() {
    for (under, version) in EVERYWHERE {
        let logs = logs();
        let app = Router::new().route("/", any(async || "a page"));
        let sibling = Sibling::start(under, version, app).await;
        match (under, version) {
            (Under::H2ws, _) => {
                assert_eq!(sibling.status("/").await, 501);
                logs.assert_warns("success but extracted no WebSocket");
            }
            (Under::AxumServe, HttpVersion::Http1) => assert_eq!(sibling.status("/").await, 200),
            (Under::AxumServe, _) => breaks(sibling.connect("/").await.unwrap()).await,
        }
        sibling.assert_works().await;
    }
}

#[tokio::test]
async fn replacing_the_accepting_response_is_reported_to_the_handler() {
    for (under, version) in EVERYWHERE {
        let (app, mut outcomes) = accept_under(async |request, next| {
            let _ = next.run(request).await;
            (StatusCode::FORBIDDEN, "replaced").into_response()
        });
        let sibling = Sibling::start(under, version, app).await;
        assert_eq!(sibling.status("/").await, 403);
        assert_not_opened(under, version, &mut outcomes).await;
        sibling.assert_works().await;
    }
}

/// Status 101 is not valid in HTTP/2, and 200 does not open a WebSocket over HTTP/1.1.
#[tokio::test]
async fn a_status_that_cannot_open_the_websocket_is_an_error() {
    for (under, version) in EVERYWHERE {
        let logs = logs();
        let (app, mut outcomes) = accept_under(async |request, next| {
            let mut response = next.run(request).await;
            *response.status_mut() = match response.status() {
                StatusCode::SWITCHING_PROTOCOLS => StatusCode::OK,
                _ => StatusCode::SWITCHING_PROTOCOLS,
            };
            response
        });
        let sibling = Sibling::start(under, version, app).await;
        match (under, version) {
            (Under::H2ws, _) => {
                assert_eq!(sibling.status("/").await, 500);
                logs.assert_warns("given a status that cannot open it");
            }
            (Under::AxumServe, HttpVersion::Http1) => assert_eq!(sibling.status("/").await, 200),
            (Under::AxumServe, _) => {
                let error = sibling.connect("/").await.unwrap_err();
                assert!(!matches!(error, Error::Timeout(_)), "{error:?}");
            }
        }
        assert_not_opened(under, version, &mut outcomes).await;
        sibling.assert_works().await;
    }
}

/// Handshake fields, lengths and transfer encodings that a layer adds do not keep the WebSocket
/// from opening.
#[tokio::test]
async fn fields_that_would_break_the_handshake_are_removed() {
    for (under, version) in EVERYWHERE {
        let (app, _outcomes) = accept_under(move |request, next: Next| async move {
            let mut response = next.run(request).await;
            let headers = response.headers_mut();
            headers.insert("transfer-encoding", "chunked".parse().unwrap());
            headers.insert("x-kept", "1".parse().unwrap());
            if under == Under::H2ws {
                headers.insert("content-length", "5".parse().unwrap());
                headers.insert("sec-websocket-protocol", "not-offered".parse().unwrap());
            } else {
                // With another length hyper resets a stream, and it passes subprotocols.
                headers.insert("content-length", "0".parse().unwrap());
            }
            response
        });
        let sibling = Sibling::start(under, version, app).await;
        let url = format!("ws://{}/", sibling.running.addr);
        let request = sibling.client.request(&url);
        let (mut socket, response) = within(request.connect_with_response()).await.unwrap();
        assert_eq!(response.headers()["x-kept"], "1");
        assert_eq!(socket.subprotocol(), None);
        echoes(&mut socket).await;
        if under == Under::H2ws {
            assert!(!response.headers().contains_key("content-length"));
        }
        drop(socket);
        sibling.assert_works().await;
    }
}

/// A handler that extracts and never answers; the first is notified when it begins, the second
/// when it is dropped.
fn never() -> (Router, Arc<Notify>, Arc<Notify>) {
    struct NotifyOnDrop(Arc<Notify>);
    impl Drop for NotifyOnDrop {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (began, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begin, notify) = (began.clone(), dropped.clone());
    let handler = async move |_upgrade: WebSocketUpgrade| {
        let _held = NotifyOnDrop(notify);
        begin.notify_one();
        std::future::pending::<()>().await;
    };
    (Router::new().route("/", any(handler)), began, dropped)
}

/// The service's future is dropped, together with everything that it holds.
#[tokio::test]
async fn a_service_that_never_responds_is_503() {
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let logs = logs();
        let (app, _, dropped) = never();
        let sibling = Sibling::impatient(version, app).await;
        assert_eq!(sibling.status("/").await, 503);
        logs.assert_warns("not answered in time");
        within(dropped.notified()).await;
        sibling.assert_works().await;
    }
}

/// When the client gives up, the service's future is dropped.
#[tokio::test]
async fn the_service_is_dropped_when_the_client_gives_up() {
    for (under, version) in EVERYWHERE {
        let (app, began, dropped) = never();
        let sibling = Sibling::start(under, version, app).await;
        tokio::select! {
            opened = sibling.connect("/") => panic!("got a response: {opened:?}"),
            () = within(began.notified()) => {}
        }
        within(dropped.notified()).await;
        sibling.assert_works().await;
    }
}

/// The WebSocket that the handler accepted does not open any more.
#[tokio::test]
async fn a_late_response_opens_nothing() {
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let logs = logs();
        let (app, mut outcomes) = accept_under(async |request, next| {
            let response = next.run(request).await;
            std::future::pending::<()>().await;
            response
        });
        let sibling = Sibling::impatient(version, app).await;
        assert_eq!(sibling.status("/").await, 503);
        logs.assert_warns("not answered in time");
        assert_failed(&mut outcomes).await;
        sibling.assert_works().await;
    }
}

/// The client resets its stream, or ends its connection, after the handler has accepted and before
/// the response is sent.
#[tokio::test]
async fn a_client_that_is_gone_when_the_response_comes_is_reported() {
    for (under, version) in EVERYWHERE {
        let (accepted, mut accepting) = mpsc::unbounded_channel();
        let (app, mut outcomes) = accept_under(move |request, next: Next| {
            let accepted = accepted.clone();
            async move {
                let response = next.run(request).await;
                let _ = accepted.send(());
                std::future::pending::<()>().await;
                response
            }
        });
        let sibling = Sibling::start(under, version, app).await;
        tokio::select! {
            opened = sibling.connect("/") => panic!("got a response: {opened:?}"),
            _ = within(accepting.recv()) => {}
        }
        assert_failed(&mut outcomes).await;
        sibling.assert_works().await;
    }
}

/// A layer such as a time limit drops the future of the service, and answers for it.
#[tokio::test]
async fn a_layer_may_drop_the_service_and_answer() {
    for (under, version) in EVERYWHERE {
        let (app, _, dropped) = never();
        let limit = Duration::from_millis(1);
        let limit = TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, limit);
        let sibling = Sibling::start(under, version, app.layer(limit)).await;
        assert_eq!(sibling.status("/").await, 408);
        within(dropped.notified()).await;
        sibling.assert_works().await;
    }
}

/// A panic ends only its own WebSocket, without a closing handshake, or only its own request.
#[tokio::test]
async fn a_panic_does_not_affect_other_websockets() {
    for (under, version) in EVERYWHERE {
        let open = any(async |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async |mut socket: WebSocket| {
                let _ = socket.recv().await;
                panic!("in the task of the WebSocket");
            })
        });
        let early = any(async |_upgrade: WebSocketUpgrade| {
            if true {
                panic!("before the response");
            }
        });
        let app = Router::new().route("/open", open).route("/early", early);
        let sibling = Sibling::start(under, version, app).await;
        let mut socket = sibling.connect("/open").await.unwrap();
        socket.send("now").await.unwrap();
        breaks(socket).await;
        match sibling.connect("/early").await.unwrap_err() {
            Error::Rejected(rejection) => assert_eq!(rejection.status, 500),
            error => assert!(!matches!(error, Error::Timeout(_)), "{error:?}"),
        }
        sibling.assert_works().await;
    }
}
