//! WebSockets that reconnect, over both versions of HTTP. The servers are in memory, so that
//! tokio's paused clock shows each delay.

mod attempts;
mod delivery;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use h2ws::client::{
    AttemptFailed, DisconnectCause, Disconnected, ReconnectEvent, ReconnectingBuilder,
    ReconnectingWebSocket,
};
use h2ws::frame::SendError;
use h2ws::memory::{self, MemoryConnector};
use h2ws::server::WebSocketRequest;
use h2ws::{Client, CloseCode, CloseFrame, Error, Message, Server, Timeout, WebSocket};
use http::{Response, StatusCode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::client::{http1, http2};

const URL: &str = "ws://app.example/";
/// Longer than any delay. The clock is paused, so nothing waits for it in vain.
const LONG: Duration = Duration::from_secs(1_000_000);
const MIN: Duration = Duration::from_secs(1);

/// A server that can be stopped and started, and hands every request to the test.
struct Site {
    connector: Arc<Mutex<Option<MemoryConnector>>>,
    dials: Arc<Mutex<u32>>,
    requests: mpsc::UnboundedReceiver<WebSocketRequest>,
    sender: mpsc::UnboundedSender<WebSocketRequest>,
    server: Option<JoinHandle<()>>,
}

impl Site {
    fn new() -> Self {
        let (sender, requests) = mpsc::unbounded_channel();
        let mut site = Self {
            connector: Arc::default(),
            dials: Arc::default(),
            requests,
            sender,
            server: None,
        };
        site.start();
        site
    }

    fn start(&mut self) {
        let (listener, connector) = memory::pair();
        *self.connector.lock().unwrap() = Some(connector);
        let sender = self.sender.clone();
        let server = Server::builder().listener(listener).unwrap();
        let serving = server.serve(move |request| {
            let _: Result<_, _> = sender.send(request);
            std::future::ready(())
        });
        self.server = Some(tokio::spawn(async move {
            let _: Result<_, _> = serving.await;
        }));
    }

    /// Cuts all connections, and refuses others.
    fn stop(&mut self) {
        *self.connector.lock().unwrap() = None;
        self.server.take().unwrap().abort();
    }

    /// A client of each version.
    fn clients(&self) -> [Client; 2] {
        [http1(), http2()].map(|builder| {
            let (connector, dials) = (self.connector.clone(), self.dials.clone());
            let builder = builder.connector(move |_| {
                *dials.lock().unwrap() += 1;
                let connector = connector.lock().unwrap().clone();
                async move {
                    match connector {
                        Some(connector) => connector.connect().await,
                        None => Err(io::ErrorKind::ConnectionRefused.into()),
                    }
                }
            });
            builder.build().unwrap()
        })
    }

    async fn accept(&mut self) -> WebSocket {
        let request = within(self.requests.recv()).await.unwrap();
        within(request.accept()).await.unwrap()
    }

    async fn reject(&mut self, status: u16, retry_after: Option<&str>) {
        let mut response = Response::new("");
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(value) = retry_after {
            let value = value.parse().unwrap();
            response.headers_mut().insert("retry-after", value);
        }
        within(self.requests.recv())
            .await
            .unwrap()
            .reject_with(response);
    }
}

#[track_caller]
fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        let done = tokio::time::timeout(LONG, future).await;
        done.unwrap_or_else(|_| panic!("hangs at {caller}"))
    }
}

fn builder(client: &Client) -> ReconnectingBuilder {
    client.request(URL).reconnecting()
}

/// Opens a WebSocket, and returns both ends.
async fn open(site: &mut Site, builder: ReconnectingBuilder) -> (ReconnectingWebSocket, WebSocket) {
    let (socket, peer) = tokio::join!(builder.connect(), site.accept());
    let mut socket = socket.unwrap();
    connected(&mut socket).await;
    (socket, peer)
}

async fn event(socket: &mut ReconnectingWebSocket) -> ReconnectEvent {
    within(socket.recv()).await.expect("not over").unwrap()
}

async fn connected(socket: &mut ReconnectingWebSocket) {
    let event = event(socket).await;
    assert!(matches!(event, ReconnectEvent::Connected), "{event:?}");
    assert!(socket.is_connected());
}

async fn disconnected(socket: &mut ReconnectingWebSocket) -> Disconnected {
    match event(socket).await {
        ReconnectEvent::Disconnected(lost) => lost,
        other => panic!("{other:?}"),
    }
}

async fn attempt_failed(socket: &mut ReconnectingWebSocket) -> AttemptFailed {
    match event(socket).await {
        ReconnectEvent::AttemptFailed(failed) => failed,
        other => panic!("{other:?}"),
    }
}

async fn receives(socket: &mut ReconnectingWebSocket, text: &str) {
    let message = event(socket).await.into_message();
    assert_eq!(message, Some(Message::text(text)));
}

/// Reconnects, with the server's part of it.
async fn reconnects(socket: &mut ReconnectingWebSocket, site: &mut Site) -> WebSocket {
    let ((), peer) = tokio::join!(connected(socket), site.accept());
    peer
}
