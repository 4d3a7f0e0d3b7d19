//! Requests and responses of both opening handshakes. A request that is accepted gets a response
//! that its client accepts, with the same result; every other is rejected by a valid response. A
//! client accepts nothing that it did not offer.
//!
//! The input is text: a line for each header field, and for method, path and so on, as HTTP/2 names
//! them.

use h2ws::handshake::{
    DeflateConfig, Extension, HandshakeKind, Key, Negotiated, Offer, Rejection, extended_connect,
    upgrade,
};
use http::uri::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};

use super::input::Input;

pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let is_response = input.boolean();
    let kind = input.choice(&[HandshakeKind::Http1, HandshakeKind::Http2]);
    let deflate =
        [
            None,
            Some(DeflateConfig::default()),
            Some(DeflateConfig::default().no_context_takeover()),
            Some(DeflateConfig::default().max_window_bits(
                h2ws::handshake::deflate::WindowBits::new(10).expect("10 is valid"),
            )),
        ];
    let deflate = &deflate[usize::from(input.byte()) % deflate.len()];
    let Some(head) = Head::parse(input.rest()) else {
        return;
    };
    if is_response {
        response(kind, &head, deflate.as_ref());
    } else {
        request(kind, head, deflate.as_ref());
    }
}

#[derive(Default)]
struct Head {
    method: Option<Method>,
    uri: Parts,
    protocol: Option<String>,
    status: Option<StatusCode>,
    headers: HeaderMap,
}

impl Head {
    fn parse(text: &[u8]) -> Option<Self> {
        let mut head = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            if line.is_empty() {
                continue;
            }
            let colon = 1 + line[1..].iter().position(|byte| *byte == b':')?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            let text = || std::str::from_utf8(value).ok();
            match name {
                b":method" => head.method = Some(Method::from_bytes(value).ok()?),
                b":scheme" => head.uri.scheme = Some(value.try_into().ok()?),
                b":authority" => head.uri.authority = Some(value.try_into().ok()?),
                b":path" => head.uri.path_and_query = Some(value.try_into().ok()?),
                b":protocol" => head.protocol = Some(text()?.to_owned()),
                b":status" => head.status = Some(StatusCode::from_bytes(value).ok()?),
                name => {
                    let name = HeaderName::from_bytes(name).ok()?;
                    let value = HeaderValue::from_bytes(value).ok()?;
                    head.headers.try_append(name, value).ok()?;
                }
            }
        }
        Some(head)
    }
}

fn version(kind: HandshakeKind) -> Version {
    match kind {
        HandshakeKind::Http1 => Version::HTTP_11,
        _ => Version::HTTP_2,
    }
}

fn request(kind: HandshakeKind, head: Head, deflate: Option<&DeflateConfig>) {
    let mut request = Request::new(());
    let Ok(uri) = head.uri.try_into() else { return };
    *request.uri_mut() = uri;
    *request.method_mut() = head.method.unwrap_or_default();
    *request.version_mut() = version(kind);
    *request.headers_mut() = head.headers;
    let (parts, ()) = request.into_parts();
    let checked = match kind {
        HandshakeKind::Http1 => upgrade::check_request(&parts),
        _ => extended_connect::check_request(&parts, head.protocol.as_deref()),
    };
    let parsed = match checked {
        Ok(parsed) => parsed,
        Err(rejection) => return rejected(&rejection, kind),
    };
    assert_eq!(parsed.kind, kind);
    assert!(!parsed.authority.host().is_empty());
    assert_eq!(kind == HandshakeKind::Http1, parts.method == Method::GET);

    let negotiated = parsed.negotiate(&["chat", "superchat"], deflate);
    if deflate.is_none() {
        assert_eq!(negotiated.deflate, None);
    }
    let mut offer = Offer::default();
    offer.subprotocols.clone_from(&parsed.subprotocols);
    offer.extensions.clone_from(&parsed.extensions);
    let answered = match kind {
        HandshakeKind::Http1 => {
            let response = upgrade::response(&parsed, &negotiated, HeaderMap::new());
            let (response, ()) = response.expect("a response").into_parts();
            let key = Key::parse(&parts.headers["sec-websocket-key"]).expect("was checked");
            upgrade::check_response(&response, &offer, &key)
        }
        _ => {
            let response = extended_connect::response(&parsed, &negotiated, HeaderMap::new());
            let (response, ()) = response.expect("a response").into_parts();
            extended_connect::check_response(&response, &offer)
        }
    };
    assert_eq!(answered.as_ref(), Ok(&negotiated));
    agree(&negotiated, deflate);
}

fn rejected(rejection: &Rejection, kind: HandshakeKind) {
    let response = rejection.to_response(kind);
    let status = response.status();
    assert!(status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED);
    assert!(!rejection.to_string().is_empty() && !response.body().is_empty());
    let forbidden = response.headers().contains_key("connection");
    assert!(kind == HandshakeKind::Http1 || !forbidden);
}

fn response(kind: HandshakeKind, head: &Head, deflate: Option<&DeflateConfig>) {
    let other = Extension::new("x-other").expect("a token");
    let mut offer = Offer::default()
        .subprotocol("chat")
        .subprotocol("superchat");
    offer = offer.extension(other);
    if let Some(deflate) = deflate {
        offer = offer.deflate(deflate);
    }
    let mut response = Response::new(());
    *response.status_mut() = head.status.unwrap_or_default();
    *response.version_mut() = version(kind);
    response.headers_mut().clone_from(&head.headers);
    let (parts, ()) = response.into_parts();
    let key = Key::new([7; 16]);
    let checked = match kind {
        HandshakeKind::Http1 => upgrade::check_response(&parts, &offer, &key),
        _ => extended_connect::check_response(&parts, &offer),
    };
    let negotiated = match checked {
        Ok(negotiated) => negotiated,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    match kind {
        HandshakeKind::Http1 => {
            assert_eq!(parts.status, 101);
            assert_eq!(parts.headers["sec-websocket-accept"], key.accept());
        }
        _ => assert!(parts.status.is_success()),
    }
    let offered = |name: &String| offer.subprotocols.contains(name);
    assert!(negotiated.subprotocol.as_ref().is_none_or(offered));
    let mut names: Vec<_> = negotiated.extensions.iter().map(Extension::name).collect();
    assert!(names.iter().all(|name| {
        offer
            .extensions
            .iter()
            .any(|offered| offered.name() == *name)
    }));
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count, "an extension was accepted twice");
    assert_eq!(
        negotiated.deflate.is_some(),
        names.contains(&"permessage-deflate")
    );
    agree(&negotiated, deflate);
}

/// Whether each end can inflate what the other deflates.
fn agree(negotiated: &Negotiated, deflate: Option<&DeflateConfig>) {
    use h2ws::frame::Role;
    let Some(params) = &negotiated.deflate else {
        return;
    };
    let config = deflate.expect("was not configured");
    let (client, server) = (
        config.at(Role::Client, params),
        config.at(Role::Server, params),
    );
    for (sender, receiver) in [(client, server), (server, client)] {
        assert!(sender.send_window_bits <= receiver.receive_window_bits);
        assert!(receiver.receive_context_takeover || !sender.send_context_takeover);
        assert!((8..=15).contains(&sender.send_window_bits));
        assert!((8..=15).contains(&receiver.receive_window_bits));
    }
}
