//! The extended CONNECT of HTTP/2 (RFC 8441 §4-5).
//!
//! `:protocol` is no part of [`http`]'s types: the caller adds it to a client's request, and
//! passes it in with a server's.

use http::header::{HeaderMap, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Version, request, response};

use super::authority::default_port_of;
use super::request_fields::RequestFields;
use super::syntax::{self, Field};
use super::{
    HandshakeError, HandshakeKind, HostPort, Key, Negotiated, Offer, ParsedRequest, Rejection,
    Target,
};
use super::{headers as fields, upgrade};

/// The `:protocol` of a WebSocket (RFC 8441 §5).
pub const PROTOCOL: &str = "websocket";

/// The client's request, to which the caller adds [`PROTOCOL`]; `headers` come after the
/// handshake's own fields (RFC 8441 §5).
///
/// RFC 8441 §5 makes no use of a `sec-websocket-key`, so `None` is enough for every server that
/// ends the stream itself. A gateway in front of an RFC 6455 server needs one there, and some
/// (Envoy) make none of their own: without the client's, their server answers 400.
///
/// # Errors
/// If `headers` holds a [reserved](fields::is_reserved) field, or the offer is not valid.
pub fn request(
    target: &Target,
    headers: HeaderMap,
    offer: &Offer,
    key: Option<&Key>,
) -> Result<Request<()>, HandshakeError> {
    fields::check_own(&headers)?;
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = target.http_uri();
    *request.version_mut() = Version::HTTP_2;
    let own = request.headers_mut();
    own.extend(key.map(|key| (SEC_WEBSOCKET_KEY, key.to_value())));
    offer.write(own)?;
    fields::add_own(own, headers);
    Ok(request)
}

/// Checks the server's answer, any 2xx, and says what was agreed (RFC 8441 §5).
///
/// A `sec-websocket-accept` means nothing here, whatever key was sent: gateways pass on their
/// backend's, make one of their own key, or leave it out.
///
/// # Errors
/// If the answer is no valid consent to just this request: the stream must be reset. Other
/// statuses are refusals, which the caller had better report with their bodies before it comes
/// here; those below 200 announce an answer that is yet to come.
pub fn check_response(
    parts: &response::Parts,
    offer: &Offer,
) -> Result<Negotiated, HandshakeError> {
    if !parts.status.is_success() {
        return Err(HandshakeError::Status(parts.status));
    }
    offer.answered(&parts.headers)
}

/// Checks a client's request with its `:protocol` (RFC 8441 §4-5, RFC 9113 §8.3.1).
///
/// That the stream is still open in the client's direction is for the caller to check.
///
/// # Errors
/// What to answer instead of a 200, or that the stream is to be
/// [reset](Rejection::is_malformed).
pub fn check_request(
    parts: &request::Parts,
    protocol: Option<&str>,
) -> Result<ParsedRequest, Rejection> {
    let Some(protocol) = protocol else {
        let connect = parts.method == Method::CONNECT;
        return Err(if connect {
            Rejection::Connect
        } else {
            Rejection::NotWebSocket
        });
    };
    if parts.method != Method::CONNECT {
        return Err(Rejection::Malformed(":protocol without CONNECT"));
    }
    let found = RequestFields::find(&parts.headers);
    let authority = check_authority(parts, &found.host)?;
    if found.connection_specific {
        return Err(Rejection::Malformed("fields that HTTP/2 forbids"));
    }
    // The names of protocols are compared without regard to case (RFC 9110 §7.8).
    if !protocol.eq_ignore_ascii_case(PROTOCOL) {
        return Err(Rejection::Protocol);
    }
    if !matches!(found.content_length, Field::Absent) {
        return Err(Rejection::Body);
    }
    if !upgrade::is_version_13(&found.version) {
        return Err(Rejection::Version);
    }
    let accept = accept(&found.key);
    ParsedRequest::read(
        HandshakeKind::Http2,
        authority,
        accept,
        &found,
        &parts.headers,
    )
}

/// Checks what the h2 crate lets through, and finds the host that the request is for.
fn check_authority(parts: &request::Parts, host: &Field<'_>) -> Result<HostPort, Rejection> {
    // First: the h2 crate drops the scheme, too, of a request without `:authority`.
    let Some(authority) = parts.uri.authority() else {
        return Err(Rejection::Malformed(":authority is missing"));
    };
    // Either scheme, whatever the transport: TLS may end, or begin, on the way.
    let Some(scheme) = parts.uri.scheme_str() else {
        return Err(Rejection::Malformed(":scheme is missing"));
    };
    let Some(default_port) = default_port_of(scheme) else {
        return Err(Rejection::Malformed(":scheme is neither http nor https"));
    };
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    if !path.starts_with('/') {
        return Err(Rejection::Malformed(":path is no path"));
    }
    // A `HostPort` has no user info (RFC 9113 §8.3.1).
    let Ok(authority) = authority.as_str().parse::<HostPort>() else {
        return Err(Rejection::Malformed(
            ":authority is no host with an optional port",
        ));
    };
    let host = match host {
        Field::Absent => return Ok(authority),
        Field::Once(host) => syntax::text(host).and_then(|host| host.parse::<HostPort>().ok()),
        Field::Repeated => None,
    };
    if host.is_some_and(|host| host.is_same(&authority, default_port)) {
        Ok(authority)
    } else {
        Err(Rejection::Malformed("host contradicts :authority"))
    }
}

/// The answer to a key that HTTP/2 does not need; to one that is no key, there is none.
fn accept(key: &Field<'_>) -> Option<http::HeaderValue> {
    match key {
        Field::Once(key) => Key::parse(key).ok().map(|key| key.accept()),
        Field::Absent | Field::Repeated => None,
    }
}

/// The server's 200, `headers` after the handshake's own fields (RFC 8441 §5). It must not end
/// its stream, and gets no `content-length`.
///
/// # Errors
/// If `headers` holds a [reserved](fields::is_reserved) field, or if something is agreed that
/// was not offered.
pub fn response(
    request: &ParsedRequest,
    negotiated: &Negotiated,
    headers: HeaderMap,
) -> Result<Response<()>, HandshakeError> {
    fields::check_own(&headers)?;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::OK;
    *response.version_mut() = Version::HTTP_2;
    let own = response.headers_mut();
    own.extend(
        request
            .accept
            .clone()
            .map(|accept| (SEC_WEBSOCKET_ACCEPT, accept)),
    );
    negotiated.write(&request.subprotocols, &request.extensions, own)?;
    fields::add_own(own, headers);
    Ok(response)
}

#[cfg(test)]
mod tests;
