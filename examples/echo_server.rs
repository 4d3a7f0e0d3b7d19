//! A server that echoes, over HTTP/2 and HTTP/1.1 on one port, until Ctrl-C.
//!
//! `cargo run --example echo_server`, then
//! `h2ws connect --http2 ws://127.0.0.1:8080/`.

use futures_util::StreamExt;
use h2ws::server::WebSocketRequest;
use h2ws::{Server, WebSocket};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().bind("127.0.0.1:8080").await?;
    println!("listening on ws://{}", server.local_addr()?);
    let interrupted = async {
        // Without signals there is nothing to wait for.
        let _ = tokio::signal::ctrl_c().await;
    };
    server
        .serve(|request: WebSocketRequest| async move {
            match request.accept().await {
                Ok(mut socket) => match echo(&mut socket).await {
                    Ok(()) => println!("{}: closed", socket.transport()),
                    Err(error) => println!("{}: {error}", socket.transport()),
                },
                Err(error) => println!("not opened: {error}"),
            }
        })
        .with_graceful_shutdown(interrupted)
        .await?;
    Ok(())
}

async fn echo(socket: &mut WebSocket) -> Result<(), h2ws::Error> {
    println!("{}: open", socket.transport());
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            // Fed, not sent: it leaves when there is nothing more to read, and
            // the answers to a burst share frames of HTTP/2.
            socket.feed(message).await?;
        }
    }
    Ok(())
}
