//! An echo server on axum's WebSockets over HTTP/2 (and HTTP/1.1).
//!
//! `--windows` applies the HTTP/2 settings of the tuned raw peer. The default is hyper's settings,
//! except for the limit of 200 streams, which the load exceeds. `--read-buffer` replaces
//! tungstenite's 128 KiB.

use axum::Router;
use axum::extract::WebSocketUpgrade;
use axum::extract::ws::{Message, WebSocket};
use axum::routing::any;
use h2ws_compare::mode::{CONNECTION_WINDOW, MAX_FRAME, STREAM_WINDOW};
use h2ws_compare::{Error, args::Args, process};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;

fn main() -> Result<(), Error> {
    let args = Args::from_env(&["listen", "runtime", "read-buffer"], &["windows"])?;
    let read_buffer = args.find::<usize>("read-buffer")?;
    let windows = args.has("windows");
    let listen = args.or("listen", "127.0.0.1:0".to_owned())?;
    process::runtime(&args.or("runtime", "multi".to_owned())?)?.block_on(async move {
        let upgrade = async move |mut request: WebSocketUpgrade| {
            if let Some(bytes) = read_buffer {
                request = request.read_buffer_size(bytes);
            }
            request.on_upgrade(echo)
        };
        let app = Router::new().route("/echo", any(upgrade));
        let listener = process::listen(&listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = TowerToHyperService::new(app.clone());
            tokio::spawn(async move {
                let builder = builder(windows);
                let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
                if let Err(error) = serving.await {
                    eprintln!("connection: {error}");
                }
            });
        }
    })
}

fn builder(windows: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let mut http2 = builder.http2();
    http2
        .enable_connect_protocol()
        .max_concurrent_streams(1 << 20);
    if windows {
        http2
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_stream_window_size(STREAM_WINDOW)
            .max_frame_size(MAX_FRAME);
    }
    builder
}

/// Echoes one message at a time, as axum's example does.
async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_))
            && socket.send(message).await.is_err()
        {
            return;
        }
    }
}
