//! A chat with rooms: WebSockets routed by axum, beside the page that opens them.
//!
//! The same [`app`] runs under [`h2ws::Server`], where browsers share one HTTP/2
//! connection among the page and all its WebSockets, and under `axum::serve`.

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

/// The rooms that somebody has entered, each with a channel to everybody in it.
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

/// The routes: a page, and a WebSocket for each room.
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
        .on_upgrade(move |socket| talk(socket, guest.name, rooms.room(&room)))
}

/// Passes what a guest says to everybody in the room, until the guest leaves.
async fn talk(socket: WebSocket, name: String, room: broadcast::Sender<String>) {
    let (mut reader, mut writer) = socket.split();
    let mut heard = room.subscribe();
    // Nobody may be listening yet, or any more: that is no failure.
    let say = |text: String| drop(room.send(text));
    say(format!("{name} joined"));
    let hear = async {
        // A guest that falls 64 messages behind leaves.
        while let Ok(text) = heard.recv().await {
            if writer.send(text).await.is_err() {
                break;
            }
        }
    };
    let speak = async {
        while let Some(Ok(message)) = reader.recv().await {
            if let Some(text) = message.as_text() {
                say(format!("{name}: {text}"));
            }
        }
    };
    tokio::select! {
        () = hear => {}
        () = speak => {}
    }
    say(format!("{name} left"));
}
