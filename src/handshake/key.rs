//! `Sec-WebSocket-Key`, and the `Sec-WebSocket-Accept` that proves it was read (RFC 6455 §4.1, §4.2.2).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use sha1::{Digest as _, Sha1};

use super::syntax;

/// Length of sixteen bytes in base64, including the padding.
const LEN: usize = 24;

/// The GUID that RFC 6455 §1.3 appends to the key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The nonce of one opening handshake over HTTP/1.1.
///
/// It proves that the server understood the handshake. It is not a secret and does not authenticate
/// either side.
///
/// ```
/// use h2ws::handshake::Key;
///
/// let key = Key::new(*b"the sample nonce"); // RFC 6455 §1.3
/// assert_eq!(key.as_str(), "dGhlIHNhbXBsZSBub25jZQ==");
/// assert_eq!(key.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; LEN]);

impl Key {
    /// Creates a client's key from sixteen bytes, drawn at random for each handshake (RFC 6455 §4.1).
    #[must_use]
    pub fn new(nonce: [u8; 16]) -> Self {
        let mut text = [0; LEN];
        let written = STANDARD.encode_slice(nonce, &mut text);
        debug_assert_eq!(written, Ok(LEN));
        Self(text)
    }

    /// Parses a peer's key.
    ///
    /// # Errors
    /// If it is not the base64 of sixteen bytes (RFC 6455 §4.2.1). Bits after the sixteenth byte may
    /// be set, as some clients draw the text itself at random. `Sec-WebSocket-Accept` is computed
    /// from the text, so nothing depends on them.
    pub fn parse(value: &HeaderValue) -> Result<Self, InvalidKey> {
        let text = syntax::text(value).ok_or(InvalidKey)?;
        let key: [u8; LEN] = text.as_bytes().try_into().map_err(|_| InvalidKey)?;
        let (digits, padding) = key.split_at(LEN - 2);
        let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
        if digits.iter().all(is_digit) && padding == b"==" {
            Ok(Self(key))
        } else {
            Err(InvalidKey)
        }
    }

    /// Returns the value of `Sec-WebSocket-Key`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base64 is ASCII")
    }

    /// Returns the `Sec-WebSocket-Accept` for this key (RFC 6455 §4.2.2).
    #[must_use]
    pub fn accept(&self) -> HeaderValue {
        let digest = Sha1::new()
            .chain_update(self.0)
            .chain_update(GUID)
            .finalize();
        HeaderValue::try_from(STANDARD.encode(digest)).expect("base64 is visible ASCII")
    }

    pub(super) fn to_value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).expect("base64 is visible ASCII")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.as_str()).finish()
    }
}

/// A `Sec-WebSocket-Key` that is not the base64 of sixteen bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidKey;

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the WebSocket key is not the base64 of sixteen bytes")
    }
}

impl std::error::Error for InvalidKey {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &'static str) -> Result<Key, InvalidKey> {
        Key::parse(&HeaderValue::from_static(text))
    }

    #[test]
    fn rfc6455_1_3_example() {
        let key = parse("dGhlIHNhbXBsZSBub25jZQ==").unwrap();
        assert_eq!(key.accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(format!("{key:?}"), "Key(\"dGhlIHNhbXBsZSBub25jZQ==\")");
    }

    #[test]
    fn rfc6455_4_2_1_a_key_is_sixteen_bytes_of_base64() {
        assert!(
            parse(" dGhlIHNhbXBsZSBub25jZQ==\t").is_ok(),
            "white space around it"
        );
        assert!(parse("dGhlIHNhbXBsZSBub25jZf==").is_ok(), "loose bits");
        for bad in [
            "",
            "dGhlIHNhbXBsZSBub25jZQ",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZQ===",
            "dGhlIHNhbXBsZSBub25jZQE=",
            "dGhlIHNhbXBsZSBub25jZQEC",
            "dGhlIHNhbXBsZSBub25j_Q==",
            "dGhlIHNhbXBs=SBub25jZQ==",
            "AAAA",
        ] {
            assert_eq!(parse(bad), Err(InvalidKey), "{bad}");
        }
        assert!(InvalidKey.to_string().contains("sixteen"));
    }

    proptest! {
        #[test]
        fn a_key_round_trips(nonce: [u8; 16]) {
            let key = Key::new(nonce);
            prop_assert_eq!(Key::parse(&key.to_value()), Ok(key.clone()));
            prop_assert_eq!(STANDARD.decode(key.as_str()).unwrap(), nonce);
        }
    }
}
