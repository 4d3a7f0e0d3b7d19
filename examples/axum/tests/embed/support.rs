//! Runs a router under each server, and connects clients with each version of HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use h2ws::{Client, Error, HttpVersion, Server, WebSocket};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

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
