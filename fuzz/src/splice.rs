//! The bytes of both sides of a bridged WebSocket, in arbitrary pieces: what arrives is what was
//! sent, up to and with the Close frame; while neither side has ended, all of it arrives at once; and
//! the bridge puts its own Close frame between two frames only.

use std::sync::{Arc, Mutex};

use h2ws::bridge::Bridge;
use h2ws::{Client, HttpVersion, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

use super::connections::{self, read_head, request_key, settle};
use super::input::Input;

const REQUEST: &[u8] = b"GET /chat HTTP/1.1\r\nHost: app.example\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// The Close frame of a bridge whose server shuts down.
const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xe9];

/// Bytes that a side sends at most, so that they fit the buffers on the way even if nobody reads.
const MOST: usize = 4096;

pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let mut steps = Vec::new();
    let count = input.byte() % 32;
    for _ in 0..count {
        steps.push((input.byte(), input.byte()));
    }
    let half = MOST.min(usize::from(input.byte()) * 16);
    let up = input.bytes(half).to_vec();
    let down = input.bytes(MOST).to_vec();
    connections::run(|limited| async move {
        let (upstream, at_upstream) = duplex(1 << 14);
        let upstream = Mutex::new(Some(upstream));
        let client = Client::builder()
            .version(HttpVersion::Http1)
            .http2(limited.http2())
            .connector(move |_| {
                let io = upstream.lock().expect("no panic").take();
                std::future::ready(io.ok_or(std::io::ErrorKind::ConnectionRefused.into()))
            })
            .build()
            .expect("valid settings");
        let bridge = Bridge::to("ws://10.0.0.1").client(client.clone()).build();
        let bridge = bridge.expect("valid settings");
        let server = Server::builder().http2(limited.http2()).unbound();
        let connections = server
            .expect("valid settings")
            .serve(bridge.handler())
            .connections();
        let (at_client, served) = duplex(1 << 14);
        let peer = "192.0.2.1:1".parse().expect("an address");
        let serving = tokio::spawn(connections.serve_connection(served, peer));

        let (client_side, upstream_side) = open(at_client, at_upstream).await;
        let mut up = Direction::new(client_side.1, upstream_side.0, up, true);
        let mut down = Direction::new(upstream_side.1, client_side.0, down, false);
        let mut has_ended = false;
        let mut drains = false;
        for (step, size) in steps {
            match step % 8 {
                0 | 1 => up.send(usize::from(size)).await,
                2 | 3 => down.send(usize::from(size)).await,
                4 => settle().await,
                5 => {
                    settle().await;
                    up.check(has_ended || down.has_closed(), false);
                    down.check(has_ended || up.has_closed(), drains);
                }
                6 if size < 0x40 => {
                    has_ended = true;
                    up.end().await;
                }
                6 if size < 0x80 => {
                    has_ended = true;
                    down.end().await;
                }
                7 if size < 0x40 => {
                    (has_ended, drains) = (true, true);
                    let connections = connections.clone();
                    tokio::spawn(async move { connections.shutdown().await });
                }
                _ => {}
            }
        }
        settle().await;
        up.check(has_ended || down.has_closed(), false);
        down.check(has_ended || up.has_closed(), drains);
        connections.shutdown().await;
        settle().await;
        up.check(true, false);
        down.check(true, true);
        drop((up, down));
        let _ = serving.await.expect("no panic");
        bridge.idle().await;
        client.shutdown().await;
    });
}

type Halves = (ReadHalf<DuplexStream>, WriteHalf<DuplexStream>);

/// Carries out the handshake on both sides.
async fn open(mut client: DuplexStream, mut upstream: DuplexStream) -> (Halves, Halves) {
    client.write_all(REQUEST).await.expect("the bridge reads");
    let key = request_key(&mut upstream)
        .await
        .expect("the request arrives");
    let accept = key.accept();
    let accept = accept.to_str().expect("base64");
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    upstream
        .write_all(response.as_bytes())
        .await
        .expect("the bridge reads");
    let head = read_head(&mut client).await.expect("the response arrives");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    (split(client), split(upstream))
}

/// What one side sends to the other.
struct Direction {
    to: Option<WriteHalf<DuplexStream>>,
    bytes: Vec<u8>,
    sent: usize,
    masked: bool,
    received: Arc<Mutex<Vec<u8>>>,
    reader: tokio::task::JoinHandle<()>,
}

impl Direction {
    fn new(
        to: WriteHalf<DuplexStream>,
        mut from: ReadHalf<DuplexStream>,
        bytes: Vec<u8>,
        masked: bool,
    ) -> Self {
        let received = Arc::new(Mutex::new(Vec::new()));
        let into = received.clone();
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(read @ 1..) = from.read(&mut buffer).await {
                into.lock()
                    .expect("no panic")
                    .extend_from_slice(&buffer[..read]);
            }
        });
        Self {
            to: Some(to),
            bytes,
            sent: 0,
            masked,
            received,
            reader,
        }
    }

    async fn send(&mut self, size: usize) {
        let size = size.min(self.bytes.len() - self.sent);
        if let Some(to) = &mut self.to
            && to
                .write_all(&self.bytes[self.sent..self.sent + size])
                .await
                .is_ok()
        {
            self.sent += size;
        } else {
            self.to = None;
        }
    }

    async fn end(&mut self) {
        if let Some(mut to) = self.to.take() {
            let _ = to.shutdown().await;
        }
    }

    fn has_closed(&self) -> bool {
        Frames::of(&self.bytes[..self.sent], self.masked).closed
    }

    /// Checks what has arrived: all, unless one side `may_be_over`.
    fn check(&self, may_be_over: bool, may_be_asked: bool) {
        let frames = Frames::of(&self.bytes[..self.sent], self.masked);
        let sent = &self.bytes[..frames.end];
        let received = self.received.lock().expect("no panic");
        if sent.starts_with(&received) {
            let all = received.len() == sent.len();
            assert!(
                all || may_be_over,
                "only {} of {} bytes",
                received.len(),
                sent.len()
            );
            return;
        }
        let passed = received
            .strip_suffix(GOING_AWAY)
            .expect("only what was sent");
        assert!(may_be_asked, "a Close frame that nobody sent");
        assert!(sent.starts_with(passed), "other bytes than were sent");
        assert!(
            frames.begins.contains(&passed.len()),
            "a Close frame within another frame"
        );
    }
}

impl Drop for Direction {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Where frames begin, by their headers alone.
struct Frames {
    begins: Vec<usize>,
    /// The end of the Close frame, or of everything.
    end: usize,
    closed: bool,
}

impl Frames {
    fn of(bytes: &[u8], masked: bool) -> Self {
        let mut frames = Self {
            begins: vec![0],
            end: bytes.len(),
            closed: false,
        };
        let mut at = 0;
        while let Some((opcode, length)) = frame(&bytes[at..], masked) {
            let Some(end) = at.checked_add(length).filter(|end| *end <= bytes.len()) else {
                break;
            };
            at = end;
            if opcode == 8 {
                frames.end = at;
                frames.closed = true;
                break;
            }
            frames.begins.push(at);
        }
        frames
    }
}

/// Returns opcode and length of the first frame; `None` if its header is invalid or not complete.
fn frame(bytes: &[u8], masked: bool) -> Option<(u8, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (opcode, short) = (first & 0x0f, usize::from(second & 0x7f));
    let (length, header) = match short {
        126 => (
            usize::from(*bytes.get(2)?) << 8 | usize::from(*bytes.get(3)?),
            4,
        ),
        127 => {
            let length = bytes
                .get(2..10)?
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte));
            (usize::try_from(length).ok()?, 10)
        }
        short => (short, 2),
    };
    let is_minimal = match short {
        126 => length > 125,
        127 => length > 0xffff && length < 1 << 63,
        _ => true,
    };
    let is_control = opcode >= 8;
    let is_valid = matches!(opcode, 0..=2 | 8..=10)
        && first & 0x30 == 0
        && (second & 0x80 != 0) == masked
        && is_minimal
        && (!is_control || first & 0x80 != 0 && short < 126);
    let header = header + if masked { 4 } else { 0 };
    (is_valid && bytes.len() >= header).then_some((opcode, header.checked_add(length)?))
}
