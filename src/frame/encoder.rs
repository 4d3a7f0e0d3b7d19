//! From messages to frames (RFC 6455 §5 and §6.1).

use bytes::{Bytes, BytesMut};

use super::Role;
use super::header::{Header, OpCode};
use super::mask;

/// Payloads of this size and more, in bytes, go out without a copy where they need no mask.
const LARGE: usize = 16 * 1024;

/// How much of a large payload, in bytes, stays with its header: HTTP/2 peers count DATA frames
/// under 256 bytes against a budget, and a header alone would make such a frame.
const HEAD: usize = 1024;

/// Where encoded bytes go. Their order is that of the calls.
pub trait Output {
    /// The end of what was written so far: frames are appended here.
    fn buffer(&mut self) -> &mut BytesMut;

    /// Takes a large piece of payload that follows all bytes written so far; made so that it need
    /// not be copied.
    fn append(&mut self, payload: Bytes);
}

/// One contiguous buffer; copies what is appended.
impl Output for BytesMut {
    fn buffer(&mut self) -> &mut BytesMut {
        self
    }

    fn append(&mut self, payload: Bytes) {
        self.extend_from_slice(&payload);
    }
}

/// A frame to be sent.
pub(super) struct Frame {
    pub(super) fin: bool,
    pub(super) opcode: OpCode,
    pub(super) payload: Bytes,
}

impl Frame {
    pub(super) const fn whole(opcode: OpCode, payload: Bytes) -> Self {
        Self {
            fin: true,
            opcode,
            payload,
        }
    }

    /// Writes the frame as the end `role` does: a client masks it with a fresh key, in the same
    /// pass that copies it.
    #[inline]
    pub(super) fn write(
        mut self,
        role: Role,
        key: &mut impl FnMut() -> [u8; 4],
        out: &mut impl Output,
    ) {
        let mask = match role {
            Role::Client => Some(key()),
            Role::Server => None,
        };
        let header = Header {
            fin: self.fin,
            // Set here once a message was deflated (RFC 7692 §6).
            rsv1: false,
            opcode: self.opcode,
            mask,
            payload_len: self.payload.len() as u64,
        };
        let rest = if mask.is_none() && self.payload.len() >= LARGE {
            Some(self.payload.split_off(HEAD))
        } else {
            None
        };
        let buffer = out.buffer();
        buffer.reserve(header.encoded_len() + self.payload.len());
        header.encode(buffer);
        match mask {
            Some(key) => mask::extend(buffer, &self.payload, key, 0),
            None => buffer.extend_from_slice(&self.payload),
        }
        if let Some(rest) = rest {
            out.append(rest);
        }
    }
}
