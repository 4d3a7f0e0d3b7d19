//! Delivery of sent messages when a socket is dropped, for both versions of HTTP,
//! clients and servers, and every way to use a socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use h2ws::client::ClientBuilder;
use h2ws::frame::Role;
use h2ws::server::WebSocketRequest;
use h2ws::socket::RawStream;
use h2ws::{CloseCode, Error, Message, Server, Transport, WebSocket, WebSocketConfig, memory};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, protocol::Role as ForeignRole};

use crate::support::client::{self, http1, http2, no_stream_is_left};
use crate::support::raw::{CANCEL, DATA};
use crate::support::{server, tasks, until, within};

const VERSIONS: [fn() -> ClientBuilder; 2] = [http1, http2];

const MESSAGES: usize = 1000;

/// A long `linger`, so that only a defect can delay the end beyond it.
fn long_linger() -> WebSocketConfig {
    WebSocketConfig::default().linger(Duration::from_secs(20))
}

/// How the sending application uses its socket.
#[derive(Clone, Copy, Debug)]
enum Form {
    Whole,
    /// The reader is dropped first.
    Writer,
    /// The writer is dropped first.
    Reader,
    Fed,
    Bytes,
    Cancelled,
}

const FORMS: [Form; 6] = [
    Form::Whole,
    Form::Writer,
    Form::Reader,
    Form::Fed,
    Form::Bytes,
    Form::Cancelled,
];

fn message(n: usize) -> Message {
    // Some exceed a frame or a window.
    let size = if n.is_multiple_of(250) { 100_000 } else { 4 };
    let mut payload = vec![0; size];
    payload[..4].copy_from_slice(&(n as u32).to_be_bytes());
    Message::binary(payload)
}

/// Sends all messages and drops the socket without closing it.
async fn send_and_drop(mut ws: WebSocket, form: Form) {
    match form {
        Form::Whole | Form::Cancelled => {
            for n in 0..MESSAGES {
                ws.send(message(n)).await.unwrap();
            }
            if let Form::Cancelled = form {
                // A pending receive is cancelled before the socket is dropped.
                assert!(ws.next().now_or_never().is_none());
            }
        }
        Form::Writer | Form::Reader => {
            let (reader, mut writer) = ws.split();
            let mut reader = Some(reader);
            if let Form::Writer = form {
                drop(reader.take());
            }
            for n in 0..MESSAGES {
                writer.send(message(n)).await.unwrap();
            }
            drop(writer);
        }
        Form::Fed => {
            for n in 0..MESSAGES {
                ws.feed(message(n)).await.unwrap();
            }
            ws.flush().await.unwrap();
        }
        Form::Bytes => {
            let mut bytes = ws.into_binary_stream();
            for n in 0..MESSAGES {
                let Message::Binary(payload) = message(n) else {
                    unreachable!()
                };
                bytes.write_all(&payload).await.unwrap();
            }
        }
    }
}

/// Expects all messages, and then an abnormal closure.
async fn expect_all(ws: &mut WebSocket, form: Form) {
    let mut expected = Vec::new();
    for n in 0..MESSAGES {
        let sent = message(n);
        if !matches!(form, Form::Bytes) {
            let got = within(ws.next()).await;
            let got = got.unwrap_or_else(|| panic!("{form:?}: closed at {n}"));
            let got = got.unwrap_or_else(|error| panic!("{form:?}: {error} at {n}"));
            assert_eq!(got, sent, "{form:?}: {n}");
        } else {
            expected.extend_from_slice(sent.as_bytes());
        }
    }
    let mut got = Vec::new();
    let error = loop {
        match within(ws.next()).await {
            Some(Ok(message)) => got.extend_from_slice(message.as_bytes()),
            Some(Err(error)) => break error,
            None => panic!("{form:?}: closed"),
        }
    };
    assert!(got == expected, "{form:?}: {} bytes", got.len());
    assert!(error.is_abnormal_closure(), "{form:?}: {error:?}");
    assert_eq!(ws.close_code(), Some(CloseCode::ABNORMAL));
}

fn form(path: &str) -> Form {
    let named = |form: &Form| format!("/{form:?}") == path;
    FORMS.into_iter().find(named).expect("a form")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_server_arrive_after_its_handler_returns() {
    let server = Server::builder().socket(long_linger());
    let server = server::serve(server, |upgrade, _| async move {
        let form = form(upgrade.path());
        send_and_drop(upgrade.accept().await.unwrap(), form).await;
    })
    .await;
    for version in VERSIONS {
        let client = version().build().unwrap();
        for form in FORMS {
            let url = server.url(&format!("/{form:?}"));
            let mut ws = within(client.connect(&url)).await.unwrap();
            expect_all(&mut ws, form).await;
        }
        no_stream_is_left(&client).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_client_arrive_after_it_drops_the_socket() {
    let (done_tx, mut done_rx) = mpsc::unbounded_channel();
    let server = server::serve(Server::builder(), move |upgrade, _| {
        let done_tx = done_tx.clone();
        async move {
            let form = form(upgrade.path());
            let mut ws = upgrade.accept().await.unwrap();
            expect_all(&mut ws, form).await;
            done_tx.send(()).unwrap();
        }
    })
    .await;
    for version in VERSIONS {
        let client = version().socket(long_linger()).build().unwrap();
        for form in FORMS {
            let url = server.url(&format!("/{form:?}"));
            let ws = within(client.connect(&url)).await.unwrap();
            within(send_and_drop(ws, form)).await;
            within(done_rx.recv()).await.unwrap();
        }
        no_stream_is_left(&client).await;
    }
}

/// What an application calls before it drops a byte stream.
#[derive(Clone, Copy, Debug)]
enum BeforeDrop {
    Flush,
    Shutdown,
}

const LARGE: usize = 1_000_000;

async fn write_and_drop(mut stream: RawStream, way: BeforeDrop) {
    stream.write_all(&vec![7; LARGE]).await.unwrap();
    match way {
        BeforeDrop::Flush => stream.flush().await.unwrap(),
        BeforeDrop::Shutdown => stream.shutdown().await.unwrap(),
    }
}

/// Expects all bytes, and then the end of the stream: a byte stream cannot
/// distinguish an abnormal closure.
async fn expect_bytes(mut stream: impl AsyncRead + Unpin, way: BeforeDrop) {
    let mut got = Vec::new();
    let read = within(stream.read_to_end(&mut got)).await;
    assert_eq!((read.ok(), got.len()), (Some(LARGE), LARGE), "{way:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn written_bytes_arrive_after_the_byte_stream_is_dropped() {
    let (done_tx, mut done_rx) = mpsc::unbounded_channel();
    let server = server::serve(Server::builder(), move |upgrade, _| {
        let done_tx = done_tx.clone();
        async move {
            let path = upgrade.path().to_owned();
            let stream = upgrade.accept_raw().await.unwrap();
            match &path[..] {
                "/flush" => write_and_drop(stream, BeforeDrop::Flush).await,
                "/shutdown" => write_and_drop(stream, BeforeDrop::Shutdown).await,
                "/read/flush" => expect_bytes(stream, BeforeDrop::Flush).await,
                _ => expect_bytes(stream, BeforeDrop::Shutdown).await,
            }
            done_tx.send(()).unwrap();
        }
    })
    .await;
    for version in VERSIONS {
        let client = version().build().unwrap();
        for (path, way) in [
            ("/flush", BeforeDrop::Flush),
            ("/shutdown", BeforeDrop::Shutdown),
        ] {
            let url = server.url(path);
            let opened = client.request(&url).connect_raw_with_response();
            let (stream, response) = within(opened).await.unwrap();
            let over_http2 = matches!(stream.transport(), Transport::Http2 { .. });
            assert_eq!(response.status(), if over_http2 { 200 } else { 101 });
            expect_bytes(stream, way).await;
            within(done_rx.recv()).await.unwrap();
            let url = server.url(&format!("/read{path}"));
            let stream = within(client.request(&url).connect_raw()).await.unwrap();
            write_and_drop(stream, way).await;
            within(done_rx.recv()).await.unwrap();
        }
        no_stream_is_left(&client).await;
    }
}

/// The handler sends one short message or none.
#[tokio::test]
async fn a_handler_that_returns_at_once_has_opened_the_socket() {
    let server = server::serve(Server::builder(), |upgrade, _| async move {
        let greets = upgrade.path() == "/hi";
        let mut ws = upgrade.accept().await.unwrap();
        if greets {
            ws.send("hi").await.unwrap();
        }
    })
    .await;
    for version in VERSIONS {
        let client = version().build().unwrap();
        for _ in 0..50 {
            let mut ws = within(client.connect(&server.url("/hi"))).await.unwrap();
            assert_eq!(
                within(ws.next()).await.unwrap().unwrap(),
                Message::text("hi")
            );
            let ended = within(ws.next()).await;
            assert!(matches!(ended, Some(Err(Error::Abnormal))), "{ended:?}");
            let mut ws = within(client.connect(&server.url("/"))).await.unwrap();
            let ended = within(ws.next()).await;
            assert!(matches!(ended, Some(Err(Error::Abnormal))), "{ended:?}");
        }
    }
}

/// The program drops its socket, awaits `Client::shutdown` and exits.
#[tokio::test]
async fn written_bytes_arrive_if_the_program_exits_after_shutdown() {
    let (done_tx, mut done_rx) = mpsc::unbounded_channel();
    let server = server::serve(Server::builder(), move |upgrade, _| {
        let done_tx = done_tx.clone();
        async move {
            let mut ws = upgrade.accept().await.unwrap();
            expect_all(&mut ws, Form::Bytes).await;
            done_tx.send(()).unwrap();
        }
    })
    .await;
    for version in VERSIONS {
        let url = server.url("/");
        let program = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let client = version().socket(long_linger()).build().unwrap();
                let ws = client.connect(&url).await.unwrap();
                send_and_drop(ws, Form::Bytes).await;
                client.shutdown().await;
            });
        });
        within(done_rx.recv()).await.unwrap();
        until(|| program.is_finished()).await;
        program.join().unwrap();
    }
}

/// A peer that does not read has the time of `linger`. Then the socket's memory
/// and stream are released, and other sockets are not affected.
/// Begins to send more than the connection buffers, and drops the socket.
async fn begin_and_drop(mut ws: WebSocket) {
    let begun = ws.send(vec![1; LARGE]).now_or_never();
    assert!(begun.is_none(), "{begun:?}");
}

/// Sends more than the connection buffers, and reads nothing before.
async fn send_and_read(mut ws: WebSocket) {
    within(ws.send(vec![2; LARGE])).await.unwrap();
    let end = within(ws.next()).await;
    assert!(matches!(end, Some(Err(_))), "{end:?}");
}

#[tokio::test]
async fn a_dropped_socket_does_not_wait_for_a_peer_that_is_sending() {
    for version in VERSIONS {
        for server_drops in [true, false] {
            let (listener, connector) = memory::pair();
            let server = Server::builder().socket(long_linger()).listener(listener);
            let (done_tx, mut done_rx) = mpsc::unbounded_channel();
            let serve = server.unwrap().serve(move |request: WebSocketRequest| {
                let done_tx = done_tx.clone();
                async move {
                    let ws = request.accept().await.unwrap();
                    match server_drops {
                        true => begin_and_drop(ws).await,
                        false => send_and_read(ws).await,
                    }
                    done_tx.send(()).unwrap();
                }
            });
            let serving = tokio::spawn(serve.into_future());
            let client = version().connector(move |_| connector.connect());
            let client = client.socket(long_linger()).build().unwrap();
            let ws = client.connect("ws://app.example/").await.unwrap();
            match server_drops {
                true => send_and_read(ws).await,
                false => begin_and_drop(ws).await,
            }
            within(done_rx.recv()).await.unwrap();
            serving.abort();
        }
    }
}

#[tokio::test]
async fn a_socket_to_a_server_that_does_not_read_is_reset_after_linger() {
    let short = WebSocketConfig::default().linger(Duration::from_millis(50));
    let held = Arc::new(());
    let mut beside =
        client::ClientFixture::with(http2().socket(short.clone()).build().unwrap()).await;
    let (ws, ()) = tokio::join!(beside.client.connect(&beside.url), beside.peer.take(3));
    drop(full(ws.unwrap(), &held));
    assert_eq!(beside.peer.reset_code(3).await, CANCEL);
    until(|| Arc::strong_count(&held) == 1).await;
    beside.peer.window(0, 100_000).await;
    beside.unharmed().await;

    let before = tasks();
    let (near, far) = tokio::io::duplex(1000);
    drop(full(
        WebSocket::from_stream(near, Role::Client, short),
        &held,
    ));
    until(|| Arc::strong_count(&held) == 1 && tasks() <= before).await;
    drop(far);
}

#[tokio::test]
async fn a_socket_of_a_client_that_does_not_read_is_reset_after_linger() {
    let held = Arc::new(());
    let hold = held.clone();
    let short = WebSocketConfig::default().linger(Duration::from_millis(50));
    let server = server::serve(Server::builder().socket(short), move |upgrade, ended| {
        let hold = hold.clone();
        async move {
            let path = upgrade.path().to_owned();
            let ws = upgrade.accept().await.unwrap();
            if path == "/sibling" {
                let _ = ended.send(server::echo_socket(ws, path).await);
            } else {
                drop(full(ws, &hold));
            }
        }
    })
    .await;
    let mut beside = server::ServerFixture::on(server).await;
    let idle = Arc::strong_count(&held);
    beside.peer.open(3, "/").await;
    assert_eq!(beside.peer.reset_code(3).await, CANCEL);
    until(|| Arc::strong_count(&held) == idle).await;
    beside.peer.window(0, 100_000).await;

    // A client that resets the stream, and one that reads too late.
    for stream in [5, 7] {
        beside.peer.open(stream, "/").await;
        assert_eq!(beside.peer.on(stream).await.unwrap().kind, DATA);
        if stream == 5 {
            beside.peer.reset(stream, CANCEL).await;
        } else {
            assert_eq!(beside.peer.reset_code(stream).await, CANCEL);
        }
        until(|| Arc::strong_count(&held) == idle).await;
        beside.peer.window(0, 100_000).await;
    }
    beside.unharmed().await;
}

/// Bytes whose memory is tracked by a reference count.
struct Held(Vec<u8>, #[allow(dead_code)] Arc<()>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Gives a socket more to send than the peer's window allows.
fn full(mut ws: WebSocket, held: &Arc<()>) -> WebSocket {
    let payload = Bytes::from_owner(Held(vec![0; 90_000], held.clone()));
    for _ in 0..2 {
        let sent = ws.send(Message::Binary(payload.clone())).now_or_never();
        assert!(sent.is_none_or(|sent| sent.is_ok()));
    }
    ws
}

/// A thousand sockets dropped at once end as quickly as one, without resets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sockets_may_be_dropped_at_once() {
    let server = server::serve(Server::builder(), |upgrade, ended| async move {
        let mut ws = upgrade.accept().await.unwrap();
        let first = ws.next().await;
        ws.send(first.unwrap().unwrap()).await.unwrap();
        assert!(matches!(ws.next().await, Some(Err(Error::Abnormal))));
        drop(ended);
    })
    .await;
    let client = http2().build().unwrap();
    let mut sockets = Vec::new();
    for n in 0..1000 {
        let mut ws = within(client.connect(&server.url("/"))).await.unwrap();
        ws.send(Message::text(n.to_string())).await.unwrap();
        sockets.push(ws);
    }
    drop(sockets);
    no_stream_is_left(&client).await;
    let connections = client.connections();
    assert_eq!(connections.len(), 1);
    assert_eq!(connections[0].resets_sent, 0);
}

type Foreign = WebSocketStream<RawStream>;

async fn foreign(stream: RawStream, role: ForeignRole) -> Foreign {
    WebSocketStream::from_raw_socket(stream, role, None).await
}

/// Sends a message and closes. The peer answers the Close frame, and the stream
/// ends.
async fn foreign_closes(mut ws: Foreign) {
    ws.send("last".into()).await.unwrap();
    ws.close(None).await.unwrap();
    let answer = within(ws.next()).await.expect("a Close frame");
    assert!(answer.unwrap().is_close());
    let rest = within(ws.next()).await;
    assert!(rest.is_none(), "{rest:?} instead of the end");
}

async fn foreign_is_closed(mut ws: Foreign) {
    let last = within(ws.next()).await.expect("a message").unwrap();
    assert_eq!(last, tungstenite::Message::text("last"));
    let close = within(ws.next()).await.expect("a Close frame").unwrap();
    assert!(close.is_close());
    let rest = within(ws.next()).await;
    assert!(rest.is_none(), "{rest:?} instead of the end");
}

/// tokio-tungstenite runs over our raw streams, and either side may close first.
#[tokio::test]
async fn another_library_closes_in_order_over_raw_streams() {
    let (done_tx, mut done_rx) = mpsc::unbounded_channel();
    let server = server::serve(Server::builder(), move |upgrade, _| {
        let done_tx = done_tx.clone();
        async move {
            let closes = upgrade.path() == "/closes";
            let ws = foreign(upgrade.accept_raw().await.unwrap(), ForeignRole::Server).await;
            if closes {
                foreign_closes(ws).await;
            } else {
                foreign_is_closed(ws).await;
            }
            done_tx.send(()).unwrap();
        }
    })
    .await;
    for version in VERSIONS {
        let client = version().build().unwrap();
        for path in ["/closes", "/is-closed"] {
            let url = server.url(path);
            let stream = within(client.request(&url).connect_raw()).await.unwrap();
            let ws = foreign(stream, ForeignRole::Client).await;
            if path == "/closes" {
                foreign_is_closed(ws).await;
            } else {
                foreign_closes(ws).await;
            }
            within(done_rx.recv()).await.unwrap();
        }
        no_stream_is_left(&client).await;
    }
}
