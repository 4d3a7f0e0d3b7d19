//! Reasons for which a server rejects a request, and the responses to it.

use std::fmt;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::HandshakeKind;

/// A reason for which a server rejects a request, with the status of its response.
///
/// Over HTTP/2, a [malformed](Rejection::is_malformed) request does not get a response: its stream
/// is reset with `PROTOCOL_ERROR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// A request that is malformed in HTTP/2 (RFC 9113 §8.1.1), with the reason.
    Malformed(&'static str),
    /// Not a request for a WebSocket.
    NotWebSocket,
    /// An upgrade over a version other than HTTP/1.1 (RFC 6455 §4.1). HTTP/1.0 has no upgrade, and
    /// HTTP/2 uses extended CONNECT.
    HttpVersion,
    /// An upgrade with a method other than GET (RFC 6455 §4.1).
    Method,
    /// `upgrade: websocket` without `connection: upgrade`.
    Connection,
    /// A missing, repeated or invalid `host` (RFC 9112 §3.2), or an invalid request target.
    Host,
    /// A missing, repeated or invalid `sec-websocket-key` (RFC 6455 §4.2.1).
    Key,
    /// A `sec-websocket-version` other than 13 (RFC 6455 §4.4).
    Version,
    /// A request for a WebSocket that has or announces a body.
    Body,
    /// An extended CONNECT whose stream ended with it, so that no frame could follow.
    Ended,
    /// A `sec-websocket-protocol` that is not a list of tokens.
    Subprotocols,
    /// A `sec-websocket-extensions` that does not follow RFC 6455 §9.1.
    Extensions,
    /// An origin that is not allowed (RFC 6455 §10.2).
    Origin,
    /// A host that is not served here (RFC 9110 §15.5.20).
    Authority,
    /// An extended CONNECT with a `:protocol` other than `websocket` (RFC 8441 §4).
    Protocol,
    /// A CONNECT without `:protocol`, which asks for a forward proxy.
    Connect,
    /// A body with a transfer coding other than `chunked` (RFC 9112 §6.1).
    TransferCoding,
    /// A request without TLS where that is required (RFC 9110 §15.5.1).
    TlsRequired,
    /// More header fields than are accepted, or larger ones (RFC 6585 §5).
    HeaderFields,
}

impl Rejection {
    /// Returns whether the request is malformed (RFC 9113 §8.1.1): its stream is to be reset with
    /// `PROTOCOL_ERROR`, without affecting others.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::Malformed(_))
    }

    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self, kind: HandshakeKind) -> StatusCode {
        match self {
            Self::NotWebSocket | Self::Version => match kind {
                HandshakeKind::Http1 => StatusCode::UPGRADE_REQUIRED,
                // 426 requires an `upgrade` header (RFC 9110 §15.5.22), which HTTP/2 forbids.
                HandshakeKind::Http2 => StatusCode::BAD_REQUEST,
            },
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Authority => StatusCode::MISDIRECTED_REQUEST,
            Self::Protocol | Self::Connect | Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::HeaderFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Malformed(_)
            | Self::HttpVersion
            | Self::Connection
            | Self::Host
            | Self::Key
            | Self::TlsRequired
            | Self::Ended
            | Self::Body
            | Self::Subprotocols
            | Self::Extensions => StatusCode::BAD_REQUEST,
        }
    }

    /// Returns the response: the status, the headers that it requires, and
    /// [the reason](Self::reason) as text. It repeats nothing that the peer sent.
    #[must_use]
    pub fn to_response(&self, kind: HandshakeKind) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from_static(self.reason().as_bytes()));
        *response.status_mut() = self.status(kind);
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value| {
            headers.insert(name, HeaderValue::from_static(value));
        };
        set(CONTENT_TYPE, "text/plain; charset=utf-8");
        if matches!(self, Self::NotWebSocket | Self::Version) {
            set(SEC_WEBSOCKET_VERSION, "13");
            if kind == HandshakeKind::Http1 {
                set(UPGRADE, "websocket");
                set(CONNECTION, "upgrade");
            }
        }
        if *self == Self::Method {
            set(ALLOW, "GET");
        }
        response
    }

    /// Returns the reason in one line.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(why) => why,
            Self::NotWebSocket => "only WebSockets are served here",
            Self::HttpVersion => "a WebSocket upgrade requires HTTP/1.1",
            Self::Method => "a WebSocket upgrade requires the method GET",
            Self::Connection => "upgrade: websocket requires connection: upgrade",
            Self::Host => "exactly one valid host header is required",
            Self::Key => "exactly one sec-websocket-key of sixteen bytes in base64 is required",
            Self::Version => "sec-websocket-version must be 13",
            Self::Ended => "a request for a WebSocket must not end its stream",
            Self::Body => "a request for a WebSocket must not have a body",
            Self::Subprotocols => "sec-websocket-protocol is malformed",
            Self::Extensions => "sec-websocket-extensions is malformed",
            Self::Origin => "this origin may not open a WebSocket here",
            Self::Authority => "this host is not served here",
            Self::Protocol => "extended CONNECT is supported for the protocol websocket only",
            Self::Connect => "CONNECT is supported for WebSockets only",
            Self::TlsRequired => "this port speaks TLS; use https:// or wss://",
            Self::TransferCoding => "chunked is the only supported transfer coding",
            Self::HeaderFields => {
                "the request has more than 256 header fields, or larger ones than are accepted"
            }
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_status() {
        for (rejection, http1, http2) in [
            (Rejection::Malformed("x"), 400, 400),
            (Rejection::NotWebSocket, 426, 400),
            (Rejection::HttpVersion, 400, 400),
            (Rejection::Method, 405, 405),
            (Rejection::Connection, 400, 400),
            (Rejection::Host, 400, 400),
            (Rejection::Key, 400, 400),
            (Rejection::Version, 426, 400),
            (Rejection::Body, 400, 400),
            (Rejection::Subprotocols, 400, 400),
            (Rejection::Extensions, 400, 400),
            (Rejection::Origin, 403, 403),
            (Rejection::Authority, 421, 421),
            (Rejection::Protocol, 501, 501),
            (Rejection::Connect, 501, 501),
            (Rejection::TransferCoding, 501, 501),
        ] {
            for (kind, status) in [(HandshakeKind::Http1, http1), (HandshakeKind::Http2, http2)] {
                let response = rejection.to_response(kind);
                assert_eq!(response.status(), status, "{rejection:?} {kind:?}");
                assert_eq!(
                    response.headers()[CONTENT_TYPE],
                    "text/plain; charset=utf-8"
                );
                assert_eq!(response.body(), rejection.to_string().as_bytes());
                assert!(!response.body().is_empty());
            }
            let malformed = matches!(rejection, Rejection::Malformed(_));
            assert_eq!(rejection.is_malformed(), malformed);
        }
    }

    #[test]
    fn rfc6455_4_4_a_wrong_version_learns_the_right_one() {
        for rejection in [Rejection::Version, Rejection::NotWebSocket] {
            let http1 = rejection.to_response(HandshakeKind::Http1);
            assert_eq!(http1.headers()[SEC_WEBSOCKET_VERSION], "13");
            assert_eq!(http1.headers()[UPGRADE], "websocket", "RFC 9110 §15.5.22");
            assert_eq!(http1.headers()[CONNECTION], "upgrade", "RFC 9110 §7.8");
            let http2 = rejection.to_response(HandshakeKind::Http2);
            assert_eq!(http2.headers()[SEC_WEBSOCKET_VERSION], "13");
            assert!(!http2.headers().contains_key(UPGRADE), "RFC 9113 §8.2.2");
            assert!(!http2.headers().contains_key(CONNECTION), "RFC 9113 §8.2.2");
        }
    }

    #[test]
    fn rfc9110_15_5_6_a_405_says_what_is_allowed() {
        assert_eq!(
            Rejection::Method
                .to_response(HandshakeKind::Http1)
                .headers()[ALLOW],
            "GET"
        );
    }
}
