//! Observes the frames that an HTTP/2 peer sends, below the `h2` crate, which does not expose SETTINGS
//! and how exactly streams and connections end.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::facts::Settings;
use super::finding::Finding;
use super::io::BoxIo;

/// Length of a frame header, in bytes (RFC 9113 §4.1).
const HEADER: usize = 9;
/// Bytes kept of a frame's payload: a hundred settings, or a GOAWAY with a long text. The rest is
/// ignored.
const KEPT: usize = 600;
/// Maximum number of SETTINGS frames and of streams that are remembered.
const REMEMBERED: usize = 32;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const FLAG: u8 = 0x1;

/// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3).
pub(super) const CAPABILITY: u16 = 0x8;
/// SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 §6.5.2).
pub(super) const MAX_STREAMS: u16 = 0x3;

/// What the peer has sent so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// In the order of arrival, without acknowledgements.
    pub(super) settings: Vec<Settings>,
    pub(super) streams: BTreeMap<u32, End>,
    pub(super) goaway: Option<GoAway>,
    /// Why the connection ended, if it has.
    pub(super) closed: Option<String>,
    /// The first bytes, to recognize a peer that does not speak HTTP/2.
    pub(super) start: BytesMut,
}

/// How the peer ended a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    pub(super) end_stream: Option<EndStream>,
    pub(super) reset: Option<Reason>,
}

/// Which frame carried END_STREAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndStream {
    Headers,
    /// A DATA frame that is not empty.
    LastData,
    EmptyData,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GoAway {
    pub(super) last: u32,
    pub(super) reason: Reason,
    pub(super) debug: String,
}

impl GoAway {
    pub(super) fn finding(&self) -> Finding {
        Finding::GoAway(self.reason, self.debug.clone())
    }
}

impl Seen {
    /// The current value of ENABLE_CONNECT_PROTOCOL: the last that was sent.
    pub(super) fn capability(&self) -> Option<u32> {
        self.values(CAPABILITY).last()
    }

    /// Returns every value of a setting, in order.
    pub(super) fn values(&self, id: u16) -> impl Iterator<Item = u32> {
        let lists = self.settings.iter().flat_map(|settings| &settings.list);
        lists
            .filter(move |(known, _)| *known == id)
            .map(|(_, v)| *v)
    }

    pub(super) fn end(&self, stream: u32) -> End {
        self.streams.get(&stream).copied().unwrap_or_default()
    }

    /// Whether a stream has ended, or ends with the connection.
    pub(super) fn is_over(&self, stream: u32) -> bool {
        let end = self.end(stream);
        end.end_stream.is_some() || end.reset.is_some() || self.is_ending()
    }

    /// Whether the connection has ended or failed. (A GOAWAY with NO_ERROR lets streams finish.)
    pub(super) fn is_ending(&self) -> bool {
        let broken = |goaway: &GoAway| goaway.reason != Reason::NO_ERROR;
        self.closed.is_some() || self.goaway.as_ref().is_some_and(broken)
    }

    fn stream(&mut self, id: u32) -> Option<&mut End> {
        if self.streams.len() >= REMEMBERED && !self.streams.contains_key(&id) {
            return None;
        }
        Some(self.streams.entry(id).or_default())
    }
}

/// Finds frames in a byte stream, however it is split into reads.
struct Scanner {
    began: Instant,
    header: BytesMut,
    /// Bytes of the current frame's payload that are still to come.
    left: usize,
    payload: BytesMut,
}

impl Scanner {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            header: BytesMut::with_capacity(HEADER),
            left: 0,
            payload: BytesMut::new(),
        }
    }

    fn scan(&mut self, mut bytes: &[u8], seen: &mut Seen) {
        let start = bytes.len().min(64 - seen.start.len().min(64));
        seen.start.extend_from_slice(&bytes[..start]);
        while !bytes.is_empty() {
            if self.header.len() < HEADER {
                let take = (HEADER - self.header.len()).min(bytes.len());
                self.header.extend_from_slice(&bytes[..take]);
                bytes = &bytes[take..];
                if self.header.len() < HEADER {
                    return;
                }
                self.left = self.len();
            }
            let take = self.left.min(bytes.len());
            let keep = take.min(KEPT - self.payload.len().min(KEPT));
            self.payload.extend_from_slice(&bytes[..keep]);
            self.left -= take;
            bytes = &bytes[take..];
            if self.left == 0 {
                self.frame(seen);
                self.header.clear();
                self.payload.clear();
            }
        }
    }

    fn len(&self) -> usize {
        (&self.header[..3]).get_uint(3) as usize
    }

    fn frame(&mut self, seen: &mut Seen) {
        let (kind, flags) = (self.header[3], self.header[4]);
        let id = (&self.header[5..]).get_u32() & 0x7fff_ffff;
        let len = self.len();
        let mut payload = &self.payload[..];
        match kind {
            DATA | HEADERS if flags & FLAG != 0 => {
                let how = match (kind, len) {
                    (HEADERS, _) => EndStream::Headers,
                    (_, 0) => EndStream::EmptyData,
                    _ => EndStream::LastData,
                };
                if let Some(end) = seen.stream(id) {
                    end.end_stream.get_or_insert(how);
                }
            }
            RST_STREAM if len == 4 => {
                let reason = Reason::from(payload.get_u32());
                if let Some(end) = seen.stream(id) {
                    end.reset.get_or_insert(reason);
                }
            }
            SETTINGS if flags & FLAG == 0 && seen.settings.len() < REMEMBERED => {
                let list = payload
                    .chunks_exact(6)
                    .map(|mut setting| (setting.get_u16(), setting.get_u32()));
                seen.settings.push(Settings {
                    after: self.began.elapsed(),
                    list: list.collect(),
                });
            }
            GOAWAY if len >= 8 => {
                seen.goaway = Some(GoAway {
                    last: payload.get_u32() & 0x7fff_ffff,
                    reason: Reason::from(payload.get_u32()),
                    debug: String::from_utf8_lossy(payload).into_owned(),
                });
            }
            _ => {}
        }
    }
}

/// A byte stream for the `h2` crate whose incoming frames are observed.
pub(super) struct Observed {
    io: BoxIo,
    scanner: Scanner,
    seen: watch::Sender<Seen>,
}

impl Observed {
    pub(super) fn new(io: BoxIo) -> (Self, watch::Receiver<Seen>) {
        let (seen, receiver) = watch::channel(Seen::default());
        let scanner = Scanner::new();
        (Self { io, scanner, seen }, receiver)
    }

    fn closed(&self, why: &dyn ToString) {
        self.seen.send_if_modified(|seen| {
            let first = seen.closed.is_none();
            seen.closed.get_or_insert_with(|| why.to_string());
            first
        });
    }
}

impl AsyncRead for Observed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut this.io).poll_read(cx, buf));
        match &read {
            Ok(()) if buf.filled().len() > before => {
                let new = &buf.filled()[before..];
                this.seen.send_modify(|seen| this.scanner.scan(new, seen));
            }
            Ok(()) => this.closed(&"closed by the peer"),
            Err(error) => this.closed(error),
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Observed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn wire() -> Vec<u8> {
        let settings = [0, 3, 0, 0, 0, 100, 0, 8, 0, 0, 0, 1];
        let mut goaway = vec![0, 0, 0, 5, 0, 0, 0, 11];
        goaway.extend(b"calm");
        [
            frame(SETTINGS, 0, 0, &settings),
            frame(SETTINGS, FLAG, 0, &[]),
            frame(DATA, 0, 1, &[7; 1000]),
            frame(DATA, FLAG, 1, &[]),
            frame(DATA, FLAG, 3, &[7; 2]),
            frame(HEADERS, FLAG, 5, &[0x88]),
            frame(RST_STREAM, 0, 5, &[0, 0, 0, 8]),
            frame(GOAWAY, 0, 0, &goaway),
        ]
        .concat()
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_split() {
        let wire = wire();
        for size in [1, 2, 7, 9, 10, 500, wire.len()] {
            let (mut scanner, mut seen) = (Scanner::new(), Seen::default());
            for piece in wire.chunks(size) {
                scanner.scan(piece, &mut seen);
            }
            assert_eq!(seen.settings.len(), 1, "cut at {size}");
            assert_eq!(seen.settings[0].list, [(3, 100), (8, 1)]);
            assert_eq!(seen.capability(), Some(1));
            assert_eq!(seen.end(1).end_stream, Some(EndStream::EmptyData));
            assert_eq!(seen.end(3).end_stream, Some(EndStream::LastData));
            assert_eq!(seen.end(5).end_stream, Some(EndStream::Headers));
            assert_eq!(seen.end(5).reset, Some(Reason::CANCEL));
            assert_eq!(seen.end(7), End::default());
            let goaway = seen.goaway.expect("a GOAWAY");
            assert_eq!(goaway.last, 5);
            assert_eq!(goaway.reason, Reason::ENHANCE_YOUR_CALM);
            assert_eq!(goaway.debug, "calm");
            assert_eq!(seen.start, &wire[..64]);
        }
    }

    #[test]
    fn a_flood_of_frames_is_not_stored() {
        let (mut scanner, mut seen) = (Scanner::new(), Seen::default());
        for stream in 1..1000 {
            scanner.scan(&frame(DATA, FLAG, stream, &[]), &mut seen);
            scanner.scan(&frame(SETTINGS, 0, 0, &[0; 6000]), &mut seen);
        }
        assert_eq!(seen.streams.len(), REMEMBERED);
        assert_eq!(seen.settings.len(), REMEMBERED);
        assert_eq!(seen.settings[0].list.len(), KEPT / 6);
    }
}
