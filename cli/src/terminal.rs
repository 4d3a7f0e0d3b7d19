//! Escapes what peers send before it reaches a terminal.
//!
//! To a terminal, control characters are commands: move the cursor, change the title, answer as if
//! the user had typed. So everything that the program prints goes through this module, which
//! escapes them if the output is a terminal. A pipe gets the bytes unchanged.
//!
//! | | terminal | pipe, file |
//! |---|---|---|
//! | line feed, tab | unchanged | unchanged |
//! | other control characters (C0, DEL, C1), such as ESC and CR | `\u001b`, `\u000d` | unchanged |
//! | characters that change the direction of text | `\u202e` | unchanged |
//! | bytes that are not UTF-8 | U+FFFD | unchanged |

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal, StdoutLock, Write};

/// Whether a character is printable and has no effect on the terminal or on the text around it.
pub(crate) fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes a character as JSON escapes it.
pub(crate) fn escape_char(c: char, out: &mut impl fmt::Write) -> fmt::Result {
    write!(out, "\\u{:04x}", u32::from(c))
}

/// Writes text with everything but line feeds and tabs escaped that is not printable.
pub(crate) fn escape(text: &str, out: &mut impl fmt::Write) -> fmt::Result {
    for c in text.chars() {
        if is_printable(c) || c == '\n' || c == '\t' {
            out.write_char(c)?;
        } else {
            escape_char(c, out)?;
        }
    }
    Ok(())
}

/// Returns the bytes as they may be sent to a terminal.
pub(crate) fn escaped(bytes: &[u8]) -> Cow<'_, [u8]> {
    let text = String::from_utf8_lossy(bytes);
    if text
        .chars()
        .all(|c| is_printable(c) || c == '\n' || c == '\t')
    {
        return match text {
            Cow::Borrowed(_) => Cow::Borrowed(bytes),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    // Writing to a string cannot fail.
    let _ = escape(&text, &mut escaped);
    Cow::Owned(escaped.into_bytes())
}

/// Returns a peer's text for use within a line on stderr. If stderr is a terminal, line feeds are
/// escaped too, so that the text cannot pose as a line of the program.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    if io::stderr().is_terminal() {
        Cow::Owned(line(text))
    } else {
        Cow::Borrowed(text)
    }
}

fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            c if is_printable(c) => line.push(c),
            c => {
                let _ = escape_char(c, &mut line);
            }
        }
    }
    line
}

/// Returns a number with a comma after each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Stdout; the only way in which the program writes to it.
pub(crate) struct Stdout {
    out: StdoutLock<'static>,
    escapes: bool,
}

/// Locks stdout until the value is dropped.
pub(crate) fn stdout() -> Stdout {
    let out = io::stdout().lock();
    let escapes = out.is_terminal();
    Stdout { out, escapes }
}

impl Write for Stdout {
    /// Must be called with whole characters; the halves of a cut one are shown as U+FFFD.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.escapes {
            self.out.write_all(&escaped(bytes))?;
        } else {
            self.out.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Stdout {
    /// Writes text, with colors or without.
    pub(crate) fn write_styled(&mut self, text: &Styled, colors: bool) -> io::Result<()> {
        for (color, piece) in &text.0 {
            match color.filter(|_| colors) {
                None => self.write_all(piece.as_bytes())?,
                Some(color) => {
                    // The escape sequences are ours, what is between them need not be.
                    write!(self.out, "\x1b[{}m", color as u8)?;
                    let (line, end) = match piece.strip_suffix('\n') {
                        Some(line) => (line, "\x1b[0m\n"),
                        None => (piece.as_str(), "\x1b[0m"),
                    };
                    self.write_all(line.as_bytes())?;
                    self.out.write_all(end.as_bytes())?;
                }
            }
        }
        Ok(())
    }
}

/// A color, by its number in an escape sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Color {
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// Text with parts in color.
#[derive(Default)]
pub(crate) struct Styled(Vec<(Option<Color>, String)>);

impl Styled {
    pub(crate) fn push(&mut self, color: Option<Color>, text: String) {
        self.0.push((color, text));
    }

    #[cfg(test)]
    pub(crate) fn plain(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (123_456, "123,456"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        for (bytes, expected) in [
            (&b"plain\ttext\n"[..], "plain\ttext\n"),
            ("čaj ☕".as_bytes(), "čaj ☕"),
            (b"\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
            (b"one\rtwo\x08\x7f", "one\\u000dtwo\\u0008\\u007f"),
            ("\u{9b}2J".as_bytes(), "\\u009b2J"),
            ("a\u{202e}b".as_bytes(), "a\\u202eb"),
            (b"\xff\x9b2J", "\u{fffd}\u{fffd}2J"),
        ] {
            assert_eq!(String::from_utf8_lossy(&escaped(bytes)), expected);
        }
        assert_eq!(line("why\nh2ws: done\r"), "why\\nh2ws: done\\u000d");
    }
}
