//! Responses to clients that get no WebSocket.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, UPGRADE};
use http::{Response, StatusCode};

use super::{LimitExceeded, NoUpstream, headers};
use crate::error::{Error, RejectedResponse};
use crate::handshake::{HandshakeError, HandshakeKind};

/// A response with a line of text, written by the bridge itself.
pub(super) fn plain(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{text}\n")));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// The response if no route matches, or if an ambiguous path may match several;
/// with the reason for the access log.
pub(super) fn no_route(is_ambiguous: bool) -> (&'static str, Response<Bytes>) {
    if is_ambiguous {
        let text = "ambiguous path: servers read //, \\, %2F, ; and dot segments in different ways";
        ("ambiguous path", plain(StatusCode::BAD_REQUEST, text))
    } else {
        let text = "no matching route";
        (text, plain(StatusCode::NOT_FOUND, text))
    }
}

/// 503 with `Retry-After` (RFC 9110 §15.6.4).
pub(super) fn limit_exceeded(exceeded: LimitExceeded) -> Response<Bytes> {
    let mut response = plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "too many open WebSockets and requests",
    );
    let retry_after = exceeded.to_header();
    response.headers_mut().insert(RETRY_AFTER, retry_after);
    response
}

pub(super) fn no_upstream() -> Response<Bytes> {
    plain(StatusCode::BAD_GATEWAY, &NoUpstream.to_string())
}

/// 431 (RFC 6585 §5): the upstream would reject the request, or close the
/// connection that others share.
pub(super) fn header_list_too_large() -> Response<Bytes> {
    plain(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "the header fields exceed the upstream's limit",
    )
}

/// The response to a client whose request failed at the upstream with `error`.
/// `via` is the name of this hop, if it has one.
pub(super) fn from_error(error: Error, kind: HandshakeKind, via: Option<&str>) -> Response<Bytes> {
    match error {
        Error::Rejected(rejected) if is_rejection(rejected.status) => pass(*rejected, kind, via),
        Error::Handshake(HandshakeError::RequestTooLarge(..)) => header_list_too_large(),
        Error::Timeout(_) => plain(StatusCode::GATEWAY_TIMEOUT, "upstream timed out"),
        Error::Rejected(_) | Error::Handshake(_) | Error::NoExtendedConnect => {
            plain(StatusCode::BAD_GATEWAY, "invalid response from upstream")
        }
        _ => plain(StatusCode::BAD_GATEWAY, "cannot reach upstream"),
    }
}

/// Whether a status rejects a WebSocket and nothing else: 2xx in response to an
/// Upgrade neither accepts nor rejects, and would accept over HTTP/2.
fn is_rejection(status: StatusCode) -> bool {
    status.is_redirection() || status.is_client_error() || status.is_server_error()
}

/// Whether a response neither accepts nor rejects a WebSocket.
pub(super) fn is_invalid_response(error: &Error) -> bool {
    matches!(error, Error::Rejected(rejected) if !is_rejection(rejected.status))
}

/// Forwards an upstream's rejection.
fn pass(rejected: RejectedResponse, kind: HandshakeKind, via: Option<&str>) -> Response<Bytes> {
    let mut response = Response::new(rejected.body);
    *response.status_mut() = rejected.status;
    let fields = response.headers_mut();
    *fields = headers::rejection(rejected.headers);
    headers::add_via(fields, rejected.version, via);
    if rejected.status == StatusCode::UPGRADE_REQUIRED && kind == HandshakeKind::Http1 {
        // The upstream's `Upgrade` was for its own hop, and this one requires
        // it as well (RFC 9110 §15.5.22).
        fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    response
}
