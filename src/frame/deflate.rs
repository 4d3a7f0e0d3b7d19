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
/// The handshake's [`DeflateConfig::at`](crate::handshake::DeflateConfig::at) makes it from what
/// was agreed; the default is what holds if neither side asked for anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deflate {
    /// The window to compress with, as its base-2 logarithm in bytes: 8 to 15. With 8, which
    /// compressors do not do, nothing is compressed.
    pub send_window_bits: u8,
    /// Whether a message may refer to those before it; if not, the compressor is dropped after
    /// each.
    pub send_context_takeover: bool,
    /// The window that the peer compresses with, 8 to 15.
    pub receive_window_bits: u8,
    /// Whether the peer's messages refer to those before them; if not, the decompressor is dropped
    /// after each.
    pub receive_context_takeover: bool,
    /// Messages shorter than this, in bytes, are sent as they are. Empty ones are always.
    pub threshold: usize,
    /// How hard to try, from 1 (fast) to 9 (small).
    pub level: u8,
}

impl Deflate {
    /// The default [`threshold`](Self#structfield.threshold), in bytes.
    pub const THRESHOLD: usize = 64;
    /// The default [`level`](Self#structfield.level): 1. What is small costs it a sixth of the time
    /// of any other, as it needs no code tables: JSON of 1,000 bytes shrinks to 23 % in 2 µs, where
    /// level 6 takes 20 µs and comes to 17 %.
    pub const LEVEL: u8 = 1;

    /// Sets the window to compress with, and whether it is kept from message to message.
    #[must_use]
    pub const fn send(mut self, window_bits: u8, context_takeover: bool) -> Self {
        self.send_window_bits = window_bits;
        self.send_context_takeover = context_takeover;
        self
    }

    /// Sets the window that the peer compresses with, and whether it keeps it from message to
    /// message.
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
