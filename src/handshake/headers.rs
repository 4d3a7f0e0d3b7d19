//! Headers that belong to one connection or to the handshake, cookies and tokens.
//!
//! The lists of such headers (RFC 9110 §7.6.1, RFC 9113 §8.2.2) are in this file only. A client, a
//! server and a bridge must agree on them: a header that one of them forwards and another
//! interprets lets a peer smuggle requests.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::HandshakeError;
use super::syntax;

/// Converts a header field given by the caller.
#[cfg(feature = "net")]
pub(crate) fn field<N, V>(name: N, value: V) -> Result<(HeaderName, HeaderValue), http::Error>
where
    N: TryInto<HeaderName, Error: Into<http::Error>>,
    V: TryInto<HeaderValue, Error: Into<http::Error>>,
{
    let name = name.try_into().map_err(Into::into)?;
    Ok((name, value.try_into().map_err(Into::into)?))
}

/// Returns whether HTTP/2 forbids the field (RFC 9113 §8.2.2). `te`, which it allows with the value
/// `trailers`, is not among these fields.
#[inline]
pub(crate) fn is_forbidden_in_http2(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade"
    )
}

/// Returns whether the field is about one connection, not about a request or response.
pub(crate) fn is_connection_specific(name: &HeaderName) -> bool {
    is_forbidden_in_http2(name) || matches!(name.as_str(), "te" | "trailer" | "http2-settings")
}

/// Returns whether the handshake writes or reads the field itself, or the field would announce a
/// body.
fn is_of_handshake(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "expect"
            | "sec-websocket-accept"
            | "sec-websocket-extensions"
            | "sec-websocket-key"
            | "sec-websocket-protocol"
            | "sec-websocket-version"
    )
}

/// Returns whether callers may not set `name` themselves, because it belongs to the handshake or
/// to one connection.
///
/// The same fields are reserved over both versions of HTTP, so that a request which works over one
/// works over the other.
#[must_use]
pub fn is_reserved(name: &HeaderName) -> bool {
    is_of_handshake(name) || is_connection_specific(name)
}

/// Returns whether the configuration of a bridge may not change the field, because it belongs to the
/// handshake, to one connection, or to the framing of a body.
#[cfg(feature = "net")]
pub(crate) fn is_fixed(name: &HeaderName) -> bool {
    matches!(*name, header::HOST | header::CONTENT_LENGTH)
        || name.as_str().starts_with("sec-websocket-")
        || is_connection_specific(name)
}

/// Removes the fields for which `matches` returns true.
fn remove_if(headers: &mut HeaderMap, matches: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|n| matches(n)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Removes the fields that HTTP/2 forbids (RFC 9113 §8.2.2), except `te`.
pub(crate) fn remove_forbidden_in_http2(headers: &mut HeaderMap) {
    remove_if(headers, is_forbidden_in_http2);
}

/// Removes the fields that an intermediary must not forward (RFC 9110 §7.6.1): those that
/// `connection` names, those about the connection, and all `proxy-` fields.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = syntax::elements(headers, header::CONNECTION)
        .flatten()
        .filter_map(|name| name.parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    remove_if(headers, |name| {
        is_connection_specific(name) || name.as_str().starts_with("proxy-")
    });
}

/// Removes the fields of a received request that `connection` names (RFC 9110 §7.6.1), and their
/// names there. Those of the handshake stay: it may not name them.
///
/// Without this, a client could name a field that a layer or handler sets for an upstream, such as
/// the name of a user, and so have a bridge behind that layer remove it.
#[cfg(feature = "net")]
pub(crate) fn resolve_connection(headers: &mut HeaderMap) {
    let is_option = |name: &HeaderName| name.as_str() == "close" || is_connection_specific(name);
    let mut options = Vec::new();
    let mut named = Vec::new();
    for element in syntax::elements(headers, header::CONNECTION) {
        match element.and_then(|element| HeaderName::try_from(element).ok()) {
            Some(name) if is_option(&name) => options.push(name),
            name => named.push(name),
        }
    }
    if named.is_empty() {
        return;
    }
    for name in named.into_iter().flatten() {
        if !is_of_handshake(&name) && name != header::ORIGIN {
            headers.remove(name);
        }
    }
    headers.remove(header::CONNECTION);
    for option in options {
        headers.append(header::CONNECTION, option.into());
    }
}

/// Like [`remove_hop_by_hop`], for a message that is forwarded with its body: `trailer`, which
/// announces the trailers of the body, is kept. Returns whether the sender accepts trailers itself
/// (`te: trailers`, RFC 9110 §10.1.4).
pub fn keep_end_to_end(headers: &mut HeaderMap) -> bool {
    let takes_trailers = syntax::contains_token(headers, header::TE, "trailers");
    let mut trailer = Vec::new();
    if !syntax::contains_token(headers, header::CONNECTION, "trailer") {
        trailer.extend(headers.get_all(header::TRAILER).iter().cloned());
    }
    remove_hop_by_hop(headers);
    for names in trailer {
        headers.append(header::TRAILER, names);
    }
    takes_trailers
}

/// Removes every [reserved](is_reserved) field of a peer's request or response. The others can be
/// forwarded as a caller's own.
pub fn remove_reserved(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    remove_if(headers, is_of_handshake);
}

/// Joins several `cookie` fields, which HTTP/2 allows, into the only one that HTTP/1.1 allows
/// (RFC 9113 §8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let cookies = || headers.get_all(header::COOKIE).into_iter();
    if cookies().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = cookies().map(HeaderValue::as_bytes).collect();
    let sensitive = cookies().any(HeaderValue::is_sensitive);
    let mut joined = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
        .expect("valid values joined by visible ASCII are valid");
    joined.set_sensitive(sensitive);
    headers.insert(header::COOKIE, joined);
}

/// Returns the values of the cookies of this name (RFC 6265 §4.2.1), without the quotes that may
/// surround them. HTTP/2 allows several `cookie` fields (RFC 9113 §8.2.3).
pub(crate) fn cookies<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let fields = headers.get_all(header::COOKIE).into_iter();
    let pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let value = pair[at + 1..].trim_ascii();
        let unquoted = value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""));
        (pair[..at].trim_ascii() == name.as_bytes()).then(|| unquoted.unwrap_or(value))
    })
}

/// Returns the value of the first cookie of this name whose value is ASCII (RFC 6265 §4.2.1),
/// without the quotes that may surround it. Searches all `cookie` fields.
#[must_use]
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    cookies(headers, name).find_map(|value| {
        let text = str::from_utf8(value).ok()?;
        text.is_ascii().then_some(text)
    })
}

/// Returns the token of an `Authorization: Bearer` field (RFC 6750 §2.1); `None` without one, and if
/// there are several fields.
#[must_use]
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(header::AUTHORIZATION).into_iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return None;
    };
    let (scheme, token) = field.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Adds the caller's fields after those of the handshake.
pub(super) fn add_own(own: &mut HeaderMap, headers: HeaderMap) {
    if !headers.is_empty() {
        own.extend(headers);
    }
}

/// Checks that the caller does not set a [reserved](is_reserved) field.
pub(super) fn check_own(headers: &HeaderMap) -> Result<(), HandshakeError> {
    match headers.keys().find(|name| is_reserved(name)) {
        Some(name) => Err(HandshakeError::ReservedHeader(name.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::handshake) fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        let mut headers = HeaderMap::new();
        for (name, value) in fields.iter().map(pair) {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn rfc9110_7_6_1_hop_by_hop_fields_are_removed() {
        let mut headers = map(&[
            ("connection", "Upgrade, X-Hop, not a name"),
            ("connection", "x-other"),
            ("upgrade", "websocket"),
            ("x-hop", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("http2-settings", "AAMAAABk"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eDp5"),
            ("proxy-status", "x"),
            ("origin", "https://example.com"),
            ("authorization", "Bearer x"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "origin", "sec-websocket-key"]);
        remove_reserved(&mut headers);
        assert!(check_own(&headers).is_ok());
        assert_eq!(headers.len(), 2);
    }

    #[test]
    #[cfg(feature = "net")]
    fn rfc9110_7_6_1_a_received_connection_field_is_resolved() {
        let mut headers = map(&[
            ("connection", "Upgrade, X-User, host, not a name, Origin"),
            ("connection", "close, x-none, sec-websocket-key"),
            ("upgrade", "websocket"),
            ("host", "a.test"),
            ("origin", "https://a.test"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("x-user", "1"),
            ("x-user", "2"),
        ]);
        let mut resolved = headers.clone();
        resolve_connection(&mut resolved);
        headers.remove("x-user");
        headers.remove("connection");
        headers.append("connection", HeaderValue::from_static("upgrade"));
        headers.append("connection", HeaderValue::from_static("close"));
        assert_eq!(resolved, headers);
        resolve_connection(&mut resolved);
        assert_eq!(resolved, headers);
    }

    #[test]
    fn rfc6265_4_2_1_cookies_by_name() {
        let mut headers = map(&[
            ("cookie", "a=1; b=\"two\"; a=no;c = x=y ;d"),
            ("cookie", "e="),
        ]);
        let latin = HeaderValue::from_bytes(b"f=\xe4; f=7").unwrap();
        headers.append("cookie", latin);
        for (name, value) in [
            ("a", Some("1")),
            ("b", Some("two")),
            ("c", Some("x=y")),
            ("d", None),
            ("e", Some("")),
            ("f", Some("7")),
            ("A", None),
            ("", None),
        ] {
            assert_eq!(cookie(&headers, name), value, "{name}");
        }
        assert_eq!(cookie(&HeaderMap::new(), "a"), None);
    }

    #[test]
    fn rfc9110_6_6_2_trailer_is_forwarded_with_the_body() {
        let mut headers = map(&[
            ("te", "deflate, Trailers"),
            ("trailer", "x-sum"),
            ("trailer", "x-end"),
            ("connection", "te, x-hop"),
            ("x-hop", "1"),
        ]);
        assert!(keep_end_to_end(&mut headers));
        assert_eq!(headers, map(&[("trailer", "x-sum"), ("trailer", "x-end")]));
        assert!(!keep_end_to_end(&mut headers));
        let mut hop = map(&[("trailer", "x"), ("connection", "trailer")]);
        assert!(!keep_end_to_end(&mut hop));
        assert!(hop.is_empty());
    }

    #[test]
    fn rfc9113_8_2_3_cookie_crumbs_are_joined() {
        let mut headers = map(&[("cookie", "a=b"), ("cookie", "c=d")]);
        let mut secret = HeaderValue::from_static("e=f");
        secret.set_sensitive(true);
        headers.append("cookie", secret);
        join_cookies(&mut headers);
        let cookies: Vec<_> = headers.get_all("cookie").iter().collect();
        assert_eq!(cookies, ["a=b; c=d; e=f"]);
        assert!(cookies[0].is_sensitive());
        let mut one = map(&[("cookie", "a=b")]);
        join_cookies(&mut one);
        assert_eq!(one, map(&[("cookie", "a=b")]));
        let mut none = HeaderMap::new();
        join_cookies(&mut none);
        assert!(none.is_empty());
    }

    #[test]
    fn bearer_tokens() {
        let table = [
            ("Bearer sesame", Some("sesame")),
            ("bearer  sesame ", Some("sesame")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic sesame", None),
        ];
        for (field, token) in table {
            let headers = map(&[("authorization", field)]);
            assert_eq!(bearer_token(&headers), token, "{field:?}");
        }
        let two = map(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]);
        assert_eq!(bearer_token(&two), None);
        assert_eq!(bearer_token(&map(&[("cookie", "Bearer a")])), None);
    }

    #[test]
    fn callers_cannot_set_reserved_fields() {
        for name in [
            "connection",
            "content-length",
            "expect",
            "host",
            "http2-settings",
            "keep-alive",
            "proxy-connection",
            "sec-websocket-accept",
            "sec-websocket-extensions",
            "sec-websocket-key",
            "sec-websocket-protocol",
            "sec-websocket-version",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ] {
            let name = HeaderName::from_static(name);
            let mut headers = map(&[("x-mine", "1")]);
            headers.insert(&name, HeaderValue::from_static("x"));
            let rejected = Err(HandshakeError::ReservedHeader(name.clone()));
            assert_eq!(check_own(&headers), rejected, "{name}");
        }
        assert!(!is_reserved(&header::ORIGIN));
    }
}
