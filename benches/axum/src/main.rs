//! An echo application in axum: `h2ws-bench-axum SERVER EXTRACTOR`, each `axum` or `h2ws`.

use axum::Router;
use axum::extract::ws;
use axum::response::Response;
use axum::routing::any;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [server, extractor] = args.as_slice() else {
        return Err("expected SERVER EXTRACTOR, each axum or h2ws".into());
    };
    let route = match extractor.as_str() {
        "axum" => any(axums),
        "h2ws" => any(ours),
        _ => return Err(format!("unknown extractor {extractor}").into()),
    };
    let app = Router::new().route("/echo", route);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on ws://{}/echo", listener.local_addr()?);
    match server.as_str() {
        "axum" => {
            use axum::serve::ListenerExt;
            // As h2ws does, so that neither waits for acknowledgments.
            let listener = listener.tap_io(|tcp| drop(tcp.set_nodelay(true)));
            axum::serve(listener, app).await?;
        }
        "h2ws" => {
            // Without the limit for one client, which opens a connection per socket over HTTP/1.1.
            let builder = h2ws::Server::builder().max_connections_per_client(None);
            builder.listener(listener)?.serve_service(app).await?;
        }
        _ => return Err(format!("unknown server {server}").into()),
    }
    Ok(())
}

async fn axums(upgrade: ws::WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            // axum passes control frames to the application.
            let data = matches!(message, ws::Message::Text(_) | ws::Message::Binary(_));
            if data && socket.send(message).await.is_err() {
                break;
            }
        }
    })
}

async fn ours(upgrade: h2ws::axum::WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    })
}
