//! tokio-tungstenite over HTTP/2: the handshake and the stream are h2ws's, and the framing is
//! tungstenite's, for code that needs its `WebSocketStream`.
//!
//! Needs `tokio-tungstenite` (0.30, without default features). Run `cargo run --example
//! tungstenite`: it starts a server and a client, and prints what they say.

use futures_util::{SinkExt, StreamExt};
use h2ws::server::WebSocketRequest;
use h2ws::socket::RawStream;
use h2ws::{Client, HttpVersion, Server};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let server = Server::builder().bind("127.0.0.1:0").await?;
    let url = format!("ws://{}/", server.local_addr()?);
    tokio::spawn(server.serve(echo).into_future());

    // Without TLS there is no ALPN, so HTTP/2 has to be asked for.
    let client = Client::builder().version(HttpVersion::Http2).build()?;
    let stream = client.request(&url).connect_raw().await?;
    println!("open over {}", stream.transport());
    let mut socket = framed(stream, Role::Client).await;
    socket.send(Message::text("hello")).await?;
    if let Some(message) = socket.next().await {
        println!("{}", message?);
    }
    socket.close(None).await?;
    // Until the server's Close frame, so that everything has arrived.
    while let Some(message) = socket.next().await {
        message?;
    }
    Ok(())
}

async fn echo(request: WebSocketRequest) -> Result<(), Failure> {
    let mut socket = framed(request.accept_raw().await?, Role::Server).await;
    while let Some(message) = socket.next().await {
        match message? {
            message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await?,
            // tungstenite answers Pings and Close frames itself.
            _ => match socket.flush().await {
                Ok(()) | Err(Error::ConnectionClosed) => {}
                Err(error) => return Err(error.into()),
            },
        }
    }
    Ok(())
}

async fn framed(stream: RawStream, role: Role) -> WebSocketStream<RawStream> {
    WebSocketStream::from_raw_socket(stream, role, None).await
}
