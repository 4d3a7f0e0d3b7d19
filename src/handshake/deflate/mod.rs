//! What permessage-deflate is offered and agreed with (RFC 7692 §7.1).
//!
//! Negotiation alone; the compressor that acts on it is elsewhere.

mod config;
mod offer;

use super::Extension;
pub use config::DeflateConfig;
use offer::{CLIENT_MAX_WINDOW_BITS, SERVER_MAX_WINDOW_BITS, SERVER_NO_CONTEXT_TAKEOVER};
pub use offer::{ClientWindow, DeflateError, DeflateOffer, WindowBits};

/// The extension's registered name (RFC 7692 §7).
pub const NAME: &str = "permessage-deflate";

/// What both sides compress with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeflateParams {
    /// The server forgets its window after each message.
    pub server_no_context_takeover: bool,
    /// The client forgets its window after each message.
    pub client_no_context_takeover: bool,
    /// The largest window the server compresses with; a decompressor may use a larger one.
    pub server_max_window_bits: WindowBits,
    /// The largest window the client compresses with; a decompressor may use a larger one.
    /// It may be too small to compress with at all: see [`WindowBits::for_compressor`].
    pub client_max_window_bits: WindowBits,
}

impl DeflateOffer {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::extensions;
    use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
    use proptest::prelude::*;

    /// `text` is what follows the name.
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
    fn rfc7692_7_1_what_a_server_answers() {
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
            // zlib cannot: the window would be larger than promised.
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
            let said = accepted.as_ref().map(|(_, answer)| answer.to_string());
            let expected = answer.map(|answer| format!("{NAME}{answer}"));
            assert_eq!(said, expected, "{config:?} {offer}");
            if let Some((params, answer)) = accepted {
                // Both sides draw the same conclusions.
                let checked = check_answer(&answer, &[extension(offer)]);
                assert_eq!(checked, Ok(params), "{config:?} {offer}");
            }
        }
    }

    #[test]
    fn rfc7692_5_the_first_offer_that_suits_is_taken() {
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
    fn rfc7692_7_1_what_a_client_fails_on() {
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
    fn rfc7692_7_1_what_a_client_takes() {
        let none = DeflateParams::default();
        let server = |n| DeflateParams {
            server_max_window_bits: bits(n),
            ..none
        };
        let client = |n| DeflateParams {
            client_max_window_bits: bits(n),
            ..none
        };
        let client_forgets = DeflateParams {
            client_no_context_takeover: true,
            ..none
        };
        let server_forgets = DeflateParams {
            server_no_context_takeover: true,
            ..none
        };
        for (offer, answer, params) in [
            ("", "", none),
            ("", "; server_max_window_bits=8", server(8)),
            ("", "; server_no_context_takeover", server_forgets),
            ("", "; client_no_context_takeover", client_forgets),
            ("; client_no_context_takeover", "", client_forgets),
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
    fn a_client_offers_what_it_can_keep() {
        let offer = |config: DeflateConfig| config.offer().to_extension();
        let all = DeflateConfig::default();
        assert_eq!(offer(all), extension("; client_max_window_bits"));
        let tiny = DeflateConfig {
            client_max_window_bits: bits(8),
            server_max_window_bits: bits(8),
            ..all
        };
        let said = "; server_max_window_bits=8; client_max_window_bits=9";
        assert_eq!(
            offer(tiny),
            extension(said),
            "zlib cannot compress with 8, but inflate"
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
