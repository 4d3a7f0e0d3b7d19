//! Messages compressed with permessage-deflate (RFC 7692): a server that accepts the extension, a
//! client that offers it, and how many bytes it saves.
//!
//! ```text
//! cargo run --example compression
//! ```

use std::error::Error;

use h2ws::handshake::DeflateConfig;
use h2ws::server::WebSocketRequest;
use h2ws::{Client, HttpVersion, Message, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // One call on each side. Without context takeover an idle socket keeps no compression window,
    // which costs slightly more bytes on the wire and saves much memory.
    let config = DeflateConfig::default().no_context_takeover();
    let server = Server::builder().deflate(config);
    let server = server.bind("127.0.0.1:0").await?;
    let url = format!("ws://{}/", server.local_addr()?);
    tokio::spawn(server.serve(echo).into_future());

    for deflate in [None, Some(config)] {
        let client = Client::builder().deflate(deflate).build()?;
        let request = client.request(&url).version(HttpVersion::Http2);
        let mut socket = request.connect().await?;
        let message = Message::text(r#"{"user":"ada","online":true},"#.repeat(100));
        for _ in 0..10 {
            socket.send(message.clone()).await?;
            let echoed = socket.recv().await.ok_or("closed early")??;
            assert_eq!(echoed, message);
        }
        let sent: u64 = client.connections().iter().map(|c| c.bytes_sent).sum();
        let how = match socket.deflate() {
            Some(_) => "compressed",
            None => "uncompressed",
        };
        let size = message.len();
        println!("10 messages of {size} bytes, {how}: {sent} bytes sent");
        socket.close(None).await?;
    }
    Ok(())
}

async fn echo(request: WebSocketRequest) -> Result<(), h2ws::Error> {
    let mut socket = request.accept().await?;
    while let Some(message) = socket.recv().await {
        socket.send(message?).await?;
    }
    Ok(())
}
