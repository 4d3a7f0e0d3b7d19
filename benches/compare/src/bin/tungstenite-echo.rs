//! Echo on tokio-tungstenite, a TCP connection per socket.

use futures_util::{SinkExt, StreamExt};
use h2ws_compare::{Error, args::Args, process};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite;

fn main() -> Result<(), Error> {
    let args = Args::from_env(&["listen", "runtime"], &[])?;
    let listen = args.or("listen", "127.0.0.1:0".to_owned())?;
    process::runtime(&args.or("runtime", "multi".to_owned())?)?.block_on(async move {
        let listener = process::listen(&listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let _ = echo(stream).await;
            });
        }
    })
}

async fn echo(stream: TcpStream) -> Result<(), tungstenite::Error> {
    let mut socket = tokio_tungstenite::accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}
