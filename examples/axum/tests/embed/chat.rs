//! The example: extractors of axum beside the WebSocket's.

use futures_util::StreamExt;
use h2ws::{CloseCode, Message, WebSocket};
use h2ws_example_axum::{Rooms, app};

use crate::support::{EVERYWHERE, Running, within};

async fn hears(socket: &mut WebSocket, text: &str) {
    let message = within(socket.next()).await.unwrap().unwrap();
    assert_eq!(message.as_text(), Some(text));
}

/// `Path`, `Query` and `State` apply to a WebSocket as to any request.
#[tokio::test]
async fn guests_of_a_room_hear_each_other() {
    for (under, version) in EVERYWHERE {
        let running = Running::start(under, app(Rooms::default())).await;
        let mut ann = running
            .connect("/chat/one?name=ann", version)
            .await
            .unwrap();
        hears(&mut ann, "ann joined").await;
        let mut ben = running
            .connect("/chat/one?name=ben", version)
            .await
            .unwrap();
        let mut other = running
            .connect("/chat/two?name=other", version)
            .await
            .unwrap();
        hears(&mut ben, "ben joined").await;
        hears(&mut ann, "ben joined").await;
        ben.send(Message::text("hello")).await.unwrap();
        hears(&mut ann, "ben: hello").await;
        hears(&mut ben, "ben: hello").await;
        within(ben.close(CloseCode::NORMAL)).await.unwrap();
        hears(&mut ann, "ben left").await;
        hears(&mut other, "other joined").await;
        within(ann.close(CloseCode::NORMAL)).await.unwrap();
    }
}

/// A query that does not fit the extractor is axum's refusal, with its body.
#[tokio::test]
async fn a_request_that_does_not_fit_an_extractor_is_refused_by_axum() {
    for (under, version) in EVERYWHERE {
        let running = Running::start(under, app(Rooms::default())).await;
        let (status, body) = running.refusal("/chat/one", version).await;
        assert_eq!(status, 400, "{under:?} {version:?}");
        assert!(body.contains("missing field `name`"), "{body}");
        let (status, _) = running.refusal("/nowhere", version).await;
        assert_eq!(status, 404, "{under:?} {version:?}");
    }
}
