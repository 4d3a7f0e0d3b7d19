//! An echo server on tokio-tungstenite, with a TCP connection per socket.
//!
//! `--read-buffer` replaces the default of 128 KiB; `--tls` adds TLS.

use futures_util::{SinkExt, StreamExt};
use h2ws_compare::{Error, args::Args, process, tls};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

fn main() -> Result<(), Error> {
    let args = Args::from_env(&["listen", "runtime", "read-buffer"], &["tls"])?;
    let acceptor = args.has("tls").then(tls::acceptor).transpose()?;
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
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                match acceptor {
                    None => echo(stream, config).await,
                    Some(acceptor) => echo(acceptor.accept(stream).await?, config).await,
                }
            });
        }
    })
}

async fn echo<T>(stream: T, config: WebSocketConfig) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}
