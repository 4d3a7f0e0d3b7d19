//! Masks and unmasks payloads (RFC 6455 §5.3): each byte is XORed with the byte of the key at its
//! offset modulo 4.

use bytes::{Buf, Bytes, BytesMut};

/// Number of bytes per iteration, which the compiler turns into vector instructions.
const WIDE: usize = 32;

/// Number of bytes that are copied and then masked at a time, so that they stay in the first-level
/// cache in between. A multiple of the key's length, so that each block begins with its first byte.
pub(super) const BLOCK: usize = 8 * 1024;

/// Up to this size in bytes, masking while copying is faster than masking the copy.
const SHORT: usize = 256;

/// Masks or unmasks `buf`, whose first byte is at `offset` within the payload.
///
/// ```
/// let mut payload = *b"Hello";
/// h2ws::frame::mask::apply([0x37, 0xfa, 0x21, 0x3d], 0, &mut payload);
/// assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
/// ```
#[inline]
pub fn apply(key: [u8; 4], offset: usize, buf: &mut [u8]) {
    let word = word(rotate(key, offset));
    let (wide, rest) = buf.as_chunks_mut::<WIDE>();
    for bytes in wide {
        *bytes = xor(*bytes, word);
    }
    let (words, tail) = rest.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(word.to_ne_bytes()) {
        *byte ^= key;
    }
}

/// Masks or unmasks `src` and appends it to `out`. The first byte of `src` is at `offset` within
/// the payload.
#[inline]
pub fn extend(out: &mut BytesMut, src: &[u8], key: [u8; 4], offset: usize) {
    if src.len() > BLOCK {
        return extend_large(out, src, key, offset);
    }
    let start = out.len();
    out.extend_from_slice(src);
    apply(key, offset, &mut out[start..]);
}

#[inline(never)]
fn extend_large(out: &mut BytesMut, src: &[u8], key: [u8; 4], offset: usize) {
    out.reserve(src.len());
    for block in src.chunks(BLOCK) {
        extend(out, block, key, offset);
    }
}

/// Masks or unmasks the bytes from `start` on, which are a payload, in the memory in which they are.
/// Returns them unchanged if others share that memory, or if much of it is unused: it is kept for as
/// long as they are.
pub(super) fn in_place(bytes: Bytes, key: [u8; 4], start: usize) -> Result<Bytes, Bytes> {
    let mut own = bytes.try_into_mut()?;
    if own.capacity() - own.len() > own.len() / 4 {
        return Err(own.freeze());
    }
    apply(key, 0, &mut own[start..]);
    Ok(own.freeze())
}

/// Removes `start` bytes and a payload of `len` bytes from `input`. Returns the payload unmasked: in
/// place if it is large, nothing follows it and nobody else has it, otherwise a copy.
#[inline]
pub(super) fn take(input: &mut Bytes, start: usize, len: usize, key: [u8; 4]) -> Bytes {
    if len >= BLOCK
        && input.len() == start + len
        && let Some(payload) = take_all(input, start, key)
    {
        return payload;
    }
    let payload = copy(&input[start..start + len], key);
    input.advance(start + len);
    payload
}

#[inline(never)]
fn take_all(input: &mut Bytes, start: usize, key: [u8; 4]) -> Option<Bytes> {
    match in_place(std::mem::take(input), key, start) {
        Ok(mut payload) => {
            payload.advance(start);
            Some(payload)
        }
        Err(unchanged) => {
            *input = unchanged;
            None
        }
    }
}

/// Returns a masked or unmasked copy of `src`, which is the start of a payload.
#[inline]
pub(super) fn copy(src: &[u8], key: [u8; 4]) -> Bytes {
    if src.len() <= SHORT {
        let mut out = BytesMut::with_capacity(src.len());
        extend(&mut out, src, key, 0);
        return out.freeze();
    }
    if src.len() >= BLOCK {
        return copy_large(src, key);
    }
    // No spare capacity: with it, the conversion to `Bytes` allocates once more.
    let mut out = src.to_vec();
    apply(key, 0, &mut out);
    out.into()
}

/// Copies and masks in one pass, as the bytes would not stay in the cache for a second.
fn copy_large(src: &[u8], key: [u8; 4]) -> Bytes {
    let (wide, tail) = src.as_chunks::<WIDE>();
    let mut out = Vec::with_capacity(src.len().div_ceil(WIDE));
    out.extend(wide.iter().map(|bytes| xor(*bytes, word(key))));
    let mut out = out.into_flattened();
    out.extend(
        tail.iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    out.into()
}

/// Rotates the key so that its first byte applies to the byte at `offset`.
#[inline]
pub(super) const fn rotate(key: [u8; 4], offset: usize) -> [u8; 4] {
    u32::from_le_bytes(key)
        .rotate_right(8 * (offset % 4) as u32)
        .to_le_bytes()
}

/// Returns the key repeated twice, in memory order.
#[inline]
const fn word(key: [u8; 4]) -> u64 {
    let key = u32::from_ne_bytes(key) as u64;
    key | key << 32
}

#[inline]
fn xor(mut bytes: [u8; WIDE], word: u64) -> [u8; WIDE] {
    for bytes in bytes.as_chunks_mut::<8>().0 {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    bytes
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
                    assert_eq!(copy(src, KEY), by_the_letter(src, 0));
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
            assert_eq!(copy(&src[..len], KEY), by_the_letter(&src[..len], 0));
        }
    }
}
