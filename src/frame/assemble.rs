//! A message that arrives in pieces: in several frames, or in one that several chunks cut.

use bytes::Bytes;

use super::deflate::Inflater;
use super::error::ProtocolError;
use super::header::OpCode;
use super::mask;
use super::message::Message;
use super::text::Text;
use super::utf8::{InvalidUtf8, Utf8Validator};

/// The most memory, in bytes, that a frame gets on its header's word alone.
const AHEAD: usize = 64 * 1024;

/// Unmasked at a time before it is inflated, in bytes.
const UNMASKED: usize = 4096;

/// What of a message has arrived.
#[derive(Debug)]
pub(super) struct Assembly {
    payload: Vec<u8>,
    /// Present in a text message.
    text: Option<Utf8Validator>,
    /// Whether it arrives compressed: RSV1 is set on its first frame (RFC 7692 §6).
    pub(super) compressed: bool,
    /// Frames so far, the one being received included.
    pub(super) fragments: usize,
}

/// A part of a frame's payload, as it came.
pub(super) struct Piece<'a> {
    pub(super) bytes: &'a [u8],
    /// The key, turned so that its first byte is the one for the first of `bytes`.
    pub(super) mask: Option<[u8; 4]>,
    /// What was missing from the frame before this piece, in bytes.
    pub(super) missing: usize,
    /// Whether the frame is the last one of its message.
    pub(super) last: bool,
}

impl Assembly {
    pub(super) fn new(opcode: OpCode, compressed: bool) -> Self {
        Self {
            payload: Vec::new(),
            text: (opcode == OpCode::Text).then(Utf8Validator::default),
            compressed,
            fragments: 1,
        }
    }

    /// The size so far, in bytes.
    pub(super) const fn len(&self) -> usize {
        self.payload.len()
    }

    #[cfg(any(feature = "net", all(test, feature = "deflate")))]
    pub(super) const fn capacity(&self) -> usize {
        self.payload.capacity()
    }

    pub(super) fn push(&mut self, piece: &Piece<'_>) -> Result<(), InvalidUtf8> {
        self.reserve(piece);
        // A block at a time, so that each pass finds it in the first-level cache.
        for block in piece.bytes.chunks(mask::BLOCK) {
            let start = self.payload.len();
            self.payload.extend_from_slice(block);
            let bytes = &mut self.payload[start..];
            if let Some(key) = piece.mask {
                // Each begins with the same byte of the key.
                mask::apply(key, 0, bytes);
            }
            if let Some(text) = &mut self.text {
                text.push(bytes)?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Message, InvalidUtf8> {
        let payload = Bytes::from(self.payload);
        let Some(text) = self.text else {
            return Ok(Message::Binary(payload));
        };
        text.finish()?;
        Ok(Message::Text(Text::from_checked(payload)))
    }

    /// As [`push`](Self::push), of a compressed message that may inflate to `limit` bytes. Returns
    /// how much of the piece was taken before the inflater tired; if that was all, the message may
    /// still be unfinished, for a further call with nothing.
    pub(super) fn inflate(
        &mut self,
        piece: &Piece<'_>,
        inflater: &mut Inflater,
        limit: usize,
    ) -> Result<usize, ProtocolError> {
        let mut sink = |bytes: &[u8]| self.append(bytes, limit);
        let mut taken = 0;
        match piece.mask {
            None => taken = inflater.push(piece.bytes, &mut sink)?,
            Some(key) => {
                let mut unmasked = [0; UNMASKED];
                // Each begins with the same byte of the key.
                for bytes in piece.bytes.chunks(UNMASKED) {
                    let unmasked = &mut unmasked[..bytes.len()];
                    unmasked.copy_from_slice(bytes);
                    mask::apply(key, 0, unmasked);
                    taken += inflater.push(unmasked, &mut sink)?;
                    if inflater.is_tired() {
                        break;
                    }
                }
            }
        }
        if piece.last && taken == piece.missing && !inflater.is_tired() {
            inflater.finish(&mut sink)?;
            // Nothing told how large it would be.
            self.payload.shrink_to_fit();
        }
        Ok(taken)
    }

    /// Takes inflated bytes, unless they are too many.
    fn append(&mut self, bytes: &[u8], limit: usize) -> Result<(), ProtocolError> {
        let len = self.payload.len() + bytes.len();
        if len > limit {
            let size = len as u64;
            return Err(ProtocolError::MessageTooLarge { size, limit });
        }
        if len > self.payload.capacity() {
            // Doubled, but never more than the limit.
            let capacity = (2 * self.payload.capacity()).clamp(len, limit);
            self.payload.reserve_exact(capacity - self.payload.len());
        }
        self.payload.extend_from_slice(bytes);
        if let Some(text) = &mut self.text {
            text.push(bytes)?;
        }
        Ok(())
    }

    /// Makes room for the piece and for some of what its frame still promises: a header must not
    /// cost more memory than its sender is seen to fill.
    fn reserve(&mut self, piece: &Piece<'_>) {
        let len = self.payload.len();
        if self.payload.capacity() - len >= piece.bytes.len() {
            return;
        }
        let room = piece.missing.min(len.max(AHEAD)).max(piece.bytes.len());
        if piece.last {
            // The end is in sight: no more than it takes.
            self.payload.reserve_exact(room);
        } else {
            self.payload.reserve(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &[u8], missing: usize, last: bool) -> Piece<'_> {
        Piece {
            bytes,
            mask: None,
            missing,
            last,
        }
    }

    #[test]
    fn a_claim_alone_reserves_little() {
        let mut message = Assembly::new(OpCode::Binary, false);
        message.push(&piece(b"x", 1 << 40, true)).expect("binary");
        assert_eq!(message.payload.capacity(), AHEAD);
    }

    #[test]
    fn memory_follows_what_arrived_and_ends_exact() {
        let total = 1_000_000;
        let mut message = Assembly::new(OpCode::Binary, false);
        let mut missing = total;
        while missing > 0 {
            let bytes = &[7; 1000];
            message.push(&piece(bytes, missing, true)).expect("binary");
            missing -= bytes.len();
            assert!(message.payload.capacity() <= (2 * message.len()).max(AHEAD));
        }
        assert_eq!(message.payload.capacity(), total, "nothing is left over");
        assert_eq!(message.finish(), Ok(Message::binary(vec![7; total])));
    }

    #[test]
    fn many_small_fragments_grow_the_memory_seldom() {
        let mut message = Assembly::new(OpCode::Binary, false);
        let mut grown = 0;
        for _ in 0..100_000 {
            let before = message.payload.capacity();
            message.push(&piece(b"x", 1, false)).expect("binary");
            grown += usize::from(message.payload.capacity() != before);
        }
        assert!(grown < 20, "{grown} times");
    }
}
