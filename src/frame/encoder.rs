//! Encodes frames (RFC 6455 §5 and §6.1).

use bytes::{Bytes, BytesMut};

use super::Role;
use super::header::{Header, OpCode};
use super::mask;

/// Minimum size, in bytes, of a payload that is sent without being copied.
pub(super) const LARGE: usize = 16 * 1024;

/// Minimum size of an allocation, in bytes: enough for a few short messages.
const FIRST: usize = 128;

/// A destination for encoded bytes, in the order of the calls.
pub trait Output {
    /// Returns the buffer to which the next bytes are appended.
    fn buffer(&mut self) -> &mut BytesMut;

    /// Appends a large part of a payload after all bytes written so far. Implementations can avoid
    /// copying it.
    fn append(&mut self, payload: Bytes);
}

/// A contiguous buffer, into which appended payloads are copied.
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

    /// Writes the frame as the end `role` does. A client masks it with a fresh key: in place if it is
    /// large and nobody else has the payload, otherwise while it copies it.
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
        if self.payload.len() >= LARGE {
            return self.write_large(mask, out);
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
    fn write_large(self, mask: Option<[u8; 4]>, out: &mut impl Output) {
        let header = self.header(mask);
        let payload = match mask {
            Some(key) => mask::in_place(self.payload, key, 0).map_err(|shared| (shared, key)),
            None => Ok(self.payload),
        };
        let buffer = out.buffer();
        match payload {
            Ok(payload) => {
                reserve(buffer, Header::MAX_LEN);
                header.encode(buffer);
                out.append(payload);
            }
            Err((shared, key)) => {
                reserve(buffer, Header::MAX_LEN + shared.len());
                header.encode(buffer);
                mask::extend(buffer, &shared, key, 0);
            }
        }
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

/// Reserves room for `count` more bytes.
#[inline]
fn reserve(buffer: &mut BytesMut, count: usize) {
    if buffer.capacity() - buffer.len() < count {
        grow(buffer, count.max(FIRST));
    }
}

#[inline(never)]
fn grow(buffer: &mut BytesMut, count: usize) {
    if buffer.capacity() == 0 {
        // Much cheaper than letting an empty buffer grow.
        *buffer = BytesMut::with_capacity(count);
    } else {
        buffer.reserve(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::testing::{KEY, frame};

    /// Keeps copied bytes and appended payloads apart.
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

    impl Chain {
        fn bytes(&self) -> Vec<u8> {
            [&self.parts.concat()[..], &self.buffer].concat()
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
        let [_, sent] = &chain.parts[..] else {
            panic!("{} parts", chain.parts.len())
        };
        assert_eq!(sent.as_ptr(), payload.as_ptr(), "shared");
        let expected = [
            frame(0x82, None, &payload),
            frame(0x82, None, &payload[1..]),
        ]
        .concat();
        assert_eq!(chain.bytes(), expected);
    }

    #[test]
    fn a_client_masks_a_large_payload_of_its_own_in_place() {
        let payload = || Bytes::from(vec![7; LARGE]);
        let (own, shared) = (payload(), payload());
        let (at, unchanged) = (own.as_ptr(), shared.clone());
        let mut chain = Chain::default();
        for payload in [own, shared] {
            Frame::whole(OpCode::Binary, payload).write(Role::Client, &mut || KEY, &mut chain);
        }
        let [_, sent] = &chain.parts[..] else {
            panic!("{} parts", chain.parts.len())
        };
        assert_eq!(sent.as_ptr(), at, "not copied");
        assert_eq!(unchanged, payload());
        let masked = frame(0x82, Some(KEY), &payload());
        assert_eq!(chain.bytes(), [&masked[..], &masked].concat());
    }

    #[test]
    fn a_client_masks_every_frame_with_a_key_of_its_own() {
        let other = [1, 2, 3, 4];
        let mut keys = [KEY, other].into_iter();
        let mut out = BytesMut::new();
        for size in [5, LARGE] {
            let payload = Bytes::from(vec![7; size]);
            let mut key = || keys.next().expect("one key per frame");
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
