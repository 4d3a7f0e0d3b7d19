//! What a user says of permessage-deflate.

use super::{DeflateParams, WindowBits};
use crate::frame::{Deflate, Role};

/// What one side wants of permessage-deflate; the default is full windows, kept from message to
/// message.
///
/// "Server" and "client" name who compresses: `server_…` is about messages from the server.
///
/// Each direction of a socket keeps its window from message to message, unless that is given up:
/// up to 380 KB for what is sent and 48 KB for what is received, from the first compressed message
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
    /// do not say they can be limited: their sockets go uncompressed.
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
    fn setters_set_both_directions() {
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
    }
}
