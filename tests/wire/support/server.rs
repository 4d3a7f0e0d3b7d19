//! A server of ours, with what its handlers saw.

use std::net::SocketAddr;
use std::pin::Pin;

use futures_util::StreamExt;
use h2ws::server::{Serve, ServerBuilder, WebSocketRequest};
use h2ws::{CloseCode, Error, Message, Server, WebSocket};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::raw::Raw;
use super::{tasks, until, within};

/// How a socket ended for the server's application.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) path: String,
    pub(crate) error: Option<Error>,
    pub(crate) code: Option<CloseCode>,
}

pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    ended: mpsc::UnboundedReceiver<Ended>,
    task: JoinHandle<()>,
}

impl Running {
    /// How the next socket ended.
    pub(crate) async fn ended(&mut self) -> Ended {
        within(self.ended.recv()).await.expect("the server runs")
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

/// Runs what `serve` makes of a server.
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

/// Serves with a handler that gets a channel for its outcomes.
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

/// Echoes until the socket ends.
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

/// A handler that echoes.
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

/// An echo server.
pub(crate) async fn echo(builder: ServerBuilder) -> Running {
    serve(builder, |upgrade, ended| echoing(ended)(upgrade)).await
}

/// A raw client's connection to an echo server with a socket open on stream
/// 1, which has to live through whatever happens on stream 3.
pub(crate) struct ServerFixture {
    pub(crate) server: Running,
    pub(crate) peer: Raw,
    idle: usize,
    with_sibling: usize,
}

impl ServerFixture {
    pub(crate) async fn new() -> Self {
        Self::with(Server::builder()).await
    }

    pub(crate) async fn with(builder: ServerBuilder) -> Self {
        Self::on(echo(builder).await).await
    }

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

    /// The sibling still works, and nothing is left of the other stream, nor,
    /// once it is closed, of the connection.
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
