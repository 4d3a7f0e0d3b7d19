//! The errors of a configuration file, with their lines.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// All errors of a configuration file, in the order of its lines; those that break the TOML syntax
/// first.
#[derive(Debug)]
pub(crate) struct ConfigErrors {
    file: PathBuf,
    found: Vec<(usize, String)>,
}

impl ConfigErrors {
    pub(super) fn none(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            found: Vec::new(),
        }
    }

    /// The file cannot be read.
    pub(crate) fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        Self {
            file: file.to_owned(),
            found: vec![(0, error.to_string())],
        }
    }

    /// Returns each error with its file and line.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let file = self.file.display();
        self.found.iter().map(move |(line, what)| match line {
            0 => format!("{file}: {what}"),
            line => format!("{file}:{line}: {what}"),
        })
    }
}

impl fmt::Display for ConfigErrors {
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

impl std::error::Error for ConfigErrors {}

/// Collects errors while a file is read, so that all can be reported at once. Syntax errors come
/// first, because they may cause others.
#[derive(Debug)]
pub(super) struct ErrorCollector {
    file: PathBuf,
    text: String,
    broken: Vec<(usize, String)>,
    found: Vec<(usize, String)>,
    unknown: Vec<UnknownKey>,
    notices: Vec<(usize, String)>,
    fails_check: bool,
    keys: HashMap<String, usize>,
}

/// A key that its table does not have.
#[derive(Debug)]
struct UnknownKey {
    line: usize,
    name: String,
    /// The names of its tables, each followed by a dot.
    path: String,
    /// Its table, as it is written in the file.
    header: String,
    what: String,
}

impl ErrorCollector {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            broken: Vec::new(),
            found: Vec::new(),
            unknown: Vec::new(),
            notices: Vec::new(),
            fails_check: false,
            keys: HashMap::new(),
        }
    }

    /// Adds the place of a key that is read, such as `limits.max_sockets`.
    pub(super) fn add_key(&mut self, path: String, span: &Range<usize>) {
        if path.starts_with("route.") {
            // Many, and each is applied by a reload.
            return;
        }
        let line = self.line(span);
        self.keys.entry(path).or_insert(line);
    }

    /// Returns the lines of the keys.
    pub(super) fn keys(&mut self) -> HashMap<String, usize> {
        std::mem::take(&mut self.keys)
    }

    /// Makes `--check` fail although the bridge can start.
    pub(super) fn fail_check(&mut self) {
        self.fails_check = true;
    }

    pub(super) fn fails_check(&self) -> bool {
        self.fails_check
    }

    /// Adds what does not keep the bridge from starting.
    pub(super) fn add_notice(&mut self, span: &Range<usize>, what: impl fmt::Display) {
        let line = self.line(span);
        self.notices.push((line, what.to_string()));
    }

    /// Returns what does not keep the bridge from starting.
    pub(super) fn notices(&mut self) -> ConfigErrors {
        self.notices.sort();
        ConfigErrors {
            file: self.file.clone(),
            found: std::mem::take(&mut self.notices),
        }
    }

    /// Adds an error in what is at `span`.
    pub(super) fn add(&mut self, span: &Range<usize>, what: impl fmt::Display) {
        let line = self.line(span);
        self.found.push((line, what.to_string()));
    }

    /// Adds the error for a key that its table, `header`, does not have.
    pub(super) fn add_unknown_key(
        &mut self,
        span: &Range<usize>,
        name: &str,
        path: &str,
        header: &str,
        what: String,
    ) {
        self.unknown.push(UnknownKey {
            line: self.line(span),
            name: name.to_owned(),
            path: path.to_owned(),
            header: header.to_owned(),
            what,
        });
    }

    /// Adds to the errors for unknown keys in the tables of the table `header` that it has such a key:
    /// in TOML, all keys after the header of a table belong to that table.
    pub(super) fn explain_unknown_keys(
        &mut self,
        path: &str,
        header: &str,
        known: &BTreeSet<&'static str>,
    ) {
        let inner = |key: &UnknownKey| key.path != path && key.path.starts_with(path);
        let found: Vec<_> = self
            .unknown
            .extract_if(.., |key| inner(key) && known.contains(&*key.name))
            .collect();
        for key in found {
            let owner: &str = match header {
                "" => "of the file itself",
                header => &format!("of {header}"),
            };
            let (name, table) = (&key.name, &key.header);
            let what = format!(
                "unknown key {name:?} in {table}; it is a key {owner}: write it before {table}, \
                 because a table has all keys up to the next header"
            );
            self.found.push((key.line, what));
        }
    }

    /// Adds a TOML syntax error at `span`.
    pub(super) fn add_broken(&mut self, span: &Range<usize>, what: &str) {
        let line = self.line(span);
        self.broken.push((line, what.to_owned()));
    }

    /// Whether there are syntax errors, so that a missing key may in fact be present.
    pub(super) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Returns the number of the line on which `span` begins.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// Returns what was read if there are no errors.
    pub(super) fn result<T>(mut self, read: Option<T>) -> Result<T, ConfigErrors> {
        let unknown = self.unknown.drain(..);
        self.found.extend(unknown.map(|key| (key.line, key.what)));
        match read {
            Some(read) if self.found.is_empty() && self.broken.is_empty() => Ok(read),
            _ => {
                let mut found = self.broken;
                for some in [&mut found, &mut self.found] {
                    some.sort();
                    some.dedup();
                }
                found.append(&mut self.found);
                Err(ConfigErrors {
                    file: self.file,
                    found,
                })
            }
        }
    }
}
