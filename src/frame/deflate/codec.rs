//! Compressing and inflating, with zlib-rs.

mod compress;
mod inflate;

pub(in crate::frame) use self::compress::Compressor;
pub(in crate::frame) use self::inflate::Inflater;
use super::Deflate;

/// The end of a sync flush, which RFC 7692 §7.2.1 leaves out on the wire.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Work after which an inflater pauses: about 50 µs.
const QUANTUM: usize = 16 * 1024;

/// Cost of a byte of compressed input, beside that of the bytes it inflates to: a few bytes of
/// input can make the inflater build code tables and inflate to nothing.
const INPUT: usize = 4;

/// Number of bytes inflated or compressed at a time. A message can exceed its limit by this much
/// before it is noticed, and a buffer of this size fits the stack and the first-level cache.
const STEP: usize = 4096;

/// The cost of compressing or inflating, as an equivalent number of bytes.
#[derive(Debug, Default)]
pub(in crate::frame) struct Work(usize);

impl Work {
    fn inflated(&mut self, read: usize, written: usize) {
        self.0 += written + INPUT * read;
    }

    fn compressed(&mut self, read: usize) {
        self.0 += read;
    }

    const fn is_enough(&self) -> bool {
        self.0 >= QUANTUM
    }

    /// Returns the cost, in bytes.
    pub(in crate::frame) const fn get(&self) -> usize {
        self.0
    }

    /// Deducts up to `work` bytes, and returns how many.
    pub(in crate::frame) fn deduct(&mut self, work: usize) -> usize {
        let deducted = work.min(self.0);
        self.0 -= deducted;
        deducted
    }
}

#[cfg(test)]
mod tests;
