//! The HTTP/1.1 Upgrade handshake (RFC 6455 §4).

use http::header::{
    CONNECTION, HOST, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version, request, response};

use super::authority::{self, default_port};
use super::headers as fields;
use super::request_fields::RequestFields;
use super::syntax::{self, Field};
use super::{
    HandshakeError, HandshakeKind, HostPort, Key, Negotiated, Offer, ParsedRequest, Rejection,
    Target,
};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Creates a client's request: a GET in origin form, with `headers` after those of the handshake
/// (RFC 6455 §4.1).
///
/// # Errors
/// If `headers` has a [reserved](fields::is_reserved) field, or the offer is invalid.
pub fn request(
    target: &Target,
    headers: HeaderMap,
    offer: &Offer,
    key: &Key,
) -> Result<Request<()>, HandshakeError> {
    fields::check_own(&headers)?;
    let mut request = Request::new(());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = target.path_uri();
    *request.version_mut() = Version::HTTP_11;
    let own = request.headers_mut();
    own.insert(HOST, target.host_value());
    own.insert(UPGRADE, WEBSOCKET);
    own.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    own.insert(SEC_WEBSOCKET_KEY, key.to_value());
    offer.write(own)?;
    fields::add_own(own, headers);
    // HTTP/1.1 allows one field only (RFC 6265 §5.4), whereas HTTP/2 allows several.
    fields::join_cookies(own);
    Ok(request)
}

/// Checks the server's 101 response, and returns what was negotiated (RFC 6455 §4.1).
///
/// # Errors
/// If the response does not accept this request, or is invalid: the connection must be closed.
/// Callers should handle other statuses first, which reject the handshake with a response of their
/// own.
pub fn check_response(
    parts: &response::Parts,
    offer: &Offer,
    key: &Key,
) -> Result<Negotiated, HandshakeError> {
    if parts.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(HandshakeError::Status(parts.status));
    }
    // HTTP/1.0 has no upgrade (RFC 9110 §7.8).
    if parts.version != Version::HTTP_11 {
        return Err(HandshakeError::HttpVersion);
    }
    let headers = &parts.headers;
    // The server switches to the protocols that it lists, so there must be no other.
    let mut switched_to = syntax::elements(headers, UPGRADE).map(Option::unwrap_or_default);
    let to_websocket = switched_to
        .next()
        .is_some_and(|to| to.eq_ignore_ascii_case("websocket"));
    if !to_websocket || switched_to.next().is_some() {
        return Err(HandshakeError::Upgrade);
    }
    if !syntax::contains_token(headers, CONNECTION, "upgrade") {
        return Err(HandshakeError::Connection);
    }
    let Field::Once(accept) = syntax::field(headers, SEC_WEBSOCKET_ACCEPT) else {
        return Err(HandshakeError::MissingAccept);
    };
    if syntax::text(accept).is_none_or(|accept| key.accept() != accept) {
        return Err(HandshakeError::WrongAccept);
    }
    offer.read_answer(headers)
}

/// Returns whether a request is for a WebSocket, and not a plain HTTP request.
///
/// HTTP/1.0 requests never are (RFC 9110 §7.8).
#[must_use]
pub fn is_upgrade(parts: &request::Parts) -> bool {
    parts.version == Version::HTTP_11
        && syntax::contains_token(&parts.headers, UPGRADE, "websocket")
}

/// Checks a client's request (RFC 6455 §4.2.1).
///
/// # Errors
/// The reason to reject the request.
pub fn check_request(parts: &request::Parts) -> Result<ParsedRequest, Rejection> {
    let headers = &parts.headers;
    if parts.version != Version::HTTP_11 {
        return Err(Rejection::HttpVersion);
    }
    if !syntax::contains_token(headers, UPGRADE, "websocket") {
        return Err(Rejection::NotWebSocket);
    }
    if parts.method != Method::GET {
        return Err(Rejection::Method);
    }
    if !syntax::contains_token(headers, CONNECTION, "upgrade") {
        return Err(Rejection::Connection);
    }
    let authority = host(parts)?;
    let found = RequestFields::find(headers);
    if has_body(headers, &found.content_length) {
        return Err(Rejection::Body);
    }
    // Before the key, which other versions may not have.
    if !is_version_13(&found.version) {
        return Err(Rejection::Version);
    }
    let key = match found.key {
        Field::Once(key) => Key::parse(key).map_err(|_| Rejection::Key)?,
        Field::Absent | Field::Repeated => return Err(Rejection::Key),
    };
    let accept = Some(key.accept());
    ParsedRequest::read(HandshakeKind::Http1, authority, accept, &found, headers)
}

pub(super) fn is_version_13(version: &Field<'_>) -> bool {
    match version {
        Field::Once(version) => syntax::text(version) == Some("13"),
        Field::Absent | Field::Repeated => false,
    }
}

/// Returns the host that the request is for. The default port matters over HTTP/2 only.
fn host(parts: &request::Parts) -> Result<HostPort, Rejection> {
    if !parts.uri.path().starts_with('/') {
        return Err(Rejection::Host);
    }
    authority::of_request(parts, default_port(false))
}

/// Returns whether the request announces a body. The bytes after its head would be a body to one
/// reader and frames to another (RFC 9931). A `content-length` of 0 counts, too: over HTTP/2, where
/// frames are content (RFC 9113 §8.1.1), it is invalid, and both versions have the same rules.
fn has_body(headers: &HeaderMap, length: &Field<'_>) -> bool {
    !matches!(length, Field::Absent) || headers.contains_key(TRANSFER_ENCODING)
}

/// Returns whether a body has the only supported transfer coding, `chunked` (RFC 9112 §6.1), or
/// none. Other codings would have to be decoded: they are not forwarded.
pub(crate) fn is_chunked_only(headers: &HeaderMap) -> bool {
    match syntax::field(headers, TRANSFER_ENCODING) {
        Field::Absent => true,
        Field::Once(codings) => codings.as_bytes().eq_ignore_ascii_case(b"chunked"),
        Field::Repeated => false,
    }
}

/// Checks the transfer coding of a plain HTTP request.
pub(crate) fn check_transfer_coding(headers: &HeaderMap) -> Result<(), Rejection> {
    match is_chunked_only(headers) {
        true => Ok(()),
        false => Err(Rejection::TransferCoding),
    }
}

/// Creates a server's 101 response (RFC 6455 §4.2.2), with `headers` after those of the handshake.
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
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.version_mut() = Version::HTTP_11;
    let own = response.headers_mut();
    own.insert(UPGRADE, WEBSOCKET);
    own.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
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
