//! Opens a WebSocket, sends a message, prints the reply and closes.
//!
//! Run `cargo run --example client -- wss://echo.example/`. For a `ws://` URL the client uses
//! HTTP/1.1 unless it is configured otherwise.

use h2ws::{Client, CloseCode, Error};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1);
    let url = url.as_deref().unwrap_or("ws://127.0.0.1:8080/echo");

    let client = Client::builder().build()?;
    let mut socket = match client.connect(url).await {
        Ok(socket) => socket,
        Err(error) => {
            if let Some(response) = error.rejected_response() {
                println!("rejected: {} {:?}", response.status, response.body);
            }
            return Err(error);
        }
    };
    println!("open over {}", socket.transport());

    socket.send("hello").await?;
    if let Some(reply) = socket.recv().await {
        println!("{:?}", reply?);
    }
    socket.close(CloseCode::NORMAL).await?;
    // Sends the last frames before the program exits.
    client.shutdown().await;
    Ok(())
}
