//! Early messages (`RequestBuilder::early_message`), which follow the request before its
//! answer has arrived.

use futures_util::StreamExt;
use h2ws::handshake::DeflateConfig;
use h2ws::{Client, CloseCode, Error, Http2Config, Message, Server, WebSocket};
use http::StatusCode;
use tokio::io::AsyncWriteExt;

use crate::client::http1::{head, switching};
use crate::support::client::{
    ClientFixture, accept, echo, http1, http2, listen, no_stream_is_left,
};
use crate::support::frames::{self, BINARY, Parser, TEXT};
use crate::support::h2peer::EchoServer;
use crate::support::raw::{
    CANCEL, Fields, INITIAL_WINDOW_SIZE, NO_ERROR, REFUSED_STREAM, Raw, Seen, WINDOW_UPDATE,
};
use crate::support::{server, within};

/// Opens a socket with two early messages.
async fn connect(client: &Client, url: &str) -> Result<WebSocket, Error> {
    let request = client
        .request(url)
        .early_message("first")
        .early_message(vec![7; 3]);
    request.connect().await
}

/// Expects both early messages, masked as a client's frames are.
async fn expect_both(peer: &mut Raw, stream: u32) {
    let (first, second) = (peer.frame(stream).await, peer.frame(stream).await);
    assert_eq!(
        (first.head, &first.payload[..]),
        (0x80 | TEXT, &b"first"[..])
    );
    assert_eq!(
        (second.head, &second.payload[..]),
        (0x80 | BINARY, &[7; 3][..])
    );
    assert!(first.masked && second.masked);
}

/// They save a round trip: the server has them while the request is still unanswered.
#[tokio::test]
async fn early_messages_are_sent_before_the_answer() {
    let mut fixture = ClientFixture::new().await;
    let peer = &mut fixture.peer;
    let (ws, ()) = tokio::join!(connect(&fixture.client, &fixture.url), async {
        peer.request(3).await;
        expect_both(peer, 3).await;
        peer.headers(3, &Fields::status("200"), 0).await;
    });
    let mut ws = ws.unwrap();
    tokio::join!(peer.answer(3), echo(&mut ws, "third"));
    let (closed, ()) = tokio::join!(ws.close(None), peer.answer_close(3));
    closed.unwrap();
    fixture.unharmed().await;
}

/// RFC 6455 §4.1: without early messages, the client sends nothing before the answer.
#[tokio::test]
async fn nothing_is_sent_before_the_answer_by_default() {
    let mut fixture = ClientFixture::new().await;
    let peer = &mut fixture.peer;
    let (ws, ()) = tokio::join!(fixture.client.connect(&fixture.url), async {
        peer.request(3).await;
        peer.barrier().await;
        assert_eq!(peer.pending(), 0);
        peer.headers(3, &Fields::status("200"), 0).await;
    });
    drop(ws.unwrap());
    fixture.peer.let_go(3).await;
    fixture.unharmed().await;
}

/// A rejection returns the early messages to the caller, together with the whole
/// response, even if the peer's window let none of them leave.
#[tokio::test]
async fn a_rejection_returns_early_messages() {
    for window in [65_535, 0] {
        let (listener, addr) = listen().await;
        let client = http2().build().unwrap();
        let url = format!("ws://{addr}/");
        let (rejected, mut peer) = tokio::join!(connect(&client, &url), async {
            let mut peer = accept(&listener, &[(INITIAL_WINDOW_SIZE, window)]).await;
            peer.request(1).await;
            if window > 0 {
                expect_both(&mut peer, 1).await;
            }
            peer.headers(1, &Fields::status("403"), 0).await;
            peer.data(1, b"not you").await;
            peer.end(1).await;
            peer
        });
        let Err(Error::Rejected(rejection)) = rejected else {
            panic!("{rejected:?}");
        };
        assert_eq!(rejection.status, StatusCode::FORBIDDEN);
        assert_eq!(&rejection.body[..], b"not you");
        let expected = [Message::text("first"), Message::binary(vec![7; 3])];
        assert_eq!(rejection.early_messages, expected);
        assert_eq!(peer.seen(1).await, Seen::Reset(CANCEL));
        no_stream_is_left(&client).await;
        // The connection is still usable.
        let (ws, ()) = tokio::join!(client.connect(&url), peer.take(3));
        let mut ws = ws.unwrap();
        peer.window(3, 1000).await;
        tokio::join!(peer.answer(3), echo(&mut ws, "still here"));
    }
}

/// RFC 9113 §6.9.2: the client sends no more than the peer's window allows, and
/// everything in the end.
#[tokio::test]
async fn early_messages_respect_the_peers_window() {
    let (listener, addr) = listen().await;
    let client = http2().build().unwrap();
    let url = format!("ws://{addr}/");
    let (ws, mut peer) = tokio::join!(connect(&client, &url), async {
        let mut peer = accept(&listener, &[(INITIAL_WINDOW_SIZE, 0)]).await;
        peer.request(1).await;
        peer.barrier().await;
        assert_eq!(peer.pending(), 0, "bytes without a window");
        // The answer may arrive first: the early messages still follow the request.
        peer.headers(1, &Fields::status("200"), 0).await;
        peer
    });
    let mut ws = ws.unwrap();
    peer.window(1, 5).await;
    peer.barrier().await;
    peer.window(1, 1000).await;
    expect_both(&mut peer, 1).await;
    tokio::join!(peer.answer(1), echo(&mut ws, "third"));
}

/// RFC 9113 §8.7: a request that was not processed is retried with its early messages,
/// which reach the application once.
#[tokio::test]
async fn a_retried_request_repeats_its_early_messages() {
    let mut fixture = ClientFixture::new().await;
    let peer = &mut fixture.peer;
    let (ws, mut second) = tokio::join!(connect(&fixture.client, &fixture.url), async {
        peer.request(3).await;
        expect_both(peer, 3).await;
        peer.reset(3, REFUSED_STREAM).await;
        peer.request(5).await;
        expect_both(peer, 5).await;
        peer.goaway(1, NO_ERROR).await;
        let mut second = accept(&fixture.listener, &[]).await;
        second.take(1).await;
        expect_both(&mut second, 1).await;
        second
    });
    let mut ws = ws.unwrap();
    tokio::join!(
        second.answer(1),
        echo(&mut ws, "third, and nothing between")
    );
    assert_eq!(
        fixture
            .client
            .connections()
            .iter()
            .map(|c| c.streams_open)
            .max(),
        Some(1)
    );
}

/// Cancelling a call resets its stream and discards unsent bytes.
#[tokio::test]
async fn a_cancelled_call_resets_its_stream() {
    for answer in [false, true] {
        let mut fixture = ClientFixture::new().await;
        let peer = &mut fixture.peer;
        tokio::select! {
            _ = connect(&fixture.client, &fixture.url) => {}
            () = async {
                peer.request(3).await;
                expect_both(peer, 3).await;
                if answer {
                    peer.headers(3, &Fields::status("200"), 0).await;
                }
            } => {}
        }
        assert_eq!(fixture.peer.seen(3).await, Seen::Reset(CANCEL));
        fixture.unharmed().await;
    }
}

/// RFC 9931: over HTTP/1.1 nothing follows the request before the 101.
#[tokio::test]
async fn over_http1_early_messages_wait_for_the_answer() {
    let (listener, addr) = listen().await;
    let client = http1().build().unwrap();
    let url = format!("ws://{addr}/");
    let (ws, got) = tokio::join!(connect(&client, &url), async {
        let mut io = within(listener.accept()).await.unwrap().0;
        let head = head(&mut io).await;
        // Long enough for a client that does not wait to send something.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let mut early = [0; 1];
        assert!(io.try_read(&mut early).is_err(), "bytes before the answer");
        let answer = format!("{}\r\n", switching(&head));
        io.write_all(answer.as_bytes()).await.unwrap();
        let mut parser = Parser::default();
        let mut got = Vec::new();
        while got.len() < 2 {
            let mut bytes = [0; 100];
            within(io.readable()).await.unwrap();
            if let Ok(n) = io.try_read(&mut bytes) {
                parser.push(&bytes[..n]);
            }
            got.extend(std::iter::from_fn(|| parser.pop()));
        }
        (io, got)
    });
    ws.unwrap();
    let (_io, got) = got;
    let got: Vec<_> = got.iter().map(|f| (f.head, &f.payload[..])).collect();
    assert_eq!(got, [(0x81, &b"first"[..]), (0x82, &[7; 3][..])]);
}

/// A rejection over HTTP/1.1 returns the early messages as well.
#[tokio::test]
async fn a_rejection_over_http1_returns_early_messages() {
    let builder = Server::builder();
    let server = server::serve(builder, |upgrade, _| async move {
        upgrade.reject(StatusCode::UNAUTHORIZED);
    })
    .await;
    let client = http1().build().unwrap();
    let rejected = within(connect(&client, &server.url("/")))
        .await
        .unwrap_err();
    assert_eq!(
        rejected
            .rejected_response()
            .expect("a rejection")
            .early_messages
            .len(),
        2
    );
}

/// RFC 7692 §6: no extension is agreed on yet, so early messages are not compressed.
/// Later messages are.
#[tokio::test]
async fn early_messages_are_never_compressed() {
    let (listener, addr) = listen().await;
    let client = http2().deflate(DeflateConfig::default()).build().unwrap();
    let url = format!("ws://{addr}/");
    let text = "row, row, row your boat, ".repeat(10);
    let request = client.request(&url).early_message(text.clone());
    let (ws, mut peer) = tokio::join!(request.connect(), async {
        let mut peer = accept(&listener, &[]).await;
        peer.request(1).await;
        let early = peer.frame(1).await;
        assert_eq!(
            (early.head, early.payload),
            (0x81, text.clone().into_bytes())
        );
        let deflate = Fields::status("200").with("sec-websocket-extensions", "permessage-deflate");
        peer.headers(1, &deflate, 0).await;
        peer
    });
    let mut ws = ws.unwrap();
    let message = h2ws::Message::text(text);
    within(futures_util::SinkExt::send(&mut ws, message))
        .await
        .unwrap();
    let later = peer.frame(1).await;
    assert_eq!(later.head, 0xc1, "RSV1 marks a compressed message");
    assert!(later.payload.len() < 100);
}

/// A thousand early messages at once count against the peer's budget of short frames like
/// other messages (with its defaults, the `h2` crate closes a connection for 139 of
/// them).
#[tokio::test]
async fn a_thousand_early_messages_stay_within_the_peers_budget() {
    let server = EchoServer::start(|_| {}).await;
    let client = http2().build().unwrap();
    let url = server.url("/");
    let sockets = (0..1000).map(|_| async {
        let mut ws = client
            .request(&url)
            .early_message("hi")
            .connect()
            .await
            .unwrap();
        assert_eq!(
            within(ws.next()).await.unwrap().unwrap(),
            Message::text("hi")
        );
    });
    within(futures_util::future::join_all(sockets)).await;
    assert_eq!(server.connections(), 1);
}

/// An h2ws server keeps early messages for the handler that accepts, up to the stream's
/// window.
#[tokio::test]
async fn a_server_holds_early_messages_until_it_accepts() {
    let builder = Server::builder();
    let accept = std::sync::Arc::new(tokio::sync::Notify::new());
    let go = accept.clone();
    let server = server::serve(builder, move |upgrade, ended| {
        let go = go.clone();
        async move {
            go.notified().await;
            let ws = upgrade.accept().await.unwrap();
            let _: Result<_, _> = ended.send(server::echo_socket(ws, String::new()).await);
        }
    })
    .await;
    let mut peer = Raw::connect(server.addr).await;
    peer.headers(1, &Fields::websocket("/"), 0).await;
    peer.data(1, &frames::from_client(TEXT, b"early")).await;
    peer.data(1, &frames::from_client(BINARY, &[7; 60_000]))
        .await;
    peer.barrier().await;
    assert_eq!(peer.pending(), 0, "an answer before the handler's");
    accept.notify_one();
    assert_eq!(peer.status(1).await, 200);
    assert_eq!(peer.frame(1).await.payload, b"early");
    assert_eq!(peer.frame(1).await.payload.len(), 60_000);
    peer.close(1).await;
    let mut server = server;
    assert_eq!(server.ended().await.code, Some(CloseCode::NORMAL));
}

/// An h2ws server that rejects discards early messages, and they do not shrink the
/// connection's window.
#[tokio::test]
async fn a_server_that_rejects_returns_the_window_of_early_messages() {
    let config = Http2Config::default().connection_window(65_535);
    let server = server::serve(Server::builder().http2(config), |upgrade, _| async move {
        upgrade.reject(StatusCode::FORBIDDEN);
    })
    .await;
    let mut peer = Raw::connect(server.addr).await;
    for stream in [1, 3, 5] {
        peer.headers(stream, &Fields::websocket("/"), 0).await;
        for _ in 0..6 {
            peer.data(stream, &frames::from_client(BINARY, &[7; 9_900]))
                .await;
        }
        let mut returned = 0;
        while returned < 50_000 {
            let frame = within(peer.read()).await.expect("open");
            if (frame.kind, frame.stream) == (WINDOW_UPDATE, 0) {
                returned += u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
            }
        }
    }
}
