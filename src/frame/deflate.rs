//! permessage-deflate (RFC 7692): the bytes. What is offered and agreed is the handshake's.
//!
//! A message is compressed as a whole, whatever frames it is cut into; RSV1 on the first of them
//! says so (§6). All messages of one direction form a single DEFLATE stream, each flushed to a byte
//! boundary (`00 00 ff ff`, which is cut off on the way), so that a message can refer to those
//! before it; "no context takeover" (§7.1.1) makes each a stream of its own.
//!
//! That is dear in memory, and so nothing is held that is not needed: a compressor (380 KB; 165 KB
//! for 12 window bits, 138 KB for 9) is made for the first message that is compressed, a
//! decompressor (48 KB) for the first that arrives so, and without context takeover neither
//! outlives its message.
//!
//! It is dear in time, too, and a peer pays a thousandth of it: 15 KB may inflate to 15 MiB. So
//! either side counts its [`Work`], and an inflater stops after [`QUANTUM`] of it until it is told
//! to go on. Whoever drives a connection takes the work off by its own measure of time, between
//! the messages of other connections.

#[cfg(not(feature = "deflate"))]
mod absent;
#[cfg(feature = "deflate")]
mod compress;
#[cfg(feature = "deflate")]
mod inflate;

#[cfg(not(feature = "deflate"))]
pub(super) use absent::{Compressor, Inflater};
#[cfg(feature = "deflate")]
pub(super) use compress::Compressor;
#[cfg(feature = "deflate")]
pub(super) use inflate::Inflater;

/// What a sync flush ends with, and the wire does without (RFC 7692 §7.2.1).
#[cfg(feature = "deflate")]
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// What compressing and inflating cost, as the number of bytes that would cost as much.
#[derive(Debug, Default)]
pub(super) struct Work(usize);

/// The work after which an inflater waits: some 50 µs.
#[cfg(feature = "deflate")]
const QUANTUM: usize = 16 * 1024;

/// What a byte of compressed input costs beside those that it inflates to: code tables are made
/// from a few bytes of it, whatever comes of them.
#[cfg(feature = "deflate")]
const INPUT: usize = 4;

impl Work {
    #[cfg(feature = "deflate")]
    fn inflated(&mut self, read: usize, written: usize) {
        self.0 += written + INPUT * read;
    }

    #[cfg(feature = "deflate")]
    fn compressed(&mut self, read: usize) {
        self.0 += read;
    }

    #[cfg(feature = "deflate")]
    const fn is_enough(&self) -> bool {
        self.0 >= QUANTUM
    }

    /// Bytes' worth.
    #[cfg(feature = "net")]
    pub(super) const fn get(&self) -> usize {
        self.0
    }

    /// Takes some of it off.
    pub(super) fn pay(&mut self, work: usize) -> usize {
        let paid = work.min(self.0);
        self.0 -= paid;
        paid
    }
}

/// How much is inflated or deflated at a time, in bytes: what a bomb can exceed a limit by before
/// it is seen, and small enough for the stack and the first-level cache.
#[cfg(feature = "deflate")]
const STEP: usize = 4096;

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

#[cfg(all(test, feature = "deflate"))]
mod tests;
