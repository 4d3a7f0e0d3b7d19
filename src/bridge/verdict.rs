//! What counts against an upstream: only what the bridge itself saw fail.
//!
//! An upstream that fails several times in a row is [ejected](crate::bridge::Ejection),
//! for all clients. So neither a slow application, nor its error page, nor a
//! request that it cannot bear may be held against it.
//!
//! | what the bridge saw | verdict |
//! |---|---|
//! | an answer, whatever its status | works |
//! | 502, 503 or 504, where [`Ejection::gateway_errors`] says so | fails |
//! | no connection, no TLS, no SETTINGS, in time or at all | fails |
//! | a new connection that ended or broke without an answer | fails |
//! | no answer in time to the opening of a socket | fails |
//! | a connection that ended while the request's body was still coming | – |
//! | a connection that had carried requests before and ended | – |
//! | an answer that cannot be understood, a reset stream, GOAWAY | – |
//! | no answer in time to a plain HTTP request | – |
//! | a request that is [too large](crate::transport::h2::header_list) for it | – |
//! | a lack of descriptors or ports here, the client's own faults | – |
//!
//! `–` neither counts nor ends a row of failures: the next request decides.
//!
//! [`Ejection::gateway_errors`]: crate::bridge::Ejection::gateway_errors

use std::io;

use http::StatusCode;

use crate::error::{Error, Timeout};

/// What one request shows about its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Answered(StatusCode),
    Fails,
    Unknown,
}

impl Verdict {
    /// What it shows that there is no socket.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Rejected(refusal) => Self::Answered(refusal.status),
            Error::Connect(error) | Error::Io(error) if is_lack_of_ours(error) => Self::Unknown,
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

    /// What it shows that a plain HTTP request got no answer over a connection
    /// that was made for it.
    pub(super) fn of_request(error: &hyper::Error) -> Self {
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            // A stream that is reset and GOAWAY are answers of a kind.
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

/// Whether it is this machine that has run out of something.
fn is_lack_of_ours(error: &io::Error) -> bool {
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
    fn only_what_the_bridge_saw_fail_is_a_failure() {
        let io = |error: io::Error| Arc::new(error);
        let refused = |status| {
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
            (refused(unavailable), Verdict::Answered(unavailable)),
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
