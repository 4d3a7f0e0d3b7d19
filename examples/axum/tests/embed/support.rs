//! Runs a router under each server, and connects clients with each version of HTTP.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::Router;
use h2ws::{Client, Error, HttpVersion, Server, WebSocket};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The servers that a router runs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Under {
    H2ws,
    AxumServe,
}

/// Every server with every version of HTTP.
pub(crate) const EVERYWHERE: [(Under, HttpVersion); 4] = [
    (Under::H2ws, HttpVersion::Http1),
    (Under::H2ws, HttpVersion::Http2),
    (Under::AxumServe, HttpVersion::Http1),
    (Under::AxumServe, HttpVersion::Http2),
];

pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    pub(crate) async fn start(under: Under, app: Router) -> Self {
        match under {
            Under::H2ws => {
                let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
                Self::serve(server, app)
            }
            Under::AxumServe => {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let addr = listener.local_addr().unwrap();
                let task = tokio::spawn(async move {
                    axum::serve(listener, app).await.unwrap();
                });
                Self { addr, task }
            }
        }
    }

    /// As [`start`](Self::start), with `ConnectInfo` among the extensions of requests.
    pub(crate) async fn with_connect_info(under: Under, app: Router) -> Self {
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            match under {
                Under::H2ws => {
                    let server = Server::builder().listener(listener).unwrap();
                    server.serve_make_service(app).await.unwrap();
                }
                Under::AxumServe => axum::serve(listener, app).await.unwrap(),
            }
        });
        Self { addr, task }
    }

    pub(crate) fn serve(server: Server, app: Router) -> Self {
        let addr = server.local_addr().unwrap();
        let task = tokio::spawn(async move {
            server.serve_service(app).await.unwrap();
        });
        Self { addr, task }
    }

    pub(crate) async fn connect(
        &self,
        path: &str,
        version: HttpVersion,
    ) -> Result<WebSocket, Error> {
        let client = Client::builder().version(version).build()?;
        within(client.connect(&format!("ws://{}{path}", self.addr))).await
    }

    /// Opens a WebSocket that the server must reject, and returns the response's status and body.
    pub(crate) async fn rejection(&self, path: &str, version: HttpVersion) -> (u16, String) {
        match self.connect(path, version).await {
            Err(Error::Rejected(rejection)) => {
                let body = String::from_utf8_lossy(&rejection.body).into_owned();
                (rejection.status.as_u16(), body)
            }
            other => panic!("expected a rejection: {other:?}"),
        }
    }
}

/// Awaits the future for at most 30 seconds, and panics if it has not completed by then.
#[track_caller]
pub(crate) fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(Duration::from_secs(30), future).await {
            Ok(output) => output,
            Err(_) => panic!("timed out at {caller}"),
        }
    }
}

/// Waits until the condition holds.
#[track_caller]
pub(crate) fn until(mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    within(async move {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
}

/// Number of tasks of this test that have not ended.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

/// Collects the log lines of this thread, which is all of a test, from level warn on.
pub(crate) fn logs() -> Logs {
    // `tracing` caches whether a subscriber is interested in a line. With none installed at the
    // wrong moment, the line would be off in all tests.
    static PERMANENT: OnceLock<tracing::Dispatch> = OnceLock::new();
    PERMANENT.get_or_init(|| tracing::Dispatch::new(Lines::default()));
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    Logs { lines, _guard }
}

pub(crate) struct Logs {
    lines: Lines,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Logs {
    #[track_caller]
    pub(crate) fn assert_warns(&self, text: &str) {
        let lines = self.lines.0.lock().unwrap();
        assert!(lines.iter().any(|line| line.contains(text)), "{lines:?}");
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push(message.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
