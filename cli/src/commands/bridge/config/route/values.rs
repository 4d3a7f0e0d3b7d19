//! Reports of invalid values that several keys of a route may have.

use std::fmt::Display;

use super::super::reader::{Section, Span};

pub(super) fn invalid_host(key: &str, name: &str) -> String {
    format!("{key}: invalid host {name:?}; expected e.g. app.example.com or app.example.com:8080")
}

/// Returns the value, or reports the error.
pub(super) fn valid_or_report<T, E: Display>(
    section: &Section<'_>,
    span: &Span,
    read: Result<T, E>,
) -> Option<T> {
    read.map_err(|error| section.error(span, error)).ok()
}
