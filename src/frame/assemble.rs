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
