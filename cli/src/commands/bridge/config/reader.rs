//! Reads TOML tables key by key. A wrong type, a wrong value or an unknown key becomes an error with
//! its line, and reading continues.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::ErrorCollector;

pub(super) type Span = Range<usize>;

/// A table that is being read. [`finish`](Self::finish) reports the keys that were not read.
pub(super) struct Section<'a> {
    table: &'a DeTable<'a>,
    pub(super) span: Span,
    /// The names of the tables around it, each followed by a dot.
    path: String,
    /// As it is written in the file, such as `[[route]]`; empty for the root.
    header: String,
    errors: &'a RefCell<ErrorCollector>,
    known: BTreeSet<&'static str>,
}

/// A value for which several types are allowed.
pub(super) struct Item<'a> {
    value: &'a DeValue<'a>,
    pub(super) span: Span,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        table: &'a DeTable<'a>,
        span: Span,
        path: String,
        header: String,
        errors: &'a RefCell<ErrorCollector>,
    ) -> Self {
        Self {
            table,
            span,
            path,
            header,
            errors,
            known: BTreeSet::new(),
        }
    }

    pub(super) fn error(&self, span: &Span, what: impl Display) {
        self.errors.borrow_mut().add(span, what);
    }

    /// Reports what does not keep the bridge from starting.
    pub(super) fn notice(&self, span: &Span, what: impl Display) {
        self.errors.borrow_mut().add_notice(span, what);
    }

    /// Makes `--check` fail although the bridge can start.
    pub(super) fn fail_check(&self) {
        self.errors.borrow_mut().fail_check();
    }

    pub(super) fn line(&self, span: &Span) -> usize {
        self.errors.borrow().line(span)
    }

    /// Whether the file has syntax errors.
    pub(super) fn is_broken(&self) -> bool {
        self.errors.borrow().is_broken()
    }

    /// Returns a string without marking its key as read, and without reporting errors.
    pub(super) fn peek(&self, key: &str) -> Option<&'a str> {
        as_str(self.table.get(key)?.get_ref())
    }

    pub(super) fn item(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.known.insert(key);
        let (name, value) = self.table.get_key_value(key)?;
        let path = format!("{}{key}", self.path);
        self.errors.borrow_mut().add_key(path, &name.span());
        Some(Item {
            value: value.get_ref(),
            span: value.span(),
        })
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<(T, Span)> {
        let Item { value, span } = self.item(key)?;
        let read = read(value);
        if read.is_none() {
            let what = format!("{key} must be {wanted}, not {}", kind(value));
            self.error(&span, what);
        }
        read.map(|read| (read, span))
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<(&'a str, Span)> {
        self.typed(key, "a string", as_str)
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let read = |value: &DeValue<'_>| match value {
            DeValue::Boolean(boolean) => Some(*boolean),
            _ => None,
        };
        self.typed(key, "true or false", read).map(|(read, _)| read)
    }

    pub(super) fn integer(&mut self, key: &'static str, range: Range<u64>) -> Option<u64> {
        let read = |value: &DeValue<'_>| as_integer(value);
        let (text, span) = self.typed(key, "an integer", read)?;
        match text {
            Some(number) if range.contains(&number) => Some(number),
            _ => {
                let last = range.end - 1;
                let what = format!("{key} must be from {} to {last}", range.start);
                self.error(&span, what);
                None
            }
        }
    }

    /// Reads a string and parses it.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        let (text, span) = self.string(key)?;
        match read(text) {
            Ok(read) => Some(read),
            Err(error) => {
                self.error(&span, format_args!("{key}: {error}"));
                None
            }
        }
    }

    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.parsed(key, duration)
    }

    /// Reads a duration, or `Some(None)` for `"none"`.
    pub(super) fn duration_or_none(&mut self, key: &'static str) -> Option<Option<Duration>> {
        self.parsed(key, duration_or_none)
    }

    /// Reads an array of strings, or a single string, each with its place.
    pub(super) fn strings(&mut self, key: &'static str) -> Vec<(&'a str, Span)> {
        let Some(Item { value, span }) = self.item(key) else {
            return Vec::new();
        };
        let mut read = Vec::new();
        match value {
            DeValue::String(text) => read.push((&**text, span)),
            DeValue::Array(items) => {
                for item in items {
                    match as_str(item.get_ref()) {
                        Some(text) => read.push((text, item.span())),
                        None => {
                            let kind = kind(item.get_ref());
                            let what = format!("{key} must contain strings, not {kind}");
                            self.error(&item.span(), what);
                        }
                    }
                }
            }
            value => {
                let kind = kind(value);
                let what = format!("{key} must be a string or an array of strings, not {kind}");
                self.error(&span, what);
            }
        }
        read
    }

    /// Reads a table of strings with arbitrary keys.
    pub(super) fn pairs(&mut self, key: &'static str) -> Vec<(&'a str, &'a str, Span)> {
        let Some((table, _)) = self.typed(key, "a table", as_table) else {
            return Vec::new();
        };
        let mut read = Vec::new();
        for (name, value) in table {
            match as_str(value.get_ref()) {
                Some(text) => read.push((name.get_ref().as_ref(), text, name.span())),
                None => {
                    let kind = kind(value.get_ref());
                    let what = format!("{} must be a string, not {kind}", name.get_ref());
                    self.error(&value.span(), what);
                }
            }
        }
        read
    }

    pub(super) fn section(&mut self, key: &'static str) -> Option<Self> {
        let (table, span) = self.typed(key, "a table", as_table)?;
        // The span of its header: the table's own span may be that of its keys.
        let head = self.table.get_key_value(key);
        let span = head.map_or(span, |(key, _)| key.span());
        let header = format!("[{}{key}]", self.path);
        let path = self.path_of(key);
        Some(Self::new(table, span, path, header, self.errors))
    }

    fn path_of(&self, key: &str) -> String {
        format!("{}{key}.", self.path)
    }

    /// Reads an array of tables, `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let read = |value: &'a DeValue<'a>| match value {
            DeValue::Array(items) => Some(items),
            _ => None,
        };
        let wanted = format!("written as [[{key}]]");
        let Some((items, _)) = self.typed(key, &wanted, read) else {
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items {
            match as_table(item.get_ref()) {
                Some(table) => {
                    let (path, header) = (self.path_of(key), format!("[[{}{key}]]", self.path));
                    sections.push(Self::new(table, item.span(), path, header, self.errors));
                }
                None => self.error(&item.span(), format_args!("{key} must be {wanted}")),
            }
        }
        sections
    }

    /// Reports the keys that were not read.
    pub(super) fn finish(self) {
        // Those of the tables in it, which were finished before: they may be keys of this one.
        let mut errors = self.errors.borrow_mut();
        errors.explain_unknown_keys(&self.path, &self.header, &self.known);
        drop(errors);
        for key in self.table.keys() {
            let name: &Cow<'_, str> = key.get_ref();
            if self.known.contains(&**name) {
                continue;
            }
            let known: Vec<_> = self.known.iter().copied().collect();
            let meant = nearest(name, &known);
            let meant = meant.map_or(String::new(), |key| format!("did you mean {key}? "));
            let known = known.join(", ");
            let what = format!("unknown key {name:?}; {meant}expected one of {known}");
            let mut errors = self.errors.borrow_mut();
            errors.add_unknown_key(&key.span(), name, &self.path, &self.header, what);
        }
    }
}

impl<'a> Item<'a> {
    pub(super) fn as_str(&self) -> Option<&'a str> {
        as_str(self.value)
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    /// Whether it is `[]`.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.value, DeValue::Array(items) if items.is_empty())
    }

    /// Returns `None` if it is not an integer, `Some(None)` if it is out of range.
    pub(super) fn as_integer(&self) -> Option<Option<u64>> {
        as_integer(self.value)
    }
}

fn as_str<'a>(value: &'a DeValue<'_>) -> Option<&'a str> {
    match value {
        DeValue::String(text) => Some(text),
        _ => None,
    }
}

fn as_table<'a>(value: &'a DeValue<'a>) -> Option<&'a DeTable<'a>> {
    match value {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

fn as_integer(value: &DeValue<'_>) -> Option<Option<u64>> {
    match value {
        DeValue::Integer(number) => Some(u64::from_str_radix(number.as_str(), number.radix()).ok()),
        _ => None,
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Returns the key that was probably meant: it differs in less than a third of its characters.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if name.len() > 100 {
        return None;
    }
    // Some write keys as options.
    let name = name.replace('-', "_").to_ascii_lowercase();
    let distances = known.iter().map(|key| (edits(&name, key), *key));
    let (distance, key) = distances.min()?;
    (distance <= key.len() / 3).then_some(key)
}

/// Returns the number of characters to insert, remove, replace or swap with the next that turn one text
/// into another.
fn edits(one: &str, other: &str) -> usize {
    let (one, other): (Vec<_>, Vec<_>) = (one.chars().collect(), other.chars().collect());
    // Row 0 and column 0 are for the empty text.
    let mut table = vec![vec![0; other.len() + 1]; one.len() + 1];
    for at in 0..=one.len() {
        for to in 0..=other.len() {
            table[at][to] = if at == 0 || to == 0 {
                at.max(to)
            } else {
                let replaced = table[at - 1][to - 1] + usize::from(one[at - 1] != other[to - 1]);
                let shifted = table[at - 1][to].min(table[at][to - 1]) + 1;
                let is_swap = at > 1
                    && to > 1
                    && one[at - 1] == other[to - 2]
                    && one[at - 2] == other[to - 1];
                let swapped = if is_swap {
                    table[at - 2][to - 2] + 1
                } else {
                    shifted
                };
                replaced.min(shifted).min(swapped)
            };
        }
    }
    table[one.len()][other.len()]
}

/// Returns the root table as a section.
pub(super) fn table<'a>(
    root: &'a Spanned<DeTable<'a>>,
    errors: &'a RefCell<ErrorCollector>,
) -> Section<'a> {
    let (path, header) = (String::new(), String::new());
    Section::new(root.get_ref(), root.span(), path, header, errors)
}

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Parses a duration, or `none`.
fn duration_or_none(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "none" => Ok(None),
        text => duration(text)
            .map(Some)
            .map_err(|error| format!("{error}, or none")),
    }
}

/// Parses a duration such as `250ms`, `10s`, `5m`, `1h` or `1d`; zero is an error.
fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration {text:?}; expected e.g. 250ms, 10s, 5m, 1h or 1d");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit.trim_start());
    let (_, milliseconds) = unit.ok_or_else(invalid)?;
    let number: u64 = number.parse().map_err(|_| invalid())?;
    match number.checked_mul(*milliseconds) {
        Some(0) => Err("must be greater than zero".to_owned()),
        Some(total) if total <= 86_400_000 * 365 => Ok(Duration::from_millis(total)),
        _ => Err(format!("{text:?} is longer than the maximum of 365d")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_suggested_if_it_is_near() {
        const KNOWN: [&str; 4] = ["host", "max_sockets", "path", "to"];
        for (name, meant) in [
            ("hots", Some("host")),
            ("Path", Some("path")),
            ("max-sockets", Some("max_sockets")),
            ("max_socket", Some("max_sockets")),
            ("xo", None),
            ("upstream", None),
            ("", None),
            (&"x".repeat(10_000), None),
        ] {
            assert_eq!(nearest(name, &KNOWN), meant, "{name}");
        }
        assert_eq!(nearest("a", &[]), None);
        for (one, other, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "", 2),
            ("kitten", "sitting", 3),
            ("hots", "host", 1),
        ] {
            assert_eq!(edits(one, other), expected);
        }
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, milliseconds) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("5 m", 300_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for text in ["", "10", "s", "-1s", "1.5s", "10 sec", "1s1s", "0s", "366d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        let huge = format!("{}d", u64::MAX);
        assert!(duration(&huge).is_err());
    }
}
