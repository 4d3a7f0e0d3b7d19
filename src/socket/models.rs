//! Models of a WebSocket whose halves two tasks use, and of one that is drained, over HTTP/2 and
//! over a connection of its own.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::websocket::Agreement;
use super::{WebSocket, WebSocketConfig};
use crate::frame::{CloseCode, Role};
use crate::sync::Mutex;
use crate::sync::model::{block_on, check, check_first, join, spawn};
use crate::transport::h2::Http2Config;
use crate::transport::h2::models::{Moving, connected};
use crate::transport::{self, IoStream, Transport};

/// A Close frame with code 1001, masked with zeros.
const MASKED_CLOSE: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];
const CLOSE: &[u8] = &[0x88, 2, 0x03, 0xe9];

/// An I/O object and its peer, with one waker per direction and little room.
#[derive(Default)]
struct Pipe {
    to_us: BytesMut,
    from_us: BytesMut,
    reader: Option<Waker>,
    writer: Option<Waker>,
    peer: Option<Waker>,
}

#[derive(Clone, Default)]
struct Io(Arc<Mutex<Pipe>>);

/// How many bytes the I/O object accepts before the peer reads them.
const ROOM: usize = 4;

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pipe = self.0.lock().unwrap();
        if pipe.to_us.is_empty() {
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let some = pipe.to_us.len().min(buf.remaining());
        buf.put_slice(&pipe.to_us.split_to(some));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.lock().unwrap();
        let some = buf.len().min(ROOM - pipe.from_us.len());
        if some == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pipe.from_us.extend_from_slice(&buf[..some]);
        let peer = pipe.peer.take();
        drop(pipe);
        peer.map(Waker::wake);
        Poll::Ready(Ok(some))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Io {
    /// Receives one frame as the peer.
    async fn frame(&self, received: &mut BytesMut) -> BytesMut {
        loop {
            if let [_, len, ..] = received[..]
                && received.len() >= 2 + usize::from(len)
            {
                return received.split_to(2 + usize::from(len));
            }
            let some = poll_fn(|cx| {
                let mut pipe = self.0.lock().unwrap();
                if pipe.from_us.is_empty() {
                    pipe.peer = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                let some = pipe.from_us.split();
                let writer = pipe.writer.take();
                drop(pipe);
                writer.map(Waker::wake);
                Poll::Ready(some)
            });
            received.extend_from_slice(&some.await);
        }
    }

    /// Sends as the peer.
    fn send(&self, bytes: &[u8]) {
        let mut pipe = self.0.lock().unwrap();
        pipe.to_us.extend_from_slice(bytes);
        let reader = pipe.reader.take();
        drop(pipe);
        reader.map(Waker::wake);
    }
}

fn on_io(io: Io, write_buffer: usize) -> IoStream {
    let transport = Transport::Http1 { connection: 1 };
    IoStream::new(Box::new(io), Bytes::new(), transport, write_buffer)
}

fn websocket(stream: transport::Stream, role: Role) -> WebSocket {
    let config = Arc::new(WebSocketConfig::default());
    WebSocket::new(stream, role, config, Agreement::default(), None)
}

fn over_io(stream: IoStream) -> WebSocket {
    websocket(transport::Stream::Io(Box::new(stream)), Role::Server)
}

/// Returns the first byte of the last frame, if there is nothing behind it. The payloads are masked
/// with random keys, and must not decide anything.
fn last_frame(mut frames: &[u8]) -> Option<u8> {
    let mut last = None;
    while let [first, len, ..] = frames {
        last = Some(*first);
        frames = frames.get(6 + usize::from(len & 0x7f)..)?;
    }
    last
}

/// Answers the Close frame, and runs the connection until its stream is over. Returns what
/// preceded that frame.
fn run_until_closed(connection: Moving, close: &[u8], first: &'static [u8]) -> BytesMut {
    let (mut all, mut closed) = (BytesMut::new(), false);
    let mut first = Some(Bytes::from_static(first)).filter(|first| !first.is_empty());
    block_on(connection.until(|c, cx| {
        if let Some(first) = first.take() {
            c.to_us.send_data(first, false).unwrap();
        }
        let _ = c.poll_arrived(&mut all, cx);
        if !closed && last_frame(&all) == Some(close[0]) {
            closed = true;
            c.to_us.send_data(Bytes::from_static(CLOSE), true).unwrap();
        }
        match c.client.handle().open_streams() {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }));
    all.truncate(all.len() - 8);
    all
}

#[test]
fn a_drain_at_any_time_closes_a_websocket_over_http2() {
    check(1, || {
        let (stream, connection) = connected(&Http2Config::default());
        let mut socket = websocket(transport::Stream::H2(stream), Role::Client);
        let handle = connection.client.handle().clone();
        let moving = spawn(|| run_until_closed(connection, CLOSE, b""));
        let draining = spawn(move || handle.drain());
        assert!(block_on(socket.recv()).is_none());
        assert_eq!(socket.close_code(), Some(CloseCode::GOING_AWAY));
        drop(socket);
        join(draining);
        assert!(join(moving).is_empty());
    });
}

#[test]
fn a_drain_at_any_time_closes_a_websocket_over_http1() {
    check(2, || {
        let io = Io::default();
        let mut stream = on_io(io.clone(), 1024);
        let handle = stream.guarded_by(());
        let mut socket = over_io(stream);
        let peer = spawn(move || {
            let mut received = BytesMut::new();
            assert_eq!(block_on(io.frame(&mut received)), CLOSE);
            io.send(MASKED_CLOSE);
        });
        let draining = spawn(move || handle.drain());
        assert!(block_on(socket.recv()).is_none());
        assert_eq!(socket.close_code(), Some(CloseCode::GOING_AWAY));
        join(draining);
        join(peer);
    });
}

#[test]
fn a_stop_at_any_time_ends_a_websocket() {
    check(2, || {
        let mut stream = on_io(Io::default(), 1);
        let handle = stream.guarded_by(());
        let (mut reader, mut writer) = over_io(stream).split();
        let stopping = spawn(move || handle.stop());
        let writing = spawn(move || {
            block_on(async {
                // More than there is room for.
                while writer.send("more than there is room for").await.is_ok() {}
            });
        });
        let received = block_on(reader.recv());
        assert!(matches!(received, Some(Err(_))), "{received:?}");
        join(stopping);
        join(writing);
    });
}

/// The peer's Ping makes the reader write, too.
const PING: &[u8] = &[0x89, 0x80, 0, 0, 0, 0];

#[test]
#[ignore = "takes minutes"]
fn halves_over_a_connection_of_its_own_share_its_wakers() {
    check(1, || {
        let io = Io::default();
        io.send(PING);
        let (mut reader, mut writer) = over_io(on_io(io.clone(), 1)).split();
        let peer = spawn(move || {
            let mut received = BytesMut::new();
            let (mut pongs, mut texts) = (0, Vec::new());
            while texts.len() < 2 || pongs < 1 {
                let frame = block_on(io.frame(&mut received));
                match frame[0] {
                    0x8a => pongs += 1,
                    _ => texts.push(frame[2..].to_vec()),
                }
            }
            assert_eq!(texts, [b"one".to_vec(), b"two".to_vec()]);
            io.send(MASKED_CLOSE);
            assert_eq!(block_on(io.frame(&mut received)), CLOSE);
        });
        let reading = spawn(move || assert!(block_on(reader.recv()).is_none()));
        block_on(writer.send("one")).unwrap();
        // Fails if the peer has closed meanwhile, after it has received this.
        let _ = block_on(writer.send("two"));
        join(peer);
        join(reading);
    });
}

#[test]
fn halves_over_http2_share_their_stream() {
    // There are too many for all. Bugs that were planted showed within a second.
    check_first(5_000, 1, || {
        let config = Http2Config {
            write_buffer: 1,
            ..Http2Config::default()
        };
        let (stream, connection) = connected(&config);
        let socket = websocket(transport::Stream::H2(stream), Role::Client);
        let (mut reader, mut writer) = socket.split();
        let moving = spawn(|| run_until_closed(connection, CLOSE, &[0x89, 0]));
        let reading = spawn(move || assert!(block_on(reader.recv()).is_none()));
        block_on(writer.send("one")).unwrap();
        block_on(writer.send("two")).unwrap();
        block_on(writer.close(CloseCode::GOING_AWAY)).unwrap();
        join(reading);
        drop(writer);
        // The messages, and a masked Pong without a payload if there was time for it.
        assert!([18, 24].contains(&join(moving).len()));
    });
}
