//! The lines that were typed in earlier sessions, in a file of the user's.
//!
//! The file has one line for each; a line feed in it is written as `\n`. What begins with a space
//! is not kept, so that a secret can be typed.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

/// Lines that are kept.
const MAX_LINES: usize = 1000;
/// Longest line that is kept, in bytes.
const MAX_LINE: usize = 10_000;

/// Whether a line is to be remembered.
pub(super) fn is_kept(line: &str) -> bool {
    !line.is_empty() && line.len() <= MAX_LINE && !line.starts_with(' ')
}

pub(super) struct History {
    path: Option<PathBuf>,
}

impl History {
    /// Opens the user's file. Returns the lines in it, and why it cannot be used.
    pub(super) fn open() -> (Self, Vec<String>, Option<String>) {
        let mut history = Self { path: path() };
        match history.read() {
            Ok(lines) => (history, lines, None),
            Err(error) => {
                let error = history.failed(&error);
                (history, Vec::new(), Some(error))
            }
        }
    }

    fn read(&self) -> io::Result<Vec<String>> {
        let Some(path) = &self.path else {
            return Ok(Vec::new());
        };
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            read => read?,
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut lines: Vec<_> = text.lines().map(unescaped).collect();
        if lines.len() > 2 * MAX_LINES {
            lines.drain(..lines.len() - MAX_LINES);
            let text: String = lines.iter().map(|line| escaped(line)).collect();
            std::fs::write(path, text)?;
        }
        Ok(lines)
    }

    /// Appends a line. After an error, which is returned once, nothing is written any more.
    pub(super) fn append(&mut self, line: &str) -> Option<String> {
        let path = self.path.as_ref().filter(|_| is_kept(line))?;
        let append = || {
            if let Some(directory) = path.parent() {
                let mut create = DirBuilder::new();
                create.recursive(true).mode(0o700).create(directory)?;
            }
            let mut file = OpenOptions::new();
            let mut file = file.create(true).append(true).mode(0o600).open(path)?;
            file.write_all(escaped(line).as_bytes())
        };
        append().err().map(|error| self.failed(&error))
    }

    fn failed(&mut self, error: &io::Error) -> String {
        let path = self.path.take().unwrap_or_default();
        format!("history is not kept: {}: {error}", path.display())
    }
}

/// Returns `h2ws/history` in the directory for state (XDG Base Directory Specification).
fn path() -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    Some(state?.join("h2ws/history"))
}

fn escaped(line: &str) -> String {
    line.replace('\\', "\\\\").replace('\n', "\\n") + "\n"
}

fn unescaped(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => text.push('\n'),
                Some(c) => text.push(c),
                None => {}
            },
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_the_file() {
        for line in ["plain", "two\nlines", "a\\nb", "\\", "c:\\new\n"] {
            let written = escaped(line);
            assert_eq!(written.matches('\n').count(), 1, "{written:?}");
            assert_eq!(unescaped(written.trim_end_matches('\n')), line);
        }
    }

    #[test]
    fn secrets_and_pastes_are_not_kept() {
        assert!(is_kept("a"));
        for line in ["", " secret", &"x".repeat(MAX_LINE + 1)] {
            assert!(!is_kept(line));
        }
    }
}
