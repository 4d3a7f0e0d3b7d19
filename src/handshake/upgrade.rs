//! The Upgrade of HTTP/1.1 (RFC 6455 §4).

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

/// The client's request: a GET in origin form, `headers` after the handshake's own fields
/// (RFC 6455 §4.1).
///
/// # Errors
/// If `headers` holds a [reserved](fields::is_reserved) field, or the offer is not valid.
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
    // One field (RFC 6265 §5.4), however many the caller has set; HTTP/2 may carry them apart.
    fields::join_cookies(own);
    Ok(request)
}

/// Checks the server's 101, and says what was agreed (RFC 6455 §4.1).
///
/// # Errors
/// If the answer is no valid consent to just this request: the connection must be closed.
/// Other statuses are refusals, which the caller had better report with their bodies before
/// it comes here.
pub fn check_response(
    parts: &response::Parts,
    offer: &Offer,
    key: &Key,
) -> Result<Negotiated, HandshakeError> {
    if parts.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(HandshakeError::Status(parts.status));
    }
    // HTTP/1.0 knows no other protocol to switch to (RFC 9110 §7.8).
    if parts.version != Version::HTTP_11 {
        return Err(HandshakeError::HttpVersion);
    }
    let headers = &parts.headers;
    // The server switches to what it names: to several at once, or to another, is not to ours.
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
    offer.answered(headers)
}

/// Whether a request asks for a WebSocket at all; one that does not is an ordinary request.
///
/// HTTP/1.0 cannot ask (RFC 9110 §7.8).
#[must_use]
pub fn is_upgrade(parts: &request::Parts) -> bool {
    parts.version == Version::HTTP_11
        && syntax::contains_token(&parts.headers, UPGRADE, "websocket")
}

/// Checks a client's request (RFC 6455 §4.2.1).
///
/// # Errors
/// What to answer instead of a 101.
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
    // Before the key, which other versions might not have.
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

/// The host that the request is for; no default port matters to HTTP/1.1's.
fn host(parts: &request::Parts) -> Result<HostPort, Rejection> {
    if !parts.uri.path().starts_with('/') {
        return Err(Rejection::Host);
    }
    authority::of_request(parts, default_port(false))
}

/// Bytes behind the request's head would be a body to one reader and frames to another
/// (RFC 9931). A `content-length` of 0 is none that HTTP/2 could take, for which frames are
/// content (RFC 9113 §8.1.1), so here it is none either.
fn has_body(headers: &HeaderMap, length: &Field<'_>) -> bool {
    !matches!(length, Field::Absent) || headers.contains_key(TRANSFER_ENCODING)
}

/// Checks that the codings of a plain HTTP request's body are known, of which there is one:
/// `chunked` (RFC 9112 §6.1).
pub(crate) fn check_transfer_coding(headers: &HeaderMap) -> Result<(), Rejection> {
    match syntax::field(headers, TRANSFER_ENCODING) {
        Field::Absent => Ok(()),
        Field::Once(codings) if codings.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        Field::Once(_) | Field::Repeated => Err(Rejection::TransferCoding),
    }
}

/// The server's 101 (RFC 6455 §4.2.2), `headers` after the handshake's own fields.
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
