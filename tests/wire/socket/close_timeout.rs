//! `close` ends within `close_timeout`, whatever the peer fails to do, for both
//! versions of HTTP, clients and servers, and every way to use a socket.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use h2ws::client::ClientBuilder;
use h2ws::frame::Role;
use h2ws::{CloseCode, Error, Message, Server, Timeout, WebSocket, WebSocketConfig};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::support::client::{http1, http2, no_stream_is_left};
use crate::support::frames::{TEXT, from_server};
use crate::support::{server, within};

const VERSIONS: [fn() -> ClientBuilder; 2] = [http1, http2];

/// How the application closes.
#[derive(Clone, Copy, Debug)]
enum Form {
    Whole,
    Sink,
    /// The Close frame is a message.
    Message,
    /// The same, on the half of a WebSocket whose reader is not polled.
    WriterMessage,
    /// After a cancelled `send`.
    Cancelled,
    /// The reader is not polled.
    Writer,
    /// The reader waits in another task.
    Both,
    /// The reader waits, and the writer does not wait for the Close frame to be sent.
    Reader,
    Bytes,
}

const FORMS: [Form; 9] = [
    Form::Whole,
    Form::Sink,
    Form::Message,
    Form::WriterMessage,
    Form::Cancelled,
    Form::Writer,
    Form::Both,
    Form::Reader,
    Form::Bytes,
];

fn short_timeouts() -> WebSocketConfig {
    WebSocketConfig::default()
        .close_timeout(Duration::from_millis(50))
        .linger(Duration::from_millis(50))
}

/// A message larger than all buffers between the peers.
fn large() -> Message {
    Message::Binary(Bytes::from(vec![0; 64 << 20]))
}

fn is_late(error: &Error) -> bool {
    matches!(error, Error::Timeout(Timeout::Close))
}

/// Closes while much is unsent. Both `close` and the reader fail with the timeout.
async fn close_full(mut ws: WebSocket, form: Form) {
    let closed = match form {
        Form::Whole => {
            ws.feed(large()).await.unwrap();
            ws.close(None).await
        }
        Form::Sink => {
            ws.feed(large()).await.unwrap();
            let closed = SinkExt::close(&mut ws).await;
            assert_eq!(ws.close_code(), Some(CloseCode::ABNORMAL));
            assert!(is_late(&ws.next().await.unwrap().unwrap_err()));
            assert!(ws.next().await.is_none());
            closed
        }
        Form::Message => {
            ws.feed(large()).await.unwrap();
            ws.send(Message::Close(None)).await
        }
        Form::WriterMessage => {
            let (_reader, mut writer) = ws.split();
            writer.feed(large()).await.unwrap();
            writer.send(Message::Close(None)).await
        }
        Form::Cancelled => {
            assert!(ws.send(large()).now_or_never().is_none());
            ws.close(CloseCode::GOING_AWAY).await
        }
        Form::Writer => {
            let (_reader, mut writer) = ws.split();
            writer.feed(large()).await.unwrap();
            writer.close(None).await
        }
        Form::Both => {
            let (mut reader, mut writer) = ws.split();
            let read = tokio::spawn(async move { reader.next().await });
            writer.feed(large()).await.unwrap();
            let closed = writer.close(None).await;
            let read = read.await.unwrap().unwrap();
            assert!(is_late(&read.unwrap_err()));
            closed
        }
        Form::Reader => {
            let (mut reader, mut writer) = ws.split();
            writer.feed(large()).await.unwrap();
            let _ = writer.close(None).now_or_never();
            reader.next().await.unwrap().map(drop)
        }
        Form::Bytes => {
            let mut bytes = ws.into_binary_stream();
            while let Some(written) = bytes.write(&[0; 60_000]).now_or_never() {
                written.unwrap();
            }
            // The Close frame is queued after the written bytes. Over HTTP/2 the
            // connection may already own it, so `shutdown` may succeed.
            if let Err(error) = bytes.shutdown().await {
                assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
            }
            return;
        }
    };
    let error = closed.unwrap_err();
    assert!(is_late(&error), "{form:?}: {error:?}");
}

fn form(path: &str) -> Form {
    let named = |form: &Form| format!("/{form:?}") == path;
    FORMS.into_iter().find(named).expect("a form")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_a_client_socket_times_out_if_the_server_does_not_read() {
    let server = server::serve(Server::builder(), |upgrade, ended| async move {
        let _unread = upgrade.accept().await.unwrap();
        ended.closed().await;
    })
    .await;
    for version in VERSIONS {
        let client = version().socket(short_timeouts()).build().unwrap();
        for form in FORMS {
            let ws = within(client.connect(&server.url("/"))).await.unwrap();
            within(close_full(ws, form)).await;
        }
        no_stream_is_left(&client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_a_server_socket_times_out_if_the_client_does_not_read() {
    let (done_tx, mut done_rx) = mpsc::unbounded_channel();
    let builder = Server::builder().socket(short_timeouts());
    let server = server::serve(builder, move |upgrade, _| {
        let done_tx = done_tx.clone();
        async move {
            let form = form(upgrade.path());
            close_full(upgrade.accept().await.unwrap(), form).await;
            done_tx.send(()).unwrap();
        }
    })
    .await;
    for version in VERSIONS {
        let client = version().build().unwrap();
        for form in FORMS {
            let url = server.url(&format!("/{form:?}"));
            let _unread = within(client.connect(&url)).await.unwrap();
            within(done_rx.recv()).await.unwrap();
        }
    }
}

/// The peer keeps sending messages as fast as it can and never answers the Close
/// frame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_times_out_if_the_peer_keeps_sending() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let flood = tokio::spawn(async move {
        let messages = from_server(TEXT, b"and another").repeat(1000);
        while far.write_all(&messages).await.is_ok() {}
    });
    let mut ws = WebSocket::from_stream(near, Role::Client, short_timeouts());
    let closed = within(ws.close(None)).await;
    assert!(is_late(&closed.unwrap_err()));
    drop(ws);
    flood.await.unwrap();
}
