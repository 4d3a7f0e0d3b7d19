//! Negotiates permessage-deflate (RFC 7692 §7.1).
//!
//! [`frame::Deflate`](crate::frame::Deflate) applies the result to messages.

mod config;
mod offer;

use super::Extension;
pub use config::DeflateConfig;
use offer::{CLIENT_MAX_WINDOW_BITS, SERVER_MAX_WINDOW_BITS, SERVER_NO_CONTEXT_TAKEOVER};
pub use offer::{ClientWindow, DeflateError, DeflateOffer, WindowBits};

/// The extension's registered name (RFC 7692 §7).
pub const NAME: &str = "permessage-deflate";

/// The negotiated parameters of permessage-deflate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeflateParams {
    /// Whether the server drops its window after each message.
    pub server_no_context_takeover: bool,
    /// Whether the client drops its window after each message.
    pub client_no_context_takeover: bool,
    /// Maximum window of the server's compressor. A decompressor may use a larger one.
    pub server_max_window_bits: WindowBits,
    /// Maximum window of the client's compressor. A decompressor may use a larger one. It may be too
    /// small to compress at all: see [`WindowBits::for_compressor`].
    pub client_max_window_bits: WindowBits,
}

impl DeflateOffer {
    /// Returns the parameters if `answer` is a valid answer to this offer (RFC 7692 §7.1).
    fn check(&self, answer: &Self) -> Result<DeflateParams, DeflateError> {
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
            // The client's own announcement holds even if the answer does not repeat it (§7.1.1.2).
            client_no_context_takeover: self.client_no_context_takeover
                || answer.client_no_context_takeover,
            server_max_window_bits: answer.server_max_window_bits.unwrap_or_default(),
            client_max_window_bits: own.min(limit),
        })
    }
}

impl DeflateConfig {
    /// Returns a client's offer, which always lets the server limit it further.
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

    /// Accepts the first compatible one of `offers` on behalf of a server. Returns the parameters
    /// and the extension to answer with, or `None` if the WebSocket is not compressed.
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
            // A requested limit must be confirmed even if it is the maximum.
            server_max_window_bits: (offer.server_max_window_bits.is_some()
                || server < WindowBits::MAX)
                .then_some(server),
            client_max_window_bits: (client < WindowBits::MAX)
                .then_some(ClientWindow::AtMost(client)),
        };
        Some((params, answer.to_extension()))
    }
}

/// Returns the parameters according to a server's `answer` to a client's `offers`.
///
/// # Errors
/// If the answer does not match any offer: the client must fail the connection (RFC 7692 §7.1).
pub fn check_answer<'a>(
    answer: &Extension,
    offers: impl IntoIterator<Item = &'a Extension>,
) -> Result<DeflateParams, DeflateError> {
    let answer = DeflateOffer::from_extension(answer)?;
    let mut failure = None;
    for offer in offers.into_iter().filter(|offer| offer.name() == NAME) {
        let offer = DeflateOffer::from_extension(offer);
        match offer.and_then(|offer| offer.check(&answer)) {
            Ok(params) => return Ok(params),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or(DeflateError::NotOffered(NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::extensions;
    use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
    use proptest::prelude::*;

    /// `text` follows the name of the extension.
    fn extension(text: &str) -> Extension {
        parse(&format!("{NAME}{text}")).remove(0)
    }

    fn parse(text: &str) -> Vec<Extension> {
        let mut headers = HeaderMap::new();
        headers.insert(
            SEC_WEBSOCKET_EXTENSIONS,
            HeaderValue::from_str(text).unwrap(),
        );
        extensions::parse(&headers).unwrap()
    }

    fn bits(bits: u8) -> WindowBits {
        WindowBits::new(bits).unwrap()
    }

    #[test]
    fn rfc7692_7_1_answers_of_a_server() {
        let all = DeflateConfig::default();
        let small = DeflateConfig {
            server_max_window_bits: bits(10),
            ..all
        };
        let tiny = DeflateConfig {
            server_max_window_bits: bits(8),
            ..all
        };
        let limiting = DeflateConfig {
            client_max_window_bits: bits(11),
            ..all
        };
        let frugal = DeflateConfig {
            server_no_context_takeover: true,
            client_no_context_takeover: true,
            ..all
        };
        for (config, offer, answer) in [
            (all, "", Some("")),
            (all, "; client_max_window_bits", Some("")),
            (all, "; client_max_window_bits=15", Some("")),
            (
                all,
                "; client_max_window_bits=10",
                Some("; client_max_window_bits=10"),
            ),
            (
                all,
                "; client_max_window_bits=8",
                Some("; client_max_window_bits=8"),
            ),
            (
                all,
                "; server_max_window_bits=\"12\"",
                Some("; server_max_window_bits=12"),
            ),
            (
                all,
                "; server_max_window_bits=15",
                Some("; server_max_window_bits=15"),
            ),
            // zlib does not support it: its window would be larger than negotiated.
            (all, "; server_max_window_bits=8", None),
            (
                all,
                "; server_no_context_takeover",
                Some("; server_no_context_takeover"),
            ),
            (
                all,
                "; client_no_context_takeover",
                Some("; client_no_context_takeover"),
            ),
            (small, "", Some("; server_max_window_bits=10")),
            (
                small,
                "; server_max_window_bits=12",
                Some("; server_max_window_bits=10"),
            ),
            (
                small,
                "; server_max_window_bits=9",
                Some("; server_max_window_bits=9"),
            ),
            (tiny, "", Some("; server_max_window_bits=9")),
            (limiting, "", None),
            (
                limiting,
                "; client_max_window_bits",
                Some("; client_max_window_bits=11"),
            ),
            (
                limiting,
                "; client_max_window_bits=10",
                Some("; client_max_window_bits=10"),
            ),
            (
                limiting,
                "; client_max_window_bits=12",
                Some("; client_max_window_bits=11"),
            ),
            (
                frugal,
                "",
                Some("; server_no_context_takeover; client_no_context_takeover"),
            ),
        ] {
            let accepted = config.accept(&[extension(offer)]);
            let written = accepted.as_ref().map(|(_, answer)| answer.to_string());
            let expected = answer.map(|answer| format!("{NAME}{answer}"));
            assert_eq!(written, expected, "{config:?} {offer}");
            if let Some((params, answer)) = accepted {
                // Both sides compute the same parameters.
                let checked = check_answer(&answer, &[extension(offer)]);
                assert_eq!(checked, Ok(params), "{config:?} {offer}");
            }
        }
    }

    #[test]
    fn rfc7692_5_the_first_compatible_offer_is_accepted() {
        let config = DeflateConfig::default();
        let offers = parse(
            "x, permessage-deflate; server_max_window_bits=8, permessage-deflate; y, \
             permessage-deflate; server_max_window_bits=10, permessage-deflate",
        );
        let (params, answer) = config.accept(&offers).unwrap();
        assert_eq!(params.server_max_window_bits, bits(10));
        assert_eq!(answer, extension("; server_max_window_bits=10"));
        assert_eq!(check_answer(&answer, &offers), Ok(params));
        assert_eq!(config.accept(&parse("x, Permessage-Deflate")), None);
    }

    #[test]
    fn rfc7692_7_1_invalid_answers() {
        for (offer, answer, error) in [
            (
                "; server_no_context_takeover",
                "",
                DeflateError::Missing("server_no_context_takeover"),
            ),
            (
                "; server_max_window_bits=10",
                "",
                DeflateError::Missing("server_max_window_bits"),
            ),
            (
                "; server_max_window_bits=10",
                "; server_max_window_bits=11",
                DeflateError::TooLarge("server_max_window_bits"),
            ),
            (
                "",
                "; client_max_window_bits=10",
                DeflateError::NotOffered("client_max_window_bits"),
            ),
            (
                "; client_max_window_bits",
                "; client_max_window_bits",
                DeflateError::InvalidValue("client_max_window_bits".into()),
            ),
        ] {
            let checked = check_answer(&extension(answer), &[extension(offer)]);
            assert_eq!(checked, Err(error.clone()), "{offer} {answer}");
            assert!(error.to_string().contains("_"), "{error}");
        }
        let nothing = check_answer(&extension(""), &parse("x"));
        assert_eq!(nothing, Err(DeflateError::NotOffered(NAME)));
    }

    #[test]
    fn rfc7692_7_1_valid_answers() {
        let none = DeflateParams::default();
        let server = |n| DeflateParams {
            server_max_window_bits: bits(n),
            ..none
        };
        let client = |n| DeflateParams {
            client_max_window_bits: bits(n),
            ..none
        };
        let client_drops = DeflateParams {
            client_no_context_takeover: true,
            ..none
        };
        let server_drops = DeflateParams {
            server_no_context_takeover: true,
            ..none
        };
        for (offer, answer, params) in [
            ("", "", none),
            ("", "; server_max_window_bits=8", server(8)),
            ("", "; server_no_context_takeover", server_drops),
            ("", "; client_no_context_takeover", client_drops),
            ("; client_no_context_takeover", "", client_drops),
            (
                "; server_max_window_bits=10",
                "; server_max_window_bits=9",
                server(9),
            ),
            (
                "; client_max_window_bits",
                "; client_max_window_bits=8",
                client(8),
            ),
            ("; client_max_window_bits=10", "", client(10)),
            (
                "; client_max_window_bits=10",
                "; client_max_window_bits=12",
                client(10),
            ),
        ] {
            let checked = check_answer(&extension(answer), &[extension(offer)]);
            assert_eq!(checked, Ok(params), "{offer} {answer}");
        }
    }

    #[test]
    fn a_client_offers_what_it_supports() {
        let offer = |config: DeflateConfig| config.offer().to_extension();
        let all = DeflateConfig::default();
        assert_eq!(offer(all), extension("; client_max_window_bits"));
        let tiny = DeflateConfig {
            client_max_window_bits: bits(8),
            server_max_window_bits: bits(8),
            ..all
        };
        let written = "; server_max_window_bits=8; client_max_window_bits=9";
        assert_eq!(
            offer(tiny),
            extension(written),
            "zlib cannot compress with 8 bits, only inflate"
        );
    }

    prop_compose! {
        fn config()(server: bool, client: bool, s in 8_u8..=15, c in 8_u8..=15) -> DeflateConfig {
            DeflateConfig {
                server_no_context_takeover: server,
                client_no_context_takeover: client,
                server_max_window_bits: bits(s),
                client_max_window_bits: bits(c),
                ..DeflateConfig::default()
            }
        }
    }

    proptest! {
        #[test]
        fn both_sides_agree_within_both_limits(client in config(), server in config()) {
            let offer = client.offer();
            let sent = offer.to_extension();
            prop_assert_eq!(DeflateOffer::from_extension(&sent), Ok(offer));
            match server.accept([&sent]) {
                None => prop_assert_eq!(client.server_max_window_bits, bits(8)),
                Some((params, answer)) => {
                    prop_assert_eq!(check_answer(&answer, [&sent]), Ok(params));
                    prop_assert!(params.server_max_window_bits <= client.server_max_window_bits);
                    let floor = WindowBits::MIN_COMPRESS;
                    let own = server.server_max_window_bits.max(floor);
                    prop_assert!(params.server_max_window_bits <= own);
                    prop_assert!(params.server_max_window_bits >= floor);
                    prop_assert!(params.client_max_window_bits <= server.client_max_window_bits);
                    let forgets = params.server_no_context_takeover;
                    let asked = client.server_no_context_takeover || server.server_no_context_takeover;
                    prop_assert_eq!(forgets, asked);
                }
            }
        }
    }
}
