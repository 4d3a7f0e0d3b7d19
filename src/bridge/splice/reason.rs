//! Why a splice ended, for the access log.

use std::fmt;
use std::time::Duration;

use crate::error::{Chain, Error};
use crate::transport::StreamError;

/// Why a WebSocket ended, besides which side ended it.
#[derive(Clone, Debug)]
pub(super) enum EndReason {
    /// Its sides ended it, and the outcome describes how.
    Ended,
    /// One side did not answer the other side's Close frame or end.
    Unanswered,
    /// It was open for its maximum lifetime.
    Outlived,
    /// One side sent nothing for this long after a Ping of the bridge.
    NoPong(Duration),
    /// The server cut it at the end of the drain timeout.
    Cut,
    Broken(Box<StreamError>),
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("ended"),
            Self::Unanswered => f.write_str("no response to the Close frame or end of stream"),
            Self::Outlived => f.write_str(crate::bridge::lifetime::REASON),
            Self::NoPong(timeout) => write!(f, "no answer to a Ping within {timeout:?}"),
            Self::Cut => f.write_str(crate::bridge::access::CUT_BY_DRAIN),
            Self::Broken(error) => Chain(&Error::from((**error).clone())).fmt(f),
        }
    }
}
