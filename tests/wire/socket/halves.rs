//! Tasks that wait for a socket or a half: they are woken when it ends, and their
//! wakers are released when they are no longer needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use h2ws::frame::Role;
use h2ws::socket::{WebSocketReader, WebSocketWriter};
use h2ws::{Message, WebSocket, WebSocketConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::client::ClientFixture;
use crate::support::frames::{BINARY, CLOSE, PING, close, from_server};
use crate::support::within;

/// A waker that records whether it was woken. Its reference count shows whether
/// the socket still keeps it.
#[derive(Default)]
struct Task(AtomicBool);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Task {
    fn was_woken(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

/// Polls with a task's waker.
fn poll<T>(task: &Arc<Task>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll(&mut Context::from_waker(&Waker::from(task.clone())))
}

fn poll_next(task: &Arc<Task>, reader: &mut (impl Stream + Unpin)) -> bool {
    poll(task, |cx| reader.poll_next_unpin(cx)).is_ready()
}

/// Writes until the writer is not ready.
fn fill(task: &Arc<Task>, writer: &mut (impl Sink<Message> + Unpin)) {
    while let Poll::Ready(ready) = poll(task, |cx| writer.poll_ready_unpin(cx)) {
        ready.ok().expect("the socket is open");
        let message = Message::binary(vec![0; 16 * 1024]);
        writer.start_send_unpin(message).ok().expect("open");
    }
}

fn is_kept(task: &Arc<Task>) -> bool {
    Arc::strong_count(task) > 1
}

/// The peer's end of a socket's byte stream.
trait Peer {
    async fn send(&mut self, bytes: &[u8]);
    /// Waits until everything sent so far has been received.
    async fn settle(&mut self);
}

impl Peer for DuplexStream {
    async fn send(&mut self, bytes: &[u8]) {
        within(self.write_all(bytes)).await.unwrap();
    }

    async fn settle(&mut self) {}
}

impl Peer for ClientFixture {
    async fn send(&mut self, bytes: &[u8]) {
        self.peer.data(3, bytes).await;
    }

    async fn settle(&mut self) {
        self.peer.barrier().await;
    }
}

fn over_io(config: WebSocketConfig) -> (WebSocket, DuplexStream) {
    let (near, far) = tokio::io::duplex(1024);
    (WebSocket::from_stream(near, Role::Client, config), far)
}

async fn over_http2(config: WebSocketConfig) -> (WebSocket, ClientFixture) {
    let client = crate::support::client::http2().socket(config);
    let mut beside = ClientFixture::with(client.build().unwrap()).await;
    let (ws, ()) = tokio::join!(beside.client.connect(&beside.url), beside.peer.take(3));
    (ws.unwrap(), beside)
}

fn with_pings() -> WebSocketConfig {
    WebSocketConfig::default().ping_interval(Duration::from_secs(3600))
}

/// The reader receives the peer's Close frame, which ends the socket. The writer,
/// which waits for room that never becomes available, must be woken.
async fn expect_writer_woken(ws: WebSocket, mut peer: impl Peer) {
    let (mut reader, mut writer) = ws.split();
    let task = Arc::<Task>::default();
    fill(&task, &mut writer);
    peer.settle().await;
    while task.was_woken() {
        fill(&task, &mut writer);
        peer.settle().await;
    }
    peer.send(&from_server(CLOSE, &close(1000, ""))).await;
    assert!(within(reader.next()).await.is_none());
    assert!(task.was_woken());
    let ready = poll(&task, |cx| writer.poll_ready_unpin(cx));
    assert!(matches!(ready, Poll::Ready(Err(_))), "{ready:?}");
}

#[tokio::test]
async fn a_waiting_writer_is_woken_when_the_socket_ends() {
    let (ws, far) = over_io(WebSocketConfig::default());
    expect_writer_woken(ws, far).await;
}

#[tokio::test]
async fn a_waiting_writer_is_woken_when_the_socket_ends_over_http2() {
    let (ws, beside) = over_http2(WebSocketConfig::default()).await;
    expect_writer_woken(ws, beside).await;
}

/// The reader answers a Ping while the writer waits for a flush, and must not
/// replace the writer's waker.
#[tokio::test]
async fn a_reader_that_sends_a_pong_does_not_replace_the_writers_waker() {
    let (ws, mut far) = over_io(WebSocketConfig::default());
    let (mut reader, mut writer) = ws.split();
    let (reads, writes) = Default::default();
    writer
        .start_send_unpin(Message::binary(vec![0; 2000]))
        .unwrap();
    assert!(poll(&writes, |cx| writer.poll_flush_unpin(cx)).is_pending());
    far.send(&from_server(PING, b"?")).await;
    assert!(!poll_next(&reads, &mut reader));
    // The message and the Pong, masked.
    let mut read = 0;
    while read < 4 + 4 + 2000 + 2 + 4 + 1 {
        read += within(far.read(&mut [0; 4096])).await.unwrap();
        // A task polls when it is woken.
        if reads.was_woken() {
            assert!(!poll_next(&reads, &mut reader));
        }
    }
    assert!(writes.was_woken());
    assert!(poll(&writes, |cx| writer.poll_flush_unpin(cx)).is_ready());
}

/// Splits a socket and lets both halves wait.
fn split_waiting(
    ws: WebSocket,
    reads: &Arc<Task>,
    writes: &Arc<Task>,
) -> (WebSocketReader, WebSocketWriter) {
    let (mut reader, mut writer) = ws.split();
    fill(writes, &mut writer);
    assert!(!poll_next(reads, &mut reader));
    assert!(is_kept(reads) && is_kept(writes));
    (reader, writer)
}

/// Each waker is released with its half, in either order.
fn expect_halves_release_wakers(one: WebSocket, other: WebSocket) {
    let (reads, writes) = Default::default();
    let (reader, writer) = split_waiting(one, &reads, &writes);
    drop(reader);
    assert!(!is_kept(&reads) && is_kept(&writes));
    drop(writer);
    assert!(!is_kept(&writes));
    let (reader, writer) = split_waiting(other, &reads, &writes);
    drop(writer);
    assert!(is_kept(&reads) && !is_kept(&writes));
    drop(reader);
    assert!(!is_kept(&reads));
}

#[tokio::test]
async fn a_dropped_half_keeps_no_waker() {
    let (one, _far) = over_io(with_pings());
    let (other, _far) = over_io(with_pings());
    expect_halves_release_wakers(one, other);
}

#[tokio::test]
async fn a_dropped_half_keeps_no_waker_over_http2() {
    let (one, _one) = over_http2(with_pings()).await;
    let (other, _other) = over_http2(with_pings()).await;
    expect_halves_release_wakers(one, other);
}

/// The waker is released even though the peer still has time to end its side.
fn expect_socket_releases_wakers(mut ws: WebSocket) {
    let task = Arc::<Task>::default();
    fill(&task, &mut ws);
    assert!(!poll_next(&task, &mut ws));
    let closing = poll(&task, |cx| ws.poll_close_unpin(cx));
    assert!(closing.is_pending() || is_kept(&task));
    assert!(!poll_next(&task, &mut ws));
    drop(ws);
    assert!(!is_kept(&task));
}

#[tokio::test]
async fn a_dropped_socket_keeps_no_waker() {
    expect_socket_releases_wakers(over_io(with_pings()).0);
}

#[tokio::test]
async fn a_dropped_socket_keeps_no_waker_over_http2() {
    let (ws, _beside) = over_http2(with_pings()).await;
    expect_socket_releases_wakers(ws);
}

/// A poll that returns ready keeps no waker.
async fn expect_ready_polls_release_wakers(mut ws: WebSocket, mut peer: impl Peer) {
    let (reads, writes) = Default::default();
    assert!(!poll_next(&reads, &mut ws));
    peer.send(&from_server(BINARY, b"one")).await;
    peer.settle().await;
    assert!(reads.was_woken());
    assert!(poll_next(&reads, &mut ws));
    assert!(!is_kept(&reads));
    ws.start_send_unpin(Message::text("two")).unwrap();
    assert!(poll(&writes, |cx| ws.poll_flush_unpin(cx)).is_ready());
    assert!(!is_kept(&writes));
}

#[tokio::test]
async fn a_completed_poll_keeps_no_waker() {
    let (ws, far) = over_io(WebSocketConfig::default());
    expect_ready_polls_release_wakers(ws, far).await;
}

#[tokio::test]
async fn a_completed_poll_keeps_no_waker_over_http2() {
    let (ws, beside) = over_http2(WebSocketConfig::default()).await;
    expect_ready_polls_release_wakers(ws, beside).await;
}
