//! Assembles a message that arrives in several frames, or in a frame that spans several chunks.

use bytes::Bytes;

use super::deflate::Inflater;
use super::error::ProtocolError;
use super::header::OpCode;
use super::mask;
use super::message::Message;
use super::text::Text;
use super::utf8::{InvalidUtf8, Utf8Validator};

/// Maximum memory, in bytes, that is reserved for a frame because its header announces it.
const AHEAD: usize = 64 * 1024;

/// Number of bytes that are unmasked at a time before they are inflated.
const UNMASKED: usize = 4096;

/// The part of a message that has arrived.
#[derive(Debug)]
pub(super) struct Assembly {
    payload: Vec<u8>,
    /// Present for a text message.
    text: Option<Utf8Validator>,
    /// Whether the message is compressed: RSV1 is set on its first frame (RFC 7692 §6).
    pub(super) compressed: bool,
    /// Number of frames so far, including the one being received.
    pub(super) fragments: usize,
}

/// A part of a frame's payload as it arrived.
pub(super) struct Piece<'a> {
    pub(super) bytes: &'a [u8],
    /// The key, rotated so that its first byte applies to the first of `bytes`.
    pub(super) mask: Option<[u8; 4]>,
    /// Number of payload bytes of the frame that had not arrived before this piece.
    pub(super) missing: usize,
    /// Whether the frame is the last of its message.
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

    /// Returns the size so far, in bytes.
    pub(super) const fn len(&self) -> usize {
        self.payload.len()
    }

    pub(super) const fn capacity(&self) -> usize {
        self.payload.capacity()
    }

    pub(super) fn push(&mut self, piece: &Piece<'_>) -> Result<(), InvalidUtf8> {
        self.reserve(piece);
        // In blocks that stay in the first-level cache between the passes.
        for block in piece.bytes.chunks(mask::BLOCK) {
            let start = self.payload.len();
            self.payload.extend_from_slice(block);
            let bytes = &mut self.payload[start..];
            if let Some(key) = piece.mask {
                // The blocks are multiples of the key's length: each begins with its first byte.
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

    /// Like [`push`](Self::push), for a compressed message, which may inflate to `limit` bytes.
    /// Returns how many bytes of the piece were inflated before the inflater paused. Even if that
    /// is all of them, the message may need another call with an empty piece.
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
                // The blocks are multiples of the key's length: each begins with its first byte.
                for bytes in piece.bytes.chunks(UNMASKED) {
                    let unmasked = &mut unmasked[..bytes.len()];
                    unmasked.copy_from_slice(bytes);
                    mask::apply(key, 0, unmasked);
                    taken += inflater.push(unmasked, &mut sink)?;
                    if inflater.must_pause() {
                        break;
                    }
                }
            }
        }
        if piece.last && taken == piece.missing && !inflater.must_pause() {
            inflater.finish(&mut sink)?;
            // The buffer grew by doubling, as the final size was not known.
            self.payload.shrink_to_fit();
        }
        Ok(taken)
    }

    /// Appends inflated bytes, unless they exceed the limit.
    fn append(&mut self, bytes: &[u8], limit: usize) -> Result<(), ProtocolError> {
        let len = self.payload.len() + bytes.len();
        if len > limit {
            let size = len as u64;
            return Err(ProtocolError::MessageTooLarge { size, limit });
        }
        if len > self.payload.capacity() {
            // Doubles, but does not exceed the limit.
            let capacity = (2 * self.payload.capacity()).clamp(len, limit);
            self.payload.reserve_exact(capacity - self.payload.len());
        }
        self.payload.extend_from_slice(bytes);
        if let Some(text) = &mut self.text {
            text.push(bytes)?;
        }
        Ok(())
    }

    /// Reserves memory for the piece and for part of what its frame still announces. A header
    /// alone must not make us allocate much more than its sender has sent.
    fn reserve(&mut self, piece: &Piece<'_>) {
        let len = self.payload.len();
        if self.payload.capacity() - len >= piece.bytes.len() {
            return;
        }
        let room = piece.missing.min(len.max(AHEAD)).max(piece.bytes.len());
        if piece.last {
            // The final size is known: reserve no more.
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
