//! permessage-deflate (RFC 7692) on the messages of an open connection. Negotiating it belongs to
//! the handshake.
//!
//! A message is compressed as a whole, however many frames carry it; RSV1 on the first of them
//! marks it (§6). All messages of one direction form a single DEFLATE stream. Each is flushed to a
//! byte boundary (`00 00 ff ff`, which is left out on the wire), so that it can refer to those
//! before it. With "no context takeover" (§7.1.1) each message is a stream of its own.
//!
//! Compression costs memory, so nothing is allocated before it is needed: a compressor (380 KB;
//! 165 KB with 12 window bits, 138 KB with 9) is made for the first message to be compressed, a
//! decompressor (48 KB) for the first that arrives compressed, and without context takeover both
//! are dropped after each message.
//!
//! It also costs time, and a thousand times more for the receiver than for the sender: 15 KB may
//! inflate to 15 MiB. So both directions count their [`Work`], and an inflater pauses after a
//! quantum of it until some has been deducted. The socket deducts work at its own pace, so that
//! the messages of other connections are handled in between.

#[cfg_attr(not(feature = "deflate"), path = "deflate/absent.rs")]
mod codec;

pub(super) use self::codec::{Compressor, Inflater, Work};

/// How one end compresses and decompresses messages (RFC 7692 §7.1).
///
/// [`DeflateConfig::at`](crate::handshake::DeflateConfig::at) derives it from a handshake. The
/// default is that of a handshake that negotiated no parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deflate {
    /// The window for sent messages, as the base-2 logarithm of its size in bytes: 8 to 15. With 8,
    /// which compressors do not support, messages are sent uncompressed.
    pub send_window_bits: u8,
    /// Whether sent messages may refer to earlier ones. If not, the compressor is dropped after
    /// each message.
    pub send_context_takeover: bool,
    /// The window for received messages: 8 to 15, as above.
    pub receive_window_bits: u8,
    /// Whether received messages may refer to earlier ones. If not, the decompressor is dropped
    /// after each message.
    pub receive_context_takeover: bool,
    /// Minimum size, in bytes, of a message to compress; empty messages are never compressed.
    pub threshold: usize,
    /// Compression level, from 1 (fastest) to 9 (smallest).
    pub level: u8,
}

impl Deflate {
    /// The default [`threshold`](Self#structfield.threshold), in bytes.
    pub const THRESHOLD: usize = 64;
    /// The default [`level`](Self#structfield.level): 1. It compresses short messages in a sixth of
    /// the time of the next level, because it builds no code tables: JSON of 1,000 bytes takes 2 µs
    /// and shrinks to 23 %, while level 6 takes 20 µs and reaches 17 %.
    pub const LEVEL: u8 = 1;

    /// Sets the window for sent messages, and whether it is kept from message to message.
    #[must_use]
    pub const fn send(mut self, window_bits: u8, context_takeover: bool) -> Self {
        self.send_window_bits = window_bits;
        self.send_context_takeover = context_takeover;
        self
    }

    /// Sets the window for received messages, and whether it is kept from message to message.
    #[must_use]
    pub const fn receive(mut self, window_bits: u8, context_takeover: bool) -> Self {
        self.receive_window_bits = window_bits;
        self.receive_context_takeover = context_takeover;
        self
    }

    /// Sets the [`threshold`](Self#structfield.threshold), in bytes.
    #[must_use]
    pub const fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// Sets the [`level`](Self#structfield.level), 1 to 9.
    #[must_use]
    pub const fn level(mut self, level: u8) -> Self {
        self.level = level;
        self
    }
}

impl Default for Deflate {
    fn default() -> Self {
        Self {
            send_window_bits: 15,
            send_context_takeover: true,
            receive_window_bits: 15,
            receive_context_takeover: true,
            threshold: Self::THRESHOLD,
            level: Self::LEVEL,
        }
    }
}
