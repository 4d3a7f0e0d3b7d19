//! Graceful shutdown: the server stops accepting, closes the WebSockets with 1001, so that
//! clients reconnect elsewhere, and cuts what has not closed after a time.
//!
//! Run `cargo run --example graceful_shutdown`, then
//! `h2ws connect --http2 ws://127.0.0.1:8080/`, and press Ctrl-C here. Another address may be the
//! argument.

use std::time::Duration;

use h2ws::server::WebSocketRequest;
use h2ws::{Error, Server};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listen = std::env::args().nth(1);
    let listen = listen.as_deref().unwrap_or("127.0.0.1:8080");
    let server = Server::builder().bind(listen).await?;
    println!("listening on ws://{}", server.local_addr()?);
    let report = server
        .serve(echo)
        .with_graceful_shutdown(stopped())
        .drain_timeout(Duration::from_secs(10))
        .await?;
    println!("cut: {} WebSockets", report.sockets_cut);
    Ok(())
}

async fn echo(request: WebSocketRequest) -> Result<(), Error> {
    let mut socket = request.accept().await?;
    // Ends after the shutdown, when the client has answered the Close frame.
    while let Some(message) = socket.recv().await {
        socket.feed(message?).await?;
    }
    println!("a WebSocket has closed");
    Ok(())
}

/// Completes on Ctrl-C, and on SIGTERM, by which a service manager stops a service.
async fn stopped() {
    #[cfg(unix)]
    if let Ok(mut terminate) =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
    {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        return;
    }
    let _ = tokio::signal::ctrl_c().await;
}
