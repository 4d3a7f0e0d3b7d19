//! Decides which failed requests count as failures of the upstream.
//!
//! An upstream that fails several times in a row is
//! [ejected](crate::bridge::Ejection), for all clients. So only failures that the
//! bridge itself observed count: neither a slow application, nor its error page,
//! nor a request that the upstream cannot handle.
//!
//! | the bridge observed | verdict |
//! |---|---|
//! | a response with any status | success |
//! | 502, 503 or 504, with [`Ejection::gateway_errors`] | failure |
//! | no connection, TLS or SETTINGS within the timeout, or a proxy reported so | failure |
//! | a new connection that ended or broke without a response | failure |
//! | no response to a WebSocket handshake within the timeout | failure |
//! | a connection that ended while the request's body was being sent | – |
//! | the end of a connection that had carried other requests | – |
//! | an invalid response, a reset stream, GOAWAY | – |
//! | no response to a plain HTTP request within the timeout | – |
//! | a request that is [too large](crate::transport::h2::header_list) for it | – |
//! | a [failure of this machine](crate::transport::dial::is_local_failure), of its resolver or its proxy | – |
//! | a fault of the client | – |
//!
//! `–` neither counts as a failure nor ends a row of failures.
//!
//! [`Ejection::gateway_errors`]: crate::bridge::Ejection::gateway_errors

use http::StatusCode;

use crate::error::{Error, Timeout};
use crate::proxy::ProxyError;
use crate::transport::dial::is_local_failure;

/// What the outcome of one request shows about its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Answered(StatusCode),
    Fails,
    Unknown,
}

impl Verdict {
    /// The verdict for a failed WebSocket handshake or connection attempt.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Rejected(rejected) => Self::Answered(rejected.status),
            Error::Connect(error) | Error::Io(error) if is_local_failure(error) => Self::Unknown,
            Error::Proxy(error) if !is_unreached_by_proxy(error) => Self::Unknown,
            Error::Connect(_)
            | Error::Tls(_)
            | Error::Proxy(_)
            | Error::NoExtendedConnect
            | Error::Timeout(Timeout::Connect | Timeout::Handshake)
            | Error::Io(_)
            | Error::Abnormal
            | Error::Closed => Self::Fails,
            _ => Self::Unknown,
        }
    }

    /// The verdict for a plain HTTP request that got no response on a new
    /// connection.
    pub(super) fn of_request(error: &hyper::Error) -> Self {
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            // RST_STREAM and GOAWAY show that the server is alive.
            if let Some(h2) = cause.downcast_ref::<h2::Error>()
                && !h2.is_io()
            {
                return Self::Unknown;
            }
            source = cause.source();
        }
        if error.is_parse() || error.is_user() || error.is_canceled() {
            return Self::Unknown;
        }
        Self::Fails
    }
}

/// Whether a proxy reported that it cannot reach the upstream.
fn is_unreached_by_proxy(error: &ProxyError) -> bool {
    match error {
        ProxyError::Rejected(response) => matches!(response.status().as_u16(), 502..=504),
        // RFC 1928 §6: the network, the host or its port cannot be reached, or the TTL expired.
        ProxyError::Socks(reply) => matches!(reply, 3..=6),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::error::RejectedResponse;
    use crate::handshake::HandshakeError;
    use crate::transport::dial::{unreached, unresolved};

    #[test]
    fn only_failures_that_the_bridge_observed_count() {
        let io = |error: io::Error| Arc::new(error);
        let rejected = |status| {
            Error::Rejected(Box::new(RejectedResponse {
                version: http::Version::HTTP_11,
                status,
                headers: http::HeaderMap::new(),
                body: Bytes::new(),
                early_messages: Vec::new(),
            }))
        };
        let tunnel = |status| {
            let mut response = http::Response::new(Bytes::new());
            *response.status_mut() = status;
            Error::Proxy(ProxyError::Rejected(Box::new(response)))
        };
        let emfile = || io::Error::from_raw_os_error(24);
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        for (error, verdict) in [
            (
                Error::Connect(io(io::ErrorKind::ConnectionRefused.into())),
                Verdict::Fails,
            ),
            (Error::Timeout(Timeout::Connect), Verdict::Fails),
            (Error::Timeout(Timeout::Handshake), Verdict::Fails),
            (
                Error::Io(io(io::ErrorKind::UnexpectedEof.into())),
                Verdict::Fails,
            ),
            (rejected(unavailable), Verdict::Answered(unavailable)),
            (
                Error::Handshake(HandshakeError::UnofferedSubprotocol("x".into())),
                Verdict::Unknown,
            ),
            (
                Error::Reset {
                    code: 2,
                    by_peer: true,
                },
                Verdict::Unknown,
            ),
            (Error::Connect(io(emfile())), Verdict::Unknown),
            (
                Error::Connect(io(unreached("10.0.0.1:80", emfile()))),
                Verdict::Unknown,
            ),
            (
                Error::Connect(io(unreached("10.0.0.1:80", refused()))),
                Verdict::Fails,
            ),
            (
                Error::Connect(io(unresolved("a.test", io::Error::other("later")))),
                Verdict::Unknown,
            ),
            (
                ProxyError::Connect(io(unreached("proxy:80", refused()))).into(),
                Verdict::Unknown,
            ),
            (tunnel(StatusCode::BAD_GATEWAY), Verdict::Fails),
            (
                tunnel(StatusCode::PROXY_AUTHENTICATION_REQUIRED),
                Verdict::Unknown,
            ),
            (ProxyError::Socks(5).into(), Verdict::Fails),
            (ProxyError::Socks(2).into(), Verdict::Unknown),
            (
                Error::Connect(io(io::ErrorKind::AddrNotAvailable.into())),
                Verdict::Unknown,
            ),
        ] {
            assert_eq!(Verdict::of(&error), verdict, "{error}");
        }
    }
}
