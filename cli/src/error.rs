//! What a command returns when it fails, and how that is printed.

use std::error::Error;
use std::fmt::{self, Display};

/// Any error that ends a command; printed with its causes.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Bad usage that clap cannot detect. Ends the program with status 2.
#[derive(Debug)]
pub(crate) struct Usage(String);

impl Usage {
    /// Returns the error for a configuration file, which is printed as it is.
    pub(crate) fn file(errors: &dyn Display) -> Self {
        Self(errors.to_string())
    }

    /// Returns the error for the value of one option.
    pub(crate) fn option(option: &str, error: &dyn Display) -> Self {
        Self::options(&format_args!("{option}: {error}"))
    }

    /// Returns the error for several options together, or for one that `error` names.
    pub(crate) fn options(error: &dyn Display) -> Self {
        Self(format!("{error}\n\nFor more information, try '--help'."))
    }
}

impl Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Usage {}

/// A file has no errors, but a certificate that clients reject. Ends `--check` with status 3.
#[derive(Debug)]
pub(crate) struct CheckFailed;

impl Display for CheckFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no errors, but clients reject a certificate")
    }
}

impl Error for CheckFailed {}

/// A signal arrived before the command was done.
#[derive(Debug)]
pub(crate) struct Stopped;

impl Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped by a signal")
    }
}

impl Error for Stopped {}

/// Returns an error and its causes in one line. A cause whose text is already part of the line is
/// left out.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
