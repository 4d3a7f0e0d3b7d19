//! UTF-8 that arrives in pieces (RFC 6455 §8.1).

use std::error::Error;
use std::fmt;

/// The bytes are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidUtf8;

impl fmt::Display for InvalidUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid UTF-8")
    }
}

impl Error for InvalidUtf8 {}

/// Checks text that arrives in pieces cut anywhere, and fails at the first byte that no
/// continuation can make right.
///
/// ```
/// use h2ws::frame::Utf8Validator;
///
/// let mut text = Utf8Validator::default();
/// text.push(&[0xe2, 0x82])?; // two thirds of a euro sign
/// assert!(text.finish().is_err(), "it may not end here");
/// text.push(&[0xac])?;
/// text.finish()?;
/// # Ok::<_, h2ws::frame::InvalidUtf8>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Utf8Validator {
    /// The sequence that the last piece left unfinished.
    partial: [u8; 3],
    len: u8,
}

impl Utf8Validator {
    /// Takes the next piece.
    ///
    /// # Errors
    /// When the text so far is not the beginning of any valid text. The validator is then of no
    /// further use.
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

    /// Whether the text may end here.
    ///
    /// # Errors
    /// When it ends within a sequence.
    pub const fn finish(&self) -> Result<(), InvalidUtf8> {
        if self.len == 0 {
            Ok(())
        } else {
            Err(InvalidUtf8)
        }
    }

    /// Adds to the unfinished sequence as much of `piece` as belongs to it; returns the rest.
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
                // An unfinished sequence has at most three bytes.
                Err(_) => self.partial[len - 1] = byte,
            }
        }
        self.len = len as u8;
        Ok(piece)
    }
}
