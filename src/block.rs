//! Memory for short payloads and frames, cut from blocks.
//!
//! A server that answers a thousand sockets in one turn makes thousands of
//! short buffers before it frees the first. An allocator's caches for a size
//! hold a handful, and behind them each buffer costs more than its message.

use std::cell::Cell;

use bytes::BytesMut;

/// Bytes of a block: what a short buffer that is kept for long keeps with it.
const BLOCK: usize = 4 * 1024;

/// Buffers of up to this many bytes are cut from a block.
pub(crate) const SHORT: usize = 256;

thread_local! {
    /// What is left of this thread's block.
    static REST: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

/// What begins at a multiple of this is quick to mask.
const ALIGN: usize = 16;

/// An empty buffer with room for `len` bytes.
#[inline]
pub(crate) fn buffer(len: usize) -> BytesMut {
    if len > SHORT {
        return BytesMut::with_capacity(len);
    }
    let len = len.next_multiple_of(ALIGN);
    // A thread that is ending has no block any more.
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
                // Beyond its room: it moves, and its neighbour stays.
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
