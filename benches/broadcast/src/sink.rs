//! The clients: they open WebSockets over HTTP/2 without a library and only count the messages that
//! arrive, so that the benchmark measures the server.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const MAX_WINDOW: u32 = (1 << 31) - 1;
/// The connection's window is increased in steps of this many bytes.
const STEP: u32 = 1 << 28;

#[derive(Default)]
struct Counts {
    opened: AtomicU64,
    messages: AtomicU64,
    compressed: AtomicU64,
}

/// Runs `sink ADDRESS CONNECTIONS SOCKETS DEFLATE`: reads numbers of messages from stdin, and
/// prints a line for each as soon as that many messages have arrived.
pub(crate) fn run(args: &[String]) -> Option<()> {
    let address: SocketAddr = args.first()?.parse().ok()?;
    let connections: u32 = args.get(1)?.parse().ok()?;
    let sockets: u32 = args.get(2)?.parse().ok()?;
    let deflate = args.get(3)? == "true";
    let counts = Arc::new(Counts::default());
    let counted = counts.clone();
    std::thread::spawn(move || report(&counted, connections * sockets));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..connections {
            let counts = counts.clone();
            tasks.spawn(async move {
                let ended = Connection::open(address, sockets, deflate, counts).await;
                panic!("a connection ended: {ended:?}");
            });
        }
        tasks.join_all().await;
    });
    Some(())
}

fn report(counts: &Counts, sockets: u32) {
    let wait = |counter: &AtomicU64, count: u64| {
        while counter.load(Ordering::Relaxed) < count {
            std::thread::sleep(Duration::from_micros(200));
        }
        println!("{}", counts.compressed.load(Ordering::Relaxed));
        std::io::stdout().flush().expect("the parent reads");
    };
    wait(&counts.opened, sockets.into());
    for line in std::io::stdin().lock().lines() {
        let count = line.expect("a line").parse().expect("a number");
        wait(&counts.messages, count);
    }
    std::process::exit(0);
}

struct Connection {
    io: TcpStream,
    out: BytesMut,
    counts: Arc<Counts>,
    streams: Vec<Parser>,
    unreturned: u32,
}

impl Connection {
    async fn open(
        address: SocketAddr,
        sockets: u32,
        deflate: bool,
        counts: Arc<Counts>,
    ) -> std::io::Result<()> {
        let io = TcpStream::connect(address).await?;
        io.set_nodelay(true)?;
        let mut connection = Self {
            io,
            out: BytesMut::from(PREFACE),
            counts,
            streams: (0..sockets).map(|_| Parser::default()).collect(),
            unreturned: 0,
        };
        let mut settings = Vec::new();
        for (id, value) in [(1_u16, 0), (4, MAX_WINDOW)] {
            settings.put_u16(id);
            settings.put_u32(value);
        }
        connection.frame(4, 0, 0, &settings);
        connection.frame(8, 0, 0, &(MAX_WINDOW - 65_535).to_be_bytes());
        let block = request(address, deflate);
        for n in 0..sockets {
            connection.frame(1, 4, 2 * n + 1, &block);
        }
        connection.read().await
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.out.put_uint(payload.len() as u64, 3);
        self.out.put_u8(kind);
        self.out.put_u8(flags);
        self.out.put_u32(stream);
        self.out.put_slice(payload);
    }

    async fn read(&mut self) -> std::io::Result<()> {
        let mut bytes = BytesMut::with_capacity(1 << 20);
        loop {
            self.io.write_all(&self.out).await?;
            self.out.clear();
            if self.io.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            while bytes.len() >= 9 {
                let len = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
                if bytes.len() < 9 + len {
                    break;
                }
                let head: [u8; 9] = bytes[..9].try_into().expect("nine");
                bytes.advance(9);
                self.on_frame(head, &bytes[..len]);
                bytes.advance(len);
            }
            bytes.reserve(1 << 18);
        }
    }

    fn on_frame(&mut self, head: [u8; 9], payload: &[u8]) {
        let [_, _, _, kind, flags, stream @ ..] = head;
        let stream = u32::from_be_bytes(stream);
        match kind {
            0 => {
                let parser = &mut self.streams[(stream / 2) as usize];
                let (messages, compressed) = parser.push(payload);
                let counts = &self.counts;
                counts.messages.fetch_add(messages, Ordering::Relaxed);
                counts.compressed.fetch_add(compressed, Ordering::Relaxed);
                self.unreturned += payload.len() as u32;
                if self.unreturned >= STEP {
                    let unreturned = std::mem::take(&mut self.unreturned);
                    self.frame(8, 0, 0, &unreturned.to_be_bytes());
                }
            }
            1 => {
                // ":status: 200" from the static table (RFC 7541 appendix A), possibly after an
                // update of the dynamic table's size.
                let status = payload.iter().find(|byte| **byte & 0xe0 != 0x20);
                assert_eq!(status, Some(&0x88), "rejected");
                self.counts.opened.fetch_add(1, Ordering::Relaxed);
            }
            4 | 6 if flags & 1 == 0 => {
                let payload = if kind == 6 {
                    payload.to_vec()
                } else {
                    Vec::new()
                };
                self.frame(kind, 1, 0, &payload);
            }
            3 | 7 => panic!("ended by frame {kind}: {payload:?}"),
            _ => {}
        }
    }
}

/// Finds the ends of messages in the bytes of a stream.
#[derive(Default)]
struct Parser {
    head: Vec<u8>,
    left: u64,
}

impl Parser {
    /// Returns how many messages ended, and how many of them were compressed.
    fn push(&mut self, mut bytes: &[u8]) -> (u64, u64) {
        let (mut messages, mut compressed) = (0, 0);
        while !bytes.is_empty() {
            let skip = self.left.min(bytes.len() as u64);
            self.left -= skip;
            bytes = &bytes[skip as usize..];
            if bytes.is_empty() {
                break;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            let Some(len) = length(&self.head) else {
                continue;
            };
            // A fragmented message is counted with its last fragment.
            messages += u64::from(self.head[0] & 0x80 != 0);
            compressed += u64::from(self.head[0] & 0x40 != 0);
            self.left = len;
            self.head.clear();
        }
        (messages, compressed)
    }
}

/// Returns the length of the payload, if the header is complete.
fn length(head: &[u8]) -> Option<u64> {
    match *head.get(1)? {
        126 => Some(u16::from_be_bytes(head.get(2..4)?.try_into().ok()?).into()),
        127 => Some(u64::from_be_bytes(head.get(2..10)?.try_into().ok()?)),
        len => Some(len.into()),
    }
}

/// Returns the header block of an RFC 8441 request, encoded as literals (RFC 7541 §6.2.2).
fn request(address: SocketAddr, deflate: bool) -> Vec<u8> {
    let authority = address.to_string();
    let mut fields = vec![
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", &authority),
        ("sec-websocket-version", "13"),
    ];
    if deflate {
        let offer = "permessage-deflate; server_no_context_takeover";
        fields.push(("sec-websocket-extensions", offer));
    }
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend(text.as_bytes());
        }
    }
    block
}
