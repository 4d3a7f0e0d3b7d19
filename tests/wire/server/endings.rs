//! How a server's sockets end over HTTP/2 (RFC 8441 §5, RFC 6455 §7).

use std::time::Duration;

use futures_util::StreamExt;
use h2ws::{CloseCode, CloseFrame, Error, Message, Server, Timeout, WebSocketConfig};

use crate::support::frames::{BINARY, CLOSE, TEXT, close, from_client};
use crate::support::raw::{
    CANCEL, DATA, END_STREAM, GOAWAY, INITIAL_WINDOW_SIZE, NO_ERROR, PROTOCOL_ERROR, Raw, Seen,
    encode,
};
use crate::support::server::{Ended, Running, ServerFixture, echo, echo_socket, serve};
use crate::support::within;

/// A configuration with short closing timeouts, which tests can wait for.
fn short() -> WebSocketConfig {
    WebSocketConfig::default()
        .close_timeout(Duration::from_millis(50))
        .linger(Duration::from_millis(50))
}

/// Starts an echo server whose handler at `/close` sends three messages and
/// closes.
async fn closing(config: WebSocketConfig) -> Running {
    serve(
        Server::builder().socket(config),
        |request, ended| async move {
            let path = request.path().to_owned();
            let mut ws = request.accept().await.unwrap();
            if path != "/close" {
                let _ = ended.send(echo_socket(ws, path).await);
                return;
            }
            for n in 0..3u8 {
                ws.feed(Message::binary(vec![n; 30_000])).await.unwrap();
            }
            let bye = CloseFrame::new(CloseCode::GOING_AWAY, "bye");
            let error = ws.close(bye).await.err();
            let code = ws.close_code();
            let _ = ended.send(Ended { path, error, code });
        },
    )
    .await
}

/// RFC 6455 §5.5.1: queued messages are sent before the Close frame. The Close
/// frame has no END_STREAM, because Firefox would report an unclean end;
/// END_STREAM follows once the peer has closed too.
#[tokio::test]
async fn queued_messages_are_sent_before_the_close_frame() {
    let mut fixture = ServerFixture::on(closing(WebSocketConfig::default()).await).await;
    fixture.peer.window(0, 1 << 20).await;
    fixture.peer.open(3, "/close").await;
    fixture.peer.window(3, 1 << 20).await;
    for n in 0..3 {
        let message = fixture.peer.frame(3).await;
        assert_eq!(message.opcode(), BINARY);
        assert_eq!(message.payload, vec![n; 30_000]);
    }
    let Seen::Frame(got, false) = fixture.peer.seen(3).await else {
        panic!("expected a Close frame without END_STREAM");
    };
    assert_eq!((got.code(), &got.payload[2..]), (Some(1001), &b"bye"[..]));
    let close = from_client(CLOSE, &close(1001, ""));
    fixture.peer.data(3, &close).await;
    assert_eq!(fixture.peer.seen(3).await, Seen::End);
    fixture.peer.end(3).await;
    let ended = fixture.server.ended().await;
    assert!(ended.error.is_none(), "{ended:?}");
    assert_eq!(ended.code, Some(CloseCode::GOING_AWAY));
    fixture.unharmed().await;
}

/// Chromium sets END_STREAM on its Close frame. The server answers and does not
/// reset the stream.
#[tokio::test]
async fn a_close_frame_with_end_stream_is_answered() {
    let mut fixture = ServerFixture::new().await;
    fixture.peer.open(3, "/").await;
    let close = from_client(CLOSE, &close(1000, ""));
    fixture.peer.send(DATA, END_STREAM, 3, &close).await;
    assert_eq!(fixture.peer.close_then_end(3).await, Some(1000));
    let ended = fixture.server.ended().await;
    assert!(ended.error.is_none(), "{ended:?}");
    assert_eq!(ended.code, Some(CloseCode::NORMAL));
    fixture.unharmed().await;
}

/// Firefox never ends its side after a clean close. The server ends the stream
/// with RST_STREAM(NO_ERROR) after the linger (RFC 9113 §8.1).
#[tokio::test]
async fn a_client_that_never_ends_its_side_is_reset() {
    let mut fixture = ServerFixture::with(Server::builder().socket(short())).await;
    fixture.peer.open(3, "/").await;
    let close = from_client(CLOSE, &close(1000, ""));
    fixture.peer.data(3, &close).await;
    assert_eq!(fixture.peer.close_then_end(3).await, Some(1000));
    assert_eq!(fixture.peer.seen(3).await, Seen::Reset(NO_ERROR));
    assert!(fixture.server.ended().await.error.is_none());
    fixture.unharmed().await;
}

/// A client has closed and ended its side, but leaves no window for the server's
/// Close frame. The stream must not stay open.
#[tokio::test]
async fn a_client_that_does_not_read_the_close_frame_is_reset() {
    let config = WebSocketConfig::default().linger(Duration::from_millis(50));
    let mut fixture = ServerFixture::with(Server::builder().socket(config)).await;
    let peer = &mut fixture.peer;
    peer.send_settings(&[(INITIAL_WINDOW_SIZE, 3)]).await;
    peer.open(3, "/").await;
    let close = from_client(CLOSE, &close(1000, ""));
    peer.send(DATA, END_STREAM, 3, &close).await;
    let some = peer.on(3).await.unwrap();
    assert_eq!((some.kind, some.payload.len()), (DATA, 3));
    // Not NO_ERROR: the response was incomplete (RFC 9113 §8.1).
    assert_eq!(peer.seen(3).await, Seen::Reset(CANCEL));
    peer.window(1, 1 << 10).await;
    fixture.unharmed().await;
}

#[tokio::test]
async fn the_linger_may_be_unlimited() {
    let config = WebSocketConfig::default().linger(Duration::MAX);
    let mut fixture = ServerFixture::with(Server::builder().socket(config)).await;
    fixture.peer.open(3, "/").await;
    fixture.peer.close(3).await;
    fixture.unharmed().await;
}

/// RFC 6455 §7.1.1: the peer has a limited time to answer a Close frame.
#[tokio::test]
async fn a_client_that_never_closes_is_timed_out() {
    let mut fixture = ServerFixture::on(closing(short()).await).await;
    fixture.peer.window(0, 1 << 20).await;
    fixture.peer.open(3, "/close").await;
    fixture.peer.window(3, 1 << 20).await;
    for _ in 0..3 {
        assert_eq!(fixture.peer.frame(3).await.opcode(), BINARY);
    }
    assert_eq!(fixture.peer.close_then_end(3).await, Some(1001));
    let ended = fixture.server.ended().await;
    assert!(
        matches!(ended.error, Some(Error::Timeout(Timeout::Close))),
        "{ended:?}"
    );
    assert_eq!(ended.code, Some(CloseCode::ABNORMAL));
    assert_eq!(fixture.peer.seen(3).await, Seen::Reset(NO_ERROR));
    fixture.unharmed().await;
}

/// A client without flow-control window receives neither the messages nor the
/// Close frame. The close timeout covers this too, and the stream is reset.
#[tokio::test]
async fn a_client_that_reads_nothing_is_timed_out() {
    let mut fixture = ServerFixture::on(closing(short()).await).await;
    fixture.peer.open(3, "/close").await;
    let ended = fixture.server.ended().await;
    assert!(
        matches!(ended.error, Some(Error::Timeout(Timeout::Close))),
        "{ended:?}"
    );
    assert_eq!(fixture.peer.reset_code(3).await, CANCEL);
    fixture.peer.window(0, 1 << 20).await;
    fixture.unharmed().await;
}

/// RFC 6455 §7.1.5: END_STREAM corresponds to FIN (RFC 8441 §5). Without a Close
/// frame it is an abnormal end, 1006.
#[tokio::test]
async fn end_stream_without_close_is_abnormal() {
    let mut fixture = ServerFixture::new().await;
    fixture.peer.open(3, "/").await;
    fixture.peer.end(3).await;
    let ended = fixture.server.ended().await;
    assert!(matches!(ended.error, Some(Error::Abnormal)), "{ended:?}");
    assert_eq!(ended.code, Some(CloseCode::ABNORMAL));
    assert_eq!(fixture.peer.seen(3).await, Seen::End);
    fixture.unharmed().await;
}

/// As above, in the middle of a frame.
#[tokio::test]
async fn end_stream_within_a_frame_is_abnormal() {
    let mut fixture = ServerFixture::new().await;
    fixture.peer.open(3, "/").await;
    let text = from_client(TEXT, b"never finished");
    fixture
        .peer
        .send(DATA, END_STREAM, 3, &text[..text.len() - 1])
        .await;
    let ended = fixture.server.ended().await;
    assert!(matches!(ended.error, Some(Error::Abnormal)), "{ended:?}");
    assert_eq!(fixture.peer.seen(3).await, Seen::End);
    fixture.unharmed().await;
}

/// RFC 8441 §5: RST_STREAM(CANCEL) corresponds to a TCP reset. RST_STREAM is an
/// error with any code.
#[tokio::test]
async fn a_reset_is_abnormal_and_reports_its_code() {
    for code in [NO_ERROR, CANCEL, 0x2] {
        let mut fixture = ServerFixture::new().await;
        fixture.peer.open(3, "/").await;
        fixture.peer.echo(3, "open").await;
        fixture.peer.reset(3, code).await;
        let ended = fixture.server.ended().await;
        match ended.error {
            Some(Error::Reset {
                code: got,
                by_peer: true,
            }) => assert_eq!(got, code),
            other => panic!("{other:?}"),
        }
        assert_eq!(ended.code, Some(CloseCode::ABNORMAL));
        fixture.unharmed().await;
    }
}

/// After the closing handshake the peer may reset the stream instead of ending it,
/// as axum, Node, nghttpx and HAProxy do. This is not an error.
#[tokio::test]
async fn a_reset_after_the_closing_handshake_is_no_error() {
    let mut fixture = ServerFixture::new().await;
    fixture.peer.open(3, "/").await;
    let close = from_client(CLOSE, &close(1000, ""));
    fixture.peer.data(3, &close).await;
    fixture.peer.reset(3, CANCEL).await;
    let ended = fixture.server.ended().await;
    assert!(ended.error.is_none(), "{ended:?}");
    assert_eq!(ended.code, Some(CloseCode::NORMAL));
    fixture.unharmed().await;
}

/// When the connection is lost, every socket on it ends with an error.
#[tokio::test]
async fn a_lost_connection_is_abnormal_for_every_socket() {
    let mut fixture = ServerFixture::new().await;
    fixture.peer.open(3, "/").await;
    fixture.peer.open(5, "/").await;
    drop(fixture.peer);
    for _ in 0..3 {
        let ended = fixture.server.ended().await;
        let error = ended.error.expect("an error");
        assert!(error.is_abnormal_closure(), "{error:?}");
        assert_eq!(ended.code, Some(CloseCode::ABNORMAL));
    }
}

/// RFC 9113 §5.4.1: closing a connection with unread bytes would reset it, and the
/// peer might not receive the GOAWAY. The server therefore keeps reading.
#[tokio::test]
async fn a_goaway_arrives_despite_unread_bytes() {
    let mut fixture = ServerFixture::on(closing(short()).await).await;
    let peer = &mut fixture.peer;
    let mut bytes = encode(DATA, 0, 0, b"on no stream");
    bytes.resize(4 << 20, 0);
    peer.write(&bytes).await;
    let goaway = peer.on(0).await.unwrap();
    assert_eq!((goaway.kind, goaway.error_code()), (GOAWAY, PROTOCOL_ERROR));
    assert!(peer.next().await.is_none(), "an orderly end");
}

/// A connection that the client keeps open after GOAWAY still counts against the
/// limit.
#[tokio::test]
async fn a_connection_kept_open_after_goaway_counts_against_the_limit() {
    let server = echo(Server::builder().max_connections(1)).await;
    let mut first = Raw::connect(server.addr).await;
    first.send(DATA, 0, 0, b"on no stream").await;
    let goaway = first.on(0).await.unwrap();
    assert_eq!((goaway.kind, goaway.error_code()), (GOAWAY, PROTOCOL_ERROR));
    assert!(first.next().await.is_none(), "an orderly end");

    let connecting = tokio::spawn(Raw::connect(server.addr));
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!connecting.is_finished(), "more connections than the limit");
    drop(first);
    let mut second = within(connecting).await.unwrap();
    second.open(1, "/").await;
    second.echo(1, "after").await;
}

/// RFC 8441 §5: a socket that the handler drops is ended with END_STREAM. If the
/// client does not end its side, as Chromium does not, the stream is reset after
/// the linger rather than left half-open.
#[tokio::test]
async fn a_dropped_socket_is_ended_and_then_reset() {
    let socket = WebSocketConfig::default().linger(Duration::from_millis(50));
    let builder = Server::builder().socket(socket);
    let server = serve(builder, |request, ended| async move {
        let path = request.path().to_owned();
        let mut ws = request.accept().await.unwrap();
        if path == "/sibling" {
            let _ = ended.send(echo_socket(ws, path).await);
        } else {
            let _ = ws.next().await;
        }
    })
    .await;
    let mut fixture = ServerFixture::on(server).await;
    fixture.peer.open(3, "/drop").await;
    fixture.peer.data(3, &from_client(TEXT, b"drop it")).await;
    assert_eq!(fixture.peer.seen(3).await, Seen::End);
    assert_eq!(fixture.peer.seen(3).await, Seen::Reset(NO_ERROR));
    fixture.unharmed().await;
}

/// Data that the peer sends after its Close frame is ignored, even if it is
/// invalid (RFC 6455 §5.5.1).
#[tokio::test]
async fn data_after_a_close_frame_is_ignored() {
    let mut fixture = ServerFixture::new().await;
    fixture.peer.open(3, "/").await;
    let mut bytes = from_client(CLOSE, &close(1000, ""));
    bytes.extend(from_client(TEXT, b"afterthought"));
    bytes.extend([0xff; 100]);
    fixture.peer.data(3, &bytes).await;
    fixture.peer.data(3, &[0xff; 100]).await;
    assert_eq!(fixture.peer.close_then_end(3).await, Some(1000));
    fixture.peer.end(3).await;
    assert!(fixture.server.ended().await.error.is_none());
    fixture.unharmed().await;
}

/// RFC 9113 §6.9.1: such data does not use up the connection's window while the
/// stream waits for the peer to end its side.
#[tokio::test]
async fn data_after_a_close_frame_does_not_use_up_the_window() {
    let builder = Server::builder()
        .http2(h2ws::Http2Config::default().connection_window(100_000))
        .socket(WebSocketConfig::default().linger(Duration::from_secs(600)));
    let mut fixture = ServerFixture::with(builder).await;
    fixture.peer.open(3, "/").await;
    fixture
        .peer
        .data(3, &from_client(CLOSE, &close(1000, "")))
        .await;
    assert_eq!(fixture.peer.close_then_end(3).await, Some(1000));
    for _ in 0..10 {
        fixture.peer.data(3, &[0; 15_000]).await;
        fixture.peer.barrier().await;
    }
    fixture.peer.end(3).await;
    fixture.unharmed().await;
}
