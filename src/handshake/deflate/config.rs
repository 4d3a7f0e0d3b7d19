//! The configuration of permessage-deflate.

use super::{DeflateParams, WindowBits};
use crate::frame::{Deflate, Role};

/// Configures permessage-deflate for one side. Default: full windows, kept from message to message.
///
/// `server_` settings are about messages that the server sends, `client_` settings about those that
/// the client sends; either side can limit both directions.
///
/// A socket keeps a window for each direction from message to message: up to 380 KB to send and
/// 48 KB to receive, from the first compressed message on.
/// [`no_context_takeover`](Self::no_context_takeover) allocates them per message instead.
///
/// ```
/// use h2ws::handshake::DeflateConfig;
///
/// let config = DeflateConfig::default().no_context_takeover().threshold(512);
/// assert!(config.server_no_context_takeover && config.client_no_context_takeover);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeflateConfig {
    /// Whether the server drops its window after each message, which saves memory and compresses
    /// less. Default false.
    pub server_no_context_takeover: bool,
    /// Whether the client drops its window after each message. Default false.
    pub client_no_context_takeover: bool,
    /// Maximum window of the server's compressor. A server treats 8 as
    /// [`WindowBits::MIN_COMPRESS`]. Default [`WindowBits::MAX`].
    pub server_max_window_bits: WindowBits,
    /// Maximum window of the client's compressor. A client treats 8 as
    /// [`WindowBits::MIN_COMPRESS`]. If a server sets less than 15, the WebSockets of clients that
    /// do not support a limit are not compressed. Default [`WindowBits::MAX`].
    pub client_max_window_bits: WindowBits,
    /// Minimum size, in bytes, of a message that this side compresses. Not negotiated. Default
    /// [`Deflate::THRESHOLD`].
    pub threshold: usize,
    /// Compression level of this side, from 1 (fastest) to 9 (smallest). Not negotiated. Default
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

impl DeflateConfig {
    /// Makes both sides drop their windows after each message: an idle socket then takes no memory
    /// for compression, and each message is compressed on its own.
    #[must_use]
    pub const fn no_context_takeover(mut self) -> Self {
        self.server_no_context_takeover = true;
        self.client_no_context_takeover = true;
        self
    }

    /// Sets [`server_no_context_takeover`](Self#structfield.server_no_context_takeover).
    #[must_use]
    pub const fn server_no_context_takeover(mut self, enabled: bool) -> Self {
        self.server_no_context_takeover = enabled;
        self
    }

    /// Sets [`client_no_context_takeover`](Self#structfield.client_no_context_takeover).
    #[must_use]
    pub const fn client_no_context_takeover(mut self, enabled: bool) -> Self {
        self.client_no_context_takeover = enabled;
        self
    }

    /// Limits the windows of both sides.
    #[must_use]
    pub const fn max_window_bits(mut self, bits: WindowBits) -> Self {
        self.server_max_window_bits = bits;
        self.client_max_window_bits = bits;
        self
    }

    /// Sets [`server_max_window_bits`](Self#structfield.server_max_window_bits).
    #[must_use]
    pub const fn server_max_window_bits(mut self, bits: WindowBits) -> Self {
        self.server_max_window_bits = bits;
        self
    }

    /// Sets [`client_max_window_bits`](Self#structfield.client_max_window_bits).
    #[must_use]
    pub const fn client_max_window_bits(mut self, bits: WindowBits) -> Self {
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

    /// Returns the settings of the end `role` after the handshake has negotiated `params`.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7692_7_1_each_end_compresses_as_its_name_says() {
        let params = DeflateParams {
            server_no_context_takeover: true,
            client_no_context_takeover: false,
            server_max_window_bits: WindowBits::MIN_COMPRESS,
            client_max_window_bits: WindowBits::MIN,
        };
        let config = DeflateConfig::default().threshold(7).level(8);
        let expected = Deflate::default().threshold(7).level(8);
        let server = expected.send(9, false).receive(8, true);
        let client = expected.send(8, true).receive(9, false);
        assert_eq!(config.at(Role::Server, &params), server);
        assert_eq!(config.at(Role::Client, &params), client);
    }

    #[test]
    fn setters_set_one_direction_or_both() {
        let bits = WindowBits::MIN_COMPRESS;
        let config = DeflateConfig::default()
            .no_context_takeover()
            .max_window_bits(bits);
        let expected = DeflateConfig {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            server_max_window_bits: bits,
            client_max_window_bits: bits,
            ..DeflateConfig::default()
        };
        assert_eq!(config, expected);
        let one_by_one = DeflateConfig::default()
            .server_no_context_takeover(true)
            .client_no_context_takeover(true)
            .server_max_window_bits(bits)
            .client_max_window_bits(bits);
        assert_eq!(one_by_one, expected);
        let server = DeflateConfig::default().server_max_window_bits(bits);
        assert_eq!(server.client_max_window_bits, WindowBits::MAX);
        let client = DeflateConfig::default().client_no_context_takeover(true);
        assert!(!client.server_no_context_takeover);
    }
}
