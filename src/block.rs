//! Allocates short payloads and frames from blocks.
//!
//! A server that answers a thousand WebSockets in one turn allocates thousands of short buffers
//! before it frees the first. That exceeds the per-size caches of allocators, and beyond those each
//! allocation costs more than the message.

use std::cell::Cell;

use bytes::BytesMut;

/// Size of a block in bytes. A short buffer keeps its whole block allocated.
const BLOCK: usize = 4 * 1024;

/// Maximum size in bytes of a buffer that is allocated from a block.
pub(crate) const SHORT: usize = 256;

thread_local! {
    /// The rest of this thread's block.
    static REST: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

/// Alignment in bytes at which masking is fast.
const ALIGN: usize = 16;

/// Returns an empty buffer with room for `len` bytes.
#[inline]
pub(crate) fn buffer(len: usize) -> BytesMut {
    if len > SHORT {
        return BytesMut::with_capacity(len);
    }
    let len = len.next_multiple_of(ALIGN);
    // A thread that is ending no longer has a block.
    REST.try_with(|rest| cut(rest, len))
        .unwrap_or_else(|_| BytesMut::with_capacity(len))
}

#[inline]
fn cut(rest: &Cell<Option<BytesMut>>, len: usize) -> BytesMut {
    let mut buffer = match rest.take() {
        Some(block) if block.capacity() >= len => block,
        _ => BytesMut::with_capacity(BLOCK),
    };
    rest.set(Some(buffer.split_off(len)));
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_buffers_lie_side_by_side_and_keep_apart() {
        let mut buffers: Vec<BytesMut> = (0..100).map(|_| buffer(64)).collect();
        for (n, buffer) in buffers.iter_mut().enumerate() {
            assert_eq!((buffer.len(), buffer.capacity()), (0, 64));
            buffer.extend_from_slice(&[n as u8; 60]);
            if n % 2 == 0 {
                // More than its room, so it is reallocated without touching its neighbour.
                buffer.extend_from_slice(&[n as u8; 60]);
            }
        }
        for (n, buffer) in buffers.iter().enumerate() {
            let len = if n % 2 == 0 { 120 } else { 60 };
            assert_eq!(*buffer, vec![n as u8; len]);
        }
    }

    #[test]
    fn a_block_is_used_up_before_the_next() {
        let apart = std::thread::spawn(|| {
            let buffers: Vec<BytesMut> = (0..BLOCK / 32).map(|_| buffer(20)).collect();
            let apart = |pair: &[BytesMut]| {
                pair[1]
                    .as_ptr()
                    .addr()
                    .wrapping_sub(pair[0].as_ptr().addr())
            };
            buffers.windows(2).map(apart).collect::<Vec<_>>()
        });
        let apart = apart.join().expect("no panic");
        assert!(apart.iter().all(|&apart| apart == 32), "{apart:?}");
    }

    #[test]
    fn long_buffers_get_memory_of_their_own() {
        assert_eq!(buffer(SHORT + 1).capacity(), SHORT + 1);
        assert_eq!(buffer(0).capacity(), 0);
    }
}
