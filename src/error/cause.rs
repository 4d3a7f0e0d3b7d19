//! [`DisconnectCause`]: why a WebSocket ended, with and without an error.

use std::fmt;
use std::time::Duration;

use super::retry_after::retry_after;
use super::{Chain, Error};
use crate::frame::{CloseCode, CloseFrame};
use crate::transport::proxy::ProxyError;

/// Why a WebSocket ended or did not open.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DisconnectCause {
    /// The server closed it with this Close frame, or with an empty one.
    Closed(Option<CloseFrame>),
    /// It broke, or could not be opened.
    Error(Error),
}

impl DisconnectCause {
    /// Returns the close code if the server closed it; [`CloseCode::NO_STATUS_RECEIVED`] if its
    /// Close frame was empty.
    #[must_use]
    pub fn close_code(&self) -> Option<CloseCode> {
        match self {
            Self::Closed(Some(frame)) => Some(frame.code),
            Self::Closed(None) => Some(CloseCode::NO_STATUS_RECEIVED),
            Self::Error(_) => None,
        }
    }

    /// Returns whether another WebSocket may succeed: [`Error::is_retryable`] or
    /// [`CloseCode::is_retryable`].
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Error(error) => error.is_retryable(),
            Self::Closed(frame) => frame
                .as_ref()
                .is_some_and(|frame| frame.code.is_retryable()),
        }
    }

    /// Returns how long the server, or the proxy to it, asked to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Error(Error::Rejected(response)) => response.retry_after(),
            Self::Error(Error::Proxy(ProxyError::Rejected(response))) => {
                retry_after(response.headers())
            }
            _ => None,
        }
    }
}

/// An error is displayed with its causes.
impl fmt::Display for DisconnectCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(None) => f.write_str("the server closed the WebSocket without a code"),
            Self::Closed(Some(frame)) => {
                write!(
                    f,
                    "the server closed the WebSocket with code {}",
                    frame.code
                )?;
                if frame.reason.is_empty() {
                    return Ok(());
                }
                write!(f, ": {}", frame.reason)
            }
            Self::Error(error) => Chain(error).fmt(f),
        }
    }
}
