//! From messages to frames (RFC 6455 §5 and §6.1).

use bytes::{Bytes, BytesMut};

use super::Role;
use super::header::{Header, OpCode};
use super::mask;
use crate::block;

/// Payloads of this size and more, in bytes, go out without a copy where they need no mask.
pub(super) const LARGE: usize = 16 * 1024;

/// How much of a large payload, in bytes, stays with its header: HTTP/2 peers count DATA frames
/// under 256 bytes against a budget, and a header alone would make such a frame.
const HEAD: usize = 1024;

/// The least memory, in bytes, that is asked for at a time: some short messages fit.
const FIRST: usize = 128;

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
    /// The first frame of a compressed message (RFC 7692 §6).
    pub(super) rsv1: bool,
    pub(super) opcode: OpCode,
    pub(super) payload: Bytes,
}

impl Frame {
    pub(super) const fn whole(opcode: OpCode, payload: Bytes) -> Self {
        Self {
            fin: true,
            rsv1: false,
            opcode,
            payload,
        }
    }

    /// Writes the frame as the end `role` does: a client masks it with a fresh key, in the same
    /// pass that copies it.
    #[inline]
    pub(super) fn write(
        self,
        role: Role,
        key: &mut impl FnMut() -> [u8; 4],
        out: &mut impl Output,
    ) {
        let mask = match role {
            Role::Client => Some(key()),
            Role::Server => None,
        };
        if mask.is_none() && self.payload.len() >= LARGE {
            return self.write_large(out);
        }
        let header = self.header(mask);
        let buffer = out.buffer();
        reserve(buffer, Header::MAX_LEN + self.payload.len());
        header.encode(buffer);
        match mask {
            Some(key) => mask::extend(buffer, &self.payload, key, 0),
            None => buffer.extend_from_slice(&self.payload),
        }
    }

    #[inline(never)]
    fn write_large(mut self, out: &mut impl Output) {
        let header = self.header(None);
        let rest = self.payload.split_off(HEAD);
        let buffer = out.buffer();
        reserve(buffer, Header::MAX_LEN + HEAD);
        header.encode(buffer);
        buffer.extend_from_slice(&self.payload);
        out.append(rest);
    }

    const fn header(&self, mask: Option<[u8; 4]>) -> Header {
        Header {
            fin: self.fin,
            rsv1: self.rsv1,
            opcode: self.opcode,
            mask,
            payload_len: self.payload.len() as u64,
        }
    }
}

/// Makes room for `count` bytes.
#[inline]
fn reserve(buffer: &mut BytesMut, count: usize) {
    if buffer.capacity() - buffer.len() < count {
        grow(buffer, count.max(FIRST));
    }
}

#[inline(never)]
fn grow(buffer: &mut BytesMut, count: usize) {
    if buffer.capacity() == 0 {
        // To grow from nothing takes many more steps.
        *buffer = block::buffer(count);
    } else {
        buffer.reserve(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::testing::{KEY, frame};

    /// Keeps apart what was copied and what was handed over.
    #[derive(Default)]
    struct Chain {
        buffer: BytesMut,
        parts: Vec<Bytes>,
    }

    impl Output for Chain {
        fn buffer(&mut self) -> &mut BytesMut {
            &mut self.buffer
        }

        fn append(&mut self, payload: Bytes) {
            self.parts.push(self.buffer.split().freeze());
            self.parts.push(payload);
        }
    }

    fn no_key() -> [u8; 4] {
        panic!("a server does not mask")
    }

    #[test]
    fn a_large_payload_of_a_server_is_not_copied() {
        let payload = Bytes::from(vec![7; LARGE]);
        let mut chain = Chain::default();
        Frame::whole(OpCode::Binary, payload.clone()).write(Role::Server, &mut no_key, &mut chain);
        Frame::whole(OpCode::Binary, payload.slice(1..)).write(
            Role::Server,
            &mut no_key,
            &mut chain,
        );
        let [head, tail] = &chain.parts[..] else {
            panic!("{} parts", chain.parts.len())
        };
        assert_eq!(head.len(), 4 + HEAD, "header and payload together");
        assert_eq!(tail.as_ptr(), payload[HEAD..].as_ptr(), "shared");
        let expected = [
            frame(0x82, None, &payload),
            frame(0x82, None, &payload[1..]),
        ]
        .concat();
        assert_eq!([&head[..], tail, &chain.buffer].concat(), expected);
    }

    #[test]
    fn a_client_masks_every_frame_with_a_key_of_its_own() {
        let other = [1, 2, 3, 4];
        let mut keys = [KEY, other].into_iter();
        let mut out = BytesMut::new();
        for size in [5, LARGE] {
            let payload = Bytes::from(vec![7; size]);
            let mut key = || keys.next().expect("one a frame");
            Frame::whole(OpCode::Text, payload).write(Role::Client, &mut key, &mut out);
        }
        let expected = [
            frame(0x81, Some(KEY), &[7; 5]),
            frame(0x81, Some(other), &[7; LARGE]),
        ]
        .concat();
        assert_eq!(out, expected);
    }

    #[test]
    fn appending_to_a_plain_buffer_copies() {
        let payload = Bytes::from(vec![7; 3 * LARGE]);
        let mut out = BytesMut::from("before");
        Frame::whole(OpCode::Binary, payload.clone()).write(Role::Server, &mut no_key, &mut out);
        assert_eq!(
            out,
            [b"before".to_vec(), frame(0x82, None, &payload)].concat()
        );
    }

    #[test]
    fn short_frames_share_memory_and_long_ones_get_what_they_take() {
        for (size, least) in [(0, FIRST), (64, FIRST), (LARGE - 1, LARGE)] {
            let mut out = BytesMut::new();
            let payload = Bytes::from(vec![7; size]);
            Frame::whole(OpCode::Binary, payload).write(Role::Server, &mut no_key, &mut out);
            assert!((least..least + Header::MAX_LEN).contains(&out.capacity()));
        }
        let mut out = BytesMut::with_capacity(8);
        let payload = Bytes::from_static(b"longer than there is room");
        Frame::whole(OpCode::Binary, payload).write(Role::Server, &mut no_key, &mut out);
        assert_eq!(out[2..], b"longer than there is room"[..]);
    }
}
