//! A node: a server of WebSockets, a hub, and a link to the engine.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2ws::http::{Request, Response, StatusCode};
use h2ws::server::{Body, WebSocketRequest};
use h2ws::{Error, Limits, Server, WebSocketConfig};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tower_service::Service;

use crate::engine::Address;
use crate::hub::{Command, Hub};
use crate::link::{Link, Wanted};
use crate::{Counters, NodeId};

/// A topic's name in a URL has at most so many bytes.
const MAX_TOPIC: usize = 200;

/// The settings of a node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Publications that wait for the engine, at most. Further ones are dropped and counted.
    pub queue: usize,
    /// The largest message, in bytes.
    pub max_message_size: usize,
    /// How often presence is announced. A node that is not heard of for three times as long has
    /// left.
    pub presence_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queue: 1024,
            max_message_size: 64 * 1024,
            presence_interval: Duration::from_secs(10),
        }
    }
}

/// A node that listens.
pub struct Node {
    server: Server,
    link: Link,
    hub: Hub,
    commands: (mpsc::Sender<Command>, mpsc::Receiver<Command>),
    inbox: mpsc::Receiver<crate::engine::Publication>,
    counters: Arc<Counters>,
}

impl Node {
    /// Binds the address. The engine need not be reachable yet.
    ///
    /// # Errors
    ///
    /// If the address cannot be bound.
    pub async fn bind(listen: &str, engine: Address, config: Config) -> io::Result<Self> {
        let limits = Limits::default().max_message_size(config.max_message_size);
        let socket = WebSocketConfig::default().limits(limits);
        let server = Server::builder().socket(socket).bind(listen).await?;
        let id = NodeId(RandomState::new().hash_one(server.local_addr()?));
        let counters = Arc::new(Counters::default());
        let wanted = Arc::new(Wanted::default());
        let (publications, queue) = mpsc::channel(config.queue);
        let (received, inbox) = mpsc::channel(1024);
        let link = Link {
            address: engine,
            queue,
            wanted: wanted.clone(),
            inbox: received,
            counters: counters.clone(),
        };
        let every = config.presence_interval;
        let hub = Hub::new(id, every, publications, wanted, counters.clone());
        Ok(Self {
            server,
            link,
            hub,
            commands: mpsc::channel(1024),
            inbox,
            counters,
        })
    }

    /// Returns the address.
    ///
    /// # Errors
    ///
    /// If the listener has none.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.server.local_addr()
    }

    /// Returns the node's counters, which are also the page `/metrics`.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Serves until `shutdown` completes. If the future is dropped, everything ends at once.
    ///
    /// # Errors
    ///
    /// If the server fails.
    pub async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let (sender, receiver) = self.commands;
        let handler = move |request| handle(request, sender.clone());
        let serving = self
            .server
            .serve(handler)
            .fallback(Metrics(self.counters))
            .with_graceful_shutdown(shutdown);
        // Ends the tasks when this future completes or is dropped.
        let mut tasks = JoinSet::new();
        tasks.spawn(self.hub.run(receiver, self.inbox));
        tasks.spawn(self.link.run());
        serving.await.map(drop)
    }
}

/// Subscribes a WebSocket to the topic in its path, under the name in its query, and publishes its
/// messages there. The message `?who` is answered with all names.
async fn handle(request: WebSocketRequest, hub: mpsc::Sender<Command>) -> Result<(), Error> {
    let topic: Arc<str> = request.path().trim_start_matches('/').into();
    if topic.is_empty() || topic.len() > MAX_TOPIC {
        request.reject(StatusCode::NOT_FOUND);
        return Ok(());
    }
    let name = request.query().unwrap_or("somebody").to_owned();
    let (mut reader, writer) = request.accept().await?.split();
    let (joined, member) = oneshot::channel();
    let join = Command::Join {
        topic,
        name,
        writer,
        joined,
    };
    // Sending fails if the hub has ended, with the node.
    let _ = hub.send(join).await;
    let Ok(member) = member.await else {
        return Ok(());
    };
    let ended = loop {
        let command = match reader.recv().await {
            Some(Ok(message)) if message.as_text() == Some("?who") => Command::WhoIsPresent(member),
            Some(Ok(message)) => Command::Publish(member, message),
            Some(Err(error)) => break Err(error),
            None => break Ok(()),
        };
        if hub.send(command).await.is_err() {
            break Ok(());
        }
    };
    let _ = hub.send(Command::Leave(member)).await;
    ended
}

/// Answers plain HTTP requests.
#[derive(Clone)]
struct Metrics(Arc<Counters>);

impl Service<Request<Body>> for Metrics {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut response = Response::new(String::new());
        match request.uri().path() {
            "/metrics" => *response.body_mut() = self.0.render(),
            _ => *response.status_mut() = StatusCode::NOT_FOUND,
        }
        ready(Ok(response))
    }
}
