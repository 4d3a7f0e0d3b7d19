//! The HTTP/2 extended CONNECT handshake (RFC 8441 §4-5).
//!
//! The types of [`http`] do not include `:protocol`: the caller adds it to a client's request, and
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

/// Creates a client's request, with `headers` after those of the handshake (RFC 8441 §5). The caller
/// adds [`PROTOCOL`].
///
/// RFC 8441 §5 does not use `sec-websocket-key`, so `key` can be `None` for a server that handles
/// the WebSocket itself. A gateway to an RFC 6455 server needs a key there, and some (Envoy) forward
/// the client's instead of creating one: without it, their server responds with 400.
///
/// # Errors
/// If `headers` has a [reserved](fields::is_reserved) field, or the offer is invalid.
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

/// Checks the server's response, which may be any 2xx, and returns what was negotiated (RFC 8441
/// §5).
///
/// `sec-websocket-accept` is ignored even if a key was sent: gateways forward their upstream's,
/// compute it from a key of their own, or leave it out.
///
/// # Errors
/// If the response does not accept this request, or is invalid: the stream must be reset. Callers
/// should handle other statuses first: those below 200 precede the response, and the others reject
/// the handshake with a response of their own.
pub fn check_response(
    parts: &response::Parts,
    offer: &Offer,
) -> Result<Negotiated, HandshakeError> {
    if !parts.status.is_success() {
        return Err(HandshakeError::Status(parts.status));
    }
    offer.read_answer(&parts.headers)
}

/// Checks a client's request with its `:protocol` (RFC 8441 §4-5, RFC 9113 §8.3.1).
///
/// It does not check that the client's direction of the stream is still open.
///
/// # Errors
/// The reason to reject the request or, if it is [malformed](Rejection::is_malformed), to reset the
/// stream.
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
        return Err(Rejection::Malformed("header that HTTP/2 forbids"));
    }
    // Protocol names are case-insensitive (RFC 9110 §7.8).
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

/// Returns the host that the request is for, after the checks that the h2 crate does not make.
fn check_authority(parts: &request::Parts, host: &Field<'_>) -> Result<HostPort, Rejection> {
    // First, because the h2 crate also drops the scheme of a request without `:authority`.
    let Some(authority) = parts.uri.authority() else {
        return Err(Rejection::Malformed(":authority is missing"));
    };
    // Either scheme over any transport: a proxy may have removed or added TLS.
    let Some(scheme) = parts.uri.scheme_str() else {
        return Err(Rejection::Malformed(":scheme is missing"));
    };
    let Some(default_port) = default_port_of(scheme) else {
        return Err(Rejection::Malformed(":scheme is neither http nor https"));
    };
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    if !path.starts_with('/') {
        return Err(Rejection::Malformed(":path does not begin with a slash"));
    }
    // `HostPort` does not accept user info (RFC 9113 §8.3.1).
    let Ok(authority) = authority.as_str().parse::<HostPort>() else {
        return Err(Rejection::Malformed(
            ":authority is not a host with an optional port",
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
        Err(Rejection::Malformed("host differs from :authority"))
    }
}

/// Returns the `sec-websocket-accept` for a key, which HTTP/2 does not require; an invalid key is
/// ignored.
fn accept(key: &Field<'_>) -> Option<http::HeaderValue> {
    match key {
        Field::Once(key) => Key::parse(key).ok().map(|key| key.accept()),
        Field::Absent | Field::Repeated => None,
    }
}

/// Creates a server's 200 response, with `headers` after those of the handshake (RFC 8441 §5). It
/// must be sent without END_STREAM and without `content-length`.
///
/// # Errors
/// If `headers` has a [reserved](fields::is_reserved) field, or something was selected that was not
/// offered.
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
