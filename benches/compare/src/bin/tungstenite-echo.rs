//! Echo on tokio-tungstenite, a TCP connection per socket.
//!
//! `--read-buffer` replaces its 128 KiB.

use futures_util::{SinkExt, StreamExt};
use h2ws_compare::{Error, args::Args, process};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, protocol::WebSocketConfig};

fn main() -> Result<(), Error> {
    let args = Args::from_env(&["listen", "runtime", "read-buffer"], &[])?;
    let read_buffer = args.find::<usize>("read-buffer")?;
    let listen = args.or("listen", "127.0.0.1:0".to_owned())?;
    let mut config = WebSocketConfig::default();
    if let Some(bytes) = read_buffer {
        config = config.read_buffer_size(bytes);
    }
    process::runtime(&args.or("runtime", "multi".to_owned())?)?.block_on(async move {
        let listener = process::listen(&listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let _ = echo(stream, config).await;
            });
        }
    })
}

async fn echo(stream: TcpStream, config: WebSocketConfig) -> Result<(), tungstenite::Error> {
    let mut socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}
