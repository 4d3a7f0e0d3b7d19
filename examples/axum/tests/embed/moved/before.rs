//! Written for axum's `ws`, and uses most of it: sends a Ping and a Close frame, logs every kind of
//! message, and splits the socket.

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc::UnboundedSender;

type Log = UnboundedSender<String>;

pub(super) fn app(log: Log) -> Router {
    Router::new().route("/", any(enter)).with_state(log)
}

async fn enter(upgrade: WebSocketUpgrade, State(log): State<Log>) -> Response {
    upgrade.on_upgrade(move |socket| count(socket, log))
}

async fn count(mut socket: WebSocket, log: Log) {
    if socket.send(Message::Ping("there?".into())).await.is_err() {
        return;
    }
    let Some(Ok(first)) = socket.recv().await else {
        return;
    };
    if !write(&log, first) {
        return;
    }
    let (mut sender, mut receiver) = socket.split();
    let sending = tokio::spawn(async move {
        for n in 0..3 {
            let text = Message::Text(format!("number {n}").into());
            if sender.send(text).await.is_err() {
                return;
            }
        }
        let frame = CloseFrame {
            code: close_code::NORMAL,
            reason: "counted".into(),
        };
        let _ = sender.send(Message::Close(Some(frame))).await;
    });
    while let Some(Ok(message)) = receiver.next().await {
        if !write(&log, message) {
            break;
        }
    }
    sending.abort();
}

/// Returns whether more messages follow.
fn write(log: &Log, message: Message) -> bool {
    let (line, more) = match message {
        Message::Text(text) => (format!("text {text}"), true),
        Message::Binary(data) => (format!("{} bytes", data.len()), true),
        Message::Ping(data) => (format!("ping {data:?}"), true),
        Message::Pong(data) => (format!("pong {data:?}"), true),
        Message::Close(Some(frame)) => (format!("close {}", frame.code), false),
        Message::Close(None) => (String::from("close"), false),
    };
    log.send(line).is_ok() && more
}
