//! How messages look at a terminal.
//!
//! | | mark | color |
//! |---|---|---|
//! | sent | `>` | green |
//! | received | `<` | cyan |
//! | what the program reports | `*` | dim |
//! | what the program cannot do | `!` | red |
//!
//! Lines after the first are indented by the mark's width, so that none of a message can pose as
//! another message. Whatever a message has is escaped as [`terminal`] does it.

use std::fmt::Write;
use std::time::SystemTime;

use h2ws::Message;

use crate::commands::text::count;
use crate::terminal;

/// Bytes of a binary message that are shown.
const MAX_DUMP: usize = 512;
/// Bytes of a sent text that are shown: the user knows it.
const MAX_ECHO: usize = 4000;
/// Bytes in a row of a dump.
const ROW: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Sent,
    Received,
    Notice,
    Error,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Style {
    pub(super) colors: bool,
    /// Whether to lay out text that is JSON.
    pub(super) json: bool,
    /// Whether to show the time of each line.
    pub(super) times: bool,
}

impl Mark {
    fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Sent => (">", "\x1b[32m"),
            Self::Received => ("<", "\x1b[36m"),
            Self::Notice => ("*", "\x1b[2m"),
            Self::Error => ("!", "\x1b[31m"),
        }
    }
}

impl Style {
    /// Returns the lines of a message.
    pub(super) fn message(self, mark: Mark, message: &Message, now: SystemTime) -> String {
        let text = match message {
            Message::Text(text) => self.text(mark, text.as_str()),
            Message::Binary(bytes) => format!("binary, {}{}", size(bytes.len()), dump(bytes)),
            Message::Ping(payload) => format!("Ping {}", quoted(payload)),
            Message::Pong(payload) => format!("Pong {}", quoted(payload)),
            Message::Close(_) => return String::new(),
        };
        self.lines(mark, &text, now)
    }

    fn text(self, mark: Mark, text: &str) -> String {
        if mark == Mark::Sent && text.len() > MAX_ECHO {
            let fits = |end: &usize| *end <= MAX_ECHO;
            let ends = text.char_indices().map(|(start, _)| start);
            let shown = &text[..ends.take_while(fits).last().unwrap_or_default()];
            let more = size(text.len() - shown.len());
            return format!("{shown}\n… {more} more");
        }
        let laid_out = self.json.then(|| layout(text)).flatten();
        laid_out.unwrap_or_else(|| text.to_owned())
    }

    /// Returns text with a mark, as lines of the terminal.
    pub(super) fn lines(self, mark: Mark, text: &str, now: SystemTime) -> String {
        let (mark, color) = mark.parts();
        let time = if self.times { time(now) } else { String::new() };
        let indent = " ".repeat(time.len());
        let mut out = String::with_capacity(text.len() + 32);
        for (index, line) in text.split('\n').enumerate() {
            if self.colors {
                out.push_str(color);
            }
            match index {
                0 => out.extend([time.as_str(), mark, " "]),
                _ => out.extend([indent.as_str(), "  "]),
            }
            // Writing to a string cannot fail.
            let _ = terminal::escape(line, &mut out);
            if self.colors {
                out.push_str("\x1b[0m");
            }
            out.push('\n');
        }
        out
    }

    /// Returns the prompt, which has two columns.
    pub(super) fn prompt(self) -> &'static str {
        if self.colors {
            "\x1b[32m>\x1b[0m "
        } else {
            "> "
        }
    }
}

pub(super) fn size(bytes: usize) -> String {
    count(bytes, "byte")
}

/// Returns a payload of a control frame, in quotes.
pub(super) fn quoted(payload: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(payload))
}

/// Returns the time of day in UTC.
fn time(now: SystemTime) -> String {
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis() % 86_400_000;
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z ")
}

/// Returns rows of offsets, bytes and ASCII, each after a line feed.
fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    let shown = &bytes[..bytes.len().min(MAX_DUMP)];
    for (index, row) in shown.chunks(ROW).enumerate() {
        let _ = write!(out, "\n{:08x} ", index * ROW);
        for at in 0..ROW {
            let gap = if at % 8 == 0 { " " } else { "" };
            let _ = match row.get(at) {
                Some(byte) => write!(out, "{gap}{byte:02x} "),
                None => write!(out, "{gap}   "),
            };
        }
        out.push_str(" |");
        out.extend(row.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        }));
        out.push('|');
    }
    if shown.len() < bytes.len() {
        let _ = write!(out, "\n… {} more", size(bytes.len() - shown.len()));
    }
    out
}

/// Lays out text if it is a JSON object or array. Strings and numbers stay as they were written.
fn layout(text: &str) -> Option<String> {
    let is_nested = text.trim_start().starts_with(['{', '[']);
    if !is_nested || serde_json::from_str::<serde_json::Value>(text).is_err() {
        return None;
    }
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0usize;
    let mut in_string = false;
    let mut chars = text.chars().peekable();
    let break_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = chars.next() {
        match c {
            '\\' if in_string => {
                out.push(c);
                out.extend(chars.next());
                continue;
            }
            '"' => in_string = !in_string,
            _ if in_string => {}
            c if c.is_ascii_whitespace() => continue,
            '{' | '[' => {
                out.push(c);
                while chars.next_if(char::is_ascii_whitespace).is_some() {}
                match chars.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        break_line(&mut out, depth);
                    }
                }
                continue;
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut out, depth);
            }
            ',' => {
                out.push(c);
                break_line(&mut out, depth);
                continue;
            }
            ':' => {
                out.push_str(": ");
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shown(style: Style, mark: Mark, message: &Message) -> String {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(45_296_007 + 86_400_000);
        style.message(mark, message, now)
    }

    #[test]
    fn sent_and_received_are_told_apart_by_mark_and_color() {
        let plain = Style::default();
        let message = Message::text("one\n< two");
        assert_eq!(shown(plain, Mark::Received, &message), "< one\n  < two\n");
        assert_eq!(shown(plain, Mark::Sent, &message), "> one\n  < two\n");
        let colored = Style {
            colors: true,
            ..plain
        };
        assert_eq!(
            shown(colored, Mark::Received, &Message::text("a")),
            "\x1b[36m< a\x1b[0m\n"
        );
        let timed = Style {
            times: true,
            ..plain
        };
        assert_eq!(
            shown(timed, Mark::Sent, &Message::text("a\nb")),
            "12:34:56.007Z > a\n                b\n"
        );
    }

    #[test]
    fn what_terminals_obey_is_escaped() {
        let message = Message::text("\x1b[2J\ra\u{9b}m");
        assert_eq!(
            shown(Style::default(), Mark::Received, &message),
            "< \\u001b[2J\\u000da\\u009bm\n"
        );
        let message = Message::ping(&b"\x1b[2J\n\xff"[..]);
        let ping = shown(Style::default(), Mark::Received, &message);
        assert_eq!(ping, "< Ping \"\\u{1b}[2J\\n\u{fffd}\"\n");
    }

    #[test]
    fn binary_messages_are_dumped_up_to_a_size() {
        let bytes: Vec<u8> = (b'a'..=b'z').chain([0, 255]).collect();
        assert_eq!(
            shown(Style::default(), Mark::Received, &Message::binary(bytes)),
            "< binary, 28 bytes\n  \
             00000000  61 62 63 64 65 66 67 68  69 6a 6b 6c 6d 6e 6f 70  |abcdefghijklmnop|\n  \
             00000010  71 72 73 74 75 76 77 78  79 7a 00 ff              |qrstuvwxyz..|\n"
        );
        let long = Message::binary(vec![0; 100_000]);
        let long = shown(Style::default(), Mark::Received, &long);
        assert!(long.ends_with("\n  … 99488 bytes more\n"), "{long}");
        let empty = Message::binary(Vec::new());
        let empty = shown(Style::default(), Mark::Received, &empty);
        assert_eq!(empty, "< binary, 0 bytes\n");
    }

    #[test]
    fn a_long_message_is_shown_whole_only_if_it_was_received() {
        let message = Message::text("č".repeat(3000));
        let sent = shown(Style::default(), Mark::Sent, &message);
        assert!(sent.ends_with("č\n  … 2000 bytes more\n"), "{sent}");
        let received = shown(Style::default(), Mark::Received, &message);
        assert_eq!(received.matches('č').count(), 3000);
    }

    #[test]
    fn json_is_laid_out_without_change_to_its_values() {
        for (text, expected) in [
            (
                r#"{"b":1.50e4,"a":[true,{}, [ ]],"s":"{\"\\,:"}"#,
                Some(
                    "{\n  \"b\": 1.50e4,\n  \"a\": [\n    true,\n    {},\n    []\n  ],\n  \"s\": \"{\\\"\\\\,:\"\n}",
                ),
            ),
            ("[]", Some("[]")),
            ("12345678901234567890123", None),
            ("{oops}", None),
            ("hello", None),
        ] {
            assert_eq!(layout(text).as_deref(), expected, "{text}");
        }
        let nested = "[".repeat(100_000);
        assert_eq!(layout(&nested), None);
    }
}
