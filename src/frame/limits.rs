//! Limits on received messages, and the size of sent frames.
//!
//! The limits bound memory and time, and nothing else. Bytes cost both, and so does an empty or
//! nearly empty frame. A frame of [a few bytes](BYTES_PER_FRAME) or more costs no more than its
//! bytes do, so the number of such frames is not limited.

/// Limits on received frames and messages, and the size of sent frames.
///
/// ```
/// use h2ws::Limits;
///
/// let limits = Limits::default().max_message_size(64 * 1024);
/// assert_eq!(limits.max_message_size, 65_536);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum payload of a received data frame, in bytes. Default 16 MiB; `usize::MAX` is
    /// unlimited.
    pub max_frame_size: usize,
    /// Maximum size of a received message, in bytes; for a compressed message (RFC 7692), its
    /// size after inflating. Default 16 MiB; `usize::MAX` is unlimited.
    pub max_message_size: usize,
    /// Maximum number of frames of a received message, beyond one for every four of its bytes. It
    /// stops endless sequences of empty or nearly empty frames, but not of short ones. Default
    /// 16,384; `usize::MAX` is unlimited.
    pub max_fragments: usize,
    /// Maximum payload of a sent data frame, in bytes. Longer messages are sent in several frames,
    /// so that a ping or pong need not wait for all of a large message. Default 128 KiB;
    /// `usize::MAX` sends every message in one frame; zero counts as one. A compressed message
    /// (RFC 7692) is cut before compression, so its frames are shorter, or a few bytes longer if
    /// they do not compress.
    pub fragment_size: usize,
}

/// Number of bytes of a message for which it may have a further frame.
const BYTES_PER_FRAME: usize = 4;

impl Limits {
    /// No limits on received messages, and every message is sent in one frame. Only for peers that
    /// are fully trusted.
    pub const UNLIMITED: Self = Self {
        max_frame_size: usize::MAX,
        max_message_size: usize::MAX,
        max_fragments: usize::MAX,
        fragment_size: usize::MAX,
    };

    /// Returns whether a message may have another frame after `frames` with `len` bytes in total.
    pub(super) const fn allows_frame(&self, frames: usize, len: usize) -> bool {
        frames.saturating_sub(len / BYTES_PER_FRAME) < self.max_fragments
    }

    /// Sets [`max_frame_size`](Self#structfield.max_frame_size), in bytes.
    #[must_use]
    pub const fn max_frame_size(mut self, bytes: usize) -> Self {
        self.max_frame_size = bytes;
        self
    }

    /// Sets [`max_message_size`](Self#structfield.max_message_size), in bytes.
    #[must_use]
    pub const fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// Sets [`max_fragments`](Self#structfield.max_fragments), in frames.
    #[must_use]
    pub const fn max_fragments(mut self, frames: usize) -> Self {
        self.max_fragments = frames;
        self
    }

    /// Sets [`fragment_size`](Self#structfield.fragment_size), in bytes.
    #[must_use]
    pub const fn fragment_size(mut self, bytes: usize) -> Self {
        self.fragment_size = bytes;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_size: 16 * 1024 * 1024,
            max_message_size: 16 * 1024 * 1024,
            max_fragments: 16_384,
            fragment_size: 128 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setter_sets_its_own() {
        let limits = Limits::default()
            .max_frame_size(1)
            .max_message_size(2)
            .max_fragments(3)
            .fragment_size(4);
        let expected = Limits {
            max_frame_size: 1,
            max_message_size: 2,
            max_fragments: 3,
            fragment_size: 4,
        };
        assert_eq!(limits, expected);
    }
}
