//! What a handler's error causes, and which types handlers and clients may pass.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, OnceLock};

use futures_util::StreamExt;
use h2ws::client::IntoTarget;
use h2ws::handshake::{HandshakeError, Target};
use h2ws::server::{HandlerResult, Peer, WebSocketRequest};
use h2ws::{Error, Message, Server};
use http::{Response, StatusCode, Uri};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::client::{echo, http1, http2};
use crate::support::server::{Running, echo_socket, run};
use crate::support::{until, within};

/// Collects the tracing events of this thread, one line per event.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Level, String)>>>);

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        *self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("h2ws")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = String::new();
        event.record(&mut Line(&mut line));
        let mut lines = self.0.lock().unwrap();
        lines.push((*event.metadata().level(), line));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Log {
    /// Starts collecting. One subscriber stays for the whole process, because tracing
    /// caches for each callsite whether any subscriber is interested.
    fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        static PERMANENT: OnceLock<tracing::Dispatch> = OnceLock::new();
        PERMANENT.get_or_init(|| tracing::Dispatch::new(Self::default()));
        let log = Self::default();
        let guard = tracing::subscriber::set_default(log.clone());
        (log, guard)
    }

    /// Waits for the next event that reports a handler's error, and removes it.
    async fn reported(&self) -> (Level, String) {
        let mut found = None;
        until(|| {
            let mut lines = self.0.lock().unwrap();
            let is_report = |(_, line): &(Level, String)| line.contains("handler returned");
            found = lines.iter().position(is_report).map(|at| lines.remove(at));
            found.is_some()
        })
        .await;
        found.unwrap()
    }
}

async fn serve<F>(handler: impl Fn(WebSocketRequest) -> F + Send + Sync + 'static) -> Running
where
    F: Future<Output: HandlerResult> + Send + 'static,
{
    let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
    run(server, |server, _| server.serve(handler))
}

/// Echoes, or fails in the way that the path selects.
async fn handler(mut request: WebSocketRequest) -> Result<(), Box<dyn std::error::Error>> {
    let path = request.path().to_owned();
    match path.as_str() {
        "/before" => return Err("the database is gone".into()),
        "/accept" => request.response_header("sec-websocket-accept", "mine"),
        "/header" => request.response_header("x y", "z"),
        _ => {}
    }
    let mut socket = request.accept().await?;
    if path == "/after" {
        let _ = socket.next().await;
        drop(socket);
        return Err("the database is gone".into());
    }
    match echo_socket(socket, path).await.error {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

#[tokio::test]
async fn a_handlers_error_is_logged_and_ends_only_its_own_socket() {
    let (log, _guard) = Log::start();
    let server = serve(handler).await;
    for client in [http2(), http1()] {
        let client = client.build().unwrap();
        let mut sibling = client.connect(server.url("/sibling")).await.unwrap();
        for (path, level, text) in [
            ("/before", Level::WARN, "error=the database is gone"),
            ("/after", Level::WARN, "error=the database is gone"),
            ("/accept", Level::DEBUG, "sec-websocket-accept"),
            ("/header", Level::DEBUG, "error=invalid header field: "),
        ] {
            let opened = within(client.connect(server.url(path))).await;
            assert_eq!(opened.is_ok(), path == "/after", "{path}: {opened:?}");
            if let Ok(mut socket) = opened {
                let _ = socket.send(Message::text("now")).await;
            }
            let (logged, line) = log.reported().await;
            assert_eq!(logged, level, "{line}");
            assert!(line.contains(text), "{line}");
            assert!(line.contains(&format!("path={path:?}")), "{line}");
            assert!(line.contains(" peer=127.0.0.1:"), "{line}");
        }
        drop(client.connect(server.url("/dropped")).await.unwrap());
        let (logged, line) = log.reported().await;
        assert_eq!(logged, Level::DEBUG, "caused by the peer: {line}");
        assert!(line.contains("path=\"/dropped\""), "{line}");
        echo(&mut sibling, "still here").await;
        within(sibling.close(None)).await.unwrap();
    }
}

#[tokio::test]
async fn a_handler_returns_any_error_that_can_be_displayed() {
    let (log, _guard) = Log::start();
    async fn string(_: WebSocketRequest) -> Result<(), String> {
        Err("in words".to_owned())
    }
    async fn boxed(_: WebSocketRequest) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err(Error::Closed.into())
    }
    async fn own(_: WebSocketRequest) -> Result<(), Error> {
        Err(Error::Abnormal)
    }
    let client = http2().build().unwrap();
    for (server, level) in [
        (serve(string).await, Level::WARN),
        (serve(boxed).await, Level::DEBUG),
        (serve(own).await, Level::DEBUG),
    ] {
        within(client.connect(server.url("/"))).await.unwrap_err();
        assert_eq!(log.reported().await.0, level);
    }
    let silent = serve(|request| async { drop(request.accept().await) }).await;
    within(client.connect(silent.url("/"))).await.unwrap();
}

#[tokio::test]
async fn a_url_may_be_text_a_uri_or_a_target() {
    let server = serve(handler).await;
    let url = server.url("/");
    let uri: Uri = url.parse().unwrap();
    let target: Target = url.parse().unwrap();
    async fn opens(url: impl IntoTarget) {
        let client = http2().build().unwrap();
        let mut socket = within(client.connect(url)).await.unwrap();
        echo(&mut socket, "hello").await;
        assert_eq!(client.connections().len(), 1);
    }
    opens(url.as_str()).await;
    opens(&url).await;
    opens(url.clone()).await;
    opens(&uri).await;
    opens(uri).await;
    opens(&target).await;
    opens(target).await;
    let client = http2().build().unwrap();
    for _ in 0..2 {
        let relative = client.connect(Uri::from_static("/chat")).await.unwrap_err();
        assert!(
            matches!(relative, Error::Handshake(HandshakeError::Url(_))),
            "{relative}"
        );
    }
}

#[tokio::test]
async fn a_rejection_accepts_any_body_made_of_bytes() {
    async fn reject(request: WebSocketRequest) {
        fn forbidden<B>(body: B) -> Response<B> {
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::FORBIDDEN;
            response
        }
        match request.path() {
            "/str" => request.reject_with(forbidden("no\n")),
            "/string" => request.reject_with(forbidden("no\n".to_owned())),
            _ => request.reject_with(forbidden(b"no\n".to_vec())),
        }
    }
    let server = serve(reject).await;
    for client in [http2(), http1()] {
        let client = client.build().unwrap();
        for path in ["/str", "/string", "/vec"] {
            let error = client.connect(server.url(path)).await.unwrap_err();
            let rejected = error.rejected_response().unwrap();
            assert_eq!(
                (rejected.status.as_u16(), &rejected.body[..]),
                (403, &b"no\n"[..])
            );
        }
    }
}

#[tokio::test]
async fn a_default_client_and_a_peer_can_be_constructed() {
    let server = serve(handler).await;
    let client = h2ws::Client::default();
    let mut socket = within(client.connect(server.url("/"))).await.unwrap();
    echo(&mut socket, "hello").await;
    let peer = Peer::new(([192, 0, 2, 1], 9).into(), None);
    assert_eq!(peer.addr().to_string(), "192.0.2.1:9");
    assert!(peer.tls().is_none());
}
