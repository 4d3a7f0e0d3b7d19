//! Wording that several commands share.

/// Returns a number and a noun, which is in the plural unless the number is 1.
pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
