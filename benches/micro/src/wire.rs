//! The bytes that every crate processes, and an in-memory transport for them.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes that a read returns or a write accepts: the DATA frame size of most HTTP/2 peers.
pub(crate) const CHUNK: usize = 16 * 1024;

/// The payload of a batch in bytes, large enough to time.
const BATCH: usize = 64 * 1024;

/// The content of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Binary,
    Ascii,
    Mixed,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Binary, Self::Ascii, Self::Mixed];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Ascii => "ASCII",
            Self::Mixed => "mixed",
        }
    }

    pub(crate) fn payload(self, size: usize) -> Bytes {
        let pattern = match self {
            Self::Binary => return (0..size).map(|index| (index * 7) as u8).collect(),
            Self::Ascii => "{\"id\": 17, \"text\": \"the quick brown fox\"} ",
            Self::Mixed => "größe und κόσμε, 世界 and 😀; ",
        };
        let mut text = pattern.repeat(size / pattern.len());
        // Does not split a character.
        let rest = pattern.floor_char_boundary(size - text.len());
        text.push_str(&pattern[..rest]);
        text.extend(std::iter::repeat_n('.', size - text.len()));
        text.into()
    }
}

/// Messages of one size.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) kind: Kind,
    pub(crate) payload: Bytes,
    pub(crate) count: usize,
    /// Whether h2ws uses a new buffer for each batch, as a socket does that is idle in between.
    pub(crate) idles: bool,
}

impl Batch {
    pub(crate) fn new(kind: Kind, size: usize) -> Self {
        Self {
            kind,
            payload: kind.payload(size),
            count: (BATCH / size).clamp(1, 512),
            idles: false,
        }
    }

    pub(crate) fn total(&self) -> usize {
        self.count * self.payload.len()
    }

    /// Encodes the frames by RFC 6455 §5.2, without any of the crates.
    pub(crate) fn frames(&self, masked: bool) -> Vec<u8> {
        let first = if self.kind == Kind::Binary {
            0x82
        } else {
            0x81
        };
        let mask = u8::from(masked) << 7;
        let mut out = Vec::new();
        for index in 0..self.count {
            out.push(first);
            match self.payload.len() {
                len @ 0..=125 => out.push(mask | len as u8),
                len @ 126..=0xffff => {
                    out.push(mask | 126);
                    out.extend((len as u16).to_be_bytes());
                }
                len => {
                    out.push(mask | 127);
                    out.extend((len as u64).to_be_bytes());
                }
            }
            let mut key = [0; 4];
            if masked {
                key = (index as u32).wrapping_mul(0x9e37_79b9).to_le_bytes();
                out.extend(key);
            }
            let payload = self.payload.iter().zip(key.iter().cycle());
            out.extend(payload.map(|(byte, key)| byte ^ key));
        }
        out
    }
}

/// Copies what is written, as a kernel does.
#[derive(Debug)]
pub(crate) struct Drain {
    scratch: Vec<u8>,
    pub(crate) written: usize,
}

impl Drain {
    pub(crate) fn new() -> Self {
        Self {
            scratch: vec![0; CHUNK],
            written: 0,
        }
    }

    pub(crate) fn copy(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(CHUNK) {
            self.scratch[..piece.len()].copy_from_slice(piece);
        }
        self.written += bytes.len();
    }
}

/// Returns the same bytes repeatedly, and drains what is written.
#[derive(Debug)]
pub(crate) struct Memory {
    source: Vec<u8>,
    position: usize,
    pub(crate) drain: Drain,
}

impl Memory {
    pub(crate) fn new(source: Vec<u8>) -> Self {
        Self {
            source,
            position: 0,
            drain: Drain::new(),
        }
    }

    fn next(&mut self, most: usize) -> &[u8] {
        let rest = &self.source[self.position..];
        let piece = &rest[..rest.len().min(most).min(CHUNK)];
        self.position = (self.position + piece.len()) % self.source.len();
        piece
    }
}

impl Read for Memory {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let piece = self.next(buf.len());
        buf[..piece.len()].copy_from_slice(piece);
        Ok(piece.len())
    }
}

impl Write for Memory {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.drain.copy(buf);
        Ok(buf.len())
    }

    fn write_vectored(&mut self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        bufs.iter().for_each(|buf| self.drain.copy(buf));
        Ok(bufs.iter().map(|buf| buf.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let piece = self.next(buf.remaining());
        buf.put_slice(piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write(buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
