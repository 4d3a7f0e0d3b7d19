//! A reverse proxy with its own access rule: it puts HTTP/2 in front of a server that supports only
//! RFC 6455, rejects WebSockets without the right token, and logs a line when a WebSocket ends.
//!
//! Run `cargo run --example bridge -- ws://127.0.0.1:9000`, with any WebSocket server there, then
//! `h2ws connect --http2 'ws://127.0.0.1:8080/?token=sesame'`. `h2ws bridge` is a
//! program of this kind with TLS, routes and metrics.

use std::sync::Arc;

use h2ws::Server;
use h2ws::bridge::{AccessRecord, Bridge, BridgeObserver};
use h2ws::http::StatusCode;
use h2ws::server::WebSocketRequest;

struct AccessLog;

impl BridgeObserver for AccessLog {
    fn on_websocket_end(&self, access: &AccessRecord) {
        let how = access.closed().map_or("", |closed| closed.how());
        let upstream = access.upstream().unwrap_or("no upstream");
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
    let mut args = std::env::args().skip(1);
    let upstream = args.next();
    let upstream = upstream.ok_or("expected an upstream such as ws://127.0.0.1:9000")?;
    let bridge = Bridge::to(&upstream).build()?;
    bridge.observe(Arc::new(AccessLog));
    let forward = bridge.handler();
    let listen = args.next();
    let listen = listen.as_deref().unwrap_or("127.0.0.1:8080");
    let server = Server::builder().bind(listen).await?;
    println!("listening on ws://{}", server.local_addr()?);
    let report = server
        .serve(move |request: WebSocketRequest| {
            let forward = forward.clone();
            async move {
                if !is_allowed(&request) {
                    return request.reject(StatusCode::FORBIDDEN);
                }
                forward(request).await;
            }
        })
        // Pages are open to all; `h2ws::guide::access_control` has a rule for both.
        .fallback(bridge.service())
        .with_graceful_shutdown(async {
            // If signals are not available, the server shuts down at once.
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    // Waits until the WebSockets that ended with the shutdown have been logged.
    bridge.idle().await;
    println!("{report:?}");
    Ok(())
}

/// The access rule. It sees the whole request, and could also query a database.
fn is_allowed(request: &WebSocketRequest) -> bool {
    request.query_value("token").as_deref() == Some("sesame")
}
