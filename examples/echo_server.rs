//! An echo server with routing, over HTTP/2 and HTTP/1.1 on one port, which shuts down on Ctrl-C.
//!
//! Run `cargo run --example echo_server`, then
//! `h2ws connect --http2 ws://127.0.0.1:8080/echo`.

use h2ws::http::StatusCode;
use h2ws::server::WebSocketRequest;
use h2ws::{CloseCode, Error, Server};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listen = std::env::args().nth(1);
    let listen = listen.as_deref().unwrap_or("127.0.0.1:8080");
    let server = Server::builder().bind(listen).await?;
    println!("listening on ws://{}", server.local_addr()?);
    let interrupted = async {
        // If signals are not available, the server shuts down at once.
        let _ = tokio::signal::ctrl_c().await;
    };
    server
        .serve(route)
        .with_graceful_shutdown(interrupted)
        .await?;
    Ok(())
}

/// Handles one WebSocket request. The server logs an error that this returns.
async fn route(request: WebSocketRequest) -> Result<(), Error> {
    match request.path() {
        "/echo" => echo(request).await,
        "/transport" => transport(request).await,
        _ => {
            request.reject(StatusCode::NOT_FOUND);
            Ok(())
        }
    }
}

async fn echo(request: WebSocketRequest) -> Result<(), Error> {
    let mut socket = request.accept().await?;
    while let Some(message) = socket.recv().await {
        // `feed` instead of `send`: the message is flushed when there is nothing more to read, so
        // the replies to a burst of messages share HTTP/2 frames.
        socket.feed(message?).await?;
    }
    Ok(())
}

/// Sends a description of the WebSocket's transport, and closes.
async fn transport(request: WebSocketRequest) -> Result<(), Error> {
    let mut socket = request.accept().await?;
    socket.send(socket.transport().to_string()).await?;
    socket.close(CloseCode::NORMAL).await
}
