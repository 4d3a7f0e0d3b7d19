//! Checks of header fields that `h2` does not make.

use http::HeaderMap;

/// Returns whether a field value begins or ends with a space or tab, which
/// makes the message malformed (RFC 9113 §8.2.1). An HTTP/1.1 peer behind a
/// bridge would read a different value.
pub(crate) fn are_padded(fields: &HeaderMap) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let mut values = fields.values().map(http::HeaderValue::as_bytes);
    values.any(|value| is_blank(value.first()) || is_blank(value.last()))
}
