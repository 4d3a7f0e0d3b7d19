//! An h2ws server that reports to the test how its sockets ended.

use std::net::SocketAddr;
use std::pin::Pin;

use futures_util::StreamExt;
use h2ws::server::{Serve, ServerBuilder, WebSocketRequest};
use h2ws::{CloseCode, Error, Message, Server, WebSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::raw::Raw;
use super::{tasks, until, within};

/// How a socket ended, as the server's handler saw it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) path: String,
    pub(crate) error: Option<Error>,
    pub(crate) code: Option<CloseCode>,
}

/// A running server. It is aborted on drop.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    ended: mpsc::UnboundedReceiver<Ended>,
    task: JoinHandle<()>,
}

impl Running {
    /// Waits for the next socket to end.
    pub(crate) async fn ended(&mut self) -> Ended {
        within(self.ended.recv())
            .await
            .expect("the server is running")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.addr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs `server` as configured by `serve`, whose handler sends the outcome of
/// each socket to the given channel.
pub(crate) fn run(
    server: Server,
    serve: impl FnOnce(Server, mpsc::UnboundedSender<Ended>) -> Serve,
) -> Running {
    let addr = server.local_addr().unwrap();
    let (sender, ended) = mpsc::unbounded_channel();
    let serving = serve(server, sender).into_future();
    let task = tokio::spawn(async move {
        serving.await.unwrap();
    });
    Running { addr, ended, task }
}

/// Starts a server with a handler that sends the outcome of each socket to the
/// given channel.
pub(crate) async fn serve<H, F>(builder: ServerBuilder, handler: H) -> Running
where
    H: Fn(WebSocketRequest, mpsc::UnboundedSender<Ended>) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let server = builder.bind("127.0.0.1:0").await.unwrap();
    run(server, |server, ended| {
        server.serve(move |upgrade| handler(upgrade, ended.clone()))
    })
}

/// Echoes messages until the socket ends, and returns how it ended.
pub(crate) async fn echo_socket(mut ws: WebSocket, path: String) -> Ended {
    let mut error = None;
    while let Some(message) = ws.next().await {
        let sent = match message {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => ws.send(message).await,
            Ok(_) => Ok(()),
            Err(failed) => Err(failed),
        };
        if let Err(failed) = sent {
            error = Some(failed);
            break;
        }
    }
    Ended {
        path,
        error,
        code: ws.close_code(),
    }
}

/// Returns a handler that accepts every socket and echoes.
pub(crate) fn echoing(
    ended: mpsc::UnboundedSender<Ended>,
) -> impl Fn(WebSocketRequest) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    move |upgrade| {
        let ended = ended.clone();
        Box::pin(async move {
            let path = upgrade.path().to_owned();
            if let Ok(ws) = upgrade.accept().await {
                let _: Result<_, _> = ended.send(echo_socket(ws, path).await);
            }
        })
    }
}

/// Starts an echo server.
pub(crate) async fn echo(builder: ServerBuilder) -> Running {
    serve(builder, |upgrade, ended| echoing(ended)(upgrade)).await
}

/// A hand-written HTTP/2 client connected to an h2ws server.
///
/// A healthy sibling socket is open on stream 1 of their connection, at the
/// path `/sibling`, where the server's handler must echo. The test opens stream
/// 3 through `peer`, does to it whatever it wants to test, and ends with
/// [`unharmed`](Self::unharmed).
pub(crate) struct ServerFixture {
    pub(crate) server: Running,
    pub(crate) peer: Raw,
    /// Number of tasks before the connection was opened.
    idle: usize,
    /// Number of tasks with the connection and the sibling open.
    with_sibling: usize,
}

impl ServerFixture {
    /// Starts an echo server with its defaults.
    pub(crate) async fn new() -> Self {
        Self::with(Server::builder()).await
    }

    /// Starts an echo server with this configuration.
    pub(crate) async fn with(builder: ServerBuilder) -> Self {
        Self::on(echo(builder).await).await
    }

    /// Connects to a server of the caller's and opens the sibling.
    pub(crate) async fn on(server: Running) -> Self {
        tokio::task::yield_now().await;
        let idle = tasks();
        let mut peer = Raw::connect(server.addr).await;
        peer.open(1, "/sibling").await;
        peer.echo(1, "before").await;
        Self {
            server,
            peer,
            idle,
            with_sibling: tasks(),
        }
    }

    /// Ends the test: asserts that the sibling still echoes and closes cleanly,
    /// that every task of the other streams has ended, and, once the connection
    /// is closed, that every task of the connection has ended.
    pub(crate) async fn unharmed(mut self) {
        self.peer.echo(1, "after").await;
        until(|| tasks() <= self.with_sibling).await;
        self.peer.close(1).await;
        drop(self.peer);
        until(|| tasks() <= self.idle).await;
        while let Ok(ended) = self.server.ended.try_recv() {
            if ended.path == "/sibling" {
                assert!(ended.error.is_none(), "{ended:?}");
                assert_eq!(ended.code, Some(CloseCode::NORMAL));
                return;
            }
        }
        panic!("the sibling's handler did not see its end");
    }
}
