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

fn short() -> WebSocketConfig {
    WebSocketConfig::default()
        .close_timeout(Duration::from_millis(50))
        .linger(Duration::from_millis(50))
}

/// A server that closes sockets at `/close` by itself, after three messages.
async fn closing(config: WebSocketConfig) -> Running {
    serve(
        Server::builder().socket(config),
        |upgrade, ended| async move {
            let path = upgrade.path().to_owned();
            let mut ws = upgrade.accept().await.unwrap();
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

/// RFC 6455 §5.5.1: what was queued leaves before the Close frame, and the
/// Close frame without END_STREAM (with it, Firefox calls the end unclean);
/// END_STREAM once the peer has closed too.
#[tokio::test]
async fn a_server_closes_behind_what_it_queued() {
    let mut beside = ServerFixture::on(closing(WebSocketConfig::default()).await).await;
    beside.peer.window(0, 1 << 20).await;
    beside.peer.open(3, "/close").await;
    beside.peer.window(3, 1 << 20).await;
    for n in 0..3 {
        let message = beside.peer.frame(3).await;
        assert_eq!(message.opcode(), BINARY);
        assert_eq!(message.payload, vec![n; 30_000]);
    }
    let Seen::Frame(got, false) = beside.peer.seen(3).await else {
        panic!("no Close frame without END_STREAM");
    };
    assert_eq!((got.code(), &got.payload[2..]), (Some(1001), &b"bye"[..]));
    let close = from_client(CLOSE, &close(1001, ""));
    beside.peer.data(3, &close).await;
    assert_eq!(beside.peer.seen(3).await, Seen::End);
    beside.peer.end(3).await;
    let ended = beside.server.ended().await;
    assert!(ended.error.is_none(), "{ended:?}");
    assert_eq!(ended.code, Some(CloseCode::GOING_AWAY));
    beside.unharmed().await;
}

/// Chromium ends its stream with its Close frame: no reset follows.
#[tokio::test]
async fn close_and_end_stream_in_one_frame_are_answered() {
    let mut beside = ServerFixture::new().await;
    beside.peer.open(3, "/").await;
    let close = from_client(CLOSE, &close(1000, ""));
    beside.peer.send(DATA, END_STREAM, 3, &close).await;
    assert_eq!(beside.peer.close_then_end(3).await, Some(1000));
    let ended = beside.server.ended().await;
    assert!(ended.error.is_none(), "{ended:?}");
    assert_eq!(ended.code, Some(CloseCode::NORMAL));
    beside.unharmed().await;
}

/// Firefox never ends its side after a clean close: RST_STREAM(NO_ERROR)
/// does, after a while (RFC 9113 §8.1).
#[tokio::test]
async fn a_client_that_never_ends_its_side_is_reset() {
    let mut beside = ServerFixture::with(Server::builder().socket(short())).await;
    beside.peer.open(3, "/").await;
    let close = from_client(CLOSE, &close(1000, ""));
    beside.peer.data(3, &close).await;
    assert_eq!(beside.peer.close_then_end(3).await, Some(1000));
    assert_eq!(beside.peer.seen(3).await, Seen::Reset(NO_ERROR));
    assert!(beside.server.ended().await.error.is_none());
    beside.unharmed().await;
}

/// A client that has said all, and leaves our last words where they are: its
/// stream must not stay for that.
#[tokio::test]
async fn a_client_that_does_not_take_the_close_frame_is_reset() {
    let config = WebSocketConfig::default().linger(Duration::from_millis(50));
    let mut beside = ServerFixture::with(Server::builder().socket(config)).await;
    let peer = &mut beside.peer;
    peer.send_settings(&[(INITIAL_WINDOW_SIZE, 3)]).await;
    peer.open(3, "/").await;
    let close = from_client(CLOSE, &close(1000, ""));
    peer.send(DATA, END_STREAM, 3, &close).await;
    let some = peer.on(3).await.unwrap();
    assert_eq!((some.kind, some.payload.len()), (DATA, 3));
    // Not NO_ERROR: the answer was not complete (RFC 9113 §8.1).
    assert_eq!(peer.seen(3).await, Seen::Reset(CANCEL));
    peer.window(1, 1 << 10).await;
    beside.unharmed().await;
}

#[tokio::test]
async fn a_client_may_take_for_ever_to_end_its_side() {
    let config = WebSocketConfig::default().linger(Duration::MAX);
    let mut beside = ServerFixture::with(Server::builder().socket(config)).await;
    beside.peer.open(3, "/").await;
    beside.peer.close(3).await;
    beside.unharmed().await;
}

/// RFC 6455 §7.1.1 leaves the peer time for its Close frame, not for ever.
#[tokio::test]
async fn a_client_that_never_closes_is_timed_out() {
    let mut beside = ServerFixture::on(closing(short()).await).await;
    beside.peer.window(0, 1 << 20).await;
    beside.peer.open(3, "/close").await;
    beside.peer.window(3, 1 << 20).await;
    for _ in 0..3 {
        assert_eq!(beside.peer.frame(3).await.opcode(), BINARY);
    }
    assert_eq!(beside.peer.close_then_end(3).await, Some(1001));
    let ended = beside.server.ended().await;
    assert!(
        matches!(ended.error, Some(Error::Timeout(Timeout::Close))),
        "{ended:?}"
    );
    assert_eq!(ended.code, Some(CloseCode::ABNORMAL));
    assert_eq!(beside.peer.seen(3).await, Seen::Reset(NO_ERROR));
    beside.unharmed().await;
}

/// A client whose window is shut takes neither messages nor Close: the time
/// runs, and the stream goes.
#[tokio::test]
async fn a_client_that_reads_nothing_is_timed_out_too() {
    let mut beside = ServerFixture::on(closing(short()).await).await;
    beside.peer.open(3, "/close").await;
    let ended = beside.server.ended().await;
    assert!(
        matches!(ended.error, Some(Error::Timeout(Timeout::Close))),
        "{ended:?}"
    );
    assert_eq!(beside.peer.reset_code(3).await, CANCEL);
    beside.peer.window(0, 1 << 20).await;
    beside.unharmed().await;
}

/// RFC 6455 §7.1.5: END_STREAM is FIN (RFC 8441 §5), and without a Close
/// frame no clean end: 1006.
#[tokio::test]
async fn end_stream_without_close_is_abnormal() {
    let mut beside = ServerFixture::new().await;
    beside.peer.open(3, "/").await;
    beside.peer.end(3).await;
    let ended = beside.server.ended().await;
    assert!(matches!(ended.error, Some(Error::Abnormal)), "{ended:?}");
    assert_eq!(ended.code, Some(CloseCode::ABNORMAL));
    assert_eq!(beside.peer.seen(3).await, Seen::End);
    beside.unharmed().await;
}

/// As above, in the midst of a frame.
#[tokio::test]
async fn end_stream_within_a_frame_is_abnormal() {
    let mut beside = ServerFixture::new().await;
    beside.peer.open(3, "/").await;
    let text = from_client(TEXT, b"never finished");
    beside
        .peer
        .send(DATA, END_STREAM, 3, &text[..text.len() - 1])
        .await;
    let ended = beside.server.ended().await;
    assert!(matches!(ended.error, Some(Error::Abnormal)), "{ended:?}");
    assert_eq!(beside.peer.seen(3).await, Seen::End);
    beside.unharmed().await;
}

/// RFC 8441 §5: RST_STREAM(CANCEL) is a TCP reset, an error whatever its
/// code.
#[tokio::test]
async fn a_reset_is_abnormal_and_tells_its_code() {
    for code in [NO_ERROR, CANCEL, 0x2] {
        let mut beside = ServerFixture::new().await;
        beside.peer.open(3, "/").await;
        beside.peer.echo(3, "open").await;
        beside.peer.reset(3, code).await;
        let ended = beside.server.ended().await;
        match ended.error {
            Some(Error::Reset {
                code: got,
                by_peer: true,
            }) => assert_eq!(got, code),
            other => panic!("{other:?}"),
        }
        assert_eq!(ended.code, Some(CloseCode::ABNORMAL));
        beside.unharmed().await;
    }
}

/// Once both have closed, the peer may reset instead of ending (axum, Node,
/// nghttpx and HAProxy do): no error.
#[tokio::test]
async fn a_reset_after_the_closing_handshake_is_no_error() {
    let mut beside = ServerFixture::new().await;
    beside.peer.open(3, "/").await;
    let close = from_client(CLOSE, &close(1000, ""));
    beside.peer.data(3, &close).await;
    beside.peer.reset(3, CANCEL).await;
    let ended = beside.server.ended().await;
    assert!(ended.error.is_none(), "{ended:?}");
    assert_eq!(ended.code, Some(CloseCode::NORMAL));
    beside.unharmed().await;
}

/// The connection cut: every socket on it ends with an error.
#[tokio::test]
async fn a_cut_connection_is_abnormal_for_all() {
    let mut beside = ServerFixture::new().await;
    beside.peer.open(3, "/").await;
    beside.peer.open(5, "/").await;
    drop(beside.peer);
    for _ in 0..3 {
        let ended = beside.server.ended().await;
        let error = ended.error.expect("an error");
        assert!(error.is_abnormal_closure(), "{error:?}");
        assert_eq!(ended.code, Some(CloseCode::ABNORMAL));
    }
}

/// RFC 9113 §5.4.1: a connection that was closed with unread bytes would be
/// reset, and the peer might not see why it ended.
#[tokio::test]
async fn a_goaway_arrives_whatever_was_sent_behind_the_fault() {
    let mut beside = ServerFixture::on(closing(short()).await).await;
    let peer = &mut beside.peer;
    let mut behind = encode(DATA, 0, 0, b"on no stream");
    behind.resize(4 << 20, 0);
    peer.write(&behind).await;
    let goaway = peer.on(0).await.unwrap();
    assert_eq!((goaway.kind, goaway.error_code()), (GOAWAY, PROTOCOL_ERROR));
    assert!(peer.next().await.is_none(), "an orderly end");
}

/// Who stays behind a GOAWAY costs no more than any other connection.
#[tokio::test]
async fn a_client_that_is_read_on_from_keeps_its_place() {
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
    assert!(!connecting.is_finished(), "one more than there may be");
    drop(first);
    let mut second = within(connecting).await.unwrap();
    second.open(1, "/").await;
    second.echo(1, "after").await;
}

/// A handler that drops its socket: END_STREAM, RFC 8441 §5; and no half-open
/// stream where the client, as Chromium, does not end its side.
#[tokio::test]
async fn a_dropped_socket_ends_and_is_reset_where_the_client_does_not_end() {
    let socket = WebSocketConfig::default().linger(Duration::from_millis(50));
    let builder = Server::builder().socket(socket);
    let server = serve(builder, |upgrade, ended| async move {
        let path = upgrade.path().to_owned();
        let mut ws = upgrade.accept().await.unwrap();
        if path == "/sibling" {
            let _ = ended.send(echo_socket(ws, path).await);
        } else {
            let _ = ws.next().await;
        }
    })
    .await;
    let mut beside = ServerFixture::on(server).await;
    beside.peer.open(3, "/drop").await;
    beside.peer.data(3, &from_client(TEXT, b"drop it")).await;
    assert_eq!(beside.peer.seen(3).await, Seen::End);
    assert_eq!(beside.peer.seen(3).await, Seen::Reset(NO_ERROR));
    beside.unharmed().await;
}

/// After the peer's Close nothing of its counts any more (RFC 6455 §5.5.1),
/// nor does it hurt.
#[tokio::test]
async fn what_follows_a_close_frame_is_ignored() {
    let mut beside = ServerFixture::new().await;
    beside.peer.open(3, "/").await;
    let mut bytes = from_client(CLOSE, &close(1000, ""));
    bytes.extend(from_client(TEXT, b"afterthought"));
    bytes.extend([0xff; 100]);
    beside.peer.data(3, &bytes).await;
    beside.peer.data(3, &[0xff; 100]).await;
    assert_eq!(beside.peer.close_then_end(3).await, Some(1000));
    beside.peer.end(3).await;
    assert!(beside.server.ended().await.error.is_none());
    beside.unharmed().await;
}

/// RFC 9113 §6.9.1: nor does what follows use up the connection's window,
/// while the stream waits for the peer to end its side.
#[tokio::test]
async fn what_follows_a_close_frame_is_given_back_to_the_window() {
    let builder = Server::builder()
        .http2(h2ws::Http2Config::default().connection_window(100_000))
        .socket(WebSocketConfig::default().linger(Duration::from_secs(600)));
    let mut beside = ServerFixture::with(builder).await;
    beside.peer.open(3, "/").await;
    beside
        .peer
        .data(3, &from_client(CLOSE, &close(1000, "")))
        .await;
    assert_eq!(beside.peer.close_then_end(3).await, Some(1000));
    for _ in 0..10 {
        beside.peer.data(3, &[0; 15_000]).await;
        beside.peer.barrier().await;
    }
    beside.peer.end(3).await;
    beside.unharmed().await;
}
