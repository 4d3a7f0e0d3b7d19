//! Subprotocols: a client offers some, and the server selects one or none (RFC 6455 §1.9, §11.3.4).

use http::header::{HeaderMap, SEC_WEBSOCKET_PROTOCOL};

use super::syntax;
use super::{HandshakeError, Rejection};

/// Returns whether `name` is a valid subprotocol: a token (RFC 6455 §4.1).
#[must_use]
pub fn is_valid(name: &str) -> bool {
    syntax::is_token(name)
}

/// Returns the subprotocols that a request offers, in the client's order of preference. Duplicates,
/// which clients should not send, are removed.
///
/// # Errors
/// [`Rejection::Subprotocols`] if one is not a token.
pub fn parse(headers: &HeaderMap) -> Result<Vec<String>, Rejection> {
    let mut offered: Vec<String> = Vec::new();
    for name in syntax::elements(headers, SEC_WEBSOCKET_PROTOCOL) {
        let name = name
            .filter(|name| is_valid(name))
            .ok_or(Rejection::Subprotocols)?;
        if !offered.iter().any(|known| known == name) {
            offered.push(name.to_owned());
        }
    }
    Ok(offered)
}

/// Returns the first offered subprotocol that the server supports: the client's preference decides.
///
/// Names are case-sensitive, as in browsers. If there is none in common, the WebSocket opens without
/// a subprotocol, which the client may not accept (RFC 6455 §4.2.2).
#[must_use]
pub fn select<'a>(offered: &'a [String], supported: &[impl AsRef<str>]) -> Option<&'a str> {
    let is_supported = |name: &&String| supported.iter().any(|known| known.as_ref() == *name);
    offered.iter().find(is_supported).map(String::as_str)
}

/// Validates the subprotocols that a client is about to offer.
pub(super) fn check_offer(offered: &[String]) -> Result<(), HandshakeError> {
    for (index, name) in offered.iter().enumerate() {
        if !is_valid(name) {
            return Err(HandshakeError::InvalidSubprotocol(name.clone()));
        }
        if offered[..index].contains(name) {
            return Err(HandshakeError::DuplicateSubprotocol(name.clone()));
        }
    }
    Ok(())
}

/// Reads the server's selection, which must be one that was offered, or none (RFC 6455 §4.1).
pub(super) fn check_answer(
    headers: &HeaderMap,
    offered: &[String],
) -> Result<Option<String>, HandshakeError> {
    let malformed = || HandshakeError::MalformedHeader(SEC_WEBSOCKET_PROTOCOL);
    let value = match syntax::field(headers, SEC_WEBSOCKET_PROTOCOL) {
        syntax::Field::Absent => return Ok(None),
        syntax::Field::Once(value) => value,
        syntax::Field::Repeated => return Err(HandshakeError::SeveralSubprotocols),
    };
    let name = syntax::text(value).ok_or_else(malformed)?;
    if name.contains(',') {
        return Err(HandshakeError::SeveralSubprotocols);
    }
    if !is_valid(name) {
        return Err(malformed());
    }
    if offered.iter().any(|known| known == name) {
        Ok(Some(name.to_owned()))
    } else {
        Err(HandshakeError::UnofferedSubprotocol(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn map(values: &[&'static str]) -> HeaderMap {
        let value =
            |value: &&'static str| (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(value));
        let mut headers = HeaderMap::new();
        for (name, value) in values.iter().map(value) {
            headers.append(name, value);
        }
        headers
    }

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rfc6455_11_3_4_offers_span_fields() {
        for (values, offered) in [
            (&[][..], &[][..]),
            (&["chat"], &["chat"]),
            (&["chat.v2, chat.v1"], &["chat.v2", "chat.v1"]),
            (&["a,b", "c ,, d"], &["a", "b", "c", "d"]),
            (&["a, a, A"], &["a", "A"]),
            (&[""], &[]),
        ] {
            assert_eq!(parse(&map(values)), Ok(strings(offered)), "{values:?}");
        }
        for bad in ["a b", "a;b", "\"a\"", "a, {b}", "a=b"] {
            assert_eq!(
                parse(&map(&["ok", bad])),
                Err(Rejection::Subprotocols),
                "{bad}"
            );
        }
        let mut latin = HeaderMap::new();
        latin.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_bytes(b"\xe4").unwrap(),
        );
        assert_eq!(parse(&latin), Err(Rejection::Subprotocols));
        let malformed = HandshakeError::MalformedHeader(SEC_WEBSOCKET_PROTOCOL);
        assert_eq!(check_answer(&latin, &[]), Err(malformed));
    }

    #[test]
    fn rfc6455_4_2_2_the_server_selects_one_or_none() {
        let offered = strings(&["b", "a"]);
        assert_eq!(
            select(&offered, &["a", "b"]),
            Some("b"),
            "the client's order"
        );
        assert_eq!(select(&offered, &["c", "a"]), Some("a"));
        assert_eq!(select(&offered, &["A"]), None);
        assert_eq!(select(&offered, &[""; 0]), None);
        assert_eq!(select(&[], &["a"]), None);
    }

    #[test]
    fn rfc6455_4_1_offers_are_unique_tokens() {
        assert_eq!(check_offer(&strings(&["a", "b", "A"])), Ok(()));
        let duplicate = HandshakeError::DuplicateSubprotocol("a".into());
        assert_eq!(check_offer(&strings(&["a", "b", "a"])), Err(duplicate));
        for bad in ["", "a,b", "a b", "\u{e4}", "a\r\nb"] {
            let invalid = HandshakeError::InvalidSubprotocol(bad.into());
            assert_eq!(check_offer(&strings(&["a", bad])), Err(invalid), "{bad:?}");
        }
    }

    #[test]
    fn rfc6455_4_1_a_client_takes_what_it_offered() {
        let offered = strings(&["a", "b"]);
        let malformed = || HandshakeError::MalformedHeader(SEC_WEBSOCKET_PROTOCOL);
        let unoffered = |name: &str| HandshakeError::UnofferedSubprotocol(name.into());
        for (values, answer) in [
            (&[][..], Ok(None)),
            (&["a"], Ok(Some("a".to_owned()))),
            (&[" b\t"], Ok(Some("b".to_owned()))),
            (&["c"], Err(unoffered("c"))),
            (&["A"], Err(unoffered("A"))),
            (&["a, b"], Err(HandshakeError::SeveralSubprotocols)),
            (&["a", "b"], Err(HandshakeError::SeveralSubprotocols)),
            (&["a", "a"], Err(HandshakeError::SeveralSubprotocols)),
            (&[""], Err(malformed())),
            (&["a b"], Err(malformed())),
        ] {
            assert_eq!(check_answer(&map(values), &offered), answer, "{values:?}");
        }
    }
}
