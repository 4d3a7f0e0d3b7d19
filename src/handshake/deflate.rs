//! What permessage-deflate is offered and agreed with (RFC 7692 §7.1).
//!
//! Negotiation alone; the compressor that acts on it is elsewhere.

use std::fmt;

use super::Extension;
use crate::frame::{Deflate, Role};

/// The extension's registered name (RFC 7692 §7).
pub const NAME: &str = "permessage-deflate";

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The size of a compressor's LZ77 window, as its base-2 logarithm in bytes: 8 to 15
/// (RFC 7692 §7.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowBits(u8);

impl WindowBits {
    /// 256 bytes: the smallest window there is.
    pub const MIN: Self = Self(8);
    /// 512 bytes: the smallest window that zlib and its kin can compress raw DEFLATE with.
    pub const MIN_COMPRESS: Self = Self(9);
    /// 32 KiB: what holds where nothing is said.
    pub const MAX: Self = Self(15);

    /// `bits` from 8 to 15.
    #[must_use]
    pub fn new(bits: u8) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0)
            .contains(&bits)
            .then_some(Self(bits))
    }

    /// The logarithm.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }

    /// Digits without leading zeros (RFC 7692 §7.1.2.1).
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

/// What one side wants of permessage-deflate; the default is what compresses best.
///
/// "Server" and "client" name who compresses: `server_…` is about messages from the server.
///
/// Each direction of a socket keeps its window from message to message, unless that is given up:
/// up to 370 KB for what is sent and 40 KB for what is received, from the first compressed message
/// on. [`no_context_takeover`](Self::no_context_takeover) needs them only while a message passes.
///
/// ```
/// use h2ws::handshake::DeflateConfig;
///
/// let config = DeflateConfig::default().no_context_takeover().threshold(512);
/// assert!(config.server_no_context_takeover && config.client_no_context_takeover);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateConfig {
    /// The server forgets its window after each message: it keeps no memory, and compresses less.
    pub server_no_context_takeover: bool,
    /// The client forgets its window after each message.
    pub client_no_context_takeover: bool,
    /// The largest window the server compresses with. For a server's own compressor, 8 counts
    /// as [`WindowBits::MIN_COMPRESS`].
    pub server_max_window_bits: WindowBits,
    /// The largest window the client compresses with. For a client's own compressor, 8 counts
    /// as [`WindowBits::MIN_COMPRESS`]. A server that sets less than 15 declines clients that
    /// do not say they can be limited: Firefox and Safari then go uncompressed.
    pub client_max_window_bits: WindowBits,
    /// Messages shorter than this, in bytes, this side sends as they are. Not negotiated. Default:
    /// [`Deflate::THRESHOLD`].
    pub threshold: usize,
    /// How hard this side tries, from 1 (fast) to 9 (small). Not negotiated. Default:
    /// [`Deflate::LEVEL`].
    pub level: u8,
}

impl Default for DeflateConfig {
    fn default() -> Self {
        Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: WindowBits::MAX,
            client_max_window_bits: WindowBits::MAX,
            threshold: Deflate::THRESHOLD,
            level: Deflate::LEVEL,
        }
    }
}

/// What both sides compress with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeflateParams {
    /// The server forgets its window after each message.
    pub server_no_context_takeover: bool,
    /// The client forgets its window after each message.
    pub client_no_context_takeover: bool,
    /// The largest window the server compresses with; a decompressor may use a larger one.
    pub server_max_window_bits: WindowBits,
    /// The largest window the client compresses with; a decompressor may use a larger one.
    /// A client that cannot compress with so little sends its messages uncompressed, as
    /// RFC 7692 §6 allows for each.
    pub client_max_window_bits: WindowBits,
}

/// One offer of a client's (RFC 7692 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeflateOffer {
    /// The server must forget its window after each message.
    pub server_no_context_takeover: bool,
    /// The client is going to forget its window after each message.
    pub client_no_context_takeover: bool,
    /// The server must not use a larger window.
    pub server_max_window_bits: Option<WindowBits>,
    /// Whether and how the client's window may be limited.
    pub client_max_window_bits: Option<ClientWindow>,
}

/// What a client says of its own window (RFC 7692 §7.1.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientWindow {
    /// The server may limit it.
    Limitable,
    /// The server may limit it, and the client does not use a larger one than this anyway.
    AtMost(WindowBits),
}

impl DeflateOffer {
    /// Reads an offer. An answer has the same parameters, and fewer liberties.
    ///
    /// # Errors
    /// If a parameter is unknown, repeated, or has not the value it needs: a server declines
    /// such an offer (RFC 7692 §7.1).
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

    /// The offer as it is sent.
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

    /// What holds if a server answers this offer so (RFC 7692 §7.1).
    fn answered(&self, answer: &Self) -> Result<DeflateParams, DeflateError> {
        if self.server_no_context_takeover && !answer.server_no_context_takeover {
            return Err(DeflateError::Missing(SERVER_NO_CONTEXT_TAKEOVER));
        }
        match (self.server_max_window_bits, answer.server_max_window_bits) {
            (Some(_), None) => return Err(DeflateError::Missing(SERVER_MAX_WINDOW_BITS)),
            (Some(asked), Some(given)) if given > asked => {
                return Err(DeflateError::TooLarge(SERVER_MAX_WINDOW_BITS));
            }
            _ => {}
        }
        let limit = match (self.client_max_window_bits, answer.client_max_window_bits) {
            (None, Some(_)) => return Err(DeflateError::NotOffered(CLIENT_MAX_WINDOW_BITS)),
            (_, Some(ClientWindow::Limitable)) => {
                return Err(DeflateError::InvalidValue(
                    CLIENT_MAX_WINDOW_BITS.to_owned(),
                ));
            }
            (_, Some(ClientWindow::AtMost(bits))) => bits,
            (_, None) => WindowBits::MAX,
        };
        let own = match self.client_max_window_bits {
            Some(ClientWindow::AtMost(bits)) => bits,
            _ => WindowBits::MAX,
        };
        Ok(DeflateParams {
            server_no_context_takeover: answer.server_no_context_takeover,
            // What was announced holds whether or not the answer repeats it (§7.1.1.2).
            client_no_context_takeover: self.client_no_context_takeover
                || answer.client_no_context_takeover,
            server_max_window_bits: answer.server_max_window_bits.unwrap_or_default(),
            client_max_window_bits: own.min(limit),
        })
    }
}

impl DeflateConfig {
    /// Both sides forget their windows after each message: an idle socket then costs nothing, and
    /// messages are compressed each on its own.
    #[must_use]
    pub const fn no_context_takeover(mut self) -> Self {
        self.server_no_context_takeover = true;
        self.client_no_context_takeover = true;
        self
    }

    /// Limits the windows of both sides.
    #[must_use]
    pub const fn max_window_bits(mut self, bits: WindowBits) -> Self {
        self.server_max_window_bits = bits;
        self.client_max_window_bits = bits;
        self
    }

    /// Sets the [`threshold`](Self#structfield.threshold), in bytes.
    #[must_use]
    pub const fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// Sets the [`level`](Self#structfield.level), 1 to 9.
    #[must_use]
    pub const fn level(mut self, level: u8) -> Self {
        self.level = level;
        self
    }

    /// What to compress with at the end `role`, once `params` are agreed.
    #[must_use]
    pub fn at(&self, role: Role, params: &DeflateParams) -> Deflate {
        let server = (
            params.server_max_window_bits.get(),
            !params.server_no_context_takeover,
        );
        let client = (
            params.client_max_window_bits.get(),
            !params.client_no_context_takeover,
        );
        let (send, receive) = match role {
            Role::Client => (client, server),
            Role::Server => (server, client),
        };
        Deflate::default()
            .send(send.0, send.1)
            .receive(receive.0, receive.1)
            .threshold(self.threshold)
            .level(self.level)
    }

    /// A client's offer; it can always be limited further by the server.
    #[must_use]
    pub fn offer(&self) -> DeflateOffer {
        let own = self.client_max_window_bits.max(WindowBits::MIN_COMPRESS);
        let asked = self.server_max_window_bits;
        DeflateOffer {
            server_no_context_takeover: self.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover,
            server_max_window_bits: (asked < WindowBits::MAX).then_some(asked),
            client_max_window_bits: Some(if own < WindowBits::MAX {
                ClientWindow::AtMost(own)
            } else {
                ClientWindow::Limitable
            }),
        }
    }

    /// A server's answer to the first of `offers` that it can take: what then holds, and the
    /// extension that says so. `None` if it takes none, and the socket goes uncompressed.
    #[must_use]
    pub fn accept<'a>(
        &self,
        offers: impl IntoIterator<Item = &'a Extension>,
    ) -> Option<(DeflateParams, Extension)> {
        let named = offers.into_iter().filter(|offer| offer.name() == NAME);
        named
            .filter_map(|offer| DeflateOffer::from_extension(offer).ok())
            .find_map(|offer| self.accept_one(&offer))
    }

    fn accept_one(&self, offer: &DeflateOffer) -> Option<(DeflateParams, Extension)> {
        let own = self.server_max_window_bits.max(WindowBits::MIN_COMPRESS);
        let server = own.min(offer.server_max_window_bits.unwrap_or_default());
        if server < WindowBits::MIN_COMPRESS {
            return None;
        }
        let limit = self.client_max_window_bits;
        let client = match offer.client_max_window_bits {
            None if limit < WindowBits::MAX => return None,
            None | Some(ClientWindow::Limitable) => limit,
            Some(ClientWindow::AtMost(bits)) => bits.min(limit),
        };
        let params = DeflateParams {
            server_no_context_takeover: self.server_no_context_takeover
                || offer.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover
                || offer.client_no_context_takeover,
            server_max_window_bits: server,
            client_max_window_bits: client,
        };
        let answer = DeflateOffer {
            server_no_context_takeover: params.server_no_context_takeover,
            client_no_context_takeover: params.client_no_context_takeover,
            // Limits that were asked for must be confirmed, even where they limit nothing.
            server_max_window_bits: (offer.server_max_window_bits.is_some()
                || server < WindowBits::MAX)
                .then_some(server),
            client_max_window_bits: (client < WindowBits::MAX)
                .then_some(ClientWindow::AtMost(client)),
        };
        Some((params, answer.to_extension()))
    }
}

/// What holds after a server's `answer` to a client's `offers`.
///
/// # Errors
/// If the answer fits none of them: the client must fail the connection (RFC 7692 §7.1).
pub fn check_answer<'a>(
    answer: &Extension,
    offers: impl IntoIterator<Item = &'a Extension>,
) -> Result<DeflateParams, DeflateError> {
    let answer = DeflateOffer::from_extension(answer)?;
    let mut failure = None;
    for offer in offers.into_iter().filter(|offer| offer.name() == NAME) {
        let offer = DeflateOffer::from_extension(offer);
        match offer.and_then(|offer| offer.answered(&answer)) {
            Ok(params) => return Ok(params),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or(DeflateError::NotOffered(NAME)))
}

/// Why an offer or an answer of permessage-deflate is not valid (RFC 7692 §7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeflateError {
    /// A parameter that permessage-deflate does not have.
    Unknown(String),
    /// A parameter that comes twice.
    Repeated(String),
    /// A parameter without the value it needs, with one it must not have, or out of range.
    InvalidValue(String),
    /// The answer lacks what the offer demanded.
    Missing(&'static str),
    /// The answer holds what the offer did not allow.
    NotOffered(&'static str),
    /// The answer exceeds the limit of the offer.
    TooLarge(&'static str),
}

impl fmt::Display for DeflateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "unknown parameter {name}"),
            Self::Repeated(name) => write!(f, "{name} is there twice"),
            Self::InvalidValue(name) => write!(f, "{name} has an invalid value"),
            Self::Missing(name) => write!(f, "{name} was demanded and not confirmed"),
            Self::NotOffered(name) => write!(f, "{name} was not offered"),
            Self::TooLarge(name) => write!(f, "{name} is above the offer's limit"),
        }
    }
}

impl std::error::Error for DeflateError {}
