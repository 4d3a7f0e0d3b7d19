//! What becomes of what was sent when a socket ends, by one table: both
//! versions, clients and servers, each form of a socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use h2ws::client::ClientBuilder;
use h2ws::frame::Role;
use h2ws::socket::RawStream;
use h2ws::{CloseCode, Error, Message, Server, WebSocket, WebSocketConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, protocol::Role as ForeignRole};

use crate::support::client::{self, http1, http2, no_stream_is_left};
use crate::support::raw::{CANCEL, DATA};
use crate::support::{server, tasks, until, within};

const VERSIONS: [fn() -> ClientBuilder; 2] = [http1, http2];

const MESSAGES: usize = 1000;

/// What is not closed at the peer within this is held up by something else.
fn patient() -> WebSocketConfig {
    WebSocketConfig::default().linger(Duration::from_secs(20))
}

/// How the sending application uses its socket.
#[derive(Clone, Copy, Debug)]
enum Form {
    Whole,
    /// The reader goes first.
    Writer,
    /// The writer goes first.
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
    // Some do not fit into a frame or a window.
    let size = if n.is_multiple_of(250) { 100_000 } else { 4 };
    let mut payload = vec![0; size];
    payload[..4].copy_from_slice(&(n as u32).to_be_bytes());
    Message::binary(payload)
}

/// Sends, and lets go of the socket without closing it.
async fn send_and_drop(mut ws: WebSocket, form: Form) {
    match form {
        Form::Whole | Form::Cancelled => {
            for n in 0..MESSAGES {
                ws.send(message(n)).await.unwrap();
            }
            if let Form::Cancelled = form {
                // A wait for a message is given up before the socket is.
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

/// All of it comes, and then an end that is no close.
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
async fn what_a_server_sent_arrives_when_its_handler_returns() {
    let server = Server::builder().socket(patient());
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
async fn what_a_client_sent_arrives_when_it_drops_the_socket() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let server = server::serve(Server::builder(), move |upgrade, _| {
        let tell = tell.clone();
        async move {
            let form = form(upgrade.path());
            let mut ws = upgrade.accept().await.unwrap();
            expect_all(&mut ws, form).await;
            tell.send(()).unwrap();
        }
    })
    .await;
    for version in VERSIONS {
        let client = version().socket(patient()).build().unwrap();
        for form in FORMS {
            let url = server.url(&format!("/{form:?}"));
            let ws = within(client.connect(&url)).await.unwrap();
            within(send_and_drop(ws, form)).await;
            within(told.recv()).await.unwrap();
        }
        no_stream_is_left(&client).await;
    }
}

/// How an application lets go of a byte stream.
#[derive(Clone, Copy, Debug)]
enum Let {
    Flush,
    Shutdown,
}

const LARGE: usize = 1_000_000;

async fn write_and_drop(mut stream: RawStream, way: Let) {
    stream.write_all(&vec![7; LARGE]).await.unwrap();
    match way {
        Let::Flush => stream.flush().await.unwrap(),
        Let::Shutdown => stream.shutdown().await.unwrap(),
    }
}

/// All of it comes, and then the end: there is no other word for it in bytes.
async fn expect_bytes(mut stream: impl AsyncRead + Unpin, way: Let) {
    let mut got = Vec::new();
    let read = within(stream.read_to_end(&mut got)).await;
    assert_eq!((read.ok(), got.len()), (Some(LARGE), LARGE), "{way:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_arrives_when_the_byte_stream_is_dropped() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let server = server::serve(Server::builder(), move |upgrade, _| {
        let tell = tell.clone();
        async move {
            let path = upgrade.path().to_owned();
            let stream = upgrade.accept_raw().await.unwrap();
            match &path[..] {
                "/flush" => write_and_drop(stream, Let::Flush).await,
                "/shutdown" => write_and_drop(stream, Let::Shutdown).await,
                "/read/flush" => expect_bytes(stream, Let::Flush).await,
                _ => expect_bytes(stream, Let::Shutdown).await,
            }
            tell.send(()).unwrap();
        }
    })
    .await;
    for version in VERSIONS {
        let client = version().build().unwrap();
        for (path, way) in [("/flush", Let::Flush), ("/shutdown", Let::Shutdown)] {
            let url = server.url(path);
            let stream = within(client.request(&url).connect_raw()).await.unwrap();
            expect_bytes(stream, way).await;
            within(told.recv()).await.unwrap();
            let url = server.url(&format!("/read{path}"));
            let stream = within(client.request(&url).connect_raw()).await.unwrap();
            write_and_drop(stream, way).await;
            within(told.recv()).await.unwrap();
        }
        no_stream_is_left(&client).await;
    }
}

/// One that says nothing, or one word, is as good as any.
#[tokio::test]
async fn a_handler_that_returns_at_once_has_opened_the_socket() {
    let server = server::serve(Server::builder(), |upgrade, _| async move {
        let says = upgrade.path() == "/hi";
        let mut ws = upgrade.accept().await.unwrap();
        if says {
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

/// A program that drops its socket and exits, behind `Client::shutdown`.
#[tokio::test]
async fn what_was_sent_arrives_where_the_program_exits() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let server = server::serve(Server::builder(), move |upgrade, _| {
        let tell = tell.clone();
        async move {
            let mut ws = upgrade.accept().await.unwrap();
            expect_all(&mut ws, Form::Bytes).await;
            tell.send(()).unwrap();
        }
    })
    .await;
    for version in VERSIONS {
        let url = server.url("/");
        let program = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let client = version().socket(patient()).build().unwrap();
                let ws = client.connect(&url).await.unwrap();
                send_and_drop(ws, Form::Bytes).await;
                client.shutdown().await;
            });
        });
        within(told.recv()).await.unwrap();
        until(|| program.is_finished()).await;
        program.join().unwrap();
    }
}

/// A peer that takes nothing has `linger`; then its memory and its place are
/// free, and nobody else has noticed.
#[tokio::test]
async fn a_server_that_does_not_read_costs_linger_alone() {
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
async fn a_client_that_does_not_read_costs_linger_alone() {
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

    // One that goes away, or takes it late.
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

/// Bytes that are known to be held.
struct Held(Vec<u8>, #[allow(dead_code)] Arc<()>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A socket with more to send than the peer takes.
fn full(mut ws: WebSocket, held: &Arc<()>) -> WebSocket {
    let payload = Bytes::from_owner(Held(vec![0; 90_000], held.clone()));
    for _ in 0..2 {
        let sent = ws.send(Message::Binary(payload.clone())).now_or_never();
        assert!(sent.is_none_or(|sent| sent.is_ok()));
    }
    ws
}

/// A thousand at once are as quick as one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sockets_are_dropped_at_once() {
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

/// Sends a message and closes; the peer closes back, and the stream ends.
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

/// Which end whatever it was made for, as other libraries close.
#[tokio::test]
async fn another_library_over_our_streams_closes_in_order_from_either_side() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let server = server::serve(Server::builder(), move |upgrade, _| {
        let tell = tell.clone();
        async move {
            let closes = upgrade.path() == "/closes";
            let ws = foreign(upgrade.accept_raw().await.unwrap(), ForeignRole::Server).await;
            if closes {
                foreign_closes(ws).await;
            } else {
                foreign_is_closed(ws).await;
            }
            tell.send(()).unwrap();
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
            within(told.recv()).await.unwrap();
        }
        no_stream_is_left(&client).await;
    }
}
