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
//! | no connection, TLS or SETTINGS within the timeout | failure |
//! | a new connection that ended or broke without a response | failure |
//! | no response to a WebSocket handshake within the timeout | failure |
//! | a connection that ended while the request's body was being sent | – |
//! | the end of a connection that had carried other requests | – |
//! | an invalid response, a reset stream, GOAWAY | – |
//! | no response to a plain HTTP request within the timeout | – |
//! | a request that is [too large](crate::transport::h2::header_list) for it | – |
//! | a lack of file descriptors or ports on this machine, a fault of the client | – |
//!
//! `–` neither counts as a failure nor ends a row of failures.
//!
//! [`Ejection::gateway_errors`]: crate::bridge::Ejection::gateway_errors

use std::io;

use http::StatusCode;

use crate::error::{Error, Timeout};

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
            Error::Connect(error) | Error::Io(error) if is_local_exhaustion(error) => Self::Unknown,
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

/// Whether this machine, not the upstream, has run out of a resource.
fn is_local_exhaustion(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    error.kind() == io::ErrorKind::AddrNotAvailable
        || (cfg!(unix) && matches!(error.raw_os_error(), Some(ENFILE | EMFILE)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::error::RejectedResponse;
    use crate::handshake::HandshakeError;

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
            (
                Error::Connect(io(io::Error::from_raw_os_error(24))),
                Verdict::Unknown,
            ),
            (
                Error::Connect(io(io::ErrorKind::AddrNotAvailable.into())),
                Verdict::Unknown,
            ),
        ] {
            assert_eq!(Verdict::of(&error), verdict, "{error}");
        }
    }
}
