//! Validates UTF-8 that arrives in pieces (RFC 6455 §8.1).

use std::error::Error;
use std::fmt;

/// Bytes that are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidUtf8;

impl fmt::Display for InvalidUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid UTF-8")
    }
}

impl Error for InvalidUtf8 {}

/// Validates text that arrives in pieces, which may be cut anywhere. It fails at the first byte
/// after which no continuation is valid.
///
/// ```
/// use h2ws::frame::Utf8Validator;
///
/// let mut text = Utf8Validator::default();
/// text.push(&[0xe2, 0x82])?; // two thirds of a euro sign
/// assert!(text.finish().is_err(), "incomplete so far");
/// text.push(&[0xac])?;
/// text.finish()?;
/// # Ok::<_, h2ws::frame::InvalidUtf8>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Utf8Validator {
    /// The incomplete sequence at the end of the last piece.
    partial: [u8; 3],
    len: u8,
}

impl Utf8Validator {
    /// Validates the next piece.
    ///
    /// # Errors
    /// If the text so far is not the beginning of any valid text. The validator must not be used
    /// again.
    #[inline]
    pub fn push(&mut self, piece: &[u8]) -> Result<(), InvalidUtf8> {
        let piece = if self.len == 0 {
            piece
        } else {
            self.complete(piece)?
        };
        let Err(error) = simdutf8::compat::from_utf8(piece) else {
            return Ok(());
        };
        if error.error_len().is_some() {
            return Err(InvalidUtf8);
        }
        let rest = &piece[error.valid_up_to()..];
        self.partial[..rest.len()].copy_from_slice(rest);
        self.len = rest.len() as u8;
        Ok(())
    }

    /// Checks that the text may end here.
    ///
    /// # Errors
    /// If it ends within a sequence.
    pub const fn finish(&self) -> Result<(), InvalidUtf8> {
        if self.len == 0 {
            Ok(())
        } else {
            Err(InvalidUtf8)
        }
    }

    /// Completes the incomplete sequence from the front of `piece`, and returns the rest of it.
    fn complete<'a>(&mut self, mut piece: &'a [u8]) -> Result<&'a [u8], InvalidUtf8> {
        let mut sequence = [0; 4];
        let mut len = usize::from(self.len);
        sequence[..len].copy_from_slice(&self.partial[..len]);
        while let Some((&byte, rest)) = piece.split_first() {
            piece = rest;
            sequence[len] = byte;
            len += 1;
            match std::str::from_utf8(&sequence[..len]) {
                Ok(_) => {
                    self.len = 0;
                    return Ok(piece);
                }
                Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
                // An incomplete sequence has at most three bytes.
                Err(_) => self.partial[len - 1] = byte,
            }
        }
        self.len = len as u8;
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many bytes of `bytes` the standard library finds to begin some valid text.
    fn certain(bytes: &[u8]) -> Option<usize> {
        (1..=bytes.len()).find(|&len| {
            std::str::from_utf8(&bytes[..len]).is_err_and(|error| error.error_len().is_some())
        })
    }

    /// Pushed a byte at a time, the index (from 1) of the byte that fails.
    fn fails_at(bytes: &[u8]) -> Option<usize> {
        let mut text = Utf8Validator::default();
        (1..=bytes.len()).find(|&len| text.push(&bytes[len - 1..len]).is_err())
    }

    fn whole(pieces: &[&[u8]]) -> Result<(), InvalidUtf8> {
        let mut text = Utf8Validator::default();
        pieces.iter().try_for_each(|piece| text.push(piece))?;
        text.finish()
    }

    #[test]
    fn fails_as_early_as_it_is_certain() {
        let table: [(&[u8], Option<usize>); 16] = [
            (b"plain", None),
            ("κόσμε".as_bytes(), None),
            (&[0xf4, 0x8f, 0xbf, 0xbf], None),
            (&[0x80], Some(1)),
            (&[0xc0], Some(1)),
            (&[0xc1], Some(1)),
            (&[0xf5], Some(1)),
            (&[0xff], Some(1)),
            (&[0xe0, 0x9f], Some(2)),             // overlong
            (&[0xf0, 0x8f], Some(2)),             // overlong
            (&[0xed, 0xa0], Some(2)),             // a surrogate
            (&[0xf4, 0x90], Some(2)),             // beyond U+10FFFF
            (&[0xc3, b'a'], Some(2)),             // cut short
            (&[0xe2, 0x82, b'a'], Some(3)),       // cut short
            (&[0xf0, 0x9f, 0x98, b'a'], Some(4)), // cut short
            (b"ascii, then \xf0\x9f\x98\x80\xed\xbf", Some(18)),
        ];
        for (bytes, expected) in table {
            assert_eq!(fails_at(bytes), expected, "{bytes:x?}");
            assert_eq!(certain(bytes), expected, "{bytes:x?}: the table itself");
        }
    }

    #[test]
    fn an_unfinished_sequence_may_not_end_the_text() {
        for text in ["é", "€", "😀"] {
            for cut in 1..text.len() {
                let mut validator = Utf8Validator::default();
                assert_eq!(validator.push(&text.as_bytes()[..cut]), Ok(()));
                assert_eq!(validator.finish(), Err(InvalidUtf8));
                assert_eq!(validator.push(&[]), Ok(()));
                assert_eq!(validator.push(&text.as_bytes()[cut..]), Ok(()));
                assert_eq!(validator.finish(), Ok(()));
            }
        }
        assert_eq!(InvalidUtf8.to_string(), "invalid UTF-8");
    }

    fn nearly_text() -> impl Strategy<Value = Vec<u8>> {
        let bytes = prop::collection::vec(
            prop_oneof![
                any::<char>().prop_map(|c| c.to_string().into_bytes()),
                prop::collection::vec(0x80_u8.., 1..2)
            ],
            0..40,
        );
        let text = any::<String>().prop_map(String::into_bytes);
        prop_oneof![text, bytes.prop_map(|parts| parts.concat())]
    }

    proptest! {
        #[test]
        fn agrees_with_std_for_all_cuts(bytes in nearly_text()) {
            let expected = std::str::from_utf8(&bytes).map(drop).map_err(|_| InvalidUtf8);
            for cut in 0..=bytes.len() {
                let (left, right) = bytes.split_at(cut);
                prop_assert_eq!(whole(&[left, right]), expected);
            }
            let singles: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(whole(&singles), expected);
            prop_assert_eq!(fails_at(&bytes), certain(&bytes));
        }
    }
}
