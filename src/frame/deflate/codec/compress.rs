//! The sending side.

use std::fmt;

use bytes::Bytes;
use zlib_rs::{DeflateConfig, DeflateFlush, Status};

use super::{Deflate, STEP, TAIL, Work};

/// The smallest window that compressors do, as its logarithm.
const MIN_WINDOW_BITS: u8 = 9;

/// From this size on, in bytes, a message that does not shrink is worth starting anew for.
pub(super) const LARGE: usize = 16 * 1024;

/// How far before its current position, beyond the window's size, a compressor does not look.
const MARGIN: usize = 262;

/// Compresses the messages of one socket.
///
/// One message after the other: each has a [`compress_first`](Self::compress_first), and a
/// [`compress_next`](Self::compress_next) for each further frame.
pub(in crate::frame) struct Compressor {
    settings: Deflate,
    /// Absent until a message needs it, and between messages without context takeover.
    stream: Option<zlib_rs::Deflate>,
    /// Done, and not paid for.
    work: Work,
}

impl Compressor {
    pub(in crate::frame) const fn new(settings: Deflate) -> Self {
        Self {
            settings,
            stream: None,
            work: Work(0),
        }
    }

    pub(in crate::frame) const fn work(&mut self) -> &mut Work {
        &mut self.work
    }

    pub(in crate::frame) const fn settings(&self) -> &Deflate {
        &self.settings
    }

    /// Whether a message of so many bytes is worth compressing.
    pub(in crate::frame) const fn wants(&self, len: usize) -> bool {
        len > 0
            && len >= self.settings.threshold
            && self.settings.send_window_bits >= MIN_WINDOW_BITS
    }

    /// Compresses the first piece of a message of `len` bytes, the whole message perhaps: what its
    /// first frame carries. `None` if the message had better go as it is.
    pub(in crate::frame) fn compress_first(&mut self, piece: &[u8], len: usize) -> Option<Bytes> {
        if self.stream.is_none() {
            self.stream = Some(self.open(len));
        }
        let compressed = self.compress_next(piece, piece.len() == len);
        let shrinks = compressed.len() < piece.len();
        // With context takeover the compressor now counts on the peer to have seen the piece; to
        // send it another way is to lose the window.
        if shrinks || (self.settings.send_context_takeover && piece.len() < LARGE) {
            return Some(compressed);
        }
        self.release();
        None
    }

    /// Compresses a further piece: what the next frame carries.
    pub(in crate::frame) fn compress_next(&mut self, piece: &[u8], last: bool) -> Bytes {
        self.work.compressed(piece.len());
        let stream = self.stream.as_mut().expect("a message was begun");
        let mut compressed = flush(stream, piece);
        if last {
            // Nowhere else: within a message they are an empty block like others.
            compressed.truncate(compressed.len() - TAIL.len());
            if !self.settings.send_context_takeover {
                self.stream = None;
            }
        }
        compressed.into()
    }

    /// Compresses a message by itself, for any socket whose window is no
    /// smaller; `None` if that does not shrink it.
    pub(in crate::frame) fn compress_alone(&self, payload: &[u8]) -> Option<Bytes> {
        let mut stream = open(self.window_for(payload.len()), self.settings.level);
        let mut compressed = flush(&mut stream, payload);
        compressed.truncate(compressed.len() - TAIL.len());
        (compressed.len() < payload.len()).then(|| compressed.into())
    }

    /// The window, as its logarithm, in which a message by itself is compressed.
    pub(in crate::frame) fn window_for(&self, len: usize) -> u8 {
        window_for(len).min(self.settings.send_window_bits)
    }

    /// The peer is sent a message that was compressed [by itself](Self::compress_alone): its window moves
    /// on by that message, and ours does not. So we refer to nothing before it (RFC 7692 §7.2.3.2
    /// allows to, and asks nobody to). The memory is kept: it is for the next message.
    pub(in crate::frame) fn restart(&mut self) {
        if let Some(stream) = &mut self.stream
            && stream.total_in() > 0
        {
            stream.reset();
        }
    }

    /// Gives the memory back. The next message is the beginning of a new stream, which a peer
    /// cannot tell from one that happens not to refer to earlier messages.
    pub(in crate::frame) fn release(&mut self) {
        self.stream = None;
    }

    #[cfg(test)]
    pub(super) const fn is_idle(&self) -> bool {
        self.stream.is_none()
    }

    fn open(&self, len: usize) -> zlib_rs::Deflate {
        let agreed = self.settings.send_window_bits.min(15);
        let bits = if self.settings.send_context_takeover {
            agreed
        } else {
            window_for(len).min(agreed)
        };
        open(bits, self.settings.level)
    }
}

fn open(window_bits: u8, level: u8) -> zlib_rs::Deflate {
    let bits = i32::from(window_bits);
    zlib_rs::Deflate::new_with_config(DeflateConfig {
        // Negative: without zlib's header.
        window_bits: -bits,
        level: i32::from(level.clamp(1, 9)),
        // Blocks in proportion to the window: 8, the usual, for the largest.
        mem_level: bits - 7,
        ..DeflateConfig::default()
    })
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor")
            .field("settings", &self.settings)
            .field("in_memory", &self.stream.is_some())
            .finish()
    }
}

/// The window in which all of a message can be seen: a larger one would cost time and memory for
/// nothing.
fn window_for(len: usize) -> u8 {
    let bits = len.saturating_add(MARGIN).checked_next_power_of_two();
    bits.map_or(15, |size| size.trailing_zeros().clamp(9, 15) as u8)
}

/// The piece as DEFLATE blocks, the last of which ends in [`TAIL`].
fn flush(stream: &mut zlib_rs::Deflate, mut piece: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    let mut step = [0; STEP];
    loop {
        let (read, written) = (stream.total_in(), stream.total_out());
        let status = stream
            .compress(piece, &mut step, DeflateFlush::SyncFlush)
            .expect("a compressor takes any bytes");
        piece = &piece[(stream.total_in() - read) as usize..];
        let count = (stream.total_out() - written) as usize;
        if compressed.is_empty() {
            compressed.reserve_exact(count);
        }
        compressed.extend_from_slice(&step[..count]);
        if count < STEP || status == Status::BufError {
            debug_assert!(piece.is_empty() && compressed.ends_with(&TAIL));
            return compressed;
        }
    }
}
