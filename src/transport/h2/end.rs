//! Why an HTTP/2 connection ended: for its streams, for the log and for the
//! metrics.

use std::sync::Arc;

use h2::Reason;

use super::peer_deadlines::Awaited;
use crate::metrics::ConnectionEnd;
use crate::transport::StreamError;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum Error {
    H2(h2::Error),
    Io(std::io::Error),
    Peer(Fault),
    /// The peer did not answer a PING in time.
    KeepAlive,
    /// The connection ended in order.
    Ended,
}

/// A fault of the peer for which this side ends the connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// It sends too many frames that carry no message.
    Flood,
    /// It did not complete in time what it began.
    Late(Awaited),
}

impl Fault {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Flood | Self::Late(Awaited::Block(_)) => Reason::ENHANCE_YOUR_CALM,
            Self::Late(Awaited::Settings) => Reason::SETTINGS_TIMEOUT,
        }
    }
}

impl From<Fault> for StreamError {
    fn from(fault: Fault) -> Self {
        let text = match fault {
            Fault::Flood => "the peer sent too many frames that carry no message",
            Fault::Late(Awaited::Settings) => "the peer sent no SETTINGS in time",
            Fault::Late(Awaited::Block(_)) => "the peer did not complete a header block in time",
        };
        Self::GoAway {
            code: fault.reason().into(),
            by_peer: false,
            text: text.into(),
        }
    }
}

impl From<Error> for StreamError {
    fn from(error: Error) -> Self {
        match error {
            Error::H2(error) => error.into(),
            Error::Io(error) => Self::Io(Arc::new(error)),
            Error::Peer(fault) => fault.into(),
            Error::KeepAlive => Self::KeepAlive,
            Error::Ended => Self::Closed,
        }
    }
}

impl Error {
    /// Returns the end that the metrics report.
    pub(super) fn connection_end(&self) -> ConnectionEnd {
        match self {
            Self::Ended => ConnectionEnd::Clean,
            Self::KeepAlive => ConnectionEnd::Timeout,
            Self::Io(_) => ConnectionEnd::Broken,
            Self::Peer(fault) => ConnectionEnd::GoAway {
                code: fault.reason().into(),
                by_peer: false,
            },
            Self::H2(error) => match error.reason().map(u32::from) {
                Some(0) => ConnectionEnd::Clean,
                Some(code) if error.is_go_away() => ConnectionEnd::GoAway {
                    code,
                    by_peer: error.is_remote(),
                },
                _ => ConnectionEnd::Broken,
            },
        }
    }

    pub(super) fn io(&self) -> Option<&std::io::Error> {
        match self {
            Self::H2(error) => error.get_io(),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<h2::Error> for StreamError {
    fn from(error: h2::Error) -> Self {
        let by_peer = error.is_remote();
        let code = error.reason().map(u32::from);
        match code {
            Some(code) if error.is_reset() => Self::Reset { code, by_peer },
            Some(code) if error.is_go_away() => Self::GoAway {
                code,
                by_peer,
                text: error.to_string().into(),
            },
            _ => match error.into_io() {
                Some(error) => Self::Io(Arc::new(error)),
                None => Self::Closed,
            },
        }
    }
}
