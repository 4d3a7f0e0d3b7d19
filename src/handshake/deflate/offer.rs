//! Parses and writes the parameters of permessage-deflate (RFC 7692 §7.1).

use std::fmt;

use super::NAME;
use crate::handshake::Extension;

pub(super) const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
pub(super) const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
pub(super) const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
pub(super) const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The size of a compressor's LZ77 window, as its base-2 logarithm in bytes: 8 to 15
/// (RFC 7692 §7.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowBits(u8);

impl WindowBits {
    /// 256 bytes, the smallest window.
    pub const MIN: Self = Self(8);
    /// 512 bytes, the smallest window that zlib and its derivatives support for compressing.
    pub const MIN_COMPRESS: Self = Self(9);
    /// 32 KiB, the largest window and the default.
    pub const MAX: Self = Self(15);

    /// Returns the window of `bits`, if they are from 8 to 15.
    #[must_use]
    pub fn new(bits: u8) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0)
            .contains(&bits)
            .then_some(Self(bits))
    }

    /// Returns the logarithm.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }

    /// Returns the logarithm if compressors support the window, and `None` for 8 bits: messages are
    /// then sent uncompressed, which RFC 7692 §6 allows.
    #[must_use]
    pub fn for_compressor(self) -> Option<u8> {
        (self >= Self::MIN_COMPRESS).then_some(self.0)
    }

    /// Parses digits without leading zeros (RFC 7692 §7.1.2.1).
    fn parse(text: &str) -> Option<Self> {
        let bits = Self::new(text.parse().ok()?)?;
        (bits.to_string() == text).then_some(bits)
    }
}

impl Default for WindowBits {
    fn default() -> Self {
        Self::MAX
    }
}

impl fmt::Display for WindowBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An offer of a client (RFC 7692 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeflateOffer {
    /// Whether the server must drop its window after each message.
    pub server_no_context_takeover: bool,
    /// Whether the client will drop its window after each message.
    pub client_no_context_takeover: bool,
    /// Maximum window of the server's compressor, if limited.
    pub server_max_window_bits: Option<WindowBits>,
    /// Whether the server may limit the window of the client's compressor.
    pub client_max_window_bits: Option<ClientWindow>,
}

/// A client's offer to limit its own window (RFC 7692 §7.1.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientWindow {
    /// The server may limit it.
    Limitable,
    /// The server may limit it further than this limit of the client's own.
    AtMost(WindowBits),
}

impl DeflateOffer {
    /// Parses an offer, or an answer, which has the same parameters.
    ///
    /// # Errors
    /// If a parameter is unknown, repeated, or has an invalid value: a server declines such an offer
    /// (RFC 7692 §7.1).
    pub fn from_extension(extension: &Extension) -> Result<Self, DeflateError> {
        let mut offer = Self::default();
        let mut seen = Vec::new();
        for (name, value) in extension.params() {
            if seen.contains(&name) {
                return Err(DeflateError::Repeated(name.to_owned()));
            }
            seen.push(name);
            let invalid = || DeflateError::InvalidValue(name.to_owned());
            let bits = |text| WindowBits::parse(text).ok_or_else(invalid);
            match (name, value) {
                (SERVER_NO_CONTEXT_TAKEOVER, None) => offer.server_no_context_takeover = true,
                (CLIENT_NO_CONTEXT_TAKEOVER, None) => offer.client_no_context_takeover = true,
                (SERVER_MAX_WINDOW_BITS, Some(text)) => {
                    offer.server_max_window_bits = Some(bits(text)?);
                }
                (CLIENT_MAX_WINDOW_BITS, Some(text)) => {
                    offer.client_max_window_bits = Some(ClientWindow::AtMost(bits(text)?));
                }
                (CLIENT_MAX_WINDOW_BITS, None) => {
                    offer.client_max_window_bits = Some(ClientWindow::Limitable);
                }
                (
                    SERVER_NO_CONTEXT_TAKEOVER
                    | CLIENT_NO_CONTEXT_TAKEOVER
                    | SERVER_MAX_WINDOW_BITS,
                    _,
                ) => return Err(invalid()),
                _ => return Err(DeflateError::Unknown(name.to_owned())),
            }
        }
        Ok(offer)
    }

    /// Returns the offer as an extension.
    #[must_use]
    pub fn to_extension(&self) -> Extension {
        let mut params: Vec<(&str, Option<String>)> = Vec::new();
        if self.server_no_context_takeover {
            params.push((SERVER_NO_CONTEXT_TAKEOVER, None));
        }
        if self.client_no_context_takeover {
            params.push((CLIENT_NO_CONTEXT_TAKEOVER, None));
        }
        if let Some(bits) = self.server_max_window_bits {
            params.push((SERVER_MAX_WINDOW_BITS, Some(bits.to_string())));
        }
        match self.client_max_window_bits {
            Some(ClientWindow::AtMost(bits)) => {
                params.push((CLIENT_MAX_WINDOW_BITS, Some(bits.to_string())));
            }
            Some(ClientWindow::Limitable) => params.push((CLIENT_MAX_WINDOW_BITS, None)),
            None => {}
        }
        let extension = Extension::new(NAME);
        params
            .iter()
            .fold(extension, |extension, (name, value)| {
                extension?.param(name, value.as_deref())
            })
            .expect("names and numbers are tokens")
    }
}

/// An invalid offer or answer of permessage-deflate (RFC 7692 §7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeflateError {
    /// An unknown parameter.
    Unknown(String),
    /// A repeated parameter.
    Repeated(String),
    /// A parameter with a missing, unexpected or invalid value.
    InvalidValue(String),
    /// The answer lacks a parameter that the offer requires.
    Missing(&'static str),
    /// The answer has a parameter that the offer does not allow.
    NotOffered(&'static str),
    /// The answer exceeds a limit of the offer.
    TooLarge(&'static str),
}

impl fmt::Display for DeflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "unknown parameter {name}"),
            Self::Repeated(name) => write!(f, "parameter {name} is repeated"),
            Self::InvalidValue(name) => write!(f, "parameter {name} has an invalid value"),
            Self::Missing(name) => write!(f, "parameter {name} was required and is missing"),
            Self::NotOffered(name) => write!(f, "parameter {name} was not offered"),
            Self::TooLarge(name) => write!(f, "parameter {name} exceeds the offered limit"),
        }
    }
}

impl std::error::Error for DeflateError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::deflate::{DeflateConfig, check_answer};
    use crate::handshake::extensions;
    use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

    /// `text` follows the name of the extension.
    fn extension(text: &str) -> Extension {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::try_from(format!("{NAME}{text}")).unwrap();
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, value);
        extensions::parse(&headers).unwrap().remove(0)
    }

    #[test]
    fn rfc7692_7_1_2_1_window_bits_are_8_to_15_without_leading_zeros() {
        for good in 8..=15 {
            assert_eq!(
                WindowBits::parse(&good.to_string()).map(WindowBits::get),
                Some(good)
            );
        }
        for bad in [
            "", "0", "7", "16", "08", "010", "+8", "-8", "8.0", "x", "256", "264",
        ] {
            assert_eq!(WindowBits::parse(bad), None, "{bad}");
        }
        assert_eq!(WindowBits::new(7), None);
        assert_eq!(WindowBits::new(16), None);
        assert_eq!(WindowBits::default().get(), 15);
        assert_eq!(WindowBits::MIN.for_compressor(), None);
        assert_eq!(WindowBits::MIN_COMPRESS.for_compressor(), Some(9));
    }

    #[test]
    fn rfc7692_7_1_invalid_offers() {
        let value = |name: &str| DeflateError::InvalidValue(name.into());
        for (text, error) in [
            ("; foo", DeflateError::Unknown("foo".into())),
            ("; foo=1", DeflateError::Unknown("foo".into())),
            ("; server_max_window_bits", value("server_max_window_bits")),
            (
                "; server_max_window_bits=7",
                value("server_max_window_bits"),
            ),
            (
                "; client_max_window_bits=08",
                value("client_max_window_bits"),
            ),
            (
                "; server_no_context_takeover=1",
                value("server_no_context_takeover"),
            ),
            (
                "; client_no_context_takeover=true",
                value("client_no_context_takeover"),
            ),
            (
                "; client_max_window_bits; client_max_window_bits=10",
                DeflateError::Repeated("client_max_window_bits".into()),
            ),
        ] {
            let parsed = DeflateOffer::from_extension(&extension(text));
            assert_eq!(parsed, Err(error.clone()), "{text}");
            assert_eq!(
                DeflateConfig::default().accept(&[extension(text)]),
                None,
                "{text}"
            );
            let answered = check_answer(&extension(text), &[extension("")]);
            assert_eq!(answered, Err(error.clone()), "{text}");
            let name = text[2..].split(['=', ';']).next().unwrap();
            assert!(error.to_string().contains(name), "{text}");
        }
    }
}
