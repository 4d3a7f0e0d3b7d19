//! An HTTP/1.1 peer that reads and writes text over TCP, as a client or as a
//! server.

use std::net::SocketAddr;

use base64::Engine;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::frames::{self, Parser};
use super::within;

/// One end of an HTTP/1.1 connection.
pub(crate) struct Text {
    pub(crate) io: TcpStream,
    parser: Parser,
    /// The head most recently read from the peer: of a request, or of a response.
    pub(crate) head: String,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// FIN.
    End,
    /// RST.
    Reset,
}

impl Text {
    fn new(io: TcpStream) -> Self {
        io.set_nodelay(true).unwrap();
        Self {
            io,
            parser: Parser::default(),
            head: String::new(),
        }
    }

    /// Wraps an existing connection.
    pub(crate) fn on(io: TcpStream) -> Self {
        Self::new(io)
    }

    /// Accepts the next connection as a server, and reads the head of its request
    /// without answering.
    pub(crate) async fn asked(listener: &TcpListener) -> Self {
        let mut text = Self::new(within(listener.accept()).await.unwrap().0);
        text.read_head().await;
        text
    }

    /// Accepts the next connection as a server, and accepts its Upgrade.
    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        let mut text = Self::asked(listener).await;
        let answer = text.switching();
        text.write(format!("{answer}\r\n")).await;
        text
    }

    /// Connects as a client and sends an Upgrade with additional header fields.
    pub(crate) async fn ask(addr: SocketAddr, path: &str, fields: &str) -> Self {
        let mut text = Self::new(TcpStream::connect(addr).await.unwrap());
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\n{fields}\r\n"
        );
        text.write(request).await;
        text
    }

    /// Connects as a client and writes `request`.
    pub(crate) async fn client(addr: SocketAddr, request: &str) -> Self {
        let mut text = Self::new(TcpStream::connect(addr).await.unwrap());
        text.write(request).await;
        text
    }

    /// Reads `length` bytes as text.
    pub(crate) async fn take(&mut self, length: usize) -> String {
        let mut bytes = vec![0; length];
        within(self.io.read_exact(&mut bytes)).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Connects as a client and opens a socket.
    pub(crate) async fn open(addr: SocketAddr, path: &str) -> Self {
        let mut text = Self::ask(addr, path, "").await;
        text.read_head().await;
        assert!(text.head.starts_with("HTTP/1.1 101 "), "{}", text.head);
        text
    }

    /// Reads the next head.
    pub(crate) async fn read_head(&mut self) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(self.io.read_u8()).await.unwrap());
        }
        self.head = String::from_utf8(head).unwrap();
    }

    /// Reads the next head. Returns `false` if the connection ends first.
    pub(crate) async fn try_read_head(&mut self) -> bool {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = self.io.read_u8().await else {
                return false;
            };
            head.push(byte);
        }
        self.head = String::from_utf8(head).unwrap();
        true
    }

    /// Returns the value of a header field, and asserts that it is not repeated.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().filter_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        });
        let value = values.next();
        assert_eq!(values.next(), None, "{name} is repeated");
        value
    }

    /// Returns the 101 response to the request, without the final empty line, so
    /// that a test can append fields (RFC 6455 §4.2.2).
    pub(crate) fn switching(&self) -> String {
        let mut sha1 = Sha1::new();
        sha1.update(self.field("sec-websocket-key").expect("a key"));
        sha1.update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let accept = base64::engine::general_purpose::STANDARD.encode(sha1.finalize());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n"
        )
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.io.write_all(bytes.as_ref())).await.unwrap();
    }

    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.io.write_all(bytes).await
    }

    /// Returns the next frame, or how the connection ended.
    pub(crate) async fn seen(&mut self) -> Result<frames::Frame, Over> {
        loop {
            if let Some(frame) = self.parser.pop() {
                return Ok(frame);
            }
            let mut bytes = [0; 4096];
            match within(self.io.read(&mut bytes)).await {
                Ok(0) => return Err(Over::End),
                Ok(n) => self.parser.push(&bytes[..n]),
                Err(_) => return Err(Over::Reset),
            }
        }
    }

    pub(crate) async fn frame(&mut self) -> frames::Frame {
        self.seen().await.expect("a frame")
    }

    /// Reads to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        within(self.io.read_to_end(&mut rest)).await.unwrap();
        rest
    }

    /// Echoes one frame as a server.
    pub(crate) async fn answer(&mut self) {
        let got = self.frame().await;
        assert!(got.masked, "a client must mask (RFC 6455 §5.1)");
        let back = frames::frame(got.head, false, &got.payload);
        self.write(back).await;
    }

    /// Closes the connection with RST.
    pub(crate) fn reset(self) {
        self.io.set_zero_linger().unwrap();
    }

    /// Sends FIN. The other direction stays open.
    pub(crate) async fn end(&mut self) {
        self.io.shutdown().await.unwrap();
    }
}
