//! What `h2` lets through of header fields and HTTP/2 does not.

use http::HeaderMap;

/// Whether a value begins or ends with a blank, which makes the message
/// malformed (RFC 9113 §8.2.1): HTTP/1.1 behind a bridge would read another
/// value.
pub(crate) fn are_padded(fields: &HeaderMap) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let mut values = fields.values().map(http::HeaderValue::as_bytes);
    values.any(|value| is_blank(value.first()) || is_blank(value.last()))
}
