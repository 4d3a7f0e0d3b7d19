//! Metrics: an implementation of `Metrics` counts what a server does, and `Client::connections`
//! what a client's connections have carried.
//!
//! `cargo run --example metrics`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use h2ws::metrics::{ConnectionInfo, Metrics, SocketEnd, SocketTraffic};
use h2ws::server::WebSocketRequest;
use h2ws::{Client, CloseCode, Error, HttpVersion, Server};

#[derive(Debug, Default)]
struct Counters {
    opened: AtomicU64,
    closed: AtomicU64,
    failed: AtomicU64,
    messages: AtomicU64,
}

/// These are called by the tasks that move bytes, so they only add.
impl Metrics for Counters {
    fn socket_opened(&self, _: &ConnectionInfo) {
        self.opened.fetch_add(1, Relaxed);
    }

    fn socket_closed(&self, _: &ConnectionInfo, end: SocketEnd) {
        match end {
            SocketEnd::Closed(_) => self.closed.fetch_add(1, Relaxed),
            _ => self.failed.fetch_add(1, Relaxed),
        };
    }

    /// Called once per second and at the end, not for each message.
    fn socket_traffic(&self, _: &ConnectionInfo, traffic: &SocketTraffic) {
        self.messages.fetch_add(traffic.messages_received, Relaxed);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let counters = Arc::new(Counters::default());
    let builder = Server::builder().metrics(counters.clone());
    let server = builder.bind("127.0.0.1:0").await?;
    let url = format!("ws://{}/", server.local_addr()?);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = server.serve(echo).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let serving = tokio::spawn(serving.into_future());

    let client = Client::builder().version(HttpVersion::Http2).build()?;
    for number in 0..3 {
        let mut socket = client.connect(&url).await?;
        socket.send(format!("message {number}")).await?;
        socket.recv().await.ok_or("closed early")??;
        socket.close(CloseCode::NORMAL).await?;
    }
    for connection in client.connections() {
        let (sent, received) = (connection.bytes_sent, connection.bytes_received);
        let streams = connection.streams_opened;
        println!("client: {streams} WebSockets, {sent} bytes sent, {received} received");
    }
    drop(stop);
    serving.await??;
    println!("server: {counters:?}");
    Ok(())
}

async fn echo(request: WebSocketRequest) -> Result<(), Error> {
    let mut socket = request.accept().await?;
    while let Some(message) = socket.recv().await {
        socket.feed(message?).await?;
    }
    Ok(())
}
