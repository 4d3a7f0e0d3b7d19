//! An echo server on axum, with hyper's default settings.

use axum::Router;
use axum::extract::Request;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;

#[tokio::main]
async fn main() {
    let app = Router::new()
        .route("/", any(async || "an ordinary answer\n"))
        .route(
            "/refuse",
            any(async || (StatusCode::FORBIDDEN, "not you\n")),
        )
        .fallback(any(upgrade));
    interop_peers::listen(&["h2", "http/1.1"], move |io| {
        let app = app.clone();
        async move {
            let mut builder = Builder::new(TokioExecutor::new());
            builder.http2().enable_connect_protocol();
            let service = TowerToHyperService::new(app);
            if let Err(error) = builder
                .serve_connection_with_upgrades(TokioIo::new(io), service)
                .await
            {
                eprintln!("connection: {error:?}");
            }
        }
    })
    .await;
}

async fn upgrade(upgrade: WebSocketUpgrade, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let selected = interop_peers::subprotocol(&parts);
    let facts = interop_peers::facts(&parts, &selected);
    let size = 1 << 27;
    upgrade
        .max_message_size(size)
        .max_frame_size(size)
        .protocols((!selected.is_empty()).then_some(selected))
        .on_upgrade(|socket| async move {
            if let Err(error) = echo(socket, facts).await {
                eprintln!("socket: {error}");
            }
        })
        .into_response()
}

async fn echo(mut socket: WebSocket, facts: String) -> Result<(), axum::Error> {
    while let Some(message) = socket.recv().await {
        let message = message?;
        let reply = match &message {
            Message::Text(text) if text.as_str() == "?request" => Message::text(facts.clone()),
            Message::Text(text) if text.starts_with("?close ") => {
                let mut words = text.splitn(3, ' ').skip(1);
                let code = words
                    .next()
                    .and_then(|code| code.parse().ok())
                    .unwrap_or(1000);
                let reason = words.next().unwrap_or_default().into();
                Message::Close(Some(CloseFrame { code, reason }))
            }
            Message::Text(text) if text.as_str() == "?ping" => {
                Message::Ping("are you there".into())
            }
            Message::Pong(payload) => {
                Message::text(format!("ponged {}", String::from_utf8_lossy(payload)))
            }
            Message::Text(_) | Message::Binary(_) => message,
            Message::Ping(_) | Message::Close(_) => continue, // axum replies to these
        };
        socket.send(reply).await?;
    }
    Ok(())
}
