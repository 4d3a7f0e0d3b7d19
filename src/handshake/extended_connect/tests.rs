//! Tests of the opening handshake over HTTP/2 (RFC 8441): the RFC's example, valid and invalid
//! requests, and responses.

use super::*;
use crate::handshake::{AllowedHosts, AllowedOrigins, DeflateConfig, Extension};
use http::header::{HeaderName, HeaderValue};
use http::uri::{Parts, Uri};
use proptest::prelude::*;

/// Returns the request of RFC 8441 §5.1 as the h2 crate parses it.
fn valid_request() -> request::Parts {
    let request = Request::connect("https://server.example.com/chat")
        .version(Version::HTTP_2)
        .header("sec-websocket-protocol", "chat, superchat")
        .header("sec-websocket-extensions", "permessage-deflate")
        .header("sec-websocket-version", "13")
        .header("origin", "http://www.example.com");
    request.body(()).unwrap().into_parts().0
}

fn request_with(fields: &[(&'static str, &'static str)]) -> request::Parts {
    let mut parts = valid_request();
    for (name, value) in fields {
        let name = HeaderName::from_static(name);
        parts.headers.append(name, HeaderValue::from_static(value));
    }
    parts
}

fn uri(scheme: Option<&str>, authority: Option<&str>, path: Option<&str>) -> Uri {
    let mut parts = Parts::default();
    parts.scheme = scheme.map(|scheme| scheme.parse().unwrap());
    parts.authority = authority.map(|authority| authority.parse().unwrap());
    parts.path_and_query = path.map(|path| path.parse().unwrap());
    Uri::from_parts(parts).unwrap()
}

fn check(parts: &request::Parts) -> Result<ParsedRequest, Rejection> {
    check_request(parts, Some(PROTOCOL))
}

fn is_malformed(checked: &Result<ParsedRequest, Rejection>) -> bool {
    checked.as_ref().is_err_and(Rejection::is_malformed)
}

#[test]
fn rfc8441_5_1_the_example_is_built_and_accepted() {
    let target = "wss://server.example.com/chat".parse().unwrap();
    let offer = Offer::default()
        .subprotocol("chat")
        .subprotocol("superchat")
        .extension(Extension::new("permessage-deflate").unwrap());
    let mut headers = HeaderMap::new();
    headers.insert("origin", HeaderValue::from_static("http://www.example.com"));
    let made = request(&target, headers, &offer, None)
        .unwrap()
        .into_parts()
        .0;
    let example = valid_request();
    assert_eq!(made.method, Method::CONNECT);
    assert_eq!(made.version, Version::HTTP_2);
    assert_eq!(made.uri, example.uri);
    assert_eq!(made.headers, example.headers);

    let opening = check(&example).unwrap();
    assert_eq!(opening.kind, HandshakeKind::Http2);
    assert_eq!(opening.authority.to_string(), "server.example.com");
    assert_eq!(opening.accept, None);
    assert_eq!(opening.origin.as_ref().unwrap(), "http://www.example.com");

    let agreed = opening.negotiate(&["chat"], None);
    let made = response(&opening, &agreed, HeaderMap::new())
        .unwrap()
        .into_parts()
        .0;
    assert_eq!(made.status, 200);
    assert_eq!(made.headers.len(), 1);
    assert_eq!(made.headers["sec-websocket-protocol"], "chat");
    assert_eq!(check_response(&made, &offer), Ok(agreed));
}

#[test]
fn rfc8441_5_the_scheme_is_http_or_https() {
    let uri_of = |url: &str| {
        let target = url.parse().unwrap();
        let request = request(&target, HeaderMap::new(), &Offer::default(), None);
        request.unwrap().uri().to_string()
    };
    assert_eq!(uri_of("wss://a"), "https://a/");
    assert_eq!(uri_of("ws://a:8080/x?y"), "http://a:8080/x?y");
    assert_eq!(uri_of("https://[::1]:443/"), "https://[::1]/");
}

#[test]
fn rfc8441_4_other_protocols_and_connect_without_a_protocol_are_rejected() {
    for protocol in [
        "connect-udp",
        "connect-ip",
        "websocket ",
        "",
        "webtransport",
    ] {
        let result = check_request(&valid_request(), Some(protocol));
        assert_eq!(result, Err(Rejection::Protocol), "{protocol}");
    }
    for protocol in ["websocket", "WebSocket", "WEBSOCKET"] {
        assert!(
            check_request(&valid_request(), Some(protocol)).is_ok(),
            "{protocol}"
        );
    }
    assert_eq!(
        check_request(&valid_request(), None),
        Err(Rejection::Connect)
    );
    let mut get = valid_request();
    get.method = Method::GET;
    assert_eq!(check_request(&get, None), Err(Rejection::NotWebSocket));
    assert!(
        is_malformed(&check(&get)),
        ":protocol is valid only with CONNECT"
    );
}

#[test]
fn rfc8441_4_pseudo_header_fields_are_checked() {
    let host = Some("a:8443");
    for (scheme, authority, path) in [
        (Some("https"), host, Some("/")),
        (Some("http"), host, Some("/x?y")),
        (Some("https"), Some("[::1]"), Some("/")),
    ] {
        let mut parts = valid_request();
        parts.uri = uri(scheme, authority, path);
        assert!(check(&parts).is_ok(), "{}", parts.uri);
    }
    for (scheme, authority, path) in [
        (Some("wss"), host, Some("/")),
        (Some("ws"), host, Some("/")),
        (Some("ftp"), host, Some("/")),
        (Some("https"), host, Some("*")),
        (Some("https"), host, Some("?x")),
        (Some("https"), Some("user@a"), Some("/")),
        (Some("https"), Some("user:pass@a:1"), Some("/")),
        (Some("https"), Some("a:99999"), Some("/")),
        (None, host, None),
    ] {
        let mut parts = valid_request();
        parts.uri = uri(scheme, authority, path);
        assert!(
            is_malformed(&check(&parts)),
            "{scheme:?} {authority:?} {path:?}"
        );
        // A malformed request is reset even if its `:protocol` is not supported either.
        let other = check_request(&parts, Some("connect-udp"));
        assert!(is_malformed(&other), "{scheme:?} {authority:?} {path:?}");
    }
}

#[test]
fn rfc9113_8_5_a_connect_request_without_authority_is_malformed() {
    let mut parts = valid_request();
    parts.uri = uri(None, None, Some("/chat"));
    assert_eq!(
        check(&parts),
        Err(Rejection::Malformed(":authority is missing"))
    );
    parts.headers.insert(
        http::header::HOST,
        HeaderValue::from_static("server.example.com"),
    );
    assert!(
        is_malformed(&check(&parts)),
        "a host field does not replace it"
    );
}

#[test]
fn rfc9113_8_3_1_a_host_field_must_match_the_authority() {
    for host in [
        "server.example.com",
        "SERVER.example.com:443",
        "server.example.com.",
    ] {
        assert!(check(&request_with(&[("host", host)])).is_ok(), "{host}");
    }
    for host in [
        "example.com",
        "server.example.com:80",
        "",
        "a b",
        "u@server.example.com",
    ] {
        assert!(
            is_malformed(&check(&request_with(&[("host", host)]))),
            "{host}"
        );
    }
    let twice = [
        ("host", "server.example.com"),
        ("host", "server.example.com"),
    ];
    assert!(is_malformed(&check(&request_with(&twice))));
}

#[test]
fn rfc9113_8_2_2_a_request_with_connection_fields_is_malformed() {
    for name in [
        "connection",
        "upgrade",
        "transfer-encoding",
        "keep-alive",
        "te",
    ] {
        assert!(
            is_malformed(&check(&request_with(&[(name, "websocket")]))),
            "{name}"
        );
    }
}

#[test]
fn rfc8441_5_invalid_requests_are_rejected() {
    for (fields, rejection) in [
        (&[("content-length", "0")], Rejection::Body),
        (&[("sec-websocket-version", "13")], Rejection::Version),
        (
            &[("sec-websocket-protocol", "a b")],
            Rejection::Subprotocols,
        ),
        (
            &[("sec-websocket-extensions", "a b")],
            Rejection::Extensions,
        ),
        (&[("origin", "http://www.example.com")], Rejection::Origin),
    ] {
        assert_eq!(check(&request_with(fields)), Err(rejection), "{fields:?}");
    }
    for version in [None, Some("8"), Some("")] {
        let mut parts = valid_request();
        parts.headers.remove("sec-websocket-version");
        parts.headers.extend(version.map(|version| {
            let name = HeaderName::from_static("sec-websocket-version");
            (name, HeaderValue::from_static(version))
        }));
        assert_eq!(check(&parts), Err(Rejection::Version), "{version:?}");
    }
    assert!(
        check(&request_with(&[
            ("sec-websocket-future", "?"),
            ("te", "trailers")
        ]))
        .is_ok()
    );
}

#[test]
fn rfc8441_5_a_key_is_answered_if_present() {
    const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    for (fields, accept) in [
        (&[][..], None),
        (&[KEY], Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")),
        (&[KEY, KEY], None),
        (&[("sec-websocket-key", "AAAA")], None),
    ] {
        let opening = check(&request_with(fields)).unwrap();
        let made = response(&opening, &Negotiated::default(), HeaderMap::new()).unwrap();
        let sent = made.headers().get(SEC_WEBSOCKET_ACCEPT);
        assert_eq!(
            sent.map(|accept| accept.to_str().unwrap()),
            accept,
            "{fields:?}"
        );
    }
}

#[test]
fn rfc8441_5_any_2xx_status_accepts_and_sec_websocket_accept_is_ignored() {
    let answer = |status: u16| {
        let response = Response::builder()
            .status(status)
            .header("sec-websocket-accept", "wrong")
            .header("sec-websocket-accept", "twice")
            .header("content-length", "0");
        response.body(()).unwrap().into_parts().0
    };
    let offer = Offer::default();
    for status in [200, 201, 204, 299] {
        let agreed = check_response(&answer(status), &offer);
        assert_eq!(agreed, Ok(Negotiated::default()), "{status}");
    }
    for status in [101, 103, 301, 400, 421, 501] {
        let result = check_response(&answer(status), &offer);
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(result, Err(HandshakeError::Status(status)));
    }
}

#[test]
fn rfc6455_4_1_an_unoffered_selection_is_an_error() {
    let offer = Offer::default()
        .subprotocol("chat")
        .extension(Extension::new("x").unwrap())
        .deflate(&DeflateConfig::default());
    let check = |name: &'static str, value: &'static str| {
        let response = Response::builder().header(name, value).body(()).unwrap();
        check_response(&response.into_parts().0, &offer)
    };
    let extensions = |value| check("sec-websocket-extensions", value);
    let unoffered = HandshakeError::UnofferedSubprotocol("other".into());
    assert_eq!(check("sec-websocket-protocol", "other"), Err(unoffered));
    let unoffered = HandshakeError::UnofferedExtension("y".into());
    assert_eq!(extensions("y"), Err(unoffered));
    let repeated = HandshakeError::RepeatedExtension("x".into());
    assert_eq!(extensions("x, permessage-deflate, x"), Err(repeated));
    let malformed = HandshakeError::MalformedHeader(http::header::SEC_WEBSOCKET_EXTENSIONS);
    assert_eq!(extensions("x;"), Err(malformed));
    let error = extensions("permessage-deflate; x").unwrap_err();
    assert!(matches!(error, HandshakeError::Deflate(_)));
    let agreed = extensions("x;y=1, permessage-deflate").unwrap();
    assert_eq!(agreed.extensions.len(), 2);
    assert!(agreed.deflate.is_some());
}

#[test]
fn rfc8441_5_callers_cannot_set_hop_by_hop_fields() {
    let target = "ws://a/".parse().unwrap();
    let opening = check(&valid_request()).unwrap();
    for name in [
        "host",
        "upgrade",
        "connection",
        "sec-websocket-key",
        "content-length",
        "te",
    ] {
        let name = HeaderName::from_static(name);
        let mut headers = HeaderMap::new();
        headers.insert(&name, HeaderValue::from_static("x"));
        let reserved = Err(HandshakeError::ReservedHeader(name));
        let made = request(&target, headers.clone(), &Offer::default(), None);
        assert_eq!(made.map(drop), reserved);
        let made = response(&opening, &Negotiated::default(), headers);
        assert_eq!(made.map(drop), reserved);
    }
}

#[test]
fn the_origin_and_host_of_a_request_are_checked() {
    let opening = check(&valid_request()).unwrap();
    let origins = |list: &str| opening.check_origin(&AllowedOrigins::parse([list]).unwrap());
    assert_eq!(origins("http://*.example.com"), Ok(()));
    assert_eq!(origins("https://*.example.com"), Err(Rejection::Origin));
    let same = opening.check_origin(&AllowedOrigins::same_host());
    assert_eq!(same, Err(Rejection::Origin));
    let hosts = |list: &str| opening.check_authority(&AllowedHosts::parse([list]).unwrap(), 443);
    assert_eq!(hosts("*.example.com:443"), Ok(()));
    assert_eq!(hosts("localhost"), Err(Rejection::Authority));
}

proptest! {
    #[test]
    fn requests_round_trip(
        secure: bool,
        host in "[a-z0-9]([a-z0-9.-]{0,10}[a-z0-9])?",
        port in prop::option::of(1_u16..),
        path in "/[a-zA-Z0-9/._~%?&=-]{0,20}",
        subprotocols in prop::collection::hash_set("[a-z.0-9]{1,8}", 0..4),
        deflate: bool,
    ) {
        let scheme = if secure { "wss" } else { "ws" };
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let target: Target = format!("{scheme}://{host}{port}{path}").parse().unwrap();
        let mut offer = Offer::default();
        offer.subprotocols.extend(subprotocols);
        if deflate {
            offer = offer.deflate(&DeflateConfig::default());
        }
        let made = request(&target, HeaderMap::new(), &offer, None).unwrap().into_parts().0;
        let opening = check(&made).unwrap();
        prop_assert_eq!(opening.authority.to_string(), target.authority());
        prop_assert_eq!(&opening.subprotocols, &offer.subprotocols);
        prop_assert_eq!(&opening.extensions, &offer.extensions);

        let agreed = opening.negotiate(&offer.subprotocols, Some(&DeflateConfig::default()));
        prop_assert_eq!(agreed.deflate.is_some(), deflate);
        let answer = response(&opening, &agreed, HeaderMap::new()).unwrap().into_parts().0;
        prop_assert_eq!(check_response(&answer, &offer), Ok(agreed));
    }
}
