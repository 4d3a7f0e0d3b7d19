//! Runs connections in memory, on tokio's paused clock: a wait of an hour takes no time, and what
//! waits for nothing is found.

use std::time::Duration;

use h2ws::config::ProcessBuffer;
use h2ws::frame::Deflate;
use h2ws::handshake::{DeflateConfig, Key};
use h2ws::http::HeaderValue;
use h2ws::{Http2Config, Limits, WebSocketConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::{Builder, Handle};
use tokio::time::{Instant, sleep, timeout};

/// Longer than all timeouts together.
const LONG: Duration = Duration::from_secs(3_600);

pub const MAX_MESSAGE: usize = 1 << 14;

/// What the connections of a run share.
pub struct Limited {
    pub buffer: ProcessBuffer,
}

impl Limited {
    pub fn http2(&self) -> Http2Config {
        Http2Config::default()
            .max_concurrent_streams(8)
            .connection_buffer(1 << 17)
            .process_buffer(self.buffer.clone())
    }

    pub fn socket(&self) -> WebSocketConfig {
        WebSocketConfig::default().limits(Limits::default().max_message_size(MAX_MESSAGE))
    }

    pub fn deflate(&self) -> DeflateConfig {
        DeflateConfig::default().threshold(Deflate::THRESHOLD)
    }
}

/// Runs connections, and checks that they end and that nothing is left of them.
pub fn run<F: Future<Output = ()>>(connections: impl FnOnce(Limited) -> F) {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let buffer = ProcessBuffer::new(1 << 18);
    let held = buffer.clone();
    runtime.expect("a runtime").block_on(async move {
        let connections = connections(Limited { buffer });
        timeout(LONG, connections)
            .await
            .expect("the connections end");
        let limit = Instant::now() + LONG;
        while Handle::current().metrics().num_alive_tasks() > 0 {
            assert!(Instant::now() < limit, "a task is left");
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(held.held(), 0, "bytes of the buffer are left");
    });
}

/// Waits until everything that can happen without further input has happened.
pub async fn settle() {
    sleep(Duration::from_millis(2)).await;
}

/// How a peer behaves that sends arbitrary bytes.
#[derive(Clone, Copy)]
pub struct Manner {
    pub piece: usize,
    /// Whether everything is handled before the next piece is sent.
    pub settles: bool,
    pub reads: bool,
    /// Whether it ends its direction and still reads.
    pub half_closes: bool,
}

impl Manner {
    /// From the three lowest bits of `flags`, and the size of a piece in units of 8 bytes.
    pub fn new(flags: u8, piece: u8) -> Self {
        Self {
            piece: 1 + usize::from(piece) * 8,
            settles: flags & 1 == 0,
            reads: flags & 2 == 0,
            half_closes: flags & 4 == 0,
        }
    }

    /// Sends `bytes`, reads or not, and goes away.
    pub async fn behave(self, mut io: impl AsyncRead + AsyncWrite + Unpin + Send, bytes: &[u8]) {
        let (mut from, mut to) = tokio::io::split(&mut io);
        let sending = async {
            for piece in bytes.chunks(self.piece) {
                match timeout(LONG / 4, to.write_all(piece)).await {
                    Ok(Ok(())) if self.settles => settle().await,
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return,
                }
            }
            if self.half_closes {
                let _ = to.shutdown().await;
            }
            settle().await;
            // Nothing that was not asked for takes longer.
            sleep(Duration::from_secs(45)).await;
        };
        let reading = async {
            let mut sink = [0; 4096];
            while self.reads && matches!(from.read(&mut sink).await, Ok(1..)) {}
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = sending => {}
            () = reading => {}
        }
    }
}

/// Reads the head of an HTTP/1.1 request, and returns its key; `None` if the client went away.
pub async fn request_key(io: &mut (impl AsyncRead + Unpin)) -> Option<Key> {
    let head = read_head(io).await?;
    let (_, key) = head.split_once("sec-websocket-key: ")?;
    let value = HeaderValue::from_str(&key[..24]).expect("a header value");
    Some(Key::parse(&value).expect("a valid key"))
}

/// Reads the head of an HTTP/1.1 message and nothing behind it; `None` if it ends earlier.
pub async fn read_head(io: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).expect("a head is ASCII"))
}
