//! What a client is told where there is no socket.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, UPGRADE};
use http::{Response, StatusCode};

use super::{LimitExceeded, NoUpstream, headers};
use crate::error::{Error, RejectedResponse};
use crate::handshake::{HandshakeError, HandshakeKind};

/// A refusal of the bridge's own.
pub(super) fn own(status: StatusCode, text: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// There is no route, or the path does not say which.
pub(super) fn no_route(is_ambiguous: bool) -> Response<Bytes> {
    if is_ambiguous {
        let text = "servers read this path in different ways: \
                    write it without //, \\, %2F, ; and dots for segments\n";
        return own(StatusCode::BAD_REQUEST, text);
    }
    own(
        StatusCode::NOT_FOUND,
        "no route matches this host and path\n",
    )
}

/// 503, and when to try again (RFC 9110 §15.6.4).
pub(super) fn saturated(saturated: LimitExceeded) -> Response<Bytes> {
    let mut response = own(
        StatusCode::SERVICE_UNAVAILABLE,
        "there is no place for more now\n",
    );
    let retry_after = saturated.to_header();
    response.headers_mut().insert(RETRY_AFTER, retry_after);
    response
}

pub(super) fn no_upstream(_: NoUpstream) -> Response<Bytes> {
    own(StatusCode::BAD_GATEWAY, "there is no upstream\n")
}

/// 431 (RFC 6585 §5): the upstream would refuse it, or worse.
pub(super) fn header_list_too_large() -> Response<Bytes> {
    own(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "the header fields are more than the upstream takes\n",
    )
}

/// What became of the request at the upstream.
/// `name` is that of this hop, if it is told.
pub(super) fn upstream(error: Error, via: HandshakeKind, name: Option<&str>) -> Response<Bytes> {
    match error {
        Error::Rejected(refusal) if passes(refusal.status) => pass(*refusal, via, name),
        Error::Handshake(HandshakeError::RequestTooLarge(..)) => header_list_too_large(),
        Error::Timeout(_) => own(
            StatusCode::GATEWAY_TIMEOUT,
            "the upstream did not answer in time\n",
        ),
        Error::Rejected(_) | Error::Handshake(_) | Error::NoExtendedConnect => own(
            StatusCode::BAD_GATEWAY,
            "the upstream did not answer as it should\n",
        ),
        _ => own(StatusCode::BAD_GATEWAY, "the upstream cannot be reached\n"),
    }
}

/// Whether a status refuses a socket and nothing else: 2xx to an Upgrade is
/// neither a socket nor a refusal, and would be a socket over HTTP/2.
fn passes(status: StatusCode) -> bool {
    status.is_redirection() || status.is_client_error() || status.is_server_error()
}

/// Whether an answer is neither a socket nor a refusal that a client could
/// make something of.
pub(super) fn is_none(error: &Error) -> bool {
    matches!(error, Error::Rejected(refusal) if !passes(refusal.status))
}

fn pass(refusal: RejectedResponse, via: HandshakeKind, name: Option<&str>) -> Response<Bytes> {
    let mut response = Response::new(refusal.body);
    *response.status_mut() = refusal.status;
    let fields = response.headers_mut();
    *fields = headers::refusal(refusal.headers);
    headers::add_via(fields, refusal.version, name);
    if refusal.status == StatusCode::UPGRADE_REQUIRED && via == HandshakeKind::Http1 {
        // Of the hop that it came over, and just as due on the next
        // (RFC 9110 §15.5.22).
        fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    response
}
