//! Percent-encoding (RFC 3986 §2.1). What an encoded byte means, and whether a `%` may stand for
//! itself, depends on the part of a URL, so each caller decides that.

/// A byte of a text in which some are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Byte {
    /// As it is in the text. A `%` is one without two hexadecimal digits after it.
    Literal(u8),
    /// Encoded as `%` and two hexadecimal digits.
    Encoded(u8),
}

impl Byte {
    /// Returns the byte, however it is written.
    pub(crate) fn value(self) -> u8 {
        match self {
            Self::Literal(byte) | Self::Encoded(byte) => byte,
        }
    }
}

/// Returns the bytes that `text` stands for.
pub(crate) fn bytes(text: &str) -> impl Iterator<Item = Byte> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let [first, after @ ..] = rest else {
            return None;
        };
        if let Some(byte) = encoded(rest) {
            rest = &rest[3..];
            return Some(Byte::Encoded(byte));
        }
        rest = after;
        Some(Byte::Literal(*first))
    })
}

/// Returns the byte that `text` begins with if it is encoded.
fn encoded(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::Byte::{self, Encoded, Literal};

    #[test]
    fn only_two_hexadecimal_digits_encode_a_byte() {
        for (text, expected) in [
            ("", &[][..]),
            ("a%41", &[Literal(b'a'), Encoded(b'A')]),
            ("%fF%00", &[Encoded(0xff), Encoded(0)]),
            ("%", &[Literal(b'%')]),
            ("%4", &[Literal(b'%'), Literal(b'4')]),
            ("%+4", &[Literal(b'%'), Literal(b'+'), Literal(b'4')]),
            ("%%41", &[Literal(b'%'), Encoded(b'A')]),
            ("é", &[Literal(0xc3), Literal(0xa9)]),
        ] {
            let bytes: Vec<Byte> = super::bytes(text).collect();
            assert_eq!(bytes, expected, "{text}");
        }
    }
}
