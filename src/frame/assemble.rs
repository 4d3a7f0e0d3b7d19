//! A message that arrives in pieces: in several frames, or in one that several chunks cut.

use bytes::Bytes;

use super::header::OpCode;
use super::mask;
use super::message::Message;
use super::text::Text;
use super::utf8::{InvalidUtf8, Utf8Validator};

/// The most memory, in bytes, that a frame gets on its header's word alone.
const AHEAD: usize = 64 * 1024;

/// What of a message has arrived.
#[derive(Debug)]
pub(super) struct Assembly {
    payload: Vec<u8>,
    /// Present in a text message.
    text: Option<Utf8Validator>,
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
    pub(super) fn new(opcode: OpCode) -> Self {
        Self {
            payload: Vec::new(),
            text: (opcode == OpCode::Text).then(Utf8Validator::default),
            fragments: 1,
        }
    }

    /// The size so far, in bytes.
    pub(super) const fn len(&self) -> usize {
        self.payload.len()
    }

    pub(super) fn push(&mut self, piece: &Piece<'_>) -> Result<(), InvalidUtf8> {
        self.reserve(piece);
        let start = self.payload.len();
        self.payload.extend_from_slice(piece.bytes);
        let bytes = &mut self.payload[start..];
        if let Some(key) = piece.mask {
            mask::apply(key, 0, bytes);
        }
        self.text.as_mut().map_or(Ok(()), |text| text.push(bytes))
    }

    pub(super) fn finish(self) -> Result<Message, InvalidUtf8> {
        let payload = Bytes::from(self.payload);
        let Some(text) = self.text else {
            return Ok(Message::Binary(payload));
        };
        text.finish()?;
        Ok(Message::Text(Text::from_checked(payload)))
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
        let mut message = Assembly::new(OpCode::Binary);
        message.push(&piece(b"x", 1 << 40, true)).expect("binary");
        assert_eq!(message.payload.capacity(), AHEAD);
    }

    #[test]
    fn memory_follows_what_arrived_and_ends_exact() {
        let total = 1_000_000;
        let mut message = Assembly::new(OpCode::Binary);
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
        let mut message = Assembly::new(OpCode::Binary);
        let mut grown = 0;
        for _ in 0..100_000 {
            let before = message.payload.capacity();
            message.push(&piece(b"x", 1, false)).expect("binary");
            grown += usize::from(message.payload.capacity() != before);
        }
        assert!(grown < 20, "{grown} times");
    }
}
