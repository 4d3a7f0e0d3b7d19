//! Compresses sent messages.

use std::fmt;

use bytes::Bytes;
use zlib_rs::{DeflateConfig, DeflateFlush, Status};

use super::{Deflate, STEP, TAIL, Work};

/// The smallest window that compressors support, as a base-2 logarithm.
const MIN_WINDOW_BITS: u8 = 9;

/// Minimum size, in bytes, of a message whose failure to shrink justifies losing the window.
pub(super) const LARGE: usize = 16 * 1024;

/// Number of bytes at the far end of the window that a compressor does not refer to.
const MARGIN: usize = 262;

/// Compresses the messages of one socket.
///
/// One message at a time: [`compress_first`](Self::compress_first) for its first frame, then
/// [`compress_next`](Self::compress_next) for each further frame.
pub(in crate::frame) struct Compressor {
    settings: Deflate,
    /// Absent until a message needs it, and between messages without context takeover.
    stream: Option<zlib_rs::Deflate>,
    /// Work that has not been deducted yet.
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

    /// Returns whether to compress a message of `len` bytes.
    pub(in crate::frame) const fn wants(&self, len: usize) -> bool {
        len > 0
            && len >= self.settings.threshold
            && self.settings.send_window_bits >= MIN_WINDOW_BITS
    }

    /// Compresses the first piece, possibly all, of a message of `len` bytes into the payload of
    /// its first frame. Returns `None` if the message is better sent uncompressed.
    pub(in crate::frame) fn compress_first(&mut self, piece: &[u8], len: usize) -> Option<Bytes> {
        if self.stream.is_none() {
            self.stream = Some(self.open(len));
        }
        let compressed = self.compress_next(piece, piece.len() == len);
        let shrinks = compressed.len() < piece.len();
        // With context takeover the compressor now relies on the peer having the piece in its
        // window: sending it uncompressed means starting over with an empty window.
        if shrinks || (self.settings.send_context_takeover && piece.len() < LARGE) {
            return Some(compressed);
        }
        self.release();
        None
    }

    /// Compresses a further piece into the payload of the next frame.
    pub(in crate::frame) fn compress_next(&mut self, piece: &[u8], last: bool) -> Bytes {
        self.work.compressed(piece.len());
        let stream = self.stream.as_mut().expect("`compress_first` comes first");
        let mut compressed = flush(stream, piece);
        if last {
            // Only at the end of a message: within it, the tail is an ordinary empty block.
            compressed.truncate(compressed.len() - TAIL.len());
            if !self.settings.send_context_takeover {
                self.stream = None;
            }
        }
        compressed.into()
    }

    /// Compresses a message without references to others, for any connection whose window is at
    /// least as large. Returns `None` if the message does not shrink.
    pub(in crate::frame) fn compress_alone(&self, payload: &[u8]) -> Option<Bytes> {
        let mut stream = open(self.window_for(payload.len()), self.settings.level);
        let mut compressed = flush(&mut stream, payload);
        compressed.truncate(compressed.len() - TAIL.len());
        (compressed.len() < payload.len()).then(|| compressed.into())
    }

    /// Returns the window, as a base-2 logarithm, for a message that is compressed alone.
    pub(in crate::frame) fn window_for(&self, len: usize) -> u8 {
        window_for(len).min(self.settings.send_window_bits)
    }

    /// Clears the window, because the peer is sent a message that was compressed
    /// [alone](Self::compress_alone): it is in the peer's window and not in ours, so later messages
    /// must not refer to anything before it (RFC 7692 §7.2.3.2 makes references optional). The
    /// memory is kept for the next message.
    pub(in crate::frame) fn restart(&mut self) {
        if let Some(stream) = &mut self.stream
            && stream.total_in() > 0
        {
            stream.reset();
        }
    }

    /// Frees the memory. The next message begins a new stream, which to the peer looks like a
    /// message without references to earlier ones.
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
        // Negative means raw DEFLATE, without a zlib header.
        window_bits: -bits,
        level: i32::from(level.clamp(1, 9)),
        // In proportion to the window: 8, the usual level, for the largest.
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

/// Returns the smallest window that covers a message of `len` bytes: a larger one costs time and
/// memory without shrinking it further.
fn window_for(len: usize) -> u8 {
    let bits = len.saturating_add(MARGIN).checked_next_power_of_two();
    bits.map_or(15, |size| size.trailing_zeros().clamp(9, 15) as u8)
}

/// Compresses the piece into DEFLATE blocks, the last of which ends in [`TAIL`].
fn flush(stream: &mut zlib_rs::Deflate, mut piece: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    let mut step = [0; STEP];
    loop {
        let (read, written) = (stream.total_in(), stream.total_out());
        let status = stream
            .compress(piece, &mut step, DeflateFlush::SyncFlush)
            .expect("compressing does not fail");
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
