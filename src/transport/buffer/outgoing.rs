//! [`Outgoing`]: bytes that wait to be sent.

use std::collections::VecDeque;

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
    head: Option<Box<Head>>,
    tail: BytesMut,
}

#[derive(Debug, Default)]
struct Head {
    pieces: VecDeque<Bytes>,
    /// Total length in bytes.
    len: usize,
}

impl Head {
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

    /// Takes up to `max` bytes of the first piece. A buffer that becomes empty
    /// is handed out with them, so an idle stream holds no memory.
    pub(crate) fn take(&mut self, max: usize) -> Payload {
        if let Some(head) = &mut self.head
            && let Some(front) = head.pieces.front_mut()
        {
            let piece = front.split_to(max.min(front.len()));
            head.len -= piece.len();
            if front.is_empty() {
                head.pieces.pop_front();
            }
            if head.pieces.is_empty() {
                self.head = None;
            }
            return Payload::Shared(piece);
        }
        if max >= self.tail.len() {
            return Payload::Own(std::mem::take(&mut self.tail));
        }
        Payload::Own(self.tail.split_to(max))
    }

    /// Returns the first piece, for a transport that copies.
    pub(crate) fn chunk(&self) -> &[u8] {
        match self.head.as_ref().and_then(|head| head.pieces.front()) {
            Some(front) => front,
            None => &self.tail,
        }
    }

    /// Discards `n` bytes of the first piece.
    pub(crate) fn advance(&mut self, n: usize) {
        if self.head.is_some() || n == self.tail.len() {
            drop(self.take(n));
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
}

impl Payload {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Returns the memory that these bytes occupy, in bytes.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.capacity(),
            Self::Shared(bytes) => bytes.len(),
        }
    }

    pub(crate) fn advance(&mut self, n: usize) {
        match self {
            Self::Own(bytes) => bytes.advance(n),
            Self::Shared(bytes) => bytes.advance(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outgoing_keeps_the_order_of_small_and_large_pieces() {
        let mut out = Outgoing::default();
        out.buffer().extend_from_slice(b"ab");
        out.append(Bytes::from_static(b"LARGE"));
        out.append(Bytes::new());
        out.buffer().extend_from_slice(b"cd");
        assert_eq!((out.len(), out.chunk()), (9, &b"ab"[..]));
        let mut got = Vec::new();
        while !out.is_empty() {
            got.extend_from_slice(out.take(2).as_slice());
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
        assert_eq!(out.chunk(), b"abcd", "one piece");
        let mut more = Outgoing::default();
        more.buffer().extend_from_slice(b"ef");
        more.append(Bytes::from_static(b"LARGE"));
        more.buffer().extend_from_slice(&[b'x'; JOIN]);
        out.append_all(&mut more);
        short(&mut out, b"gh");
        assert_eq!((more.len(), out.len()), (0, 4 + 2 + 5 + JOIN + 2));
        let mut pieces = Vec::new();
        while !out.is_empty() {
            pieces.push(out.take(2 * JOIN).as_slice().to_vec());
        }
        let large = vec![b'x'; JOIN];
        assert_eq!(pieces, [&b"abcd"[..], b"ef", b"LARGE", &large, b"gh"]);
    }

    #[test]
    fn outgoing_advances_through_pieces() {
        let mut out = Outgoing::default();
        out.append(Bytes::from_static(b"xyz"));
        out.buffer().extend_from_slice(b"1234");
        out.advance(2);
        assert_eq!(out.chunk(), b"z");
        out.advance(1);
        out.advance(3);
        assert_eq!((out.chunk(), out.len()), (&b"4"[..], 1));
        out.advance(1);
        assert!(out.is_empty());
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
