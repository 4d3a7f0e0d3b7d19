//! What is wrong with a file, and where.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// All mistakes of a configuration, in the order of its lines.
#[derive(Debug)]
pub(crate) struct Mistakes {
    file: PathBuf,
    found: Vec<(usize, String)>,
}

impl Mistakes {
    /// None at all: the file itself cannot be read.
    pub(crate) fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        Self {
            file: file.to_owned(),
            found: vec![(0, error.to_string())],
        }
    }
}

impl Mistakes {
    /// Each with its place.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let file = self.file.display();
        self.found.iter().map(move |(line, what)| match line {
            0 => format!("{file}: {what}"),
            line => format!("{file}:{line}: {what}"),
        })
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, line) in self.lines().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&line)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Gathers mistakes while a file is read, so that all are told at once: first
/// those that make it no TOML, for others may follow from them, then the rest,
/// each in the order of their lines.
#[derive(Debug)]
pub(super) struct Gathered {
    file: PathBuf,
    text: String,
    broken: Vec<(usize, String)>,
    found: Vec<(usize, String)>,
}

impl Gathered {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            broken: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Something is wrong with what is at `span`.
    pub(super) fn add(&mut self, span: &Range<usize>, what: impl fmt::Display) {
        let line = self.line(span);
        self.found.push((line, what.to_string()));
    }

    /// What is at `span` is no TOML.
    pub(super) fn add_broken(&mut self, span: &Range<usize>, what: &str) {
        let line = self.line(span);
        self.broken.push((line, what.to_owned()));
    }

    /// Whether something that is not found may be there all the same.
    pub(super) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// The line that `span` begins on.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// What was read, if there is no mistake in it.
    pub(super) fn result<T>(mut self, read: Option<T>) -> Result<T, Mistakes> {
        match read {
            Some(read) if self.found.is_empty() && self.broken.is_empty() => Ok(read),
            _ => {
                let mut found = self.broken;
                for some in [&mut found, &mut self.found] {
                    some.sort();
                    some.dedup();
                }
                found.append(&mut self.found);
                Err(Mistakes {
                    file: self.file,
                    found,
                })
            }
        }
    }
}
