//! An HTTP/2 peer that encodes its frames itself. It can violate the protocol in
//! ways that a library prevents, and sees every frame exactly as received.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frames::{self, Parser};
use super::within;

/// Frame types (RFC 9113 §6).
pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const PRIORITY: u8 = 0x2;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;
/// Largest frame payload, in bytes, that every peer accepts (RFC 9113 §4.2).
const FRAME: usize = 16 * 1024;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;

/// Settings (RFC 9113 §6.5.2, RFC 8441 §3).
pub(crate) const HEADER_TABLE_SIZE: u16 = 0x1;
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 0x4;
pub(crate) const MAX_FRAME_SIZE: u16 = 0x5;
pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
pub(crate) const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;

/// Error codes (RFC 9113 §7).
pub(crate) const NO_ERROR: u32 = 0x0;
pub(crate) const PROTOCOL_ERROR: u32 = 0x1;
pub(crate) const REFUSED_STREAM: u32 = 0x7;
pub(crate) const CANCEL: u32 = 0x8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 0xb;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Whether the frame has END_STREAM.
    pub(crate) fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The error code of RST_STREAM or GOAWAY.
    pub(crate) fn error_code(&self) -> u32 {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => panic!("no error code in {self:?}"),
        };
        (&self.payload[at..]).get_u32()
    }

    /// Decodes the `:status` of a response by the `h2` crate, which does not use a
    /// dynamic table because the peer's HEADER_TABLE_SIZE is 0.
    pub(crate) fn status(&self) -> u16 {
        assert_eq!(self.kind, HEADERS, "not a response: {self:?}");
        let mut block = &self.payload[..];
        while block[0] & 0xe0 == 0x20 {
            block = &block[1..];
        }
        match block[0] {
            0x88 => 200,
            0x89 => 204,
            0x8b => 304,
            0x8c => 400,
            0x8d => 404,
            0x8e => 500,
            // A literal with the name ":status" (RFC 7541 §6.2).
            0x48 | 0x08 | 0x18 => digits(&block[1..]),
            other => panic!("expected :status first, found {other:#x}"),
        }
    }
}

/// Decodes a string of three digits, Huffman-coded or plain (RFC 7541 §5.2).
/// In appendix B the digits 0-2 have the five-bit codes 0-2, and 3-9 the six-bit
/// codes 0x19-0x1f.
fn digits(string: &[u8]) -> u16 {
    let len = (string[0] & 0x7f) as usize;
    let bytes = &string[1..=len];
    if string[0] & 0x80 == 0 {
        return std::str::from_utf8(bytes).unwrap().parse().unwrap();
    }
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1))
        .collect();
    let number = |bits: &[u8]| bits.iter().fold(0u16, |n, bit| n << 1 | u16::from(*bit));
    let (mut at, mut value) = (0, 0);
    for _ in 0..3 {
        let short = number(&bits[at..at + 5]);
        let digit = if short <= 2 {
            at += 5;
            short
        } else {
            at += 6;
            number(&bits[at - 6..at]) - 0x19 + 3
        };
        value = value * 10 + digit;
    }
    value
}

/// An ordered list of header fields that tests can change.
#[derive(Clone, Debug)]
pub(crate) struct Fields(pub(crate) Vec<(String, String)>);

impl Fields {
    /// A well-formed RFC 8441 request.
    pub(crate) fn websocket(path: &str) -> Self {
        Self(Vec::new())
            .with(":method", "CONNECT")
            .with(":protocol", "websocket")
            .with(":scheme", "http")
            .with(":path", path)
            .with(":authority", "localhost")
            .with("sec-websocket-version", "13")
    }

    /// A response with this status.
    pub(crate) fn status(status: &str) -> Self {
        Self(Vec::new()).with(":status", status)
    }

    /// Sets a field in place, or appends it.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(known, _)| known != name);
        self
    }

    /// Encodes the fields as literals without indexing (RFC 7541 §6.2.2).
    pub(crate) fn encode(&self) -> Vec<u8> {
        fn string(block: &mut Vec<u8>, text: &str) {
            let mut len = text.len();
            if len < 127 {
                block.push(len as u8);
            } else {
                block.push(127);
                len -= 127;
                while len >= 128 {
                    block.push(len as u8 | 0x80);
                    len >>= 7;
                }
                block.push(len as u8);
            }
            block.extend(text.as_bytes());
        }
        let mut block = Vec::new();
        for (name, value) in &self.0 {
            block.push(0);
            string(&mut block, name);
            string(&mut block, value);
        }
        block
    }
}

/// An event on one WebSocket stream, as the peer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A frame, and whether the DATA frame that finished it had END_STREAM.
    Frame(frames::Frame, bool),
    /// END_STREAM on an empty DATA frame.
    End,
    /// RST_STREAM, with its error code.
    Reset(u32),
    /// The connection ended.
    Gone,
}

/// One end of an HTTP/2 connection, as a client or as a server.
pub(crate) struct Raw {
    io: TcpStream,
    bytes: BytesMut,
    /// Frames of streams that the test has not read yet.
    aside: VecDeque<Frame>,
    parsers: HashMap<u32, Parser>,
    /// Whether the last DATA frame of a stream had END_STREAM.
    ended: HashMap<u32, bool>,
    /// The peer's first SETTINGS.
    pub(crate) settings: Vec<(u16, u32)>,
}

impl Raw {
    /// Connects as a client and reads the server's SETTINGS.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let io = TcpStream::connect(addr).await.unwrap();
        Self::begin(io, &[]).await
    }

    /// As [`connect`](Self::connect), over an existing connection and with
    /// additional settings.
    pub(crate) async fn begin(io: TcpStream, settings: &[(u16, u32)]) -> Self {
        io.set_nodelay(true).unwrap();
        let mut raw = Self::new(io);
        raw.write(PREFACE).await;
        let settings = [&[(HEADER_TABLE_SIZE, 0)], settings].concat();
        raw.send_settings(&settings).await;
        raw.first_settings().await;
        raw
    }

    /// Reads a client's preface and SETTINGS. Does not send SETTINGS.
    pub(crate) async fn accept(io: TcpStream) -> Self {
        io.set_nodelay(true).unwrap();
        let mut raw = Self::new(io);
        let mut preface = vec![0; PREFACE.len()];
        within(raw.io.read_exact(&mut preface)).await.unwrap();
        assert_eq!(preface, PREFACE);
        raw.first_settings().await;
        raw
    }

    fn new(io: TcpStream) -> Self {
        Self {
            io,
            bytes: BytesMut::new(),
            aside: VecDeque::new(),
            parsers: HashMap::new(),
            ended: HashMap::new(),
            settings: Vec::new(),
        }
    }

    async fn first_settings(&mut self) {
        let frame = within(self.read()).await.expect("expected SETTINGS first");
        assert_eq!((frame.kind, frame.flags), (SETTINGS, 0));
        self.settings = frame
            .payload
            .chunks(6)
            .map(|mut setting| (setting.get_u16(), setting.get_u32()))
            .collect();
        self.send(SETTINGS, ACK, 0, &[]).await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        within(self.io.write_all(bytes)).await.unwrap();
    }

    /// Sends a frame.
    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.write(&encode(kind, flags, stream, payload)).await;
    }

    pub(crate) async fn send_settings(&mut self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.put_u16(*id);
            payload.put_u32(*value);
        }
        self.send(SETTINGS, 0, 0, &payload).await;
    }

    /// Sends a header list, split into HEADERS and CONTINUATION frames if
    /// necessary.
    pub(crate) async fn headers(&mut self, stream: u32, fields: &Fields, flags: u8) {
        let block = fields.encode();
        let mut pieces = block.chunks(FRAME).peekable();
        let mut head = (HEADERS, flags);
        while let Some(piece) = pieces.next() {
            let last = if pieces.peek().is_none() {
                END_HEADERS
            } else {
                0
            };
            self.send(head.0, head.1 | last, stream, piece).await;
            head = (CONTINUATION, 0);
        }
    }

    pub(crate) async fn data(&mut self, stream: u32, payload: &[u8]) {
        self.send(DATA, 0, stream, payload).await;
    }

    pub(crate) async fn end(&mut self, stream: u32) {
        self.send(DATA, END_STREAM, stream, &[]).await;
    }

    pub(crate) async fn reset(&mut self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes()).await;
    }

    /// Sends WINDOW_UPDATE.
    pub(crate) async fn window(&mut self, stream: u32, bytes: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
            .await;
    }

    /// As [`write`](Self::write), but returns `false` instead of failing if the
    /// connection is closed.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> bool {
        within(self.io.write_all(bytes)).await.is_ok()
    }

    /// Writes `rounds` bursts, while reading, until the peer ends the connection.
    /// `burst` returns the bytes of each round. Returns the error code of the
    /// peer's GOAWAY, if it sent one.
    pub(crate) async fn flood(
        &mut self,
        rounds: usize,
        burst: impl Fn(usize) -> Vec<u8>,
    ) -> Option<u32> {
        let mut round = 0;
        let mut bytes = BytesMut::new();
        loop {
            if bytes.is_empty() {
                if round == rounds {
                    return self.goaway_code().await;
                }
                bytes.extend(burst(round));
                round += 1;
            }
            let interest = tokio::io::Interest::READABLE | tokio::io::Interest::WRITABLE;
            let ready = within(self.io.ready(interest)).await.unwrap();
            if ready.is_readable() {
                match self.io.try_read_buf(&mut self.bytes) {
                    Ok(0) => return self.goaway_code().await,
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => return self.goaway_code().await,
                }
            }
            match self.io.try_write(&bytes) {
                Ok(written) => bytes.advance(written),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return self.goaway_code().await,
            }
        }
    }

    /// Sends a PING and returns the error code of the peer's GOAWAY, or `None` if
    /// the peer answers the PING or the connection ends without one.
    async fn goaway_code(&mut self) -> Option<u32> {
        self.try_write(&encode(PING, 0, 0, b"enough??")).await;
        loop {
            let frame = within(self.read()).await?;
            match frame.kind {
                GOAWAY => return Some(frame.error_code()),
                PING if frame.payload == b"enough??" => return None,
                _ => {}
            }
        }
    }

    /// Discards the bytes received so far, and returns whether there were any.
    pub(crate) async fn read_now(&mut self) -> bool {
        tokio::task::yield_now().await;
        let mut bytes = [0; 64 * 1024];
        self.io.try_read(&mut bytes).is_ok_and(|read| read > 0)
    }

    /// Returns the next frame of any kind, or `None` if the connection ended.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        loop {
            if self.bytes.len() >= 9 {
                let len = u32::from_be_bytes([0, self.bytes[0], self.bytes[1], self.bytes[2]]);
                if self.bytes.len() >= 9 + len as usize {
                    let mut frame = self.bytes.split_to(9 + len as usize);
                    frame.advance(3);
                    return Some(Frame {
                        kind: frame.get_u8(),
                        flags: frame.get_u8(),
                        stream: frame.get_u32() & 0x7fff_ffff,
                        payload: frame.to_vec(),
                    });
                }
            }
            match self.io.read_buf(&mut self.bytes).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Returns the next frame other than SETTINGS, PING and WINDOW_UPDATE.
    /// SETTINGS and PING frames are acknowledged.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = within(self.read()).await?;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
                PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload).await,
                SETTINGS | PING | WINDOW_UPDATE => {}
                _ => return Some(frame),
            }
        }
    }

    /// Returns the next frame of one stream, or `None` if the connection ended.
    /// Frames of other streams are kept until the test reads those streams. GOAWAY
    /// frames are on stream 0.
    pub(crate) async fn on(&mut self, stream: u32) -> Option<Frame> {
        if let Some(at) = self.aside.iter().position(|f| f.stream == stream) {
            return self.aside.remove(at);
        }
        loop {
            let frame = self.next().await?;
            if frame.stream == stream {
                return Some(frame);
            }
            self.aside.push_back(frame);
        }
    }

    /// Returns the status of the response on `stream`.
    pub(crate) async fn status(&mut self, stream: u32) -> u16 {
        let frame = self.on(stream).await.expect("a response");
        frame.status()
    }

    /// Opens a socket on `stream` as a client, and asserts that the server accepts
    /// it.
    pub(crate) async fn open(&mut self, stream: u32, path: &str) {
        self.headers(stream, &Fields::websocket(path), 0).await;
        assert_eq!(self.status(stream).await, 200);
    }

    /// Returns the next event on the socket on `stream`.
    pub(crate) async fn seen(&mut self, stream: u32) -> Seen {
        loop {
            let parser = self.parsers.entry(stream).or_default();
            let frame = parser.pop();
            let ended = parser.is_empty() && self.ended.get(&stream) == Some(&true);
            if let Some(frame) = frame {
                return Seen::Frame(frame, ended);
            }
            let Some(frame) = self.on(stream).await else {
                return Seen::Gone;
            };
            match frame.kind {
                DATA if frame.payload.is_empty() && frame.ends() => return Seen::End,
                DATA => {
                    // The `h2` crate tolerates only a hundred empty DATA frames per
                    // connection.
                    assert!(
                        !frame.payload.is_empty(),
                        "empty DATA frame without END_STREAM"
                    );
                    self.ended.insert(stream, frame.ends());
                    let parser = self.parsers.entry(stream).or_default();
                    parser.push(&frame.payload);
                }
                RST_STREAM => return Seen::Reset(frame.error_code()),
                _ => panic!("unexpected on stream {stream}: {frame:?}"),
            }
        }
    }

    /// Asserts that the peer dropped the socket on `stream` without a closing
    /// handshake, that is, with END_STREAM; then ends this side too.
    pub(crate) async fn let_go(&mut self, stream: u32) {
        assert_eq!(self.seen(stream).await, Seen::End);
        self.end(stream).await;
    }

    /// Skips DATA frames and returns the error code of the RST_STREAM that follows.
    pub(crate) async fn reset_code(&mut self, stream: u32) -> u32 {
        loop {
            let frame = self.on(stream).await.expect("a reset");
            if frame.kind != DATA {
                return frame.error_code();
            }
        }
    }

    /// Returns the next WebSocket frame on `stream`.
    pub(crate) async fn frame(&mut self, stream: u32) -> frames::Frame {
        match self.seen(stream).await {
            Seen::Frame(frame, _) => frame,
            other => panic!("expected a frame on stream {stream}, got {other:?}"),
        }
    }

    /// Asserts that the peer sends a Close frame, and then END_STREAM in a separate
    /// DATA frame. Returns the close code.
    pub(crate) async fn close_then_end(&mut self, stream: u32) -> Option<u16> {
        let Seen::Frame(close, false) = self.seen(stream).await else {
            panic!("expected a Close frame without END_STREAM");
        };
        assert_eq!(self.seen(stream).await, Seen::End);
        close.code()
    }

    /// Sends a message as a client and asserts that the server echoes it.
    pub(crate) async fn echo(&mut self, stream: u32, text: &str) {
        let message = frames::from_client(frames::TEXT, text.as_bytes());
        self.data(stream, &message).await;
        let back = self.frame(stream).await;
        assert_eq!((back.head, back.masked), (0x81, false));
        assert_eq!(back.payload, text.as_bytes());
    }

    /// Performs the closing handshake as a client and ends the stream.
    pub(crate) async fn close(&mut self, stream: u32) {
        let close = frames::from_client(frames::CLOSE, &frames::close(1000, ""));
        self.data(stream, &close).await;
        assert_eq!(self.close_then_end(stream).await, Some(1000));
        self.end(stream).await;
    }

    /// Reads the request that opens `stream` and accepts it, as a server.
    pub(crate) async fn take(&mut self, stream: u32) {
        self.request(stream).await;
        self.headers(stream, &Fields::status("200"), 0).await;
    }

    /// Reads the request that opens `stream`, as a server, and leaves it
    /// unanswered.
    pub(crate) async fn request(&mut self, stream: u32) {
        let request = self.on(stream).await.expect("a request");
        assert_eq!(request.kind, HEADERS, "{request:?}");
        assert!(!request.ends(), "the request has END_STREAM");
    }

    /// Echoes one message as a server.
    pub(crate) async fn answer(&mut self, stream: u32) {
        let got = self.frame(stream).await;
        assert!(got.masked, "a client must mask (RFC 6455 §5.1)");
        self.data(stream, &frames::frame(got.head, false, &got.payload))
            .await;
    }

    /// Answers a client's Close frame, ends the stream, and asserts that the
    /// client ends its side.
    pub(crate) async fn answer_close(&mut self, stream: u32) {
        let Seen::Frame(close, false) = self.seen(stream).await else {
            panic!("expected a Close frame without END_STREAM");
        };
        assert_eq!(close.opcode(), frames::CLOSE);
        self.data(stream, &frames::frame(0x88, false, &close.payload))
            .await;
        self.end(stream).await;
        assert_eq!(self.seen(stream).await, Seen::End);
    }

    /// Waits until the peer has read everything sent so far, by means of a PING.
    /// Frames that arrive before its acknowledgement are kept.
    pub(crate) async fn barrier(&mut self) {
        self.send(PING, 0, 0, b"barrier!").await;
        loop {
            let frame = within(self.read()).await.expect("a PING acknowledgement");
            match frame.kind {
                PING if frame.flags & ACK != 0 => return,
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
                PING => self.send(PING, ACK, 0, &frame.payload).await,
                SETTINGS | WINDOW_UPDATE => {}
                _ => self.aside.push_back(frame),
            }
        }
    }

    /// Number of received frames that the test has not read.
    pub(crate) fn pending(&self) -> usize {
        self.aside.len()
    }

    /// Sends GOAWAY: streams above `last` are not processed (RFC 9113 §6.8).
    pub(crate) async fn goaway(&mut self, last: u32, code: u32) {
        let mut payload = last.to_be_bytes().to_vec();
        payload.extend(code.to_be_bytes());
        self.send(GOAWAY, 0, 0, &payload).await;
    }

    /// Returns all frames up to the end of the connection.
    pub(crate) async fn rest(mut self) -> Vec<Frame> {
        let mut frames: Vec<_> = self.aside.drain(..).collect();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

/// Encodes a frame.
pub(crate) fn encode(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(9 + payload.len());
    frame.put_uint(payload.len() as u64, 3);
    frame.put_u8(kind);
    frame.put_u8(flags);
    frame.put_u32(stream);
    frame.put_slice(payload);
    frame
}
