//! `close` ends within `close_timeout`, whatever the peer does not do, by one
//! table: both versions, clients and servers, each form of a socket.

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
    /// A `send` that was given up.
    Cancelled,
    /// The reader lies idle.
    Writer,
    /// The reader waits in another task.
    Both,
    /// And its writer does not wait for the Close frame to leave.
    Reader,
    Bytes,
}

const FORMS: [Form; 7] = [
    Form::Whole,
    Form::Sink,
    Form::Cancelled,
    Form::Writer,
    Form::Both,
    Form::Reader,
    Form::Bytes,
];

fn hasty() -> WebSocketConfig {
    WebSocketConfig::default()
        .close_timeout(Duration::from_millis(50))
        .linger(Duration::from_millis(50))
}

/// More than anything holds on the way.
fn large() -> Message {
    Message::Binary(Bytes::from(vec![0; 64 << 20]))
}

fn is_late(error: &Error) -> bool {
    matches!(error, Error::Timeout(Timeout::Close))
}

/// Closes with much to be sent. Fails by the timeout, and so does the reader.
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
            // The Close frame is queued behind what is written: over HTTP/2 it
            // is in the hands of the connection then.
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
async fn a_client_closes_at_a_server_that_does_not_read() {
    let server = server::serve(Server::builder(), |upgrade, ended| async move {
        let _unread = upgrade.accept().await.unwrap();
        ended.closed().await;
    })
    .await;
    for version in VERSIONS {
        let client = version().socket(hasty()).build().unwrap();
        for form in FORMS {
            let ws = within(client.connect(&server.url("/"))).await.unwrap();
            within(close_full(ws, form)).await;
        }
        no_stream_is_left(&client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_closes_at_a_client_that_does_not_read() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let builder = Server::builder().socket(hasty());
    let server = server::serve(builder, move |upgrade, _| {
        let tell = tell.clone();
        async move {
            let form = form(upgrade.path());
            close_full(upgrade.accept().await.unwrap(), form).await;
            tell.send(()).unwrap();
        }
    })
    .await;
    for version in VERSIONS {
        let client = version().build().unwrap();
        for form in FORMS {
            let url = server.url(&format!("/{form:?}"));
            let _unread = within(client.connect(&url)).await.unwrap();
            within(told.recv()).await.unwrap();
        }
    }
}

/// One that answers by messages alone, as fast as it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_stop_sending_is_not_waited_for() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let flood = tokio::spawn(async move {
        let messages = from_server(TEXT, b"and another").repeat(1000);
        while far.write_all(&messages).await.is_ok() {}
    });
    let mut ws = WebSocket::from_stream(near, Role::Client, hasty());
    let closed = within(ws.close(None)).await;
    assert!(is_late(&closed.unwrap_err()));
    drop(ws);
    flood.await.unwrap();
}
