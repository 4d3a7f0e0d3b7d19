//! The masking of payloads (RFC 6455 §5.3): each byte xor the key byte at its offset modulo 4.

use bytes::BytesMut;

/// Copied and masked at a time, so that the second pass finds the bytes in the first-level cache.
/// A multiple of the key's length, so that every block begins with the same byte of it.
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
    for block in src.chunks(BLOCK) {
        let start = out.len();
        out.extend_from_slice(block);
        apply(key, offset, &mut out[start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::testing::KEY;

    fn by_the_letter(src: &[u8], offset: usize) -> Vec<u8> {
        (offset..)
            .zip(src)
            .map(|(index, byte)| byte ^ KEY[index % 4])
            .collect()
    }

    /// RFC 6455 §5.7: a single-frame masked text message.
    #[test]
    fn example_of_the_rfc() {
        let mut out = BytesMut::from("before");
        extend(&mut out, b"Hello", KEY, 0);
        assert_eq!(out[6..], [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    fn every_length_offset_and_alignment() {
        let src: Vec<u8> = (0..=255).collect();
        for start in 0..8 {
            for len in 0..130 {
                for offset in [0, 1, 2, 3, 4, 7, 1 << 40, usize::MAX] {
                    let src = &src[start..start + len];
                    let expected = by_the_letter(src, offset % 4);
                    let mut buf = [&[0; 8][..start], src].concat();
                    apply(KEY, offset, &mut buf[start..]);
                    assert_eq!(buf[start..], expected);
                    let mut out = BytesMut::new();
                    extend(&mut out, src, KEY, offset);
                    assert_eq!(out, expected);
                }
            }
        }
    }

    #[test]
    fn blocks_join_seamlessly() {
        let src: Vec<u8> = (0..3 * BLOCK + 5).map(|index| (index * 7) as u8).collect();
        for len in [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3, src.len()] {
            for offset in 0..4 {
                let mut out = BytesMut::new();
                extend(&mut out, &src[..len], KEY, offset);
                assert_eq!(out, by_the_letter(&src[..len], offset));
            }
        }
    }
}
