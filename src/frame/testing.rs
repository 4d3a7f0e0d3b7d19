//! Helpers for the tests of this module: they encode frames as the RFC describes, without using the
//! code under test.

use bytes::Bytes;

use super::{Decoder, Event, Limits, ProtocolError, Role};

/// The key of the examples in RFC 6455 §5.7.
pub(super) const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Returns a frame whose first byte is `first`, masked if a key is given.
pub(super) fn frame(first: u8, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let masked = if key.is_some() { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(masked | len as u8),
        len @ 126..=65_535 => {
            out.push(masked | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(masked | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(key.into_iter().flatten());
    let key = key.unwrap_or_default();
    out.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    out
}

/// Returns the masking key of a frame that the end `role` receives.
pub(super) fn key_to(role: Role) -> Option<[u8; 4]> {
    (role == Role::Server).then_some(KEY)
}

/// Decodes the chunks into events, up to the first error.
pub(super) fn decode_chunks<'a>(
    decoder: &mut Decoder,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Event>, Option<ProtocolError>) {
    let mut events = Vec::new();
    for chunk in chunks {
        let mut chunk = Bytes::copy_from_slice(chunk);
        loop {
            match decoder.decode(&mut chunk) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
        assert!(chunk.is_empty(), "None means that the input is used up");
    }
    (events, None)
}

/// Decodes `bytes`, passed in at once.
pub(super) fn decode(
    role: Role,
    limits: Limits,
    bytes: &[u8],
) -> (Vec<Event>, Option<ProtocolError>) {
    decode_chunks(&mut Decoder::new(role, limits), [bytes])
}
