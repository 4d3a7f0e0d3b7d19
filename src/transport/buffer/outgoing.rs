//! [`Outgoing`]: bytes that wait to be sent.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// A buffer shorter than this is copied to the end of another one instead of
/// being queued separately.
const JOIN: usize = 16 * 1024;

/// Outgoing bytes, in order: small pieces are collected in one growing buffer,
/// large ones are queued without a copy.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Pieces that come before `tail`, including earlier tails that were frozen
    /// to keep the order. Boxed because it is empty while idle.
    head: Option<Box<Pieces>>,
    tail: BytesMut,
}

#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// None of them is empty.
    pieces: VecDeque<Bytes>,
    /// Total length in bytes.
    len: usize,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        self.pieces.push_back(piece);
    }

    /// Appends a buffer to which nothing more will be added.
    fn push_buffer(&mut self, buffer: BytesMut) {
        let spare = buffer.capacity() - buffer.len();
        self.push(if spare > buffer.len() / 4 {
            Bytes::copy_from_slice(&buffer)
        } else {
            buffer.freeze()
        });
    }

    fn front(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |front| front)
    }

    /// Removes up to `max` bytes of the first piece.
    fn take_front(&mut self, max: usize) -> Bytes {
        let Some(front) = self.pieces.front_mut() else {
            return Bytes::new();
        };
        let taken = front.split_to(max.min(front.len()));
        self.len -= taken.len();
        if front.is_empty() {
            self.pieces.pop_front();
        }
        taken
    }

    fn advance(&mut self, mut n: usize) {
        while n > 0 && self.len > 0 {
            n -= self.take_front(n).len();
        }
    }
}

impl Outgoing {
    /// Returns the buffer to append small pieces to.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Appends without a copy.
    pub(crate) fn append(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let full = std::mem::take(&mut self.tail);
        self.close(full);
        self.head.get_or_insert_default().push(bytes);
    }

    /// Appends a buffer to which nothing more will be added.
    fn close(&mut self, buffer: BytesMut) {
        if !buffer.is_empty() {
            self.head.get_or_insert_default().push_buffer(buffer);
        }
    }

    /// Appends what `other` holds and empties it. Short pieces are copied
    /// together so that they leave as one.
    pub(crate) fn append_all(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        let Self { head, tail } = std::mem::take(other);
        for piece in head.into_iter().flat_map(|head| head.pieces) {
            self.append(piece);
        }
        let joined = self.tail.len() + tail.len();
        if tail.len() < JOIN && joined <= self.tail.capacity().max(2 * JOIN) {
            return self.tail.extend_from_slice(&tail);
        }
        // Longer buffers are no longer moved.
        let full = std::mem::replace(&mut self.tail, tail);
        self.close(full);
        if self.tail.len() >= JOIN {
            let full = std::mem::take(&mut self.tail);
            self.close(full);
        }
    }

    /// Returns the length of the last buffer, in bytes: what was copied since
    /// the last piece that was appended without a copy.
    pub(crate) fn gathered(&self) -> usize {
        self.tail.len()
    }

    /// Reserves `count` bytes for what is likely to follow, if nothing is
    /// allocated yet.
    pub(crate) fn expect(&mut self, count: usize) {
        if self.tail.capacity() == 0 {
            self.tail = BytesMut::with_capacity(count);
        }
    }

    /// Returns the length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.head.as_ref().map_or(0, |head| head.len) + self.tail.len()
    }

    /// Returns the memory that these bytes occupy, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.head.as_ref().map_or(0, |head| head.len) + self.tail.capacity()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the length of what [`take`](Self::take) would return.
    pub(crate) fn next_len(&self, max: usize) -> usize {
        let next = match &self.head {
            Some(head) if head.front().len() < JOIN => head.len,
            Some(head) => head.front().len(),
            None => self.tail.len(),
        };
        next.min(max)
    }

    /// Takes up to `max` bytes: of the first piece, and of the pieces behind it
    /// if it is short, such as the header of a frame. A buffer that becomes
    /// empty is handed out with them, so an idle stream holds no memory.
    pub(crate) fn take(&mut self, max: usize) -> Payload {
        if self.head.is_some() {
            return self.take_pieces(max);
        }
        if max >= self.tail.len() {
            return Payload::Own(std::mem::take(&mut self.tail));
        }
        Payload::Own(self.tail.split_to(max))
    }

    #[inline(never)]
    fn take_pieces(&mut self, max: usize) -> Payload {
        let count = self.next_len(max);
        let Some(mut head) = self.head.take() else {
            return Payload::Shared(Bytes::new());
        };
        if count == head.len && head.pieces.len() > 1 {
            return Payload::Pieces(head);
        }
        let first = head.take_front(count);
        let mut left = count - first.len();
        let payload = if left == 0 {
            Payload::Shared(first)
        } else {
            let mut pieces = Box::<Pieces>::default();
            pieces.push(first);
            while left > 0 {
                let piece = head.take_front(left);
                left -= piece.len();
                pieces.push(piece);
            }
            Payload::Pieces(pieces)
        };
        if head.len > 0 {
            self.head = Some(head);
        }
        payload
    }

    /// Returns the first two pieces, for a transport that copies.
    pub(crate) fn chunks(&self) -> [IoSlice<'_>; 2] {
        let Some(head) = &self.head else {
            return [IoSlice::new(&self.tail), IoSlice::new(&[])];
        };
        let second = head.pieces.get(1).map_or(&self.tail[..], |second| second);
        [IoSlice::new(head.front()), IoSlice::new(second)]
    }

    /// Discards `n` bytes of the first pieces.
    pub(crate) fn advance(&mut self, mut n: usize) {
        if let Some(head) = &mut self.head {
            let pieces = n.min(head.len);
            head.advance(pieces);
            n -= pieces;
            if head.len > 0 {
                return;
            }
            self.head = None;
        }
        if n == self.tail.len() {
            self.tail = BytesMut::new();
        } else {
            self.tail.advance(n);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A piece of outgoing bytes, in the form in which it was built: freezing a
/// buffer would cost an allocation.
#[derive(Debug)]
pub(crate) enum Payload {
    Own(BytesMut),
    Shared(Bytes),
    /// A short piece, and what comes after it.
    Pieces(Box<Pieces>),
}

impl Payload {
    /// Returns the first bytes of it; none only if it is empty.
    pub(crate) fn chunk(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Pieces(pieces) => pieces.front(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.len(),
            Self::Shared(bytes) => bytes.len(),
            Self::Pieces(pieces) => pieces.len,
        }
    }

    /// Returns the memory that these bytes occupy, in bytes.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.capacity(),
            Self::Shared(bytes) => bytes.len(),
            Self::Pieces(pieces) => pieces.len,
        }
    }

    pub(crate) fn advance(&mut self, n: usize) {
        match self {
            Self::Own(bytes) => bytes.advance(n),
            Self::Shared(bytes) => bytes.advance(n),
            Self::Pieces(pieces) => pieces.advance(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes up to `max` bytes, and returns them.
    fn take(out: &mut Outgoing, max: usize) -> Vec<u8> {
        let expected = out.next_len(max);
        let mut payload = out.take(max);
        let mut bytes = Vec::new();
        while payload.len() > 0 {
            let chunk = payload.chunk();
            assert!(!chunk.is_empty(), "{} bytes more", payload.len());
            let count = chunk.len();
            bytes.extend_from_slice(chunk);
            payload.advance(count);
        }
        assert_eq!(bytes.len(), expected);
        bytes
    }

    fn first(out: &Outgoing) -> &[u8] {
        match &out.head {
            Some(head) => head.front(),
            None => &out.tail,
        }
    }

    #[test]
    fn outgoing_keeps_the_order_of_small_and_large_pieces() {
        let mut out = Outgoing::default();
        out.buffer().extend_from_slice(b"ab");
        out.append(Bytes::from_static(b"LARGE"));
        out.append(Bytes::new());
        out.buffer().extend_from_slice(b"cd");
        assert_eq!((out.len(), first(&out)), (9, &b"ab"[..]));
        let mut got = Vec::new();
        while !out.is_empty() {
            got.extend(take(&mut out, 2));
        }
        assert_eq!(got, b"abLARGEcd");
    }

    #[test]
    fn appended_bytes_stay_in_order_and_short_ones_are_joined() {
        let short = |out: &mut Outgoing, bytes: &[u8]| {
            let mut more = Outgoing::default();
            more.buffer().extend_from_slice(bytes);
            out.append_all(&mut more);
            assert!(more.is_empty());
        };
        let mut out = Outgoing::default();
        short(&mut out, b"ab");
        short(&mut out, b"cd");
        assert_eq!(first(&out), b"abcd", "one piece");
        let mut more = Outgoing::default();
        more.buffer().extend_from_slice(b"ef");
        more.append(Bytes::from_static(b"LARGE"));
        more.buffer().extend_from_slice(&[b'x'; JOIN]);
        out.append_all(&mut more);
        short(&mut out, b"gh");
        assert_eq!((more.len(), out.len()), (0, 4 + 2 + 5 + JOIN + 2));
        let large = vec![b'x'; JOIN];
        let pieces = &out.head.as_ref().expect("pieces").pieces;
        assert_eq!(
            pieces.iter().collect::<Vec<_>>(),
            [&b"abcd"[..], b"ef", b"LARGE", &large]
        );
        assert_eq!(&out.tail[..], b"gh");
    }

    #[test]
    fn a_short_piece_leaves_with_those_behind_it() {
        let large = |byte| Bytes::from(vec![byte; 3 * JOIN]);
        let mut out = Outgoing::default();
        for byte in [b'x', b'y'] {
            out.buffer().extend_from_slice(b"head");
            out.append(large(byte));
        }
        out.append(large(b'z'));
        let whole = [b"head", &large(b'x')[..]].concat();
        assert_eq!(take(&mut out, whole.len()), whole);
        let part = [b"head", &large(b'y')[..JOIN]].concat();
        assert_eq!(take(&mut out, part.len()), part);
        assert_eq!(
            take(&mut out, usize::MAX),
            &large(b'y')[JOIN..],
            "long enough alone"
        );
        assert_eq!(take(&mut out, 1), b"z");
        assert_eq!(take(&mut out, usize::MAX), &large(b'z')[1..]);
        assert!(out.is_empty() && out.head.is_none());
    }

    #[test]
    fn outgoing_advances_through_pieces() {
        let mut out = Outgoing::default();
        out.append(Bytes::from_static(b"xyz"));
        out.buffer().extend_from_slice(b"1234");
        let chunks = |out: &Outgoing| out.chunks().map(|chunk| chunk.to_vec());
        assert_eq!(chunks(&out), [&b"xyz"[..], b"1234"]);
        out.advance(2);
        assert_eq!(chunks(&out), [&b"z"[..], b"1234"]);
        out.advance(1);
        assert_eq!(chunks(&out), [&b"1234"[..], b""]);
        out.advance(3);
        assert_eq!((first(&out), out.len()), (&b"4"[..], 1));
        out.advance(1);
        assert!(out.is_empty());
        out.append(Bytes::from_static(b"xyz"));
        out.append(Bytes::from_static(b"zyx"));
        out.buffer().extend_from_slice(b"1234");
        out.advance(8);
        assert_eq!(chunks(&out), [&b"34"[..], b""]);
    }

    #[test]
    fn outgoing_counts_the_memory_of_waiting_bytes() {
        let mut out = Outgoing::default();
        out.expect(10_000);
        out.buffer().extend_from_slice(b"short");
        assert_eq!((out.len(), out.held()), (5, 10_000));
        out.append(Bytes::from_static(b"LARGE"));
        assert_eq!((out.len(), out.held()), (10, 10), "copied");
        // A stream whose peer does not read: one burst after another.
        for _ in 0..1_000 {
            let mut more = Outgoing::default();
            more.buffer().extend_from_slice(&[b'x'; 1_000]);
            out.append_all(&mut more);
        }
        assert!(out.held() - out.len() <= 2 * JOIN, "{}", out.held());
        let pieces = &out.head.as_ref().expect("pieces").pieces;
        assert!(pieces.len() < 2 + 1_000_000 / JOIN, "{}", pieces.len());
        while !out.is_empty() {
            out.take(usize::MAX);
        }
        assert_eq!(out.held(), 0);
    }
}
