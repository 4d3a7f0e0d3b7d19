//! Tests of the opening handshake over HTTP/1.1 (RFC 6455): the RFC's example, valid and invalid
//! requests and responses.

use super::*;
use crate::handshake::{DeflateConfig, Extension};
use proptest::prelude::*;

/// Applies edits to header fields. Each sets a field, or appends one if the name begins with `+`,
/// or removes it if there is no value.
fn edit(headers: &mut HeaderMap, edits: &[(&'static str, Option<&'static str>)]) {
    for (name, value) in edits {
        match (name.strip_prefix('+'), value) {
            (Some(name), Some(value)) => {
                headers.append(name, HeaderValue::from_static(value));
            }
            (_, Some(value)) => {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            (_, None) => {
                headers.remove(*name);
            }
        }
    }
}

/// Returns the request of RFC 6455 §1.3.
fn valid_request() -> request::Parts {
    let request = Request::get("/chat")
        .header("host", "server.example.com")
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("origin", "http://example.com")
        .header("sec-websocket-protocol", "chat, superchat")
        .header("sec-websocket-version", "13");
    request.body(()).unwrap().into_parts().0
}

/// Returns the response of RFC 6455 §1.3.
fn valid_response() -> response::Parts {
    let response = Response::builder()
        .status(101)
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        .header("sec-websocket-protocol", "chat");
    response.body(()).unwrap().into_parts().0
}

fn key() -> Key {
    Key::new(*b"the sample nonce")
}

#[test]
fn rfc6455_1_3_the_example_is_built_and_accepted() {
    let target = "ws://server.example.com/chat".parse().unwrap();
    let offer = Offer::default()
        .subprotocol("chat")
        .subprotocol("superchat");
    let mut headers = HeaderMap::new();
    headers.insert("origin", HeaderValue::from_static("http://example.com"));
    let request = request(&target, headers, &offer, &key())
        .unwrap()
        .into_parts()
        .0;
    let example = valid_request();
    assert_eq!(request.method, Method::GET);
    assert_eq!(request.uri, "/chat");
    assert_eq!(request.version, Version::HTTP_11);
    assert_eq!(request.headers, example.headers);

    let opening = check_request(&example).unwrap();
    assert_eq!(opening.kind, HandshakeKind::Http1);
    assert_eq!(opening.authority.to_string(), "server.example.com");
    assert_eq!(opening.origin.as_ref().unwrap(), "http://example.com");
    assert_eq!(opening.subprotocols, ["chat", "superchat"]);
    assert_eq!(opening.extensions, []);

    let agreed = opening.negotiate(&["chat"], None);
    let response = response(&opening, &agreed, HeaderMap::new()).unwrap();
    let response = response.into_parts().0;
    assert_eq!(response.status, 101);
    assert_eq!(response.headers, valid_response().headers);
    assert_eq!(check_response(&response, &offer, &key()), Ok(agreed));
}

#[test]
fn rfc6455_4_2_1_valid_requests_are_accepted() {
    for edits in [
        &[][..],
        &[("upgrade", Some("WebSocket"))],
        &[("upgrade", Some("h2c, websocket"))],
        &[("upgrade", Some("h2c")), ("+upgrade", Some("WEBSOCKET"))],
        &[("connection", Some("keep-alive, UPGRADE"))],
        &[
            ("connection", Some("keep-alive")),
            ("+connection", Some("upgrade")),
        ],
        &[("sec-websocket-version", Some(" 13 "))],
        &[("origin", None), ("sec-websocket-protocol", None)],
        &[
            ("sec-websocket-future", Some("\"?")),
            ("x-unknown", Some("1")),
        ],
        &[("host", Some("[::1]:8080"))],
    ] {
        let mut parts = valid_request();
        edit(&mut parts.headers, edits);
        assert!(is_upgrade(&parts), "{edits:?}");
        let opening =
            check_request(&parts).unwrap_or_else(|rejection| panic!("{edits:?}: {rejection}"));
        assert_eq!(
            opening.accept.unwrap(),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "{edits:?}"
        );
    }
}

#[test]
fn rfc6455_4_2_1_invalid_requests_are_rejected() {
    for (edits, rejection) in [
        (&[("connection", None)][..], Rejection::Connection),
        (&[("connection", Some("keep-alive"))], Rejection::Connection),
        (&[("host", None)], Rejection::Host),
        (&[("host", Some(""))], Rejection::Host),
        (&[("host", Some("a b"))], Rejection::Host),
        (&[("host", Some("user@a"))], Rejection::Host),
        (&[("host", Some("a, b"))], Rejection::Host),
        (&[("+host", Some("server.example.com"))], Rejection::Host),
        (&[("sec-websocket-key", None)], Rejection::Key),
        (&[("sec-websocket-key", Some("AAAA"))], Rejection::Key),
        (
            &[("+sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ=="))],
            Rejection::Key,
        ),
        (&[("sec-websocket-version", None)], Rejection::Version),
        (&[("sec-websocket-version", Some("8"))], Rejection::Version),
        (
            &[("sec-websocket-version", Some("013"))],
            Rejection::Version,
        ),
        (
            &[("sec-websocket-version", Some("13, 8"))],
            Rejection::Version,
        ),
        (
            &[("+sec-websocket-version", Some("13"))],
            Rejection::Version,
        ),
        (&[("content-length", Some("0"))], Rejection::Body),
        (&[("content-length", Some("5"))], Rejection::Body),
        (&[("content-length", Some("00"))], Rejection::Body),
        (
            &[
                ("content-length", Some("0")),
                ("+content-length", Some("0")),
            ],
            Rejection::Body,
        ),
        (&[("transfer-encoding", Some("chunked"))], Rejection::Body),
        (
            &[("sec-websocket-protocol", Some("a b"))],
            Rejection::Subprotocols,
        ),
        (
            &[("sec-websocket-extensions", Some("a b"))],
            Rejection::Extensions,
        ),
        (
            &[("+origin", Some("http://example.com"))],
            Rejection::Origin,
        ),
    ] {
        let mut parts = valid_request();
        edit(&mut parts.headers, edits);
        assert!(is_upgrade(&parts), "{edits:?}");
        assert_eq!(check_request(&parts), Err(rejection), "{edits:?}");
    }
}

#[test]
fn rfc9110_7_8_a_request_without_an_upgrade_to_websocket_is_rejected() {
    for edits in [
        &[("upgrade", None)][..],
        &[("upgrade", Some("h2c"))],
        &[("upgrade", Some("websocket2"))],
        &[("upgrade", Some(""))],
    ] {
        let mut parts = valid_request();
        edit(&mut parts.headers, edits);
        assert!(!is_upgrade(&parts), "{edits:?}");
        assert_eq!(
            check_request(&parts),
            Err(Rejection::NotWebSocket),
            "{edits:?}"
        );
    }
    for version in [Version::HTTP_10, Version::HTTP_2] {
        let mut parts = valid_request();
        parts.version = version;
        assert!(!is_upgrade(&parts), "{version:?}");
        assert_eq!(
            check_request(&parts),
            Err(Rejection::HttpVersion),
            "{version:?}"
        );
    }
}

#[test]
fn rfc6455_4_1_the_method_and_the_request_target_are_checked() {
    let mut parts = valid_request();
    parts.method = Method::POST;
    assert_eq!(check_request(&parts), Err(Rejection::Method));
    let check = |uri: &'static str| {
        let mut parts = valid_request();
        parts.uri = http::Uri::from_static(uri);
        check_request(&parts).map(|opening| opening.authority.to_string())
    };
    assert_eq!(check("*"), Err(Rejection::Host));
    // RFC 9112 §3.2.2: the absolute form takes precedence over the host field.
    assert_eq!(
        check("http://other.example/chat"),
        Ok("other.example".to_owned())
    );
    assert_eq!(
        check("http://user@other.example/chat"),
        Err(Rejection::Host)
    );
}

#[test]
fn rfc6455_4_1_valid_responses_are_accepted() {
    let offer = Offer::default().subprotocol("chat");
    for edits in [
        &[][..],
        &[("upgrade", Some("WebSocket"))],
        &[("connection", Some("keep-alive, upgrade"))],
        &[(
            "sec-websocket-accept",
            Some(" s3pPLMBiTxaQ9kYGzzhZRbK+xOo= "),
        )],
        &[("sec-websocket-protocol", None)],
        &[
            ("x-unknown", Some("1")),
            ("sec-websocket-version", Some("8")),
        ],
    ] {
        let mut parts = valid_response();
        edit(&mut parts.headers, edits);
        assert!(check_response(&parts, &offer, &key()).is_ok(), "{edits:?}");
    }
}

#[test]
fn rfc6455_4_1_invalid_responses_are_rejected() {
    let offer = Offer::default().subprotocol("chat");
    let unoffered = HandshakeError::UnofferedSubprotocol("superchat".into());
    let extension = HandshakeError::UnofferedExtension("x".into());
    for (edits, error) in [
        (&[("upgrade", None)][..], HandshakeError::Upgrade),
        (&[("upgrade", Some("h2c"))], HandshakeError::Upgrade),
        (
            &[("upgrade", Some("websocket, h2c"))],
            HandshakeError::Upgrade,
        ),
        (&[("connection", None)], HandshakeError::Connection),
        (&[("connection", Some("close"))], HandshakeError::Connection),
        (
            &[("sec-websocket-accept", None)],
            HandshakeError::MissingAccept,
        ),
        (
            &[("+sec-websocket-accept", Some("x"))],
            HandshakeError::MissingAccept,
        ),
        (
            &[("sec-websocket-accept", Some("S3pPLMBiTxaQ9kYGzzhZRbK+xOo="))],
            HandshakeError::WrongAccept,
        ),
        (
            &[("sec-websocket-accept", Some(""))],
            HandshakeError::WrongAccept,
        ),
        (&[("sec-websocket-protocol", Some("superchat"))], unoffered),
        (
            &[("+sec-websocket-protocol", Some("chat"))],
            HandshakeError::SeveralSubprotocols,
        ),
        (&[("sec-websocket-extensions", Some("x"))], extension),
    ] {
        let mut parts = valid_response();
        edit(&mut parts.headers, edits);
        assert_eq!(
            check_response(&parts, &offer, &key()),
            Err(error),
            "{edits:?}"
        );
    }
    for status in [StatusCode::OK, StatusCode::FOUND, StatusCode::UNAUTHORIZED] {
        let mut parts = valid_response();
        parts.status = status;
        let error = check_response(&parts, &offer, &key());
        assert_eq!(error, Err(HandshakeError::Status(status)));
    }
}

#[test]
fn the_callers_headers_are_added_but_reserved_ones_are_rejected() {
    let target = "ws://a/".parse().unwrap();
    let offer = Offer::default();
    let mut headers = HeaderMap::new();
    headers.append("set-cookie", HeaderValue::from_static("a=b"));
    headers.append("set-cookie", HeaderValue::from_static("c=d"));
    let made = request(&target, headers.clone(), &offer, &key()).unwrap();
    assert_eq!(made.headers().get_all("set-cookie").iter().count(), 2);
    let opening = check_request(&made.into_parts().0).unwrap();
    let made = response(&opening, &Negotiated::default(), headers.clone()).unwrap();
    assert_eq!(made.headers().get_all("set-cookie").iter().count(), 2);

    headers.insert(HOST, HeaderValue::from_static("b"));
    let reserved = HandshakeError::ReservedHeader(HOST);
    let result = request(&target, headers.clone(), &offer, &key()).map(drop);
    assert_eq!(result, Err(reserved.clone()));
    let result = response(&opening, &Negotiated::default(), headers).map(drop);
    assert_eq!(result, Err(reserved));
}

proptest! {
    #[test]
    fn requests_round_trip(
        nonce: [u8; 16],
        host in "[a-z0-9]([a-z0-9.-]{0,10}[a-z0-9])?",
        port in prop::option::of(1_u16..),
        path in "/[a-zA-Z0-9/._~%?&=-]{0,20}",
        subprotocols in prop::collection::hash_set("[a-z.0-9]{1,8}", 0..4),
        deflate: bool,
    ) {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let target: Target = format!("wss://{host}{port}{path}").parse().unwrap();
        let mut offer = Offer::default();
        offer.subprotocols.extend(subprotocols);
        if deflate {
            offer = offer.deflate(&DeflateConfig::default());
        }
        let key = Key::new(nonce);
        let made = request(&target, HeaderMap::new(), &offer, &key).unwrap().into_parts().0;
        prop_assert!(is_upgrade(&made));
        prop_assert_eq!(made.uri.to_string(), path);
        let opening = check_request(&made).unwrap();
        prop_assert_eq!(opening.authority.to_string(), target.authority());
        prop_assert_eq!(&opening.subprotocols, &offer.subprotocols);
        prop_assert_eq!(&opening.extensions, &offer.extensions);

        let agreed = opening.negotiate(&offer.subprotocols, Some(&DeflateConfig::default()));
        prop_assert_eq!(agreed.subprotocol.as_ref(), offer.subprotocols.first());
        prop_assert_eq!(agreed.deflate.is_some(), deflate);
        let answer = response(&opening, &agreed, HeaderMap::new()).unwrap().into_parts().0;
        prop_assert_eq!(check_response(&answer, &offer, &key), Ok(agreed));
    }
}

#[test]
fn a_server_can_select_only_what_was_offered() {
    let opening = check_request(&valid_request()).unwrap();
    let check = |agreed: &Negotiated| response(&opening, agreed, HeaderMap::new()).map(drop);
    let mut agreed = Negotiated {
        subprotocol: Some("other".into()),
        ..Negotiated::default()
    };
    let error = HandshakeError::UnofferedSubprotocol("other".into());
    assert_eq!(check(&agreed), Err(error));
    agreed.subprotocol = Some("superchat".into());
    assert_eq!(check(&agreed), Ok(()));
    agreed.extensions.push(Extension::new("x").unwrap());
    let error = HandshakeError::UnofferedExtension("x".into());
    assert_eq!(check(&agreed), Err(error));
}

#[test]
fn rfc6265_5_4_cookie_fields_are_joined() {
    let target = "ws://a/".parse().unwrap();
    let mut headers = HeaderMap::new();
    for cookie in ["a=1", "b=2; c=3", "d=4"] {
        headers.append("cookie", HeaderValue::from_static(cookie));
    }
    let key = Key::new([0; 16]);
    let made = request(&target, headers, &Offer::default(), &key).unwrap();
    let cookies: Vec<_> = made.headers().get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2; c=3; d=4"]);
}
