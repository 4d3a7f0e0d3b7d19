//! A thousand WebSockets over one TCP connection, as the connection's counters show. Client and
//! server run in one process, without TLS.
//!
//! `cargo run --release --example many_sockets`

use h2ws::server::WebSocketRequest;
use h2ws::{Client, CloseCode, Error, HttpVersion, Server};
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().bind("127.0.0.1:0").await?;
    let url = format!("ws://{}/", server.local_addr()?);
    tokio::spawn(server.serve(echo).into_future());

    // Without TLS there is no ALPN, so the client uses HTTP/2 with prior knowledge.
    let client = Client::builder().version(HttpVersion::Http2).build()?;
    let mut sockets = JoinSet::new();
    for n in 0..1000 {
        sockets.spawn(converse(client.clone(), url.clone(), n));
    }
    while let Some(done) = sockets.join_next().await {
        done??;
    }
    for connection in client.connections() {
        println!(
            "connection {}: {} WebSockets, {} DATA frames out, {} in",
            connection.connection,
            connection.streams_opened,
            connection.data_frames_sent,
            connection.data_frames_received
        );
    }
    Ok(())
}

async fn converse(client: Client, url: String, n: u32) -> Result<(), Error> {
    let mut socket = client.connect(&url).await?;
    let message = format!("I am number {n}");
    socket.send(&message).await?;
    let reply = socket.recv().await.ok_or(Error::Closed)??;
    assert_eq!(reply.as_text(), Some(message.as_str()));
    socket.close(CloseCode::NORMAL).await
}

async fn echo(request: WebSocketRequest) -> Result<(), Error> {
    let mut socket = request.accept().await?;
    while let Some(message) = socket.recv().await {
        socket.feed(message?).await?;
    }
    Ok(())
}
