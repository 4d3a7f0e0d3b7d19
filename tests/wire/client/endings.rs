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
    let mut fixture = ClientFixture::with(client).await;
    let (ws, ()) = tokio::join!(fixture.client.connect(&fixture.url), fixture.peer.take(3));
    (fixture, ws.unwrap())
}

/// Expects the client's Close frame on stream 3, with this code and without END_STREAM.
async fn expect_close(peer: &mut Raw, code: u16) {
    let Seen::Frame(close, false) = peer.seen(3).await else {
        panic!("no Close frame without END_STREAM");
    };
    assert_eq!((close.code(), close.masked), (Some(code), true));
}

fn normal() -> CloseFrame {
    CloseFrame::from(CloseCode::NORMAL)
}

/// RFC 6455 §7.1.1: the server closes the connection first, so the client's END_STREAM
/// waits for the server's.
#[tokio::test]
async fn a_client_ends_its_side_after_the_server() {
    let (mut fixture, mut ws) = socket(WebSocketConfig::default()).await;
    let peer = &mut fixture.peer;
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
    fixture.peer.barrier().await;
    assert_eq!(fixture.peer.pending(), 0, "frames after END_STREAM");
    fixture.unharmed().await;
}

/// Hypercorn never ends its side. The client resets the stream after a short time, as it
/// would otherwise count as open for ever.
#[tokio::test]
async fn a_stream_that_the_server_never_ends_is_reset() {
    let (mut fixture, mut ws) = socket(short()).await;
    let peer = &mut fixture.peer;
    let (closed, ()) = tokio::join!(ws.close(normal()), async {
        expect_close(peer, 1000).await;
        peer.data(3, &from_server(CLOSE, &close(1000, ""))).await;
        assert_eq!(peer.seen(3).await, Seen::Reset(CANCEL));
    });
    closed.unwrap();
    fixture.unharmed().await;
}

/// `StreamEnd::AtOnce` follows RFC 8441 §5 to the letter, for servers that tolerate it.
#[tokio::test]
async fn stream_end_at_once_does_not_wait_for_the_server() {
    let (mut fixture, mut ws) = socket(WebSocketConfig::default().ending(StreamEnd::AtOnce)).await;
    let peer = &mut fixture.peer;
    let (closed, ()) = tokio::join!(ws.close(normal()), async {
        expect_close(peer, 1000).await;
        peer.data(3, &from_server(CLOSE, &close(1000, ""))).await;
        assert_eq!(peer.seen(3).await, Seen::End);
        peer.end(3).await;
    });
    closed.unwrap();
    fixture.unharmed().await;
}

/// A Close from the server is answered with its code (RFC 6455 §5.5.1), also if it
/// carries END_STREAM, and the stream of messages ends without an error.
#[tokio::test]
async fn a_close_from_the_server_ends_the_messages() {
    for flags in [0, END_STREAM] {
        let (mut fixture, mut ws) = socket(WebSocketConfig::default()).await;
        let bytes = from_server(CLOSE, &close(1001, "away"));
        fixture.peer.send(DATA, flags, 3, &bytes).await;
        assert!(within(ws.next()).await.is_none());
        assert_eq!(ws.close_code(), Some(CloseCode::GOING_AWAY));
        assert_eq!(ws.close_frame().unwrap().reason, "away");
        expect_close(&mut fixture.peer, 1001).await;
        // libwebsockets does not tolerate END_STREAM from the client on a stream that it
        // ended with its Close frame.
        let end = if flags == 0 {
            fixture.peer.end(3).await;
            Seen::End
        } else {
            Seen::Reset(CANCEL)
        };
        assert_eq!(fixture.peer.seen(3).await, end);
        assert!(ws.send(Message::text("late")).await.is_err());
        fixture.unharmed().await;
    }
}

/// RFC 8441 §5: END_STREAM right after Close, in a frame of its own.
#[tokio::test]
async fn end_stream_right_after_close_is_clean() {
    let (mut fixture, mut ws) = socket(WebSocketConfig::default()).await;
    fixture
        .peer
        .data(3, &from_server(CLOSE, &close(1000, "")))
        .await;
    fixture.peer.end(3).await;
    assert!(within(ws.next()).await.is_none());
    assert_eq!(ws.close_code(), Some(CloseCode::NORMAL));
    expect_close(&mut fixture.peer, 1000).await;
    assert_eq!(fixture.peer.seen(3).await, Seen::End);
    fixture.unharmed().await;
}

/// RFC 6455 §7.1.5: END_STREAM without Close is 1006.
#[tokio::test]
async fn end_stream_without_close_is_abnormal() {
    let (mut fixture, mut ws) = socket(WebSocketConfig::default()).await;
    fixture
        .peer
        .data(3, &from_server(TEXT, b"last words"))
        .await;
    fixture.peer.end(3).await;
    assert_eq!(
        within(ws.next()).await.unwrap().unwrap(),
        Message::text("last words")
    );
    let ended = within(ws.next()).await.unwrap();
    assert!(matches!(ended, Err(Error::Abnormal)), "{ended:?}");
    assert_eq!(ws.close_code(), Some(CloseCode::ABNORMAL));
    let seen = fixture.peer.seen(3).await;
    assert!(matches!(seen, Seen::End | Seen::Reset(CANCEL)), "{seen:?}");
    fixture.unharmed().await;
}

/// RFC 8441 §5: a reset ends the socket abnormally, whatever its code.
#[tokio::test]
async fn a_reset_is_abnormal_and_reports_its_code() {
    for reset in [NO_ERROR, PROTOCOL_ERROR, CANCEL] {
        let (mut fixture, mut ws) = socket(WebSocketConfig::default()).await;
        fixture.peer.reset(3, reset).await;
        match within(ws.next()).await {
            Some(Err(Error::Reset {
                code,
                by_peer: true,
            })) => assert_eq!(code, reset),
            other => panic!("{other:?}"),
        }
        assert_eq!(ws.close_code(), Some(CloseCode::ABNORMAL));
        assert!(ws.send(Message::text("late")).await.is_err());
        fixture.unharmed().await;
    }
}

/// RST_STREAM after END_STREAM is normal once both sides have closed, with either code.
#[tokio::test]
async fn a_reset_after_the_closing_handshake_is_not_an_error() {
    for reset in [NO_ERROR, CANCEL] {
        let (mut fixture, mut ws) = socket(WebSocketConfig::default()).await;
        let peer = &mut fixture.peer;
        let (closed, ()) = tokio::join!(ws.close(normal()), async {
            expect_close(peer, 1000).await;
            peer.data(3, &from_server(CLOSE, &close(1000, ""))).await;
            peer.end(3).await;
            peer.reset(3, reset).await;
        });
        closed.unwrap();
        assert_eq!(ws.close_code(), Some(CloseCode::NORMAL));
        fixture.peer.barrier().await;
        fixture.unharmed().await;
    }
}

/// lighttpd resets the stream while its Close frame is still on its way to the
/// application. What was received before the reset counts.
#[tokio::test]
async fn a_reset_right_after_the_servers_close_is_not_an_error() {
    let (mut fixture, mut ws) = socket(WebSocketConfig::default()).await;
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
    fixture.peer.write(&bytes).await;
    assert!(within(ws.next()).await.is_none());
    assert_eq!(ws.close_code(), Some(CloseCode::NORMAL));
    fixture.peer.barrier().await;
    fixture.unharmed().await;
}

/// When the connection is cut, each socket on it ends with an error and the client lists
/// no connection.
#[tokio::test]
async fn a_cut_connection_ends_every_socket_abnormally() {
    let (fixture, mut ws) = socket(WebSocketConfig::default()).await;
    let ClientFixture {
        client,
        peer,
        mut sibling,
        ..
    } = fixture;
    drop(peer);
    for ws in [&mut ws, &mut sibling] {
        let error = within(ws.next()).await.unwrap().unwrap_err();
        assert!(error.is_abnormal_closure(), "{error:?}");
        assert_eq!(ws.close_code(), Some(CloseCode::ABNORMAL));
        assert!(ws.send(Message::text("late")).await.is_err());
    }
    no_stream_is_left(&client).await;
}

/// RFC 9113 §6.8: GOAWAY with an error code, followed by the end of the connection.
#[tokio::test]
async fn goaway_with_an_error_is_abnormal() {
    let (mut fixture, mut ws) = socket(WebSocketConfig::default()).await;
    fixture
        .peer
        .goaway(3, crate::support::raw::ENHANCE_YOUR_CALM)
        .await;
    drop(fixture.peer);
    let error = within(ws.next()).await.unwrap().unwrap_err();
    assert!(error.is_abnormal_closure(), "{error:?}");
    assert_eq!(ws.close_code(), Some(CloseCode::ABNORMAL));
}

/// A socket dropped while open sends END_STREAM, which RFC 8441 §5 maps to the FIN of a
/// TCP connection, and leaves no half-open stream.
#[tokio::test]
async fn a_dropped_socket_ends_its_stream_and_resets_it_if_the_server_does_not_end_it() {
    for ends in [true, false] {
        let (mut fixture, ws) = socket(short()).await;
        drop(ws);
        assert_eq!(fixture.peer.seen(3).await, Seen::End);
        if ends {
            fixture.peer.end(3).await;
        } else {
            assert_eq!(fixture.peer.seen(3).await, Seen::Reset(CANCEL));
        }
        fixture.unharmed().await;
    }
}

/// The socket has unread and unsent bytes, and the server does not read.
#[tokio::test]
async fn a_socket_dropped_with_unsent_bytes_is_reset() {
    let (mut fixture, mut ws) = socket(short()).await;
    fixture.peer.data(3, &from_server(TEXT, b"unread")).await;
    fixture.peer.barrier().await;
    // More than the peer's window.
    ws.send(Message::binary(vec![0; 100_000])).await.unwrap();
    drop(ws);
    assert_eq!(fixture.peer.reset_code(3).await, CANCEL);
    fixture.peer.window(0, 100_000).await;
    fixture.unharmed().await;
}

/// RFC 6455 §5.5.1: data queued before the Close frame is sent before it, and END_STREAM
/// after both.
#[tokio::test]
async fn queued_data_is_sent_before_the_close_frame() {
    let (mut fixture, mut ws) = socket(WebSocketConfig::default()).await;
    for n in 0..50u8 {
        ws.feed(Message::binary(vec![n; 500])).await.unwrap();
    }
    let peer = &mut fixture.peer;
    let (closed, ()) = tokio::join!(ws.close(normal()), async {
        for n in 0..50u8 {
            assert_eq!(peer.frame(3).await.payload, vec![n; 500]);
        }
        peer.answer_close(3).await;
    });
    closed.unwrap();
    fixture.unharmed().await;
}

/// RFC 6455 §7.1.1: the server never answers the Close frame.
#[tokio::test]
async fn closing_times_out_if_the_server_never_answers() {
    let (mut fixture, mut ws) = socket(short()).await;
    let peer = &mut fixture.peer;
    let (closed, ()) = tokio::join!(ws.close(normal()), expect_close(peer, 1000));
    assert!(
        matches!(closed, Err(Error::Timeout(Timeout::Close))),
        "{closed:?}"
    );
    assert_eq!(ws.close_code(), Some(CloseCode::ABNORMAL));
    // The stream is ended and then reset, not left open.
    assert_eq!(fixture.peer.seen(3).await, Seen::End);
    assert_eq!(fixture.peer.seen(3).await, Seen::Reset(CANCEL));
    fixture.unharmed().await;
}

/// nghttpx, Hypercorn and libwebsockets do not react to END_STREAM. Closing takes no
/// longer than the timeout, even if the server answers nothing at all.
#[tokio::test]
async fn closing_times_out_if_the_servers_window_is_exhausted() {
    let (mut fixture, mut ws) = socket(short()).await;
    ws.send(Message::binary(vec![0; 100_000])).await.unwrap();
    let closed = within(ws.close(normal())).await;
    assert!(
        matches!(closed, Err(Error::Timeout(Timeout::Close))),
        "{closed:?}"
    );
    assert_eq!(fixture.peer.reset_code(3).await, CANCEL);
    fixture.peer.window(0, 100_000).await;
    fixture.unharmed().await;
}

/// RFC 6455 §7.1.4: both sides may close at once.
#[tokio::test]
async fn both_sides_may_close_at_once() {
    let (mut fixture, mut ws) = socket(WebSocketConfig::default()).await;
    let peer = &mut fixture.peer;
    peer.data(3, &from_server(CLOSE, &close(1001, ""))).await;
    let (closed, ()) = tokio::join!(ws.close(normal()), async {
        expect_close(peer, 1000).await;
        peer.end(3).await;
        assert_eq!(peer.seen(3).await, Seen::End);
    });
    closed.unwrap();
    assert_eq!(ws.close_code(), Some(CloseCode::GOING_AWAY));
    fixture.unharmed().await;
}

/// RFC 6455 §5.1, §7.1.7: a masked frame from the server, like other invalid frames, is
/// answered with Close and its code, and then that stream alone ends.
#[tokio::test]
async fn an_invalid_frame_is_answered_with_its_close_code() {
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
        let (mut fixture, mut ws) = socket(short()).await;
        fixture.peer.data(3, &bytes).await;
        match within(ws.next()).await {
            Some(Err(Error::Protocol(error))) => assert_eq!(error, expected),
            other => panic!("{other:?}"),
        }
        expect_close(&mut fixture.peer, u16::from(expected.close_code())).await;
        let seen = fixture.peer.seen(3).await;
        assert!(matches!(seen, Seen::End | Seen::Reset(CANCEL)), "{seen:?}");
        if seen == Seen::End {
            fixture.peer.end(3).await;
        }
        assert!(within(ws.next()).await.is_none());
        fixture.unharmed().await;
    }
}

/// RFC 6455 §5.5.2: pings are answered while the socket is read, including those that
/// arrive while it is closing.
#[tokio::test]
async fn pings_are_answered_without_the_application() {
    let (mut fixture, mut ws) = socket(WebSocketConfig::default()).await;
    fixture.peer.data(3, &from_server(PING, b"one")).await;
    fixture.peer.data(3, &from_server(TEXT, b"text")).await;
    assert_eq!(
        within(ws.next()).await.unwrap().unwrap(),
        Message::text("text")
    );
    let pong = fixture.peer.frame(3).await;
    assert_eq!((pong.head, &pong.payload[..]), (0x80 | PONG, &b"one"[..]));
    assert!(pong.masked);
    let peer = &mut fixture.peer;
    let (closed, ()) = tokio::join!(ws.close(normal()), peer.answer_close(3));
    closed.unwrap();
    fixture.unharmed().await;
}

/// `close` can be called again after its future was dropped.
#[tokio::test]
async fn a_dropped_close_can_be_resumed() {
    let (mut fixture, mut ws) = socket(WebSocketConfig::default()).await;
    assert!(ws.close(normal()).now_or_never().is_none());
    let peer = &mut fixture.peer;
    let (closed, ()) = tokio::join!(ws.close(normal()), peer.answer_close(3));
    closed.unwrap();
    fixture.unharmed().await;
}
