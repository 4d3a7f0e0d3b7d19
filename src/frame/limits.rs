//! What a peer may make us hold, and how we cut what we send.
//!
//! A limit bounds what costs us memory or time, and nothing else. Bytes do, and so does a frame
//! that brings next to none; a frame that brings some is paid for by them, however short.

/// Limits on what arrives, and the size of the frames that leave.
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
    /// The largest payload of a single data frame that is accepted, in bytes. Default: 16 MiB;
    /// `usize::MAX`: unlimited.
    pub max_frame_size: usize,
    /// The largest message that is accepted, in bytes; of a compressed one (RFC 7692) it is what
    /// it inflates to. Default: 16 MiB; `usize::MAX`: unlimited.
    pub max_message_size: usize,
    /// The most frames that a message may come in beyond one for every four bytes of it, so
    /// that empty and nearly empty frames cannot go on for ever and short ones can. Default:
    /// 16,384; `usize::MAX`: unlimited.
    pub max_fragments: usize,
    /// The largest payload of a data frame that we send, in bytes: longer messages leave as
    /// several frames, so that a ping or pong need not wait for all of a large message. Default:
    /// 128 KiB; `usize::MAX`: every message in a single frame; zero counts as one. A message that is
    /// compressed (RFC 7692) is cut before it: its frames are shorter, or, where it cannot be
    /// compressed, longer by some bytes.
    pub fragment_size: usize,
}

/// Bytes of a message that pay for one of its frames.
const PAYS_FOR_A_FRAME: usize = 4;

impl Limits {
    /// No limit on what arrives, and every message leaves in a single frame: for peers that are
    /// trusted entirely.
    pub const UNLIMITED: Self = Self {
        max_frame_size: usize::MAX,
        max_message_size: usize::MAX,
        max_fragments: usize::MAX,
        fragment_size: usize::MAX,
    };

    /// Whether a message may go on in yet another frame, with `len` bytes of it received in
    /// `frames`.
    pub(super) const fn allows_frame(&self, frames: usize, len: usize) -> bool {
        frames.saturating_sub(len / PAYS_FOR_A_FRAME) < self.max_fragments
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
