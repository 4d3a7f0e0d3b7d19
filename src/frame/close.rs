//! The payload of a Close frame (RFC 6455 §5.5.1).

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::close_code::CloseCode;
use super::error::{ProtocolError, SendError};
use super::header::MAX_CONTROL;
use super::text::Text;

/// The code and reason of a Close frame that is not empty.
///
/// ```
/// use h2ws::{CloseCode, CloseFrame};
///
/// let frame = CloseFrame::new(CloseCode::GOING_AWAY, "restarting");
/// assert_eq!(frame.to_string(), "1001: restarting");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseFrame {
    /// The close code.
    pub code: CloseCode,
    /// A description for logs; at most 123 bytes, often empty.
    pub reason: Text,
}

impl CloseFrame {
    /// Creates a Close frame with a reason of at most 123 bytes.
    pub fn new(code: CloseCode, reason: impl Into<Text>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }

    /// Parses the payload of a Close frame; `None` if it is empty.
    pub(super) fn parse(mut payload: Bytes) -> Result<Option<Self>, ProtocolError> {
        if payload.is_empty() {
            return Ok(None);
        }
        let Some(&code) = payload.first_chunk() else {
            return Err(ProtocolError::TruncatedCloseCode);
        };
        let code = CloseCode::from(u16::from_be_bytes(code));
        if !code.is_sendable() {
            return Err(ProtocolError::InvalidCloseCode(code.into()));
        }
        let reason = payload.split_off(2);
        let reason = Text::try_from(reason).map_err(|_| ProtocolError::InvalidCloseReason)?;
        Ok(Some(Self { code, reason }))
    }

    pub(crate) fn check(&self) -> Result<(), SendError> {
        if self.code.is_sendable() && self.reason.len() <= MAX_CONTROL - 2 {
            Ok(())
        } else {
            Err(SendError::InvalidCloseFrame)
        }
    }

    pub(super) fn payload(&self) -> Bytes {
        let mut payload = BytesMut::with_capacity(2 + self.reason.len());
        payload.extend_from_slice(&u16::from(self.code).to_be_bytes());
        payload.extend_from_slice(self.reason.as_bytes());
        payload.freeze()
    }
}

/// For `close`, which takes a frame, a code or `None`.
impl From<CloseCode> for Option<CloseFrame> {
    fn from(code: CloseCode) -> Self {
        Some(CloseFrame::from(code))
    }
}

impl From<CloseCode> for CloseFrame {
    fn from(code: CloseCode) -> Self {
        Self {
            code,
            reason: Text::new(),
        }
    }
}

impl fmt::Display for CloseFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reason.is_empty() {
            write!(f, "{}", self.code)
        } else {
            write!(f, "{}: {}", self.code, self.reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(payload: &[u8]) -> Result<Option<CloseFrame>, ProtocolError> {
        CloseFrame::parse(Bytes::copy_from_slice(payload))
    }

    /// RFC 6455 §7.4, every code there is, against ranges written by hand.
    #[test]
    fn every_code() {
        for code in 0..=u16::MAX {
            let allowed = match code {
                0..=999 | 1004..=1006 | 1015..=2999 | 5000.. => false,
                1000..=1003 | 1007..=1014 | 3000..=4999 => true,
            };
            let frame = CloseFrame::from(CloseCode::from(code));
            assert_eq!(frame.code.is_sendable(), allowed, "{code}");
            assert_eq!(frame.check().is_ok(), allowed, "{code}");
            let expected = if allowed {
                Ok(Some(frame))
            } else {
                Err(ProtocolError::InvalidCloseCode(code))
            };
            assert_eq!(parse(&code.to_be_bytes()), expected);
        }
    }

    #[test]
    fn payloads() {
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(parse(&[3]), Err(ProtocolError::TruncatedCloseCode));
        assert_eq!(
            parse(b"\x03\xe8\xc3"),
            Err(ProtocolError::InvalidCloseReason)
        );
        let frame = CloseFrame::new(CloseCode::from(4000), "später");
        assert_eq!(
            frame.payload(),
            [&[0x0f, 0xa0][..], "später".as_bytes()].concat()
        );
        assert_eq!(parse(&frame.payload()), Ok(Some(frame)));
    }

    #[test]
    fn a_reason_fits_into_a_control_frame() {
        let reason = |len| CloseFrame::new(CloseCode::NORMAL, "x".repeat(len));
        assert_eq!(reason(123).check(), Ok(()));
        assert_eq!(reason(123).payload().len(), MAX_CONTROL);
        assert_eq!(reason(124).check(), Err(SendError::InvalidCloseFrame));
    }

    #[test]
    fn for_a_log() {
        assert_eq!(CloseFrame::from(CloseCode::NORMAL).to_string(), "1000");
        assert_eq!(
            CloseFrame::new(CloseCode::NORMAL, "bye").to_string(),
            "1000: bye"
        );
        assert_eq!(format!("{:?}", CloseCode::ABNORMAL), "CloseCode(1006)");
        assert_eq!(u16::from(CloseCode::NO_STATUS_RECEIVED), 1005);
    }
}
