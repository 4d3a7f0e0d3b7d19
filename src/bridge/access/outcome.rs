//! How a request ended, and by which side.

use std::fmt;

use crate::frame::CloseCode;

/// The reason of a WebSocket that the server cut.
pub(in crate::bridge) const CUT_BY_DRAIN: &str = "cut at the end of the drain timeout";

/// A side of a WebSocket or request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Side {
    /// The client that requested it.
    Client,
    /// The server that the bridge forwards to.
    Upstream,
    /// The bridge itself.
    Bridge,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Bridge => "bridge",
        })
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The WebSocket ended. Contains the side that ended it first and its close
    /// code: 1005 if the Close frame had none, 1006 if there was no Close frame
    /// (RFC 6455 §7.1.5).
    By(Side, CloseCode),
    /// A side's stream was reset, or its connection broke. [`Side::Bridge`] if the
    /// server cut it at the end of the drain timeout.
    Broken(Side),
    /// This side had begun to end it, and then a timeout expired.
    TimedOut(Side),
    /// The upstream answered a plain HTTP request completely.
    Answered,
    /// The request was rejected: by the bridge, by the upstream (or because that
    /// is unreachable), or because the client did not send all of its body.
    Rejected(Side),
    /// The client did not wait for the response, or not for all of its body.
    Gone,
}

impl Outcome {
    /// Returns the side that ended it.
    #[must_use]
    pub fn by(self) -> Side {
        match self {
            Self::By(side, _)
            | Self::Broken(side)
            | Self::TimedOut(side)
            | Self::Rejected(side) => side,
            Self::Gone => Side::Client,
            Self::Answered => Side::Upstream,
        }
    }

    /// Returns the close code, 1006 for a WebSocket that ended without a Close
    /// frame; `None` if no WebSocket was opened.
    #[must_use]
    pub fn code(self) -> Option<u16> {
        match self {
            Self::By(_, code) => Some(code.into()),
            Self::Broken(_) | Self::TimedOut(_) => Some(CloseCode::ABNORMAL.into()),
            Self::Answered | Self::Rejected(_) | Self::Gone => None,
        }
    }

    /// Returns the value of the access line's `closed` key.
    #[must_use]
    pub fn how(self) -> &'static str {
        match self {
            Self::By(_, CloseCode::ABNORMAL) => "end",
            Self::By(..) => "close",
            Self::Broken(_) => "reset",
            Self::TimedOut(_) => "timeout",
            Self::Answered => "answered",
            Self::Rejected(_) => "rejected",
            Self::Gone => "gone",
        }
    }

    /// The reason in the access log unless a more specific one was set.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::By(_, CloseCode::ABNORMAL) => "the stream ended without a Close frame",
            Self::By(..) => "closed by a Close frame",
            Self::Broken(Side::Bridge) => CUT_BY_DRAIN,
            Self::Broken(_) => "the connection broke",
            Self::TimedOut(_) => "timed out",
            Self::Answered => "answered",
            Self::Rejected(_) => "rejected",
            Self::Gone => "the client did not wait for the response",
        }
    }
}
