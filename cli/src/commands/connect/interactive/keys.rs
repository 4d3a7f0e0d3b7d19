//! What the user types, from the bytes of the terminal.
//!
//! The parser is that of a terminal emulator, which knows where every escape sequence ends. So none
//! is mistaken for text, not even in what is pasted, and what is pasted is never a key.

use vte::{Params, Parser, Perform};

/// A key, or what was pasted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Paste(String),
    Enter,
    Backspace,
    Delete,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    Up,
    Down,
    DeleteWord,
    DeleteToStart,
    DeleteToEnd,
    ClearScreen,
    /// Ctrl-D: the end of the input if the line is empty.
    EndOfInput,
}

#[derive(Default)]
pub(super) struct Keys {
    parser: Parser,
    typed: Typed,
}

impl Keys {
    /// Returns the keys that the bytes complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.parser.advance(&mut self.typed, bytes);
        std::mem::take(&mut self.typed.keys)
    }
}

#[derive(Default)]
struct Typed {
    keys: Vec<Key>,
    /// What was pasted so far, between the brackets of a paste.
    paste: Option<String>,
    /// After ESC O, with which some terminals begin the sequences of arrows.
    is_ss3: bool,
}

impl Typed {
    fn arrow(&mut self, letter: char, is_word: bool) {
        let key = match letter {
            'A' => Key::Up,
            'B' => Key::Down,
            'C' if is_word => Key::WordRight,
            'D' if is_word => Key::WordLeft,
            'C' => Key::Right,
            'D' => Key::Left,
            'H' => Key::Home,
            'F' => Key::End,
            'M' => Key::Enter,
            _ => return,
        };
        self.press(key);
    }

    /// Adds a key, unless it is part of what is pasted.
    fn press(&mut self, key: Key) {
        if self.paste.is_none() {
            self.keys.push(key);
        }
    }
}

impl Perform for Typed {
    fn print(&mut self, c: char) {
        if std::mem::take(&mut self.is_ss3) {
            return self.arrow(c, false);
        }
        match &mut self.paste {
            Some(paste) => paste.push(c),
            None if c == '\x7f' => self.keys.push(Key::Backspace),
            None => self.keys.push(Key::Char(c)),
        }
    }

    fn execute(&mut self, byte: u8) {
        if let Some(paste) = &mut self.paste {
            match byte {
                // Terminals send the lines of a paste with CR, LF or both.
                b'\n' if paste.ends_with('\r') => {
                    paste.pop();
                    paste.push('\n');
                }
                byte => paste.push(byte.into()),
            }
            return;
        }
        self.keys.push(match byte {
            b'\r' | b'\n' => Key::Enter,
            b'\t' => Key::Char('\t'),
            0x01 => Key::Home,
            0x02 => Key::Left,
            0x04 => Key::EndOfInput,
            0x05 => Key::End,
            0x06 => Key::Right,
            0x08 => Key::Backspace,
            0x0b => Key::DeleteToEnd,
            0x0c => Key::ClearScreen,
            0x0e => Key::Down,
            0x10 => Key::Up,
            0x15 => Key::DeleteToStart,
            0x17 => Key::DeleteWord,
            _ => return,
        });
    }

    fn csi_dispatch(&mut self, params: &Params, _: &[u8], ignore: bool, action: char) {
        let mut params = params
            .iter()
            .map(|param| param.first().copied().unwrap_or(0));
        let (first, second) = (params.next().unwrap_or(0), params.next().unwrap_or(0));
        match (action, first) {
            _ if ignore => {}
            ('~', 200) => self.paste = Some(String::new()),
            ('~', 201) => {
                if let Some(paste) = self.paste.take() {
                    self.keys.push(Key::Paste(paste.replace('\r', "\n")));
                }
            }
            ('~', 1 | 7) => self.press(Key::Home),
            ('~', 4 | 8) => self.press(Key::End),
            ('~', 3) => self.press(Key::Delete),
            // The second parameter is 1 plus the modifiers: 3 is Alt, 5 is Ctrl.
            (letter, _) => self.arrow(letter, matches!(second, 3 | 5)),
        }
    }

    fn esc_dispatch(&mut self, _: &[u8], _: bool, byte: u8) {
        match byte {
            b'O' => self.is_ss3 = true,
            b'b' => self.press(Key::WordLeft),
            b'f' => self.press(Key::WordRight),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        // Reads may end anywhere.
        let mut one_by_one = Keys::default();
        let each: Vec<_> = bytes
            .iter()
            .flat_map(|byte| one_by_one.feed(&[*byte]))
            .collect();
        assert_eq!(Keys::default().feed(bytes), each);
        each
    }

    #[test]
    fn bytes_are_keys() {
        let typed = |text: &str| text.chars().map(Key::Char).collect::<Vec<_>>();
        assert_eq!(keys("a č\u{1f642}".as_bytes()), typed("a č\u{1f642}"));
        for (bytes, key) in [
            (&b"\r"[..], Key::Enter),
            (b"\n", Key::Enter),
            (b"\x7f", Key::Backspace),
            (b"\x1b[A", Key::Up),
            (b"\x1bOB", Key::Down),
            (b"\x1b[1;5C", Key::WordRight),
            (b"\x1bb", Key::WordLeft),
            (b"\x1b[3~", Key::Delete),
            (b"\x1b[H", Key::Home),
            (b"\x04", Key::EndOfInput),
        ] {
            assert_eq!(keys(bytes), [key], "{bytes:?}");
        }
        assert_eq!(keys(b"\x1b[5~\x1b[99;2u\x1b]0;x\x07\x00"), []);
        assert_eq!(keys(b"\xffa"), typed("\u{fffd}a"));
    }

    #[test]
    fn a_paste_is_one_key_without_its_escape_sequences() {
        let paste = |text: &str| [Key::Paste(text.into())];
        assert_eq!(
            keys(b"\x1b[200~one\r\ntwo\rthree\n\tfour\x1b[201~"),
            paste("one\ntwo\nthree\n\tfour")
        );
        assert_eq!(keys(b"\x1b[200~a\x1b[31mb\x1b[Ac\x1b[201~"), paste("abc"));
    }
}
