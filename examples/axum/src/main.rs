//! Serves the chat: `cargo run -p h2ws-example-axum`, then in two terminals
//! `h2ws connect 'ws://127.0.0.1:8080/chat/lobby?name=ann'`, the second with another name.
//!
//! With the arguments `LISTEN CERT KEY` it serves over TLS, which browsers need for HTTP/2.

use h2ws::Server;
use h2ws::tls::{Certificates, ClientAuth, Identity, server_config};
use h2ws_example_axum::{Rooms, app};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let mut builder = Server::builder();
    let listen = match args.as_slice() {
        [] => "127.0.0.1:8080",
        [listen, cert, key] => {
            let identity = Identity::from_pem(&std::fs::read(cert)?, &std::fs::read(key)?)?;
            let certificates = Certificates::new(identity)?;
            builder = builder.tls(server_config(certificates, ClientAuth::None)?);
            listen
        }
        _ => return Err("expected no arguments, or LISTEN CERT KEY".into()),
    };
    let server = builder.bind(listen).await?;
    println!("listening on {}", server.local_addr()?);
    server
        .serve_service(app(Rooms::default()))
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}
