//! Serves the chat: `cargo run -p h2ws-example-axum`, then in two terminals
//! `h2ws connect 'ws://127.0.0.1:8080/chat/lobby?name=ann'`, the second with another name.

use h2ws::Server;
use h2ws_example_axum::{Rooms, app};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let server = Server::builder().bind("127.0.0.1:8080").await?;
    println!("listening on http://{}", server.local_addr()?);
    server
        .serve_service(app(Rooms::default()))
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}
