//! Parses and encodes frame headers, of 2 to 14 bytes (RFC 6455 §5.2).

use bytes::BytesMut;

use super::error::ProtocolError;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_RSV3: u8 = 0x30;
const MASK: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// Maximum payload length, in bytes, that fits the second byte of a header.
const MAX_SHORT: usize = 125;

/// Maximum payload of a control frame, in bytes (RFC 6455 §5.5).
pub(super) const MAX_CONTROL: usize = 125;

/// The type of a frame (RFC 6455 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpCode {
    /// A further fragment of a message.
    Continuation,
    /// A text message, or its first fragment.
    Text,
    /// A binary message, or its first fragment.
    Binary,
    /// The last frame that its sender sends.
    Close,
    /// Requests a pong.
    Ping,
    /// Answers a ping, or is sent unsolicited as a sign of life.
    Pong,
}

impl OpCode {
    /// Returns whether it is a control frame, which may be sent between the fragments of a message
    /// and must not be fragmented itself (RFC 6455 §5.5).
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    /// Returns whether it is the first frame of a message (RFC 6455 §5.4).
    #[must_use]
    pub(super) const fn begins_message(self) -> bool {
        matches!(self, Self::Text | Self::Binary)
    }

    const fn from_bits(bits: u8) -> Result<Self, ProtocolError> {
        match bits {
            0x0 => Ok(Self::Continuation),
            0x1 => Ok(Self::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xa => Ok(Self::Pong),
            reserved => Err(ProtocolError::ReservedOpCode(reserved)),
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }
}

/// The header of a frame (RFC 6455 §5.2).
///
/// ```
/// use h2ws::frame::{Header, OpCode};
///
/// let bytes = [0x81, 0x05, b'H', b'e', b'l', b'l', b'o'];
/// let (header, size) = Header::parse(&bytes)?.expect("a whole header");
/// assert_eq!((header.opcode, header.payload_len, size), (OpCode::Text, 5, 2));
/// # Ok::<_, h2ws::frame::ProtocolError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether this frame ends its message.
    pub fin: bool,
    /// The bit that permessage-deflate sets on the first frame of a compressed message
    /// (RFC 7692 §6).
    pub rsv1: bool,
    /// The type of the frame.
    pub opcode: OpCode,
    /// The key that masks the payload.
    pub mask: Option<[u8; 4]>,
    /// The length of the payload, in bytes; below 2^63.
    pub payload_len: u64,
}

impl Header {
    /// Maximum size of a header, in bytes.
    pub const MAX_LEN: usize = 14;

    /// Parses the header at the start of `bytes`, and returns it with its size in bytes; returns
    /// `None` if `bytes` ends within the header.
    ///
    /// # Errors
    /// A violation that does not depend on the state of the connection: RSV2 or RSV3 set, a
    /// reserved opcode, a control frame that is too long or fragmented, a length that is not in its
    /// shortest form or has its top bit set. It is returned as soon as `bytes` contains the byte
    /// that proves it. Whether RSV1 and a mask are allowed is checked by
    /// [`Decoder`](super::Decoder).
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some((&first, rest)) = bytes.split_first() else {
            return Ok(None);
        };
        if first & RSV2_RSV3 != 0 {
            return Err(ProtocolError::ReservedBit);
        }
        let fin = first & FIN != 0;
        let opcode = OpCode::from_bits(first & 0x0f)?;
        if opcode.is_control() && !fin {
            return Err(ProtocolError::FragmentedControl);
        }
        let Some((&second, rest)) = rest.split_first() else {
            return Ok(None);
        };
        let short = second & !MASK;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL {
            return Err(ProtocolError::ControlTooLong);
        }
        let Some((payload_len, rest)) = parse_length(short, rest)? else {
            return Ok(None);
        };
        let (mask, rest) = if second & MASK == 0 {
            (None, rest)
        } else {
            let Some((&key, rest)) = rest.split_first_chunk::<4>() else {
                return Ok(None);
            };
            (Some(key), rest)
        };
        let header = Self {
            fin,
            rsv1: first & RSV1 != 0,
            opcode,
            mask,
            payload_len,
        };
        Ok(Some((header, bytes.len() - rest.len())))
    }

    /// Returns the size of the encoded header, in bytes.
    #[inline]
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        let length = match self.payload_len {
            0..=125 => 0,
            126..=0xffff => 2,
            _ => 8,
        };
        2 + length + if self.mask.is_some() { 4 } else { 0 }
    }

    /// Appends the header to `out`, with the length in its shortest form.
    #[inline]
    pub fn encode(&self, out: &mut BytesMut) {
        let first = (u8::from(self.fin) * FIN) | (u8::from(self.rsv1) * RSV1) | self.opcode.bits();
        let masked = u8::from(self.mask.is_some()) * MASK;
        match self.payload_len {
            // By far the most common headers: a single store each.
            short @ 0..=125 => {
                let second = masked | short as u8;
                match self.mask {
                    None => out.extend_from_slice(&[first, second]),
                    Some([a, b, c, d]) => out.extend_from_slice(&[first, second, a, b, c, d]),
                }
            }
            medium @ 126..=0xffff => {
                let second = masked | LENGTH_16;
                let [x, y] = (medium as u16).to_be_bytes();
                match self.mask {
                    None => out.extend_from_slice(&[first, second, x, y]),
                    Some([a, b, c, d]) => {
                        out.extend_from_slice(&[first, second, x, y, a, b, c, d]);
                    }
                }
            }
            long => {
                out.extend_from_slice(&[first, masked | LENGTH_64]);
                out.extend_from_slice(&long.to_be_bytes());
                out.extend_from_slice(self.mask.as_ref().map_or(&[], <[u8; 4]>::as_slice));
            }
        }
    }
}

/// A complete message in one frame of less than 64 KiB.
pub(super) struct Whole<'a> {
    pub(super) text: bool,
    pub(super) mask: Option<[u8; 4]>,
    pub(super) payload: &'a [u8],
    /// The size of the header, in bytes.
    pub(super) header: usize,
}

impl<'a> Whole<'a> {
    /// Returns the sizes, in bytes, of the header and of the payload of the masked frame at the
    /// start of `bytes`, without validating it; `None` if it has 64 KiB or more, or if `bytes` ends
    /// within it.
    #[inline]
    pub(super) fn masked(bytes: &[u8]) -> Option<(usize, usize)> {
        let second = *bytes.get(1)?;
        let (header, len) = match second & !MASK {
            LENGTH_64 => return None,
            LENGTH_16 => (
                8,
                usize::from(u16::from_be_bytes(*bytes[2..].first_chunk()?)),
            ),
            short => (6, usize::from(short)),
        };
        (second & MASK != 0 && bytes.len() >= header + len).then_some((header, len))
    }

    /// Returns whether the payload has to be unmasked; a key of zero changes nothing.
    #[inline]
    pub(super) fn is_masked(&self) -> bool {
        self.mask.is_some_and(|key| key != [0; 4])
    }

    /// Parses such a frame with fewer checks than [`Header::parse`]; returns `None` for any other
    /// frame, for an invalid one, and if `bytes` ends within it.
    #[inline]
    pub(super) fn parse(bytes: &'a [u8], masked: bool) -> Option<Self> {
        const TEXT: u8 = FIN | OpCode::Text.bits();
        const BINARY: u8 = FIN | OpCode::Binary.bits();
        let (&[first, second], mut rest) = bytes.split_first_chunk()?;
        if !matches!(first, TEXT | BINARY) || (second & MASK != 0) != masked {
            return None;
        }
        let mut header = 2;
        let len = match second & !MASK {
            LENGTH_64 => return None,
            LENGTH_16 => {
                let (&length, after) = rest.split_first_chunk()?;
                rest = after;
                header += 2;
                let length = usize::from(u16::from_be_bytes(length));
                if length <= MAX_SHORT {
                    return None;
                }
                length
            }
            short => usize::from(short),
        };
        let mut mask = None;
        if masked {
            let (&key, after) = rest.split_first_chunk()?;
            rest = after;
            header += 4;
            mask = Some(key);
        }
        Some(Self {
            text: first == TEXT,
            mask,
            payload: rest.get(..len)?,
            header,
        })
    }
}

type Length<'a> = Option<(u64, &'a [u8])>;

/// Returns the payload length and the bytes that follow it.
#[inline]
fn parse_length(short: u8, bytes: &[u8]) -> Result<Length<'_>, ProtocolError> {
    let (length, least, rest) = match short {
        LENGTH_16 => {
            let Some((&length, rest)) = bytes.split_first_chunk() else {
                return Ok(None);
            };
            (u64::from(u16::from_be_bytes(length)), 126, rest)
        }
        LENGTH_64 => {
            if bytes.first().is_some_and(|top| top & 0x80 != 0) {
                return Err(ProtocolError::LengthTopBit);
            }
            let Some((&length, rest)) = bytes.split_first_chunk() else {
                return Ok(None);
            };
            (u64::from_be_bytes(length), 0x1_0000, rest)
        }
        short => return Ok(Some((u64::from(short), bytes))),
    };
    if length < least {
        return Err(ProtocolError::NonMinimalLength);
    }
    Ok(Some((length, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::testing::KEY;

    fn encoded(header: &Header) -> BytesMut {
        let mut out = BytesMut::new();
        header.encode(&mut out);
        out
    }

    /// RFC 6455 §5.7, the headers.
    #[test]
    fn examples_of_the_rfc() {
        type Row = (&'static [u8], bool, OpCode, Option<[u8; 4]>, u64);
        let table: [Row; 8] = [
            (&[0x81, 0x05], true, OpCode::Text, None, 5),
            (
                &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d],
                true,
                OpCode::Text,
                Some(KEY),
                5,
            ),
            (&[0x01, 0x03], false, OpCode::Text, None, 3),
            (&[0x80, 0x02], true, OpCode::Continuation, None, 2),
            (&[0x89, 0x05], true, OpCode::Ping, None, 5),
            (
                &[0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d],
                true,
                OpCode::Pong,
                Some(KEY),
                5,
            ),
            (&[0x82, 0x7e, 0x01, 0x00], true, OpCode::Binary, None, 256),
            (
                &[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0],
                true,
                OpCode::Binary,
                None,
                65_536,
            ),
        ];
        for (bytes, fin, opcode, mask, payload_len) in table {
            let header = Header {
                fin,
                rsv1: false,
                opcode,
                mask,
                payload_len,
            };
            assert_eq!(Header::parse(bytes), Ok(Some((header, bytes.len()))));
            assert_eq!(encoded(&header), bytes);
        }
    }

    #[test]
    fn what_is_encoded_parses_and_no_prefix_does() {
        let lengths = [
            0,
            1,
            125,
            126,
            127,
            65_535,
            65_536,
            u64::from(u32::MAX),
            (1 << 63) - 1,
        ];
        let kinds = [
            OpCode::Continuation,
            OpCode::Text,
            OpCode::Binary,
            OpCode::Close,
        ];
        for payload_len in lengths {
            for opcode in kinds {
                for bits in 0..8 {
                    let header = Header {
                        fin: opcode.is_control() || bits & 1 != 0,
                        rsv1: bits & 2 != 0,
                        opcode,
                        mask: (bits & 4 != 0).then_some(KEY),
                        payload_len: if opcode.is_control() {
                            payload_len % 126
                        } else {
                            payload_len
                        },
                    };
                    let mut bytes = encoded(&header);
                    assert_eq!(bytes.len(), header.encoded_len());
                    for cut in 0..bytes.len() {
                        assert_eq!(Header::parse(&bytes[..cut]), Ok(None));
                    }
                    bytes.extend_from_slice(b"payload");
                    assert_eq!(
                        Header::parse(&bytes),
                        Ok(Some((header, header.encoded_len())))
                    );
                }
            }
        }
    }

    #[test]
    fn violations_show_at_the_first_byte_that_proves_them() {
        let table: [(&[u8], ProtocolError); 17] = [
            (&[0xa1], ProtocolError::ReservedBit),
            (&[0x91], ProtocolError::ReservedBit),
            (&[0x83], ProtocolError::ReservedOpCode(3)),
            (&[0x84], ProtocolError::ReservedOpCode(4)),
            (&[0x87], ProtocolError::ReservedOpCode(7)),
            (&[0x8b], ProtocolError::ReservedOpCode(11)),
            (&[0x8f], ProtocolError::ReservedOpCode(15)),
            (&[0x08], ProtocolError::FragmentedControl),
            (&[0x09], ProtocolError::FragmentedControl),
            (&[0x0a], ProtocolError::FragmentedControl),
            (&[0x88, 126], ProtocolError::ControlTooLong),
            (&[0x89, 127], ProtocolError::ControlTooLong),
            (&[0x8a, 0xfe], ProtocolError::ControlTooLong),
            (&[0x82, 126, 0, 125], ProtocolError::NonMinimalLength),
            (
                &[0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
                ProtocolError::NonMinimalLength,
            ),
            (
                &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
                ProtocolError::NonMinimalLength,
            ),
            (&[0x82, 127, 0x80], ProtocolError::LengthTopBit),
        ];
        for (bytes, error) in table {
            assert_eq!(Header::parse(bytes), Err(error), "{bytes:x?}");
            for cut in 0..bytes.len() {
                assert_eq!(
                    Header::parse(&bytes[..cut]),
                    Ok(None),
                    "{bytes:x?} up to {cut}"
                );
            }
        }
    }
}
