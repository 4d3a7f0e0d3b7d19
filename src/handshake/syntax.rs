//! Grammar rules of RFC 9110 that the handshake's headers share.

use http::header::{AsHeaderName, HeaderMap, HeaderValue};

/// Returns whether `text` is a `token` (RFC 9110 §5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Trims optional white space (RFC 9110 §5.6.3): spaces and tabs only.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Returns a field value without surrounding white space; `None` if it is not visible ASCII.
pub(super) fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().map(trim)
}

/// Returns the non-empty elements of a comma-separated list, which may span several fields
/// (RFC 9110 §5.6.1). A field that is not visible ASCII is one element, `None`.
///
/// Only for lists whose elements do not contain quoted strings.
pub(super) fn elements(
    headers: &HeaderMap,
    name: impl AsHeaderName,
) -> impl Iterator<Item = Option<&str>> {
    headers.get_all(name).into_iter().flat_map(|value| {
        let readable = value.to_str().ok();
        let unreadable = readable.is_none().then_some(None);
        let elements = readable.into_iter().flat_map(|text| text.split(','));
        elements
            .map(trim)
            .filter(|element| !element.is_empty())
            .map(Some)
            .chain(unreadable)
    })
}

/// Returns whether a list contains `token`, ignoring case.
pub(super) fn contains_token(headers: &HeaderMap, name: impl AsHeaderName, token: &str) -> bool {
    elements(headers, name)
        .flatten()
        .any(|element| element.eq_ignore_ascii_case(token))
}

/// A field that should occur once.
#[derive(Default)]
pub(super) enum Field<'a> {
    #[default]
    Absent,
    Once(&'a HeaderValue),
    Repeated,
}

impl<'a> Field<'a> {
    pub(super) fn add(&mut self, value: &'a HeaderValue) {
        *self = match self {
            Self::Absent => Self::Once(value),
            Self::Once(_) | Self::Repeated => Self::Repeated,
        };
    }
}

pub(super) fn field(headers: &HeaderMap, name: impl AsHeaderName) -> Field<'_> {
    let mut field = Field::default();
    for value in headers.get_all(name) {
        field.add(value);
    }
    field
}

/// Joins tokens into a field value.
pub(super) fn join<T: std::fmt::Display>(items: &[T]) -> Option<HeaderValue> {
    let list: Vec<String> = items.iter().map(ToString::to_string).collect();
    HeaderValue::try_from(list.join(", ")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{CONNECTION, UPGRADE};

    #[test]
    fn rfc9110_5_6_2_tokens() {
        for good in ["a", "chat.v2", "x-y_z", "!#$%&'*+-.^_`|~09azAZ"] {
            assert!(is_token(good), "{good}");
        }
        for bad in [
            "", "a b", "a,b", "a;b", "a=b", "\"a\"", "a/b", "a@b", "ä", "a\t",
        ] {
            assert!(!is_token(bad), "{bad}");
        }
    }

    #[test]
    fn rfc9110_5_6_1_lists_span_fields_and_have_empty_elements() {
        let mut headers = HeaderMap::new();
        headers.append(
            CONNECTION,
            HeaderValue::from_static("keep-alive, ,\tUpGrade ,"),
        );
        headers.append(CONNECTION, HeaderValue::from_static(""));
        headers.append(CONNECTION, HeaderValue::from_bytes(b"\xff").unwrap());
        headers.append(CONNECTION, HeaderValue::from_static("x"));
        let elements: Vec<_> = elements(&headers, CONNECTION).collect();
        assert_eq!(
            elements,
            [Some("keep-alive"), Some("UpGrade"), None, Some("x")]
        );
        assert!(contains_token(&headers, CONNECTION, "upgrade"));
        assert!(!contains_token(&headers, CONNECTION, "grade"));
        assert!(!contains_token(&headers, UPGRADE, "upgrade"));
    }
}
