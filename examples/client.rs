//! Opens a socket, says something, prints the answer and closes.
//!
//! `cargo run --example client -- wss://echo.example/`; `ws://` URLs are
//! spoken to in HTTP/1.1 unless the client is told otherwise.

use futures_util::StreamExt;
use h2ws::{Client, CloseCode, Error, Message};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1);
    let url = url.as_deref().unwrap_or("ws://127.0.0.1:8080/");

    let client = Client::new();
    let mut socket = match client.connect(url).await {
        Ok(socket) => socket,
        Err(error) => {
            if let Some(refusal) = error.rejected_response() {
                println!("refused: {} {:?}", refusal.status, refusal.body);
            }
            return Err(error);
        }
    };
    println!("open over {}", socket.transport());

    socket.send(Message::text("hello")).await?;
    if let Some(answer) = socket.next().await {
        println!("{:?}", answer?);
    }
    socket.close(CloseCode::NORMAL).await?;
    // The last frames are still on their way.
    client.shutdown().await;
    Ok(())
}
