//! Command lines of the form `--name value` and `--switch`.

use std::collections::HashMap;
use std::str::FromStr;

use crate::Error;

/// The parsed command line.
#[derive(Debug)]
pub struct Args {
    values: HashMap<String, String>,
}

impl Args {
    /// Parses the process's arguments: `names` take a value, `switches` do not.
    ///
    /// # Errors
    ///
    /// If a name is unknown or a value is missing.
    pub fn from_env(names: &[&str], switches: &[&str]) -> Result<Self, Error> {
        Self::parse(std::env::args().skip(1), names, switches)
    }

    pub(crate) fn parse(
        mut words: impl Iterator<Item = String>,
        names: &[&str],
        switches: &[&str],
    ) -> Result<Self, Error> {
        let mut values = HashMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").unwrap_or(&word);
            if switches.contains(&name) {
                values.insert(name.to_owned(), String::new());
            } else if names.contains(&name) {
                let value = words
                    .next()
                    .ok_or_else(|| format!("--{name} needs a value"))?;
                values.insert(name.to_owned(), value);
            } else {
                let known = [names, switches].concat().join(" --");
                return Err(format!("unknown argument {word}; known: --{known}").into());
            }
        }
        Ok(Self { values })
    }

    /// Returns whether the switch or value was given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Returns the value, if it was given.
    ///
    /// # Errors
    ///
    /// If the value cannot be parsed.
    pub fn find<T: FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.values.get(name) else {
            return Ok(None);
        };
        match value.parse() {
            Ok(parsed) => Ok(Some(parsed)),
            Err(error) => Err(format!("--{name} {value}: {error}").into()),
        }
    }

    /// Returns the value, or `default`.
    ///
    /// # Errors
    ///
    /// If the value cannot be parsed.
    pub fn or<T: FromStr<Err: std::fmt::Display>>(
        &self,
        name: &str,
        default: T,
    ) -> Result<T, Error> {
        Ok(self.find(name)?.unwrap_or(default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn parse(line: &str) -> Result<Args, Error> {
        Args::parse(
            line.split_whitespace().map(str::to_owned),
            &["size", "mode"],
            &["frames"],
        )
    }

    #[test]
    fn values_and_switches_are_parsed() {
        let args = parse("--size 64 --frames").unwrap();
        assert_eq!(args.or("size", 1).unwrap(), 64);
        assert_eq!(args.find::<String>("mode").unwrap(), None);
        assert!(args.has("frames"));
    }

    #[test]
    fn unknown_names_and_invalid_values_are_errors() {
        assert!(parse("--sice 64").is_err());
        assert!(parse("--size").is_err());
        assert!(parse("--size x").unwrap().or("size", 1).is_err());
    }
}
