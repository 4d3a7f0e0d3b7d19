//! A chat with rooms: axum routes the WebSockets and the page that opens them.
//!
//! The same [`app`] runs under [`h2ws::Server`], where a browser uses one HTTP/2 connection for the
//! page and all of its WebSockets, and under `axum::serve`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{Html, Response};
use axum::routing::{any, get};
use h2ws::WebSocket;
use h2ws::axum::WebSocketUpgrade;
use serde::Deserialize;
use tokio::sync::broadcast;

/// The rooms that have been entered, each with a channel to all of its guests.
#[derive(Clone, Default)]
pub struct Rooms(Arc<Mutex<HashMap<String, broadcast::Sender<String>>>>);

impl Rooms {
    fn room(&self, name: &str) -> broadcast::Sender<String> {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = rooms.entry(name.to_owned());
        room.or_insert_with(|| broadcast::Sender::new(64)).clone()
    }
}

/// The query of a guest's URL.
#[derive(Deserialize)]
pub struct Guest {
    name: String,
}

/// Returns the routes: a page, and a WebSocket for each room.
pub fn app(rooms: Rooms) -> Router {
    Router::new()
        .route("/", get(|| async { Html(include_str!("page.html")) }))
        .route("/chat/{room}", any(chat))
        .with_state(rooms)
}

async fn chat(
    Path(room): Path<String>,
    Query(guest): Query<Guest>,
    State(rooms): State<Rooms>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .max_message_size(64 * 1024)
        .on_upgrade(move |socket| converse(socket, guest.name, rooms.room(&room)))
}

/// Sends a guest's messages to everyone in the room until the guest leaves.
async fn converse(socket: WebSocket, name: String, room: broadcast::Sender<String>) {
    let (mut reader, mut writer) = socket.split();
    let mut messages = room.subscribe();
    // Sending fails if the room has no receivers, which is not an error here.
    let send = |text: String| drop(room.send(text));
    send(format!("{name} joined"));
    let write = async {
        // `recv` fails if the guest is more than 64 messages late. The guest is then disconnected.
        while let Ok(text) = messages.recv().await {
            if writer.send(text).await.is_err() {
                break;
            }
        }
    };
    let read = async {
        while let Some(Ok(message)) = reader.recv().await {
            if let Some(text) = message.as_text() {
                send(format!("{name}: {text}"));
            }
        }
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
    send(format!("{name} left"));
}
