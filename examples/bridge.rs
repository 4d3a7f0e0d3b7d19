//! HTTP/2 in front of a server that knows RFC 6455 alone: its sockets and its
//! pages, with a line for each socket at its end.
//!
//! `cargo run --example bridge -- ws://127.0.0.1:9000`, with any WebSocket
//! server there, then `h2ws connect --http2 ws://127.0.0.1:8080/`.
//! `h2ws bridge` is a program of this kind, with TLS, routes and figures.

use std::sync::Arc;

use h2ws::Server;
use h2ws::bridge::{AccessRecord, Bridge, BridgeObserver};

struct Lines;

impl BridgeObserver for Lines {
    fn on_websocket_end(&self, access: &AccessRecord) {
        let how = access.closed().map_or("", |closed| closed.how());
        let upstream = access.upstream().unwrap_or("nobody");
        let (up, down) = (access.bytes_up(), access.bytes_down());
        println!(
            "{} to {upstream}: {how}, {up} bytes up, {down} down, {:?}",
            access.peer(),
            access.elapsed(),
        );
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let upstream = std::env::args().nth(1);
    let upstream = upstream.ok_or("which server? such as ws://127.0.0.1:9000")?;
    let bridge = Bridge::to(&upstream).build()?;
    bridge.observe(Arc::new(Lines));
    let server = Server::builder().bind("127.0.0.1:8080").await?;
    println!("listening on ws://{}", server.local_addr()?);
    let drained = server
        .serve(bridge.handler())
        .fallback(bridge.service())
        .with_graceful_shutdown(async {
            // Without signals there is nothing to wait for.
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    // The last lines of sockets that ended with the drain.
    bridge.idle().await;
    println!("{drained:?}");
    Ok(())
}
