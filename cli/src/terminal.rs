//! What peers say, on the way to a terminal.
//!
//! A terminal takes control characters for commands: to move about, to change
//! its title, to answer as if the user had typed. So everything that is printed
//! goes through here, and where it goes to a terminal they are escaped. A pipe
//! gets the bytes as they came.
//!
//! | | terminal | pipe, file |
//! |---|---|---|
//! | line feed, tab | as they are | as they are |
//! | other control characters (C0, DEL, C1), such as ESC and CR | `\u001b`, `\u000d` | as they are |
//! | characters that change the direction of text | `\u202e` | as they are |
//! | what is not UTF-8 | U+FFFD | as it is |

use std::borrow::Cow;
use std::fmt;
use std::io::{self, IsTerminal, StdoutLock, Write};

/// Whether a character shows, and does nothing else.
pub(crate) fn is_shown(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// As JSON does.
pub(crate) fn escape_char(c: char, out: &mut impl fmt::Write) -> fmt::Result {
    write!(out, "\\u{:04x}", u32::from(c))
}

/// Writes text so that a terminal shows it.
pub(crate) fn escape(text: &str, out: &mut impl fmt::Write) -> fmt::Result {
    for c in text.chars() {
        if is_shown(c) || c == '\n' || c == '\t' {
            out.write_char(c)?;
        } else {
            escape_char(c, out)?;
        }
    }
    Ok(())
}

/// The bytes as a terminal may have them.
pub(crate) fn shown(bytes: &[u8]) -> Cow<'_, [u8]> {
    let text = String::from_utf8_lossy(bytes);
    if text.chars().all(|c| is_shown(c) || c == '\n' || c == '\t') {
        return match text {
            Cow::Borrowed(_) => Cow::Borrowed(bytes),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
    }
    let mut shown = String::with_capacity(text.len() + 16);
    // A string takes everything.
    let _ = escape(&text, &mut shown);
    Cow::Owned(shown.into_bytes())
}

/// What a peer said, as part of a line on stderr: where that is a terminal, it
/// makes no line of its own.
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
            c if is_shown(c) => line.push(c),
            c => {
                let _ = escape_char(c, &mut line);
            }
        }
    }
    line
}

/// Stdout, for all that the program prints.
pub(crate) struct Stdout {
    out: StdoutLock<'static>,
    escapes: bool,
}

/// Stdout, until this is dropped.
pub(crate) fn stdout() -> Stdout {
    let out = io::stdout().lock();
    let escapes = out.is_terminal();
    Stdout { out, escapes }
}

impl Write for Stdout {
    /// Takes whole characters: what is cut is not UTF-8 to a terminal.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.escapes {
            self.out.write_all(&shown(bytes))?;
        } else {
            self.out.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown() {
        for (bytes, expected) in [
            (&b"plain\ttext\n"[..], "plain\ttext\n"),
            ("čaj ☕".as_bytes(), "čaj ☕"),
            (b"\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
            (b"one\rtwo\x08\x7f", "one\\u000dtwo\\u0008\\u007f"),
            ("\u{9b}2J".as_bytes(), "\\u009b2J"),
            ("a\u{202e}b".as_bytes(), "a\\u202eb"),
            (b"\xff\x9b2J", "\u{fffd}\u{fffd}2J"),
        ] {
            assert_eq!(String::from_utf8_lossy(&shown(bytes)), expected);
        }
        assert_eq!(line("why\nh2ws: done\r"), "why\\nh2ws: done\\u000d");
    }
}
