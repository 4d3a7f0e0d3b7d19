//! UTF-8 text in shared memory.

use std::fmt;

use bytes::Bytes;

use super::utf8::InvalidUtf8;

/// Valid UTF-8 in shared memory. Cloning or receiving it copies nothing.
///
/// The bytes were validated when the text was made, but without `unsafe` code, which this crate
/// forbids, the compiler cannot rely on that: [`as_str`](Self::as_str) and `Display` validate them
/// again, at tens of gigabytes per second for ASCII. For that reason there is no `Deref` to `str`,
/// which would hide the cost. Keep the `&str` if you use it more than once, and use
/// [`as_bytes`](Self::as_bytes) where bytes are enough.
///
/// ```
/// use h2ws::Text;
///
/// let text = Text::from("grüezi");
/// assert_eq!(text, "grüezi");
/// assert!(text.as_str().starts_with("grü"));
/// assert_eq!(text.as_bytes().len(), 7);
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Bytes);

impl Text {
    /// Creates an empty text.
    #[must_use]
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Creates a text from static memory, without a copy.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Wraps bytes that a [`Utf8Validator`](super::Utf8Validator) has accepted to the end.
    pub(super) const fn from_checked(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// Returns the text as a `&str`. Takes time in proportion to its length; see
    /// [the type](Self).
    #[must_use]
    pub fn as_str(&self) -> &str {
        simdutf8::basic::from_utf8(&self.0).expect("validated when it was made")
    }

    /// Returns the bytes of the text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes of the text, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Copies the text; [`Text::from_static`] does not.
impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

/// Copies the text.
impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

/// Takes over the memory, without a copy.
impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

/// Validates the bytes and takes over their memory, without a copy.
impl TryFrom<Bytes> for Text {
    type Error = InvalidUtf8;

    fn try_from(bytes: Bytes) -> Result<Self, InvalidUtf8> {
        match simdutf8::basic::from_utf8(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(InvalidUtf8),
        }
    }
}

/// Validates the bytes and takes over their memory, without a copy.
impl TryFrom<Vec<u8>> for Text {
    type Error = InvalidUtf8;

    fn try_from(bytes: Vec<u8>) -> Result<Self, InvalidUtf8> {
        Self::try_from(Bytes::from(bytes))
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
        for text in [
            text,
            Text::from("grüezi"),
            Text::from_static("grüezi"),
            Text::from("grüezi".to_owned()),
            Text::from(&"grüezi".to_owned()),
            Text::try_from("grüezi".as_bytes().to_vec()).expect("valid"),
        ] {
            assert_eq!(text, "grüezi");
            assert_eq!(text, *"grüezi");
            assert_eq!("grüezi", text);
            assert_eq!(*"grüezi", text);
            assert_ne!(text, "gruezi");
            assert_eq!(text.as_str(), "grüezi");
            assert_eq!(text.as_str().chars().count(), 6);
            assert_eq!((text.len(), text.is_empty()), (7, false));
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
    fn invalid_bytes_are_rejected() {
        for bytes in [&b"\xff"[..], b"cut \xe2\x82", b"\xed\xa0\x80"] {
            assert_eq!(Text::try_from(Bytes::from_static(bytes)), Err(InvalidUtf8));
        }
    }
}
