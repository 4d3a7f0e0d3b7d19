//! The values in the query of a request's target.

use std::borrow::Cow;

use crate::percent::{self, Byte};

/// Returns the first value with this name, decoded as the URL Standard says
/// (`application/x-www-form-urlencoded`, §5.1). As there, a `%` without its two digits stands for
/// itself, and what is not UTF-8 is replaced.
pub(crate) fn value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (!pair.is_empty() && decoded(key) == name).then(|| decoded(value))
    })
}

/// Returns a name or value as it was before it was encoded.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let bytes = percent::bytes(text).map(|byte| match byte {
        Byte::Literal(b'+') => b' ',
        byte => byte.value(),
    });
    let bytes: Vec<u8> = bytes.collect();
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn the_first_value_of_a_name_is_decoded() {
        for (query, expected) in [
            ("token=sesame", Some("sesame")),
            ("a=1&token=sesame&token=other", Some("sesame")),
            ("token=open+sesame%21%3D&b", Some("open sesame!=")),
            ("to%6ben=sesame", Some("sesame")),
            ("token=a=b", Some("a=b")),
            ("token", Some("")),
            ("token=&token=sesame", Some("")),
            ("token=100%", Some("100%")),
            ("token=%4", Some("%4")),
            ("token=%zz%+1", Some("%zz% 1")),
            ("token=%ff", Some("\u{fffd}")),
            ("token=%c3%a9", Some("é")),
            ("Token=sesame&xtoken=1&token2=2", None),
            ("", None),
        ] {
            assert_eq!(value(query, "token").as_deref(), expected, "{query}");
        }
        assert_eq!(value("&&", ""), None);
        assert_eq!(value("a&=1", "").as_deref(), Some("1"));
    }
}
