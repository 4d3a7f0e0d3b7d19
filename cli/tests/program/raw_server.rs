//! A server that writes its frames by hand. It follows the RFCs except for what a test's quirk does.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use h2ws::handshake::Key;

/// Opcodes (RFC 6455 §5.2).
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Frame types and flags (RFC 9113 §6).
pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
const H2_PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

const PREFACE: usize = 24;

/// What the server reacts to.
#[derive(Debug)]
pub(crate) enum Event {
    /// A new connection, before anything is sent on it.
    Start,
    /// An opening request.
    Request(u32),
    /// A frame: its stream, opcode and payload.
    Frame(u32, u8, Vec<u8>),
}

/// Does what is to go wrong. Returns true if it has handled the event; otherwise the server answers
/// it correctly.
pub(crate) type Quirk = fn(&mut Peer, &Event) -> bool;

/// The quirk of the HTTP version that has none.
fn none(_: &mut Peer, _: &Event) -> bool {
    false
}

/// The server, in cleartext.
pub(crate) struct Raw {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts, if it is still running.
        let _ = TcpStream::connect(self.addr);
    }
}

impl Raw {
    pub(crate) fn http2(quirk: Quirk) -> Self {
        Self::start(quirk, none)
    }

    pub(crate) fn http1(quirk: Quirk) -> Self {
        Self::start(none, quirk)
    }

    fn start(http2: Quirk, http1: Quirk) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let (connections, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let raw = Self {
            addr,
            connections: connections.clone(),
            over: over.clone(),
        };
        thread::spawn(move || {
            for io in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                connections.fetch_add(1, Ordering::Relaxed);
                let io = io.expect("a connection");
                // Longer than any probe is silent.
                let patience = Some(Duration::from_secs(60));
                io.set_read_timeout(patience).expect("a timeout");
                io.set_nodelay(true).expect("no delay");
                thread::spawn(move || Peer::new(io).run(http2, http1));
            }
        });
        raw
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/", self.addr)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// One connection.
pub(crate) struct Peer {
    io: TcpStream,
    http1: bool,
    /// The `Sec-WebSocket-Key` over HTTP/1.1, where the only stream is 0.
    key: String,
    gone: bool,
    streams: HashMap<u32, Vec<u8>>,
    /// Number of requests so far.
    pub(crate) requests: u32,
}

impl Peer {
    fn new(io: TcpStream) -> Self {
        Self {
            io,
            http1: false,
            key: String::new(),
            gone: false,
            streams: HashMap::new(),
            requests: 0,
        }
    }

    fn run(&mut self, http2: Quirk, http1: Quirk) -> Option<()> {
        let mut first = [0; 3];
        self.io.read_exact(&mut first).ok()?;
        self.http1 = &first == b"GET";
        if self.http1 {
            self.run_http1(http1)
        } else {
            self.io.read_exact(&mut [0; PREFACE - 3]).ok()?;
            self.run_http2(http2)
        }
    }

    fn run_http1(&mut self, quirk: Quirk) -> Option<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.io.read_exact(&mut byte).ok()?;
            head.extend(byte);
        }
        let head = String::from_utf8(head).expect("a request in ASCII");
        let key = head
            .lines()
            .find_map(|line| line.strip_prefix("sec-websocket-key: "));
        key.expect("a key").clone_into(&mut self.key);
        self.event(quirk, Event::Start);
        self.event(quirk, Event::Request(0));
        while !self.gone {
            let mut bytes = [0; 4096];
            let read = self.io.read(&mut bytes).ok().filter(|read| *read > 0)?;
            self.frames(quirk, 0, &bytes[..read]);
        }
        Some(())
    }

    fn run_http2(&mut self, quirk: Quirk) -> Option<()> {
        self.event(quirk, Event::Start);
        while !self.gone {
            let mut header = [0; 9];
            self.io.read_exact(&mut header).ok()?;
            let [a, b, c, kind, flags, stream @ ..] = header;
            let stream = u32::from_be_bytes(stream);
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.io.read_exact(&mut payload).ok()?;
            match kind {
                SETTINGS if flags & 1 == 0 => self.send(SETTINGS, 1, 0, &[]),
                H2_PING if flags & 1 == 0 => self.send(H2_PING, 1, 0, &payload),
                HEADERS => {
                    self.requests += 1;
                    self.event(quirk, Event::Request(stream));
                }
                DATA => self.frames(quirk, stream, &payload),
                _ => {}
            }
        }
        Some(())
    }

    fn frames(&mut self, quirk: Quirk, stream: u32, bytes: &[u8]) {
        self.streams.entry(stream).or_default().extend(bytes);
        while let Some((opcode, payload)) = self.frame(stream) {
            self.event(quirk, Event::Frame(stream, opcode, payload));
        }
    }

    /// Removes a masked frame of up to 65,535 bytes from what was received.
    fn frame(&mut self, stream: u32) -> Option<(u8, Vec<u8>)> {
        let bytes = self.streams.get_mut(&stream)?;
        let (head, len) = (*bytes.first()?, *bytes.get(1)? & 0x7f);
        let (len, at) = match len {
            126 => (usize::from(bytes[2]) << 8 | usize::from(*bytes.get(3)?), 4),
            len => (usize::from(len), 2),
        };
        let key = bytes.get(at..at + 4)?.to_vec();
        let payload = bytes.get(at + 4..at + 4 + len)?;
        let payload = payload.iter().zip(key.iter().cycle());
        let payload = payload.map(|(byte, key)| byte ^ key).collect();
        bytes.drain(..at + 4 + len);
        Some((head & 0x0f, payload))
    }

    fn event(&mut self, quirk: Quirk, event: Event) {
        if self.gone || quirk(self, &event) {
            return;
        }
        match event {
            Event::Start if self.http1 => {}
            Event::Start => self.settings(&[(8, 1)]),
            Event::Request(0) => {
                let accept = self.accept();
                self.switch(&[("sec-websocket-accept", &accept)]);
            }
            Event::Request(stream) => self.answer(stream, &[(":status", "200")], 0),
            Event::Frame(stream, PING, payload) => {
                self.say(stream, PONG, &payload);
            }
            Event::Frame(stream, CLOSE, payload) => {
                self.say(stream, CLOSE, &payload);
                self.end(stream);
            }
            Event::Frame(stream, opcode, payload) => {
                self.say(stream, opcode, &payload);
            }
        }
    }

    /// Sends a whole WebSocket frame. Returns whether the connection is still open.
    pub(crate) fn say(&mut self, stream: u32, opcode: u8, payload: &[u8]) -> bool {
        let len = u8::try_from(payload.len()).ok().filter(|len| *len < 126);
        let len = len.expect("a short frame");
        self.bytes(stream, &[&[0x80 | opcode, len], payload].concat());
        !self.gone
    }

    /// Sends the same short text in many DATA frames with one write.
    pub(crate) fn say_often(&mut self, stream: u32, text: &[u8], times: usize) {
        let len = u8::try_from(text.len()).expect("a short text");
        let frame = [&[0x80 | TEXT, len], text].concat();
        self.write(&frame_bytes(DATA, 0, stream, &frame).repeat(times));
    }

    /// Sends bytes on a WebSocket's stream.
    pub(crate) fn bytes(&mut self, stream: u32, bytes: &[u8]) {
        if self.http1 {
            self.write(bytes);
        } else {
            self.send(DATA, 0, stream, bytes);
        }
    }

    /// Ends a WebSocket's stream, or its connection.
    pub(crate) fn end(&mut self, stream: u32) {
        if self.http1 {
            self.hang_up();
        } else {
            self.send(DATA, END_STREAM, stream, &[]);
        }
    }

    pub(crate) fn hang_up(&mut self) {
        self.gone = true;
        // Fails if the peer has closed the connection.
        let _ = self.io.shutdown(std::net::Shutdown::Both);
    }

    /// Sends an HTTP/2 frame.
    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.write(&frame_bytes(kind, flags, stream, payload));
    }

    pub(crate) fn settings(&mut self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.send(SETTINGS, 0, 0, &payload);
    }

    /// Sends HEADERS, with every field as a literal (RFC 7541 §6.2.2).
    pub(crate) fn answer(&mut self, stream: u32, fields: &[(&str, &str)], flags: u8) {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).expect("a short field"));
                block.extend(text.as_bytes());
            }
        }
        self.send(HEADERS, END_HEADERS | flags, stream, &block);
    }

    pub(crate) fn reset(&mut self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    pub(crate) fn goaway(&mut self, last: u32, code: u32, debug: &str) {
        let mut payload = last.to_be_bytes().to_vec();
        payload.extend(code.to_be_bytes());
        payload.extend(debug.as_bytes());
        self.send(GOAWAY, 0, 0, &payload);
    }

    /// Returns the `Sec-WebSocket-Accept` for the key of the Upgrade.
    pub(crate) fn accept(&self) -> String {
        let key = self.key.parse().expect("a field value");
        let key = Key::parse(&key).expect("a key");
        key.accept().to_str().expect("ASCII").to_owned()
    }

    /// Sends a 101 with these fields in addition to, or instead of, the usual ones.
    pub(crate) fn switch(&mut self, fields: &[(&str, &str)]) {
        let own = [("upgrade", "websocket"), ("connection", "upgrade")];
        let fields: BTreeMap<_, _> = own.iter().chain(fields).copied().collect();
        let mut head = "HTTP/1.1 101 Switching Protocols\r\n".to_owned();
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.write((head + "\r\n").as_bytes());
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        // The probe may have closed the connection.
        if self.io.write_all(bytes).is_err() {
            self.gone = true;
        }
    }
}

fn frame_bytes(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a short frame");
    let mut bytes = len.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}
