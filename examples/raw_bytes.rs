//! An HTTP/2 stream without WebSocket frames, for protocols with their own framing. Here the
//! protocol consists of lines, which the server sends back in upper case.
//!
//! Run `cargo run --example raw_bytes`.

use h2ws::server::WebSocketRequest;
use h2ws::{Client, HttpVersion, Server};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let server = Server::builder().bind("127.0.0.1:0").await?;
    let url = format!("ws://{}/", server.local_addr()?);
    tokio::spawn(server.serve(shout).into_future());

    let client = Client::builder().version(HttpVersion::Http2).build()?;
    let mut stream = client.request(&url).connect_raw().await?;
    println!("open over {}", stream.transport());
    stream.write_all(b"hello\nworld\n").await?;
    // Ends the client's direction. The server's stays open until it has replied.
    stream.shutdown().await?;
    let mut lines = stream.lines();
    while let Some(line) = lines.next_line().await? {
        println!("{line}");
    }
    Ok(())
}

async fn shout(request: WebSocketRequest) -> Result<(), Failure> {
    let mut stream = request.accept_raw().await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        stream.write_all(line.to_uppercase().as_bytes()).await?;
        line.clear();
    }
    Ok(())
}
