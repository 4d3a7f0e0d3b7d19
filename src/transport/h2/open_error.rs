//! Why a client's request for a stream failed.

use h2::Reason;

use crate::transport::StreamError;

/// Why a request got no usable response.
#[derive(Debug)]
pub(crate) struct OpenError {
    pub(crate) error: StreamError,
    /// The server has certainly not seen the request, so it may be repeated:
    /// REFUSED_STREAM, or above a GOAWAY's last stream (RFC 9113 §8.7).
    pub(crate) unprocessed: bool,
}

impl OpenError {
    /// An error for a malformed response.
    pub(super) fn fault(reason: Reason) -> Self {
        Self {
            error: StreamError::Reset {
                code: reason.into(),
                by_peer: false,
            },
            unprocessed: false,
        }
    }

    /// An error for more than [`MAX_INTERIM`](crate::transport::MAX_INTERIM)
    /// interim responses.
    pub(super) fn too_many_interim() -> Self {
        Self::fault(Reason::ENHANCE_YOUR_CALM)
    }
}

impl From<h2::Error> for OpenError {
    fn from(error: h2::Error) -> Self {
        let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        Self {
            unprocessed: error.is_remote() && (refused || error.is_go_away()),
            error: error.into(),
        }
    }
}
