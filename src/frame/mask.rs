//! The masking of payloads (RFC 6455 §5.3): each byte xor the key byte at its offset modulo 4.

use bytes::BytesMut;

/// Copied and masked at a time, so that the second pass finds the bytes in the first-level cache.
const BLOCK: usize = 8 * 1024;

/// Masks or unmasks `buf`, whose first byte is at `offset` within the payload.
///
/// ```
/// let mut payload = *b"Hello";
/// h2ws::frame::mask::apply([0x37, 0xfa, 0x21, 0x3d], 0, &mut payload);
/// assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
/// ```
#[inline]
pub fn apply(mut key: [u8; 4], offset: usize, buf: &mut [u8]) {
    key.rotate_left(offset % 4);
    let word = u32::from_ne_bytes(key);
    let (words, tail) = buf.as_chunks_mut::<4>();
    for bytes in words {
        *bytes = (u32::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// Appends `src`, masked or unmasked, to `out`; the first byte of `src` is at `offset` within the
/// payload.
#[inline]
pub fn extend(out: &mut BytesMut, src: &[u8], key: [u8; 4], offset: usize) {
    out.reserve(src.len());
    for (index, block) in src.chunks(BLOCK).enumerate() {
        let start = out.len();
        out.extend_from_slice(block);
        apply(key, offset + index * BLOCK, &mut out[start..]);
    }
}
