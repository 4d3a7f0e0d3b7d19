//! Converts an upstream's response into the response to the client.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderValue, SET_COOKIE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Response, StatusCode, response};

use super::InFlight;
use super::download::BridgeBody;
use super::forward::UpstreamResponse;
use crate::bridge::location::LocationMap;
use crate::bridge::{Lease, Route, headers};
use crate::handshake::HandshakeKind;

pub(super) fn to_client(
    upstream: UpstreamResponse,
    method: &Method,
    kind: HandshakeKind,
    route: &Route,
    mut in_flight: InFlight,
) -> Response<BridgeBody> {
    let UpstreamResponse {
        response,
        connection,
        mapping,
    } = upstream;
    let (parts, body) = response.into_parts();
    let status = parts.status;
    let version = parts.version;
    let mut fields = fields(parts, method, kind);
    headers::add_via(&mut fields, version, route.via());
    if let Some(lease) = &in_flight.lease {
        LocationMap::new(
            route,
            lease.upstream(),
            &mapping.removed_prefix,
            &mapping.view,
        )
        .apply(&mut fields);
    }
    route.response_headers().apply(&mut fields);
    if let Some(cookie) = in_flight.lease.as_ref().and_then(Lease::set_cookie) {
        fields.append(SET_COOKIE, cookie.clone());
    }
    in_flight.access.set_status(status);
    let body = BridgeBody::from_upstream(body, connection, in_flight, route.timeouts().idle);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

/// The fields for the client. `Content-Length` is written here only for a
/// response without a body; otherwise the body's size determines it.
fn fields(parts: response::Parts, method: &Method, kind: HandshakeKind) -> HeaderMap {
    let status = parts.status;
    let length = length_without_body(&parts, method);
    let upgrade = parts.headers.get(UPGRADE).cloned();
    let mut fields = headers::response(parts.headers);
    if let Some(length) = length {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Some(upgrade) = upgrade
        && status == StatusCode::UPGRADE_REQUIRED
        && kind == HandshakeKind::Http1
    {
        // The upstream's `Upgrade` was for its own hop, and this one requires
        // it as well (RFC 9110 §15.5.22).
        fields.insert(UPGRADE, upgrade);
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    fields
}

/// The length to announce in a response without a body (RFC 9110 §8.6): that of
/// the body in a response to GET. `None` if the upstream's fields contradict each
/// other.
fn length_without_body(parts: &response::Parts, method: &Method) -> Option<u64> {
    let may_announce = match parts.status {
        StatusCode::NO_CONTENT => false,
        StatusCode::NOT_MODIFIED => true,
        _ => *method == Method::HEAD,
    };
    if !may_announce || parts.headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    let first = lengths.next()?;
    let is_number = first.as_bytes().iter().all(u8::is_ascii_digit);
    let agree = is_number && lengths.all(|other| other == first);
    agree.then(|| first.to_str().ok()?.parse().ok()).flatten()
}
