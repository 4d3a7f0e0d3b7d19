//! Limits on the memory that a connection may occupy: unread bytes, incomplete
//! messages and unsent bytes. Also what a socket keeps of the tasks that read it.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use h2ws::config::ProcessBuffer;
use h2ws::{Error, Http2Config, Message, Server, WebSocket};
use tokio::sync::Notify;

use crate::support::client::http2;
use crate::support::frames::{self, CLOSE, Frame, close, from_client};
use crate::support::raw::{ENHANCE_YOUR_CALM, Raw, Seen};
use crate::support::server::{self, ServerFixture};
use crate::support::{tasks, until, within};

const MIB: usize = 1 << 20;

/// Wide windows, and a limit of `connection_buffer` bytes for all sockets.
fn config(connection_buffer: usize) -> Http2Config {
    Http2Config::default()
        .stream_window(8 << 20)
        .connection_buffer(connection_buffer)
}

/// Starts an echo server whose sockets at `/stuck` are never read.
async fn start(connection_buffer: usize) -> ServerFixture {
    let builder = Server::builder().http2(config(connection_buffer));
    let server = server::serve(builder, |upgrade, ended| async move {
        if upgrade.path() == "/stuck" {
            let _socket = upgrade.accept().await.unwrap();
            return std::future::pending().await;
        }
        server::echoing(ended)(upgrade).await;
    })
    .await;
    ServerFixture::on(server).await
}

/// Encodes a complete binary message of a client.
fn message(len: usize) -> Vec<u8> {
    from_client(frames::BINARY, &vec![7; len])
}

async fn send(peer: &mut Raw, stream: u32, bytes: &[u8]) {
    for piece in bytes.chunks(32 * 1024) {
        peer.data(stream, piece).await;
    }
}

/// Opens a socket with a window for the whole echo.
async fn open(peer: &mut Raw, stream: u32, path: &str) {
    peer.open(stream, path).await;
    for stream in [0, stream] {
        peer.window(stream, 16 << 20).await;
    }
}

/// Reads a message in any number of frames and returns its length.
async fn read_message(peer: &mut Raw, stream: u32) -> usize {
    let mut len = 0;
    loop {
        let Frame { head, payload, .. } = peer.frame(stream).await;
        len += payload.len();
        if head & 0x80 != 0 {
            return len;
        }
    }
}

/// If two incomplete messages together exceed the limit, the socket of the larger
/// one is closed with 1013, and the smaller one is completed.
#[tokio::test]
async fn the_socket_with_the_largest_incomplete_message_is_closed() {
    let mut beside = start(MIB).await;
    let peer = &mut beside.peer;
    let (small, large) = (message(MIB / 4), message(4 * MIB));
    open(peer, 3, "/small").await;
    open(peer, 5, "/large").await;
    send(peer, 3, &small[..MIB / 8]).await;
    send(peer, 5, &large[..2 * MIB]).await;
    let closed = peer.frame(5).await;
    assert_eq!(closed.code(), Some(1013));
    assert_eq!(peer.seen(5).await, Seen::End);
    peer.data(5, &from_client(CLOSE, &close(1013, ""))).await;
    peer.end(5).await;
    send(peer, 3, &small[MIB / 8..]).await;
    assert_eq!(read_message(peer, 3).await, MIB / 4);
    peer.close(3).await;
    let ended = beside.server.ended().await;
    assert_eq!(ended.path, "/large");
    assert!(matches!(ended.error, Some(Error::Overloaded)), "{ended:?}");
    beside.unharmed().await;
}

/// Each of many sockets may use half of the limit, one after the other: a message
/// no longer counts once it is complete.
#[tokio::test]
async fn complete_messages_do_not_count() {
    let mut beside = start(MIB).await;
    let peer = &mut beside.peer;
    let message = message(MIB / 2);
    for stream in (3..23).step_by(2) {
        open(peer, stream, "/").await;
        send(peer, stream, &message).await;
        assert_eq!(read_message(peer, stream).await, MIB / 2);
    }
    for stream in (3..23).step_by(2) {
        peer.close(stream).await;
    }
    beside.unharmed().await;
}

/// Unread bytes count as well. A socket that is not read cannot be closed in
/// order, so its stream is reset with the code for excessive load (RFC 9113 §7).
/// The other sockets continue.
#[tokio::test]
async fn the_socket_with_the_most_unread_bytes_is_reset() {
    let mut beside = start(MIB).await;
    let peer = &mut beside.peer;
    let message = message(MIB);
    peer.open(3, "/stuck").await;
    peer.open(5, "/stuck").await;
    send(peer, 3, &message[..MIB / 2]).await;
    send(peer, 5, &message[..MIB - MIB / 4]).await;
    assert_eq!(peer.seen(5).await, Seen::Reset(ENHANCE_YOUR_CALM));
    peer.echo(1, "meanwhile").await;
    peer.barrier().await;
    assert_eq!(peer.pending(), 0, "the other socket was closed");
}

/// A dropped socket does not count, however much it left unread.
#[tokio::test]
async fn dropped_sockets_do_not_count() {
    let builder = Server::builder().http2(config(MIB));
    let server = server::serve(builder, |upgrade, ended| async move {
        if upgrade.path() == "/drop" {
            // Drop it only once there are unread bytes.
            let mut socket = upgrade.accept().await.unwrap();
            let _ = socket.next().await;
            return;
        }
        server::echoing(ended)(upgrade).await;
    })
    .await;
    let mut beside = ServerFixture::on(server).await;
    let before = tasks();
    let bytes = [message(1), message(MIB - 1000)].concat();
    for stream in (3..23).step_by(2) {
        beside.peer.open(stream, "/drop").await;
        send(&mut beside.peer, stream, &bytes).await;
        beside.peer.let_go(stream).await;
        until(|| tasks() <= before).await;
    }
    beside.unharmed().await;
}

/// `usize::MAX` disables the limit.
#[tokio::test]
async fn without_a_limit_all_incomplete_messages_are_kept() {
    let mut beside = start(usize::MAX).await;
    let peer = &mut beside.peer;
    let message = message(4 * MIB);
    for stream in [3, 5, 7] {
        open(peer, stream, "/").await;
        send(peer, stream, &message[..3 * MIB]).await;
    }
    for stream in [3, 5, 7] {
        send(peer, stream, &message[3 * MIB..]).await;
        assert_eq!(read_message(peer, stream).await, 4 * MIB);
        peer.close(stream).await;
    }
    beside.unharmed().await;
}

/// A waker for a task that reads a socket, and that drops the socket it may own.
#[derive(Default)]
struct Reader {
    woken: Notify,
    socket: Mutex<Option<WebSocket>>,
}

impl Wake for Reader {
    fn wake(self: Arc<Self>) {
        drop(self.socket.lock().unwrap().take());
        self.woken.notify_one();
    }
}

/// Polls `socket` with `reader`'s waker, and sends a message whose echo wakes it.
fn wait_for_echo(socket: &mut WebSocket, reader: &Arc<Reader>) {
    let waker = Waker::from(reader.clone());
    let cx = &mut Context::from_waker(&waker);
    let read = socket.poll_next_unpin(cx);
    assert!(matches!(read, Poll::Pending), "{read:?}");
    socket.start_send_unpin(Message::text("ask")).unwrap();
    let flushed = socket.poll_flush_unpin(cx);
    assert!(matches!(flushed, Poll::Ready(Ok(()))), "{flushed:?}");
}

/// A task may end after it was woken. The socket may live on in another task, or
/// not be read again, and keeps no waker of the first task.
#[tokio::test]
async fn a_socket_does_not_keep_the_task_that_read_it() {
    let server = server::echo(Server::builder()).await;
    let mut socket = http2()
        .build()
        .unwrap()
        .connect(&server.url("/"))
        .await
        .unwrap();
    let reader = Arc::new(Reader::default());
    wait_for_echo(&mut socket, &reader);
    within(reader.woken.notified()).await;
    until(|| Arc::strong_count(&reader) == 1).await;
}

/// An executor may drop a task, and the socket with it, when the task is woken.
/// That does not block the connection.
#[test]
fn a_wake_up_may_drop_the_socket() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let sibling = runtime.block_on(async {
        let server = server::echo(Server::builder()).await;
        let client = http2().build().unwrap();
        let mut socket = client.connect(&server.url("/")).await.unwrap();
        let mut sibling = client.connect(&server.url("/")).await.unwrap();
        let reader = Arc::new(Reader::default());
        {
            // The lock delays the wake-up until the reader owns the socket.
            let mut owned = reader.socket.lock().unwrap();
            wait_for_echo(&mut socket, &reader);
            *owned = Some(socket);
        }
        sibling.send(Message::text("beside")).await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), sibling.next()).await
    });
    // A deadlocked driver would never finish.
    runtime.shutdown_background();
    assert!(matches!(sibling, Ok(Some(Ok(_)))), "{sibling:?}");
}

/// Unsent bytes count as well. A Close frame would not reach a peer that does not
/// read, so the stream is reset, and the writer gets an error with the reason.
#[tokio::test]
async fn the_socket_with_the_most_unsent_bytes_is_reset() {
    let builder = Server::builder().http2(config(MIB).write_buffer(8 * MIB));
    let server = server::serve(builder, |upgrade, ended| async move {
        let path = upgrade.path().to_owned();
        let len = match &*path {
            "/small" => MIB / 4,
            "/large" => MIB,
            _ => return server::echoing(ended)(upgrade).await,
        };
        let mut socket = upgrade.accept().await.unwrap();
        let sent = socket.send(Message::binary(vec![7; len])).await;
        let error = match sent {
            Ok(()) => socket.next().await.and_then(Result::err),
            Err(error) => Some(error),
        };
        let code = socket.close_code();
        let _ = ended.send(server::Ended { path, error, code });
    })
    .await;
    let mut beside = ServerFixture::on(server).await;
    beside.peer.open(3, "/small").await;
    beside.peer.open(5, "/large").await;
    while beside.peer.seen(5).await != Seen::Reset(ENHANCE_YOUR_CALM) {}
    let ended = beside.server.ended().await;
    assert_eq!(ended.path, "/large");
    assert!(matches!(ended.error, Some(Error::Overloaded)), "{ended:?}");
    for stream in [0, 3] {
        beside.peer.window(stream, 16 << 20).await;
    }
    assert_eq!(read_message(&mut beside.peer, 3).await, MIB / 4);
    beside.peer.echo(1, "meanwhile").await;
}

/// When all connections together hold too much, a socket is closed on the one that
/// holds most. The other connections are not affected.
#[tokio::test]
async fn the_process_limit_closes_a_socket_on_the_connection_that_holds_most() {
    let process = ProcessBuffer::new(MIB);
    let http2 = config(usize::MAX).process_buffer(process.clone());
    let server = server::echo(Server::builder().http2(http2)).await;
    let (mut small, mut large) = (
        Raw::connect(server.addr).await,
        Raw::connect(server.addr).await,
    );
    let bytes = message(2 * MIB);
    open(&mut small, 1, "/small").await;
    open(&mut large, 1, "/large").await;
    send(&mut large, 1, &bytes[..MIB - MIB / 4]).await;
    large.barrier().await;
    let half = message(MIB / 2);
    send(&mut small, 1, &half[..MIB / 2 - 1000]).await;
    assert_eq!(large.frame(1).await.code(), Some(1013));
    send(&mut small, 1, &half[MIB / 2 - 1000..]).await;
    assert_eq!(read_message(&mut small, 1).await, MIB / 2);
    drop((small, large));
    until(|| process.held() == 0).await;
}
