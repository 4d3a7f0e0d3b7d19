//! Programs written for axum's `ws`, moved to h2ws as `h2ws::guide::migrating` describes.

mod after;
mod before;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use h2ws::axum::WebSocketUpgrade;
use h2ws::{CloseCode, HttpVersion, Message, WebSocket};
use tokio::sync::{broadcast, mpsc};

use crate::support::{EVERYWHERE, Running, Under, within};

/// The same handlers with one import or the other.
macro_rules! handlers {
    ($module:ident, $import:item) => {
        mod $module {
            use axum::Router;
            use axum::response::Response;
            use axum::routing::any;
            $import

            pub(super) fn app() -> Router {
                Router::new().route("/", any(echo))
            }

            async fn echo(mut upgrade: WebSocketUpgrade) -> Response {
                let offered = upgrade.requested_protocols().count();
                assert_eq!(offered, 1);
                upgrade = upgrade.protocols(["chat"]);
                assert!(upgrade.selected_protocol().is_some());
                upgrade
                    .max_frame_size(1000)
                    .max_message_size(1000)
                    .on_failed_upgrade(|error| println!("{error}"))
                    .on_upgrade(|mut socket| async move {
                        while let Some(Ok(message)) = socket.recv().await {
                            if socket.send(message).await.is_err() {
                                break;
                            }
                        }
                    })
            }
        }
    };
}

handlers!(import_before, use axum::extract::ws::WebSocketUpgrade;);
handlers!(import_after, use h2ws::axum::WebSocketUpgrade;);

/// With the extractor alone, one import is all that differs.
#[tokio::test]
async fn an_echo_that_uses_the_extractor_moves_by_one_import() {
    for (under, version) in EVERYWHERE {
        let mut apps = vec![(true, import_after::app())];
        // axum's own takes no WebSockets from another server's HTTP/2.
        if under == Under::AxumServe {
            apps.push((false, import_before::app()));
        }
        for (moved, app) in apps {
            let running = Running::start(under, app).await;
            let client = h2ws::Client::builder().version(version).build().unwrap();
            let url = format!("ws://{}/", running.addr);
            let request = client.request(&url).subprotocol("chat");
            let mut socket = within(request.connect()).await.unwrap();
            assert_eq!(socket.subprotocol(), Some("chat"));
            within(socket.send("hello")).await.unwrap();
            let message = within(socket.recv()).await.unwrap().unwrap();
            assert_eq!(message.as_text(), Some("hello"));
            let closed = within(socket.close(CloseCode::NORMAL)).await;
            // axum's hands the Close frame to this handler, which fails to send it back.
            assert!(closed.is_ok() || !moved, "{under:?} {version:?} {closed:?}");
        }
    }
}

/// A chat in the shape of axum's example: a socket that is split between two tasks by the traits of
/// futures. Comments show the lines that were other ones.
mod chat {
    use super::*;

    pub(super) type Room = broadcast::Sender<String>;

    pub(super) fn app() -> Router {
        let room = Room::new(100);
        Router::new().route("/", any(enter)).with_state(room)
    }

    async fn enter(upgrade: WebSocketUpgrade, State(room): State<Room>) -> Response {
        upgrade.on_upgrade(|socket| converse(socket, room))
    }

    async fn converse(socket: WebSocket, room: Room) {
        // let (mut sender, mut receiver) = socket.split();
        let (mut receiver, mut sender) = socket.split();
        let Some(Ok(first)) = StreamExt::next(&mut receiver).await else {
            return;
        };
        // let Message::Text(name) = first else {
        let Some(name) = first.into_text() else {
            return;
        };
        let mut messages = room.subscribe();
        let _ = room.send(format!("{name} joined."));
        let mut sending = tokio::spawn(async move {
            while let Ok(text) = messages.recv().await {
                // let message = Message::Text(text.into());
                let message = Message::text(text);
                if SinkExt::send(&mut sender, message).await.is_err() {
                    break;
                }
            }
        });
        let (said, from) = (room.clone(), name.clone());
        let mut receiving = tokio::spawn(async move {
            while let Some(Ok(message)) = StreamExt::next(&mut receiver).await {
                // if let Message::Text(text) = message {
                if let Some(text) = message.as_text() {
                    let _ = said.send(format!("{from}: {text}"));
                }
            }
        });
        tokio::select! {
            _ = &mut sending => receiving.abort(),
            _ = &mut receiving => sending.abort(),
        }
        let _ = room.send(format!("{name} left."));
    }
}

#[tokio::test]
async fn a_chat_that_splits_its_sockets_moves_by_a_few_lines() {
    async fn assert_next(socket: &mut WebSocket, text: &str) {
        let message = within(socket.recv()).await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some(text));
    }
    for (under, version) in EVERYWHERE {
        let running = Running::start(under, chat::app()).await;
        let enter = async |name: &str| {
            let mut socket = running.connect("/", version).await.unwrap();
            within(socket.send(name)).await.unwrap();
            socket
        };
        let mut ann = enter("ann").await;
        assert_next(&mut ann, "ann joined.").await;
        let mut ben = enter("ben").await;
        for guest in [&mut ann, &mut ben] {
            assert_next(guest, "ben joined.").await;
        }
        within(ben.send("hello")).await.unwrap();
        for guest in [&mut ann, &mut ben] {
            assert_next(guest, "ben: hello").await;
        }
        within(ben.close(CloseCode::NORMAL)).await.unwrap();
        assert_next(&mut ann, "ben left.").await;
    }
}

/// Both programs log the same and send the same; and the second, which shows every kind of message,
/// differs by few lines.
#[tokio::test]
async fn a_program_that_logs_control_frames_moves_by_fewer_than_thirty_lines() {
    let before = include_str!("moved/before.rs");
    let after = include_str!("moved/after.rs");
    let lines = differing_lines(before, after);
    assert!((1..30).contains(&lines), "{lines} lines");

    let (log_tx, mut log_rx) = mpsc::unbounded_channel();
    let mut programs = vec![(
        Under::AxumServe,
        HttpVersion::Http1,
        before::app(log_tx.clone()),
    )];
    programs
        .extend(EVERYWHERE.map(|(under, version)| (under, version, after::app(log_tx.clone()))));
    for (under, version, app) in programs {
        let running = Running::start(under, app).await;
        let mut socket = running.connect("/", version).await.unwrap();
        // Nothing is read before all is sent, so the Pong comes last.
        within(socket.send("hello")).await.unwrap();
        within(socket.send(vec![1, 2, 3])).await.unwrap();
        within(socket.send(Message::ping("and you?")))
            .await
            .unwrap();
        for n in 0..3 {
            let message = within(socket.recv()).await.unwrap().unwrap();
            assert_eq!(message, Message::text(format!("number {n}")));
        }
        assert!(within(socket.recv()).await.is_none());
        let frame = socket.close_frame().unwrap();
        assert_eq!(frame.to_string(), "1000: counted");
        let expected = [
            "text hello",
            "3 bytes",
            "ping b\"and you?\"",
            "pong b\"there?\"",
            "close 1000",
        ];
        for line in expected {
            let logged = within(log_rx.recv()).await.unwrap();
            assert_eq!(logged, line, "{under:?} {version:?}");
        }
    }
}

/// Returns how many lines `diff` prints: those of either text without the longest common
/// subsequence.
fn differing_lines(before: &str, after: &str) -> usize {
    let after: Vec<_> = after.lines().collect();
    // The lengths of the common subsequences of what is read so far and each start of `after`.
    let mut lengths = vec![0; after.len() + 1];
    let mut count = 0;
    for line in before.lines() {
        let mut diagonal = 0;
        for (n, other) in after.iter().enumerate() {
            let above = lengths[n + 1];
            lengths[n + 1] = if line == *other {
                diagonal + 1
            } else {
                above.max(lengths[n])
            };
            diagonal = above;
        }
        count += 1;
    }
    count + after.len() - 2 * lengths[after.len()]
}

#[test]
fn differing_lines_are_those_of_both_sides() {
    let table = [
        ("", "", 0),
        ("a\nb\nc", "a\nb\nc", 0),
        ("a\nb\nc", "a\nx\nc", 2),
        ("a\nb", "b\na", 2),
        ("a", "a\nb\nc", 2),
        ("a\nb\nc\nd", "b\nd\ne", 3),
    ];
    for (before, after, lines) in table {
        assert_eq!(
            differing_lines(before, after),
            lines,
            "{before:?} {after:?}"
        );
    }
}
