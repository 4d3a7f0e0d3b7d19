//! The methods of a WebSocket and of its halves, over HTTP/1.1 and HTTP/2.

use futures_util::future::FutureExt;
use futures_util::stream::FusedStream;
use futures_util::{SinkExt, StreamExt};
use h2ws::client::ClientBuilder;
use h2ws::frame::SendError;
use h2ws::{CloseCode, CloseFrame, Error, Message, Server, WebSocket, WebSocketConfig};
use tokio::sync::mpsc;

use crate::support::client::{http1, http2};
use crate::support::server::{self, Running};
use crate::support::within;

const VERSIONS: [fn() -> ClientBuilder; 2] = [http1, http2];

/// Starts a server that echoes messages, and closes with 4000 on receiving "close".
async fn server() -> Running {
    let config = WebSocketConfig::default().control_messages(true);
    server::serve(Server::builder().socket(config), |request, _| async move {
        let mut ws = request.accept().await.unwrap();
        while let Some(Ok(message)) = ws.recv().await {
            let sent = match &message {
                Message::Close(_) => break,
                Message::Ping(payload) => ws.send(Message::pong(format!("saw {payload:?}"))).await,
                _ if message.as_text() == Some("close") => {
                    ws.close(CloseFrame::new(CloseCode::from(4000), "as asked"))
                        .await
                }
                _ => ws.feed(message).await,
            };
            sent.unwrap();
        }
    })
    .await
}

async fn open(
    server: &Running,
    version: fn() -> ClientBuilder,
    config: WebSocketConfig,
) -> WebSocket {
    let client = version().socket(config).build().unwrap();
    within(client.connect(&server.url("/"))).await.unwrap()
}

/// Every type that converts into a message, with every method that sends.
#[tokio::test]
async fn messages_are_sent_and_received_without_a_futures_crate() {
    let server = server().await;
    for version in VERSIONS {
        let mut ws = open(&server, version, WebSocketConfig::default()).await;
        let borrowed = "borrowed".to_owned();
        within(ws.send("text")).await.unwrap();
        within(ws.feed(borrowed.as_str())).await.unwrap();
        within(ws.feed(&borrowed)).await.unwrap();
        within(ws.feed(b"bytes")).await.unwrap();
        within(ws.flush()).await.unwrap();
        within(ws.send(vec![7; 100_000])).await.unwrap();
        let expected = ["text", "borrowed", "borrowed"].map(Message::text);
        for expected in expected
            .into_iter()
            .chain([Message::binary("bytes"), Message::binary(vec![7; 100_000])])
        {
            assert_eq!(within(ws.recv()).await.unwrap().unwrap(), expected);
        }

        let (mut reader, mut writer) = ws.split();
        within(writer.feed("half")).await.unwrap();
        within(writer.flush()).await.unwrap();
        within(writer.send(borrowed)).await.unwrap();
        for expected in ["half", "borrowed"] {
            let message = within(reader.recv()).await.unwrap().unwrap();
            assert_eq!(message.into_text().unwrap(), expected);
        }
        within(writer.close(CloseCode::NORMAL)).await.unwrap();
        assert!(within(reader.recv()).await.is_none());
        assert_eq!(reader.close_frame(), Some(CloseCode::NORMAL.into()));
    }
}

/// Dropping a future of `recv` loses no message.
#[tokio::test]
async fn receiving_is_cancel_safe() {
    let server = server().await;
    for version in VERSIONS {
        let mut ws = open(&server, version, WebSocketConfig::default()).await;
        for n in 0..100 {
            assert!(ws.recv().now_or_never().is_none());
            within(ws.send(format!("{n}"))).await.unwrap();
            let message = loop {
                if let Some(message) = ws.recv().now_or_never() {
                    break message;
                }
                tokio::task::yield_now().await;
            };
            assert_eq!(message.unwrap().unwrap(), Message::text(format!("{n}")));
        }
    }
}

/// RFC 6455 §5.5: an application receives control frames only if it asks for them.
#[tokio::test]
async fn pings_and_pongs_are_received_only_on_request() {
    let server = server().await;
    for version in VERSIONS {
        for shown in [false, true] {
            let config = WebSocketConfig::default().control_messages(shown);
            let mut ws = open(&server, version, config).await;
            within(ws.send(Message::ping("here?"))).await.unwrap();
            within(ws.send("after")).await.unwrap();
            let mut got = Vec::new();
            while !got.contains(&Message::text("after")) {
                got.push(within(ws.recv()).await.unwrap().unwrap());
            }
            let pongs = [Message::pong("here?"), Message::pong("saw b\"here?\"")];
            let seen = pongs.iter().filter(|pong| got.contains(pong)).count();
            assert_eq!((seen, got.len()), if shown { (2, 3) } else { (0, 1) });
        }
    }
}

/// The Close frame as the last message, and `send` of one: on both ends, and on halves as well.
#[tokio::test]
async fn the_close_frame_is_received_and_sent_as_a_message_on_request() {
    let (seen_tx, mut seen_rx) = mpsc::unbounded_channel();
    let config = WebSocketConfig::default().control_messages(true);
    let server = server::serve(
        Server::builder().socket(config.clone()),
        move |request, _| {
            let seen_tx = seen_tx.clone();
            async move {
                let answers = request.path() == "/";
                let mut ws = request.accept().await.unwrap();
                while let Some(Ok(message)) = ws.recv().await {
                    // It has been answered already.
                    if answers && message.is_close() {
                        assert!(is_closed(&ws.send(message.clone()).await));
                        assert!(is_closed(&ws.feed(message.clone()).await));
                    }
                    seen_tx.send(message).unwrap();
                }
            }
        },
    )
    .await;
    let frames = [
        None,
        Some(CloseFrame::new(CloseCode::from(4000), "enough")),
        Some(CloseFrame::from(CloseCode::NORMAL)),
    ];
    for version in VERSIONS {
        for (frame, shown) in frames
            .iter()
            .flat_map(|frame| [(frame, true), (frame, false)])
        {
            let message = Message::Close(frame.clone());
            let config = config.clone().control_messages(shown);
            let code = frame.as_ref().map(|frame| frame.code);
            let echoed = Message::Close(code.map(CloseFrame::from));

            let mut ws = open(&server, version, config.clone()).await;
            within(ws.send("first")).await.unwrap();
            within(ws.send(message.clone())).await.unwrap();
            assert!(is_closed(&within(ws.send("late")).await));
            assert!(is_closed(&within(ws.send(message.clone())).await));
            let received: Vec<_> = within(ws.by_ref().map(Result::unwrap).collect()).await;
            assert_eq!(received, if shown { vec![echoed.clone()] } else { vec![] });
            assert!(ws.is_terminated());

            let (mut reader, mut writer) = open(&server, version, config).await.split();
            within(SinkExt::send(&mut writer, "first".into()))
                .await
                .unwrap();
            within(SinkExt::send(&mut writer, message.clone()))
                .await
                .unwrap();
            assert!(is_closed(&within(writer.send(message.clone())).await));
            let received: Vec<_> = within(reader.by_ref().map(Result::unwrap).collect()).await;
            assert_eq!(received, if shown { vec![echoed] } else { vec![] });

            for expected in [Message::text("first"), message.clone()]
                .iter()
                .cycle()
                .take(4)
            {
                assert_eq!(within(seen_rx.recv()).await.as_ref(), Some(expected));
            }
        }
    }
}

fn is_closed<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Closed))
}

/// Every method returns the same error, both while waiting for the peer's Close frame and after the
/// socket has ended.
#[tokio::test]
async fn sending_after_the_close_frame_fails_with_closed() {
    let server = server().await;
    for version in VERSIONS {
        let ws = open(&server, version, WebSocketConfig::default()).await;
        let (mut reader, mut writer) = ws.split();
        within(writer.close(None)).await.unwrap();
        for ended in [false, true] {
            if ended {
                assert!(within(reader.recv()).await.is_none());
                assert!(is_closed(&within(writer.flush()).await));
            }
            assert!(is_closed(&within(writer.send("late")).await));
            assert!(is_closed(&within(writer.feed("late")).await));
            let late = h2ws::frame::PreparedMessage::new("late").unwrap();
            assert!(is_closed(&within(writer.send_prepared(&late)).await));
            within(writer.close(None)).await.expect("closed once more");
        }

        let mut ws = open(&server, version, WebSocketConfig::default()).await;
        assert_eq!(ws.close_frame(), None);
        within(ws.send("close")).await.unwrap();
        assert!(!ws.is_terminated());
        assert!(within(ws.recv()).await.is_none());
        assert!(ws.is_terminated());
        assert_eq!(ws.close_frame().unwrap().to_string(), "4000: as asked");
        assert!(is_closed(&within(ws.send("late")).await));
        assert!(is_closed(&within(ws.feed("late")).await));
        assert!(is_closed(&within(ws.flush()).await));
        within(ws.close(None)).await.expect("closed already");
        assert!(within(ws.recv()).await.is_none());
        assert!(within(ws.next()).await.is_none());
    }
}

/// An invalid message is rejected with its own error, and the socket stays usable.
#[tokio::test]
async fn a_message_that_cannot_be_sent_leaves_the_socket_open() {
    let server = server().await;
    for version in VERSIONS {
        let mut ws = open(&server, version, WebSocketConfig::default()).await;
        let long = within(ws.send(Message::ping(vec![0; 126]))).await;
        assert!(matches!(long, Err(Error::Send(SendError::ControlTooLong))));
        let invalid = [
            CloseFrame::from(CloseCode::ABNORMAL),
            CloseFrame::new(CloseCode::NORMAL, "a".repeat(124)),
        ];
        for frame in invalid {
            let sent = within(ws.send(Message::Close(Some(frame)))).await;
            assert!(matches!(
                sent,
                Err(Error::Send(SendError::InvalidCloseFrame))
            ));
        }
        within(ws.send("still open")).await.unwrap();
        let echo = within(ws.recv()).await.unwrap().unwrap();
        assert_eq!(echo.as_text(), Some("still open"));
    }
}
