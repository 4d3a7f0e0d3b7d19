//! [`Incoming`]: received bytes that wait to be read.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Chunks shorter than this are copied together if they have to wait behind
/// others: a chunk keeps the whole buffer alive that it was read into,
/// including the bytes of other streams before and after it.
const COALESCE: usize = 32 * 1024;

/// Size up to which copied chunks share one growing buffer, however often that
/// moves it.
const GROWN: usize = 4 * 1024;

/// Maximum size of the buffers that chunks are copied to, in bytes.
const LARGEST: usize = 32 * 1024;

/// Received bytes that the application has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    front: Bytes,
    #[allow(
        clippy::box_collection,
        reason = "a pointer while idle, not four words"
    )]
    rest: Option<Box<Rest>>,
}

#[derive(Debug, Default)]
struct Rest {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
}

impl Rest {
    fn copy(&mut self, chunk: &[u8]) {
        let (len, capacity) = (self.tail.len(), self.tail.capacity());
        if len + chunk.len() <= capacity.max(GROWN) {
            return self.tail.extend_from_slice(chunk);
        }
        // The next buffer is larger, and the full one is not moved.
        let (fits, more) = chunk.split_at(chunk.len().min(capacity - len));
        self.tail.extend_from_slice(fits);
        self.close_tail();
        let capacity = (2 * capacity).clamp(GROWN, LARGEST).max(more.len());
        self.tail = BytesMut::with_capacity(capacity);
        self.tail.extend_from_slice(more);
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail).freeze();
            self.chunks.push_back(tail);
        }
    }
}

impl Incoming {
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.front.is_empty() && self.rest.is_none() {
            self.front = chunk;
            return;
        }
        let rest = self.rest.get_or_insert_default();
        if chunk.len() < COALESCE {
            return rest.copy(&chunk);
        }
        rest.close_tail();
        rest.chunks.push_back(chunk);
    }

    /// Returns the memory that is allocated beyond the waiting bytes.
    pub(crate) fn spare(&self) -> usize {
        let spare = |rest: &Rest| rest.tail.capacity() - rest.tail.len();
        self.rest.as_deref().map_or(0, spare)
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        if !self.front.is_empty() {
            return Some(std::mem::take(&mut self.front));
        }
        let rest = self.rest.as_mut()?;
        let chunk = match rest.chunks.pop_front() {
            Some(chunk) => chunk,
            None => std::mem::take(&mut rest.tail).freeze(),
        };
        if rest.chunks.is_empty() && rest.tail.is_empty() {
            self.rest = None;
        }
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incoming_keeps_the_order_and_joins_small_chunks() {
        let mut incoming = Incoming::default();
        let mut expected = Vec::new();
        for n in 0..100u32 {
            let len = if n % 10 == 9 { COALESCE } else { 7 };
            let chunk = vec![n as u8; len];
            expected.extend_from_slice(&chunk);
            incoming.push(chunk.into());
        }
        let mut got = Vec::new();
        let mut chunks = 0;
        while let Some(chunk) = incoming.pop() {
            assert!(!chunk.is_empty());
            got.extend_from_slice(&chunk);
            chunks += 1;
        }
        assert_eq!(got, expected);
        assert_eq!(chunks, 1 + 10 + 10, "the first, ten joined, ten large");
        assert!(incoming.rest.is_none());
    }

    /// A stream that gets a small part of a large buffer keeps no more than that
    /// part, and the memory for it is counted.
    #[test]
    fn waiting_bytes_keep_no_foreign_bytes_alive() {
        for len in [1, 100, 5_000, 8 * 1024, COALESCE - 1] {
            let mut incoming = Incoming::default();
            let buffers: Vec<_> = (0..100).map(|_| Bytes::from(vec![7; 64 * 1024])).collect();
            for buffer in &buffers {
                incoming.push(buffer.slice(1_000..1_000 + len));
            }
            let kept = buffers.iter().filter(|buffer| !buffer.is_unique());
            assert_eq!(kept.count(), 1, "only the first is kept uncopied");
            assert!(incoming.spare() <= LARGEST.min(100 * len + GROWN));
            let mut got = 0;
            while let Some(chunk) = incoming.pop() {
                got += chunk.len();
            }
            assert_eq!((got, incoming.spare()), (100 * len, 0));
        }
    }
}
