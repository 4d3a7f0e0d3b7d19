//! An `h2ws::Server` that echoes and executes commands (see [`interop_driver::echo`]):
//! `interop-server --cleartext`, or `interop-server CERT KEY`.
//!
//! The first line of stdout is the address that it listens on, as for `h2ws serve`.

use std::path::Path;

use h2ws::{Server, WebSocketConfig};
use interop_driver::{Failure, echo, identity};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (builder, scheme) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--cleartext"] => (Server::builder(), "ws"),
        [cert, key] => {
            let tls = identity(Path::new(cert), Path::new(key))?;
            (Server::builder().tls(tls), "wss")
        }
        _ => return Err("expected --cleartext or CERT KEY".into()),
    };
    // The command "?ping" waits for the peer's Pong.
    let socket = WebSocketConfig::default().control_messages(true);
    let server = builder.socket(socket).bind("127.0.0.1:0").await?;
    println!("listening on {scheme}://{}", server.local_addr()?);
    server
        .serve(|request| async move {
            if let Err(error) = echo::handle(request).await {
                eprintln!("{error}");
            }
        })
        .fallback(echo::Page)
        .await?;
    Ok(())
}
