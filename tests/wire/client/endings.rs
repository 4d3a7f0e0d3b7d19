//! How a client's sockets end over HTTP/2 (RFC 8441 §5, RFC 6455 §7).

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use h2ws::frame::ProtocolError;
use h2ws::socket::StreamEnd;
use h2ws::{CloseCode, CloseFrame, Error, Message, Timeout, WebSocket, WebSocketConfig};

use crate::support::client::{ClientFixture, http2, no_stream_is_left};
use crate::support::frames::{self, CLOSE, PING, PONG, TEXT, close, from_server};
use crate::support::raw::{CANCEL, DATA, END_STREAM, NO_ERROR, PROTOCOL_ERROR, Raw, Seen};
use crate::support::within;

fn short() -> WebSocketConfig {
    WebSocketConfig::default()
        .close_timeout(Duration::from_millis(50))
        .linger(Duration::from_millis(50))
}

/// A sibling on stream 1 and the socket under test on stream 3.
async fn socket(config: WebSocketConfig) -> (ClientFixture, WebSocket) {
    let client = http2().socket(config).build().unwrap();
    let mut beside = ClientFixture::with(client).await;
    let (ws, ()) = tokio::join!(beside.client.connect(&beside.url), beside.peer.take(3));
    (beside, ws.unwrap())
}

/// The client's Close frame on stream 3, with this code.
async fn expect_close(peer: &mut Raw, code: u16) {
    let Seen::Frame(close, false) = peer.seen(3).await else {
        panic!("no Close frame by itself");
    };
    assert_eq!((close.code(), close.masked), (Some(code), true));
}

fn normal() -> CloseFrame {
    CloseFrame::from(CloseCode::NORMAL)
}

/// RFC 6455 §7.1.1 has the server end the connection first: so END_STREAM
/// waits for the server's.
#[tokio::test]
async fn a_client_ends_its_side_after_the_server() {
    let (mut beside, mut ws) = socket(WebSocketConfig::default()).await;
    let peer = &mut beside.peer;
    let (closed, ()) = tokio::join!(ws.close(normal()), async {
        expect_close(peer, 1000).await;
        peer.data(3, &from_server(CLOSE, &close(1000, "bye"))).await;
        peer.barrier().await;
        assert_eq!(peer.pending(), 0, "ended before the server");
        peer.end(3).await;
        assert_eq!(peer.seen(3).await, Seen::End);
    });
    closed.unwrap();
    assert_eq!(ws.close_code(), Some(CloseCode::NORMAL));
    assert_eq!(ws.close_frame().unwrap().reason, "bye");
    beside.peer.barrier().await;
    assert_eq!(beside.peer.pending(), 0, "something follows the end");
    beside.unharmed().await;
}

/// Hypercorn never ends its side: the stream is cancelled after a moment, or
/// it would count for ever.
#[tokio::test]
async fn a_server_that_never_ends_its_side_is_cancelled() {
    let (mut beside, mut ws) = socket(short()).await;
    let peer = &mut beside.peer;
    let (closed, ()) = tokio::join!(ws.close(normal()), async {
        expect_close(peer, 1000).await;
        peer.data(3, &from_server(CLOSE, &close(1000, ""))).await;
        assert_eq!(peer.seen(3).await, Seen::Reset(CANCEL));
    });
    closed.unwrap();
    beside.unharmed().await;
}

/// RFC 8441 §5 to the letter, for servers that bear it.
#[tokio::test]
async fn an_ending_at_once_is_there_for_the_asking() {
    let (mut beside, mut ws) = socket(WebSocketConfig::default().ending(StreamEnd::AtOnce)).await;
    let peer = &mut beside.peer;
    let (closed, ()) = tokio::join!(ws.close(normal()), async {
        expect_close(peer, 1000).await;
        peer.data(3, &from_server(CLOSE, &close(1000, ""))).await;
        assert_eq!(peer.seen(3).await, Seen::End);
        peer.end(3).await;
    });
    closed.unwrap();
    beside.unharmed().await;
}

/// A server's Close is answered with its code (RFC 6455 §5.5.1), also where
/// it has END_STREAM on it, and the stream of messages ends without an error.
#[tokio::test]
async fn a_servers_close_ends_the_messages() {
    for flags in [0, END_STREAM] {
        let (mut beside, mut ws) = socket(WebSocketConfig::default()).await;
        let bytes = from_server(CLOSE, &close(1001, "away"));
        beside.peer.send(DATA, flags, 3, &bytes).await;
        assert!(within(ws.next()).await.is_none());
        assert_eq!(ws.close_code(), Some(CloseCode::GOING_AWAY));
        assert_eq!(ws.close_frame().unwrap().reason, "away");
        expect_close(&mut beside.peer, 1001).await;
        // What ends with its Close frame, libwebsockets does not bear an
        // END_STREAM from us.
        let end = if flags == 0 {
            beside.peer.end(3).await;
            Seen::End
        } else {
            Seen::Reset(CANCEL)
        };
        assert_eq!(beside.peer.seen(3).await, end);
        assert!(ws.send(Message::text("late")).await.is_err());
        beside.unharmed().await;
    }
}

/// RFC 8441 §5: END_STREAM right behind Close, in a frame of its own.
#[tokio::test]
async fn end_stream_right_after_close_is_clean() {
    let (mut beside, mut ws) = socket(WebSocketConfig::default()).await;
    beside
        .peer
        .data(3, &from_server(CLOSE, &close(1000, "")))
        .await;
    beside.peer.end(3).await;
    assert!(within(ws.next()).await.is_none());
    assert_eq!(ws.close_code(), Some(CloseCode::NORMAL));
    expect_close(&mut beside.peer, 1000).await;
    assert_eq!(beside.peer.seen(3).await, Seen::End);
    beside.unharmed().await;
}

/// RFC 6455 §7.1.5: END_STREAM without Close is 1006.
#[tokio::test]
async fn end_stream_without_close_is_abnormal() {
    let (mut beside, mut ws) = socket(WebSocketConfig::default()).await;
    beside.peer.data(3, &from_server(TEXT, b"last words")).await;
    beside.peer.end(3).await;
    assert_eq!(
        within(ws.next()).await.unwrap().unwrap(),
        Message::text("last words")
    );
    let ended = within(ws.next()).await.unwrap();
    assert!(matches!(ended, Err(Error::Abnormal)), "{ended:?}");
    assert_eq!(ws.close_code(), Some(CloseCode::ABNORMAL));
    let seen = beside.peer.seen(3).await;
    assert!(matches!(seen, Seen::End | Seen::Reset(CANCEL)), "{seen:?}");
    beside.unharmed().await;
}

/// RFC 8441 §5: a reset is a cut, whatever its code.
#[tokio::test]
async fn a_reset_is_abnormal_and_tells_its_code() {
    for reset in [NO_ERROR, PROTOCOL_ERROR, CANCEL] {
        let (mut beside, mut ws) = socket(WebSocketConfig::default()).await;
        beside.peer.reset(3, reset).await;
        match within(ws.next()).await {
            Some(Err(Error::Reset {
                code,
                by_peer: true,
            })) => assert_eq!(code, reset),
            other => panic!("{other:?}"),
        }
        assert_eq!(ws.close_code(), Some(CloseCode::ABNORMAL));
        assert!(ws.send(Message::text("late")).await.is_err());
        beside.unharmed().await;
    }
}

/// END_STREAM, then RST_STREAM: normal once both closed, with either code.
#[tokio::test]
async fn a_reset_after_the_closing_handshake_is_no_error() {
    for reset in [NO_ERROR, CANCEL] {
        let (mut beside, mut ws) = socket(WebSocketConfig::default()).await;
        let peer = &mut beside.peer;
        let (closed, ()) = tokio::join!(ws.close(normal()), async {
            expect_close(peer, 1000).await;
            peer.data(3, &from_server(CLOSE, &close(1000, ""))).await;
            peer.end(3).await;
            peer.reset(3, reset).await;
        });
        closed.unwrap();
        assert_eq!(ws.close_code(), Some(CloseCode::NORMAL));
        beside.peer.barrier().await;
        beside.unharmed().await;
    }
}

/// lighttpd resets with the Close frame still on its way to the application:
/// what was received before the reset counts.
#[tokio::test]
async fn a_reset_right_behind_the_servers_close_is_no_error() {
    let (mut beside, mut ws) = socket(WebSocketConfig::default()).await;
    let mut bytes = crate::support::raw::encode(
        DATA,
        END_STREAM,
        3,
        &from_server(CLOSE, &close(1000, "done")),
    );
    bytes.extend(crate::support::raw::encode(
        crate::support::raw::RST_STREAM,
        0,
        3,
        &NO_ERROR.to_be_bytes(),
    ));
    beside.peer.write(&bytes).await;
    assert!(within(ws.next()).await.is_none());
    assert_eq!(ws.close_code(), Some(CloseCode::NORMAL));
    beside.peer.barrier().await;
    beside.unharmed().await;
}

/// The connection cut: each socket on it ends with an error, and the client
/// knows of no connection.
#[tokio::test]
async fn a_cut_connection_is_abnormal_for_all() {
    let (beside, mut ws) = socket(WebSocketConfig::default()).await;
    let ClientFixture {
        client,
        peer,
        mut sibling,
        ..
    } = beside;
    drop(peer);
    for ws in [&mut ws, &mut sibling] {
        let error = within(ws.next()).await.unwrap().unwrap_err();
        assert!(error.is_abnormal_closure(), "{error:?}");
        assert_eq!(ws.close_code(), Some(CloseCode::ABNORMAL));
        assert!(ws.send(Message::text("late")).await.is_err());
    }
    no_stream_is_left(&client).await;
}

/// RFC 9113 §6.8: GOAWAY with an error code, and the connection's end behind
/// it.
#[tokio::test]
async fn goaway_with_an_error_is_abnormal() {
    let (mut beside, mut ws) = socket(WebSocketConfig::default()).await;
    beside
        .peer
        .goaway(3, crate::support::raw::ENHANCE_YOUR_CALM)
        .await;
    drop(beside.peer);
    let error = within(ws.next()).await.unwrap().unwrap_err();
    assert!(error.is_abnormal_closure(), "{error:?}");
    assert_eq!(ws.close_code(), Some(CloseCode::ABNORMAL));
}

/// A socket dropped while it is open: END_STREAM, which RFC 8441 §5 makes of
/// a TCP connection's FIN, and no half-open stream.
#[tokio::test]
async fn a_dropped_socket_ends_and_is_cancelled_where_the_server_does_not_end() {
    for ends in [true, false] {
        let (mut beside, ws) = socket(short()).await;
        drop(ws);
        assert_eq!(beside.peer.seen(3).await, Seen::End);
        if ends {
            beside.peer.end(3).await;
        } else {
            assert_eq!(beside.peer.seen(3).await, Seen::Reset(CANCEL));
        }
        beside.unharmed().await;
    }
}

/// With bytes unread and unsent, for a server that does not read.
#[tokio::test]
async fn a_socket_dropped_full_is_cancelled() {
    let (mut beside, mut ws) = socket(short()).await;
    beside.peer.data(3, &from_server(TEXT, b"unread")).await;
    beside.peer.barrier().await;
    // More than the peer's window.
    ws.send(Message::binary(vec![0; 100_000])).await.unwrap();
    drop(ws);
    assert_eq!(beside.peer.reset_code(3).await, CANCEL);
    beside.peer.window(0, 100_000).await;
    beside.unharmed().await;
}

/// RFC 6455 §5.5.1: data queued before the Close frame leaves before it, and
/// END_STREAM behind both.
#[tokio::test]
async fn queued_data_leaves_before_the_close_frame() {
    let (mut beside, mut ws) = socket(WebSocketConfig::default()).await;
    for n in 0..50u8 {
        ws.feed(Message::binary(vec![n; 500])).await.unwrap();
    }
    let peer = &mut beside.peer;
    let (closed, ()) = tokio::join!(ws.close(normal()), async {
        for n in 0..50u8 {
            assert_eq!(peer.frame(3).await.payload, vec![n; 500]);
        }
        peer.answer_close(3).await;
    });
    closed.unwrap();
    beside.unharmed().await;
}

/// RFC 6455 §7.1.1: a server that never answers the Close frame.
#[tokio::test]
async fn a_server_that_never_closes_is_timed_out() {
    let (mut beside, mut ws) = socket(short()).await;
    let peer = &mut beside.peer;
    let (closed, ()) = tokio::join!(ws.close(normal()), expect_close(peer, 1000));
    assert!(
        matches!(closed, Err(Error::Timeout(Timeout::Close))),
        "{closed:?}"
    );
    assert_eq!(ws.close_code(), Some(CloseCode::ABNORMAL));
    // The stream is ended, or reset, but not left.
    assert_eq!(beside.peer.seen(3).await, Seen::End);
    assert_eq!(beside.peer.seen(3).await, Seen::Reset(CANCEL));
    beside.unharmed().await;
}

/// nghttpx, Hypercorn and libwebsockets do nothing on END_STREAM: a server
/// that answers nothing at all costs no more than the timeout.
#[tokio::test]
async fn a_close_with_the_servers_window_shut_is_timed_out() {
    let (mut beside, mut ws) = socket(short()).await;
    ws.send(Message::binary(vec![0; 100_000])).await.unwrap();
    let closed = within(ws.close(normal())).await;
    assert!(
        matches!(closed, Err(Error::Timeout(Timeout::Close))),
        "{closed:?}"
    );
    assert_eq!(beside.peer.reset_code(3).await, CANCEL);
    beside.peer.window(0, 100_000).await;
    beside.unharmed().await;
}

/// RFC 6455 §7.1.4: both may close at once.
#[tokio::test]
async fn both_sides_may_close_at_once() {
    let (mut beside, mut ws) = socket(WebSocketConfig::default()).await;
    let peer = &mut beside.peer;
    peer.data(3, &from_server(CLOSE, &close(1001, ""))).await;
    let (closed, ()) = tokio::join!(ws.close(normal()), async {
        expect_close(peer, 1000).await;
        peer.end(3).await;
        assert_eq!(peer.seen(3).await, Seen::End);
    });
    closed.unwrap();
    assert_eq!(ws.close_code(), Some(CloseCode::GOING_AWAY));
    beside.unharmed().await;
}

/// RFC 6455 §5.1, §7.1.7: a masked frame from the server, and others: Close
/// with the code, then the end, of that stream alone.
#[tokio::test]
async fn a_servers_broken_frame_is_told_by_close_code() {
    for (bytes, expected) in [
        (
            frames::from_client(TEXT, b"masked"),
            ProtocolError::MaskedFrame,
        ),
        (frames::frame(0xc1, false, b""), ProtocolError::ReservedBit),
        (from_server(TEXT, b"\xff"), ProtocolError::InvalidUtf8),
        (
            from_server(CLOSE, &close(1005, "")),
            ProtocolError::InvalidCloseCode(1005),
        ),
    ] {
        let (mut beside, mut ws) = socket(short()).await;
        beside.peer.data(3, &bytes).await;
        match within(ws.next()).await {
            Some(Err(Error::Protocol(error))) => assert_eq!(error, expected),
            other => panic!("{other:?}"),
        }
        expect_close(&mut beside.peer, u16::from(expected.close_code())).await;
        let seen = beside.peer.seen(3).await;
        assert!(matches!(seen, Seen::End | Seen::Reset(CANCEL)), "{seen:?}");
        if seen == Seen::End {
            beside.peer.end(3).await;
        }
        assert!(within(ws.next()).await.is_none());
        beside.unharmed().await;
    }
}

/// RFC 6455 §5.5.2: pings are answered while the socket is read, also those
/// that come while its closing is under way.
#[tokio::test]
async fn pings_are_answered_without_the_application() {
    let (mut beside, mut ws) = socket(WebSocketConfig::default()).await;
    beside.peer.data(3, &from_server(PING, b"one")).await;
    beside.peer.data(3, &from_server(TEXT, b"text")).await;
    assert_eq!(
        within(ws.next()).await.unwrap().unwrap(),
        Message::text("text")
    );
    let pong = beside.peer.frame(3).await;
    assert_eq!((pong.head, &pong.payload[..]), (0x80 | PONG, &b"one"[..]));
    assert!(pong.masked);
    let peer = &mut beside.peer;
    let (closed, ()) = tokio::join!(ws.close(normal()), peer.answer_close(3));
    closed.unwrap();
    beside.unharmed().await;
}

/// Taking up `close` again after its future was dropped.
#[tokio::test]
async fn a_dropped_close_is_taken_up_again() {
    let (mut beside, mut ws) = socket(WebSocketConfig::default()).await;
    assert!(ws.close(normal()).now_or_never().is_none());
    let peer = &mut beside.peer;
    let (closed, ()) = tokio::join!(ws.close(normal()), peer.answer_close(3));
    closed.unwrap();
    beside.unharmed().await;
}
