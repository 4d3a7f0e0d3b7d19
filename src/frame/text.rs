//! UTF-8 held as bytes, shared without a copy.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use super::utf8::InvalidUtf8;

/// Valid UTF-8 in shared memory: cloning and receiving it copies nothing.
///
/// The bytes are known to be valid, but this crate has no unsafe code with which to tell the
/// compiler: each call that gives a `&str` ([`as_str`](Self::as_str), `Deref`, `Display`) scans
/// them again, at some tens of gigabytes a second for ASCII. Keep the `&str` where it is used
/// often, and use [`as_bytes`](Self::as_bytes) where bytes will do.
///
/// ```
/// use h2ws::Text;
///
/// let text = Text::from("grüezi");
/// assert_eq!(text, "grüezi");
/// assert!(text.starts_with("grü"));
/// assert_eq!(text.as_bytes().len(), 7);
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Bytes);

impl Text {
    /// Empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Text in static memory.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// For bytes that a [`Utf8Validator`](super::Utf8Validator) has seen to their end.
    pub(super) const fn from_checked(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The text; takes time in proportion to its length (see the type).
    #[must_use]
    pub fn as_str(&self) -> &str {
        simdutf8::basic::from_utf8(&self.0).expect("checked when it was made")
    }

    /// The bytes, at no cost.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The length in bytes, at no cost.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no text at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self::from_static(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl TryFrom<Bytes> for Text {
    type Error = InvalidUtf8;

    fn try_from(bytes: Bytes) -> Result<Self, InvalidUtf8> {
        match simdutf8::basic::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(InvalidUtf8),
        }
    }
}

impl From<Text> for Bytes {
    fn from(text: Text) -> Self {
        text.0
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.as_str().to_owned()
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<Text> for str {
    fn eq(&self, other: &Text) -> bool {
        other == self
    }
}

impl PartialEq<Text> for &str {
    fn eq(&self, other: &Text) -> bool {
        other == self
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_text_it_was_made_from() {
        let shared = Bytes::from_static("grüezi".as_bytes());
        let text = Text::try_from(shared.clone()).expect("valid");
        assert_eq!(text.as_bytes().as_ptr(), shared.as_ptr(), "no copy");
        for text in [text, Text::from("grüezi"), Text::from("grüezi".to_owned())] {
            assert_eq!(text, "grüezi");
            assert_eq!(text, *"grüezi");
            assert_eq!("grüezi", text);
            assert_eq!(*"grüezi", text);
            assert_ne!(text, "gruezi");
            assert_eq!(text.as_str(), "grüezi");
            assert_eq!(text.chars().count(), 6);
            assert_eq!((text.len(), text.is_empty()), (7, false));
            assert_eq!(AsRef::<str>::as_ref(&text), "grüezi");
            assert_eq!(AsRef::<[u8]>::as_ref(&text), "grüezi".as_bytes());
            assert_eq!(format!("{text} {text:?}"), r#"grüezi "grüezi""#);
            assert_eq!(String::from(text.clone()), "grüezi");
            assert_eq!(text.clone().into_bytes(), shared);
            assert_eq!(Bytes::from(text), shared);
        }
        assert!(Text::new().is_empty());
        assert_eq!(Text::default(), "");
    }

    #[test]
    fn invalid_bytes_are_refused() {
        for bytes in [&b"\xff"[..], b"cut \xe2\x82", b"\xed\xa0\x80"] {
            assert_eq!(Text::try_from(Bytes::from_static(bytes)), Err(InvalidUtf8));
        }
    }
}
