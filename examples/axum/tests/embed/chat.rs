//! The example's chat: a WebSocket route that also uses axum's extractors.

use futures_util::StreamExt;
use h2ws::{CloseCode, Message, WebSocket};
use h2ws_example_axum::{Rooms, app};

use crate::support::{EVERYWHERE, Running, within};

async fn assert_next(socket: &mut WebSocket, text: &str) {
    let message = within(socket.next()).await.unwrap().unwrap();
    assert_eq!(message.as_text(), Some(text));
}

/// `Path`, `Query` and `State` work for a WebSocket as for any other request.
#[tokio::test]
async fn a_message_reaches_every_guest_of_its_room() {
    for (under, version) in EVERYWHERE {
        let running = Running::start(under, app(Rooms::default())).await;
        let mut ann = running
            .connect("/chat/one?name=ann", version)
            .await
            .unwrap();
        assert_next(&mut ann, "ann joined").await;
        let mut ben = running
            .connect("/chat/one?name=ben", version)
            .await
            .unwrap();
        let mut other = running
            .connect("/chat/two?name=other", version)
            .await
            .unwrap();
        assert_next(&mut ben, "ben joined").await;
        assert_next(&mut ann, "ben joined").await;
        ben.send(Message::text("hello")).await.unwrap();
        assert_next(&mut ann, "ben: hello").await;
        assert_next(&mut ben, "ben: hello").await;
        within(ben.close(CloseCode::NORMAL)).await.unwrap();
        assert_next(&mut ann, "ben left").await;
        assert_next(&mut other, "other joined").await;
        within(ann.close(CloseCode::NORMAL)).await.unwrap();
    }
}

/// If an extractor fails, the client gets axum's rejection with its body.
#[tokio::test]
async fn a_request_that_an_extractor_rejects_is_not_opened() {
    for (under, version) in EVERYWHERE {
        let running = Running::start(under, app(Rooms::default())).await;
        let (status, body) = running.rejection("/chat/one", version).await;
        assert_eq!(status, 400, "{under:?} {version:?}");
        assert!(body.contains("missing field `name`"), "{body}");
        let (status, _) = running.rejection("/nowhere", version).await;
        assert_eq!(status, 404, "{under:?} {version:?}");
    }
}
