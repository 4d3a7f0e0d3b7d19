//! Uses an open WebSocket of either HTTP version: a message, a few Pings, a Close frame.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use h2ws::frame::Role;
use h2ws::frame::{Event, Protocol};
use h2ws::handshake::{DeflateConfig, Negotiated};
use h2ws::{CloseCode, CloseFrame, Limits, Message};

use super::carrier::Carrier;
use super::facts::{Close, Echo, Socket};
use super::finding::{Finding, Step};

/// How long to wait for an echo. A server need not echo, so this is short.
const ECHO: Duration = Duration::from_secs(2);
/// Number of Pings on the first WebSocket.
const PINGS: u32 = 5;
/// Bytes shown of a message that is not the echo.
const BEGINNING: usize = 60;

/// How closely a WebSocket is examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// An echo, several Pings, and the closing handshake.
    Full,
    /// An echo, or one Ping if the server does not echo, and the closing handshake.
    Short { echoes: bool },
}

/// A WebSocket in use.
pub(super) struct Conversation<'a> {
    carrier: &'a mut Carrier,
    protocol: Protocol,
    input: Bytes,
    socket: &'a mut Socket,
    timeout: Duration,
    findings: Vec<Finding>,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(
        carrier: &'a mut Carrier,
        negotiated: &Negotiated,
        socket: &'a mut Socket,
        timeout: Duration,
    ) -> Self {
        let limits = Limits::default();
        let protocol = match &negotiated.deflate {
            Some(params) => {
                let deflate = DeflateConfig::default().at(Role::Client, params);
                Protocol::with_deflate(Role::Client, limits, deflate)
            }
            None => Protocol::new(Role::Client, limits),
        };
        Self {
            carrier,
            protocol,
            input: Bytes::new(),
            socket,
            timeout,
            findings: Vec::new(),
        }
    }

    /// Runs from the first message to the second Close frame, and returns the findings.
    pub(super) async fn run(mut self, depth: Depth) -> Vec<Finding> {
        let open = self.exchange(depth).await;
        let broke = open.is_err();
        self.findings.extend(open.err());
        // Not after a failure, and not if the server has closed.
        if !broke && self.socket.close.is_none() {
            let closed = self.close().await;
            self.findings.extend(closed.err());
        }
        let answered = matches!(self.socket.echo, Echo::Same(_) | Echo::Other { .. })
            || !self.socket.pings.is_empty()
            || self.socket.close.is_some();
        self.socket.works = answered && !broke;
        self.findings
    }

    async fn exchange(&mut self, depth: Depth) -> Result<(), Finding> {
        let pings = match depth {
            Depth::Full => PINGS,
            Depth::Short { echoes } => u32::from(!echoes),
        };
        if depth != (Depth::Short { echoes: false }) {
            self.echo().await?;
        }
        for _ in 0..pings {
            if !self.ping().await? {
                break;
            }
        }
        Ok(())
    }

    async fn echo(&mut self) -> Result<(), Finding> {
        // Unique, and long enough to be compressed if that was negotiated.
        let text = format!(
            "h2ws probe {}: a message that an echo server sends back unchanged",
            token()
        );
        let sent = Message::text(text);
        let began = Instant::now();
        self.send(sent.clone()).await?;
        let deadline = began + self.timeout.min(ECHO);
        self.socket.echo = Echo::Nothing;
        while let Some(event) = self.next(deadline).await? {
            match event {
                Event::Message(message) if message == sent => {
                    self.socket.echo = Echo::Same(began.elapsed());
                    break;
                }
                Event::Message(message) => self.pushed(&message),
                Event::Close(_) => break,
                _ => {}
            }
        }
        Ok(())
    }

    /// Records an unsolicited message.
    fn pushed(&mut self, message: &Message) {
        self.socket.pushed += 1;
        if self.socket.echo == Echo::Nothing {
            let bytes = message.as_bytes();
            let beginning = &bytes[..bytes.len().min(BEGINNING)];
            self.socket.echo = Echo::Other {
                kind: if message.is_text() { "text" } else { "binary" },
                len: bytes.len(),
                beginning: String::from_utf8_lossy(beginning).into_owned(),
            };
        }
    }

    /// Sends a Ping. Returns whether a Pong arrived.
    async fn ping(&mut self) -> Result<bool, Finding> {
        if self.socket.close.is_some() {
            return Ok(false);
        }
        let payload = Bytes::from(token());
        let began = Instant::now();
        self.send(Message::ping(payload.clone())).await?;
        self.socket.pings_sent += 1;
        while let Some(event) = self.next(began + self.timeout).await? {
            match event {
                Event::Pong(pong) if pong == payload => {
                    self.socket.pings.push(began.elapsed());
                    return Ok(true);
                }
                Event::Message(message) => self.pushed(&message),
                Event::Close(_) => return Ok(false),
                _ => {}
            }
        }
        self.findings.push(Finding::Silent(Step::Pong));
        Ok(false)
    }

    async fn close(&mut self) -> Result<(), Finding> {
        let mut out = BytesMut::new();
        let frame = CloseFrame::from(CloseCode::NORMAL);
        // Fails only if a Close frame was sent before.
        if self.protocol.close(Some(frame), key, &mut out).is_err() {
            return Ok(());
        }
        self.write(out).await?;
        let deadline = Instant::now() + self.timeout;
        while let Some(event) = self.next(deadline).await? {
            if let Event::Close(_) = event {
                return Ok(());
            }
        }
        Err(Finding::Silent(Step::Close))
    }

    async fn send(&mut self, message: Message) -> Result<(), Finding> {
        let mut out = BytesMut::new();
        // Fails only if a Close frame was sent before, which callers check.
        if self.protocol.send(message, key, &mut out).is_ok() {
            self.write(out).await?;
        }
        Ok(())
    }

    /// Returns the next event, after sending the replies that the protocol requires; `None` at the
    /// deadline.
    async fn next(&mut self, deadline: Instant) -> Result<Option<Event>, Finding> {
        // Checked here too: a server that never stops sending is never waited for below.
        while Instant::now() < deadline {
            let event = self.protocol.receive(&mut self.input);
            let mut out = BytesMut::new();
            let closing = self.protocol.close_sent();
            while self.protocol.write(key, &mut out) {}
            let answered = self.write(out).await;
            match event {
                Ok(None) => answered?,
                Ok(Some(Event::Close(frame))) => {
                    self.socket.close = Some(Close {
                        code: frame.as_ref().map(|frame| frame.code.into()),
                        reason: frame.map_or(String::new(), |frame| frame.reason.to_string()),
                        by_server: !closing,
                    });
                    return Ok(Some(Event::Close(None)));
                }
                Ok(event) => {
                    answered?;
                    return Ok(event);
                }
                Err(error) => return Err(Finding::Frames(error)),
            }
            let read = tokio::time::timeout_at(deadline.into(), self.carrier.read());
            match read.await {
                Ok(Ok(Some(bytes))) => self.input = bytes,
                Ok(Ok(None)) => return Err(Finding::NoClose),
                Ok(Err(finding)) => return Err(finding),
                Err(_) => break,
            }
        }
        Ok(None)
    }

    async fn write(&mut self, out: BytesMut) -> Result<(), Finding> {
        if out.is_empty() {
            return Ok(());
        }
        let written = self.carrier.write(out.freeze());
        match tokio::time::timeout(self.timeout, written).await {
            Ok(done) => done,
            Err(_) => Err(Finding::Silent(Step::Window)),
        }
    }
}

/// Returns sixteen random characters.
fn token() -> String {
    let mut text = String::with_capacity(16);
    for byte in random::<8>() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn key() -> [u8; 4] {
    random()
}

/// Returns random bytes from the operating system: masking keys must be unpredictable (RFC 6455
/// §10.3).
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        crate::log::failure(format_args!(
            "the operating system has no random bytes for keys: {error}"
        ));
        crate::log::exit(1);
    }
    bytes
}
