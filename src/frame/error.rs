//! Errors of the protocol: of the peer, and of the caller.

use std::error::Error;
use std::fmt;

use super::close_code::CloseCode;
use super::utf8::InvalidUtf8;

/// A violation of RFC 6455 or RFC 7692 by the peer, or a limit that it exceeded.
///
/// Every such error ends the connection, with a Close frame of [`close_code`](Self::close_code).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit that has no meaning in this frame under the negotiated extensions (RFC 6455
    /// §5.2, RFC 7692 §6).
    ReservedBit,
    /// A reserved opcode: 3-7 or 11-15 (RFC 6455 §5.2).
    ReservedOpCode(u8),
    /// A control frame without FIN (RFC 6455 §5.5).
    FragmentedControl,
    /// A control frame of more than 125 bytes (RFC 6455 §5.5).
    ControlTooLong,
    /// A length that is not in its shortest form (RFC 6455 §5.2).
    NonMinimalLength,
    /// A 64-bit length with its top bit set (RFC 6455 §5.2).
    LengthTopBit,
    /// An unmasked frame from a client (RFC 6455 §5.1).
    UnmaskedFrame,
    /// A masked frame from a server (RFC 6455 §5.1).
    MaskedFrame,
    /// A continuation frame outside a fragmented message (RFC 6455 §5.4).
    UnexpectedContinuation,
    /// A new message inside a fragmented one (RFC 6455 §5.4).
    InterleavedMessage,
    /// A Close payload of a single byte (RFC 6455 §5.5.1).
    TruncatedCloseCode,
    /// A close code that must not appear on the wire (RFC 6455 §7.4).
    InvalidCloseCode(u16),
    /// A close reason that is not UTF-8 (RFC 6455 §5.5.1).
    InvalidCloseReason,
    /// A text message that is not UTF-8 (RFC 6455 §8.1).
    InvalidUtf8,
    /// A compressed message that is not DEFLATE data, or ends within a block (RFC 7692 §7.2.2).
    InvalidDeflate,
    /// A frame whose header announces more than [`Limits::max_frame_size`](super::Limits).
    FrameTooLarge {
        /// The announced size, in bytes.
        size: u64,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A message that is larger than [`Limits::max_message_size`](super::Limits), or announced to
    /// be, or inflates beyond it.
    MessageTooLarge {
        /// The size known so far, in bytes.
        size: u64,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A message in more short frames than [`Limits::max_fragments`](super::Limits) allows.
    TooManyFragments {
        /// The limit, in frames.
        limit: usize,
    },
}

impl ProtocolError {
    /// Returns the code of the Close frame to send because of this error (RFC 6455 §7.4.1).
    #[must_use]
    pub fn close_code(&self) -> CloseCode {
        match self {
            // RFC 7692 defines no code for invalid DEFLATE data. The frames are valid and their
            // content is not, which is "data not consistent with the type of the message".
            Self::InvalidCloseReason | Self::InvalidUtf8 | Self::InvalidDeflate => {
                CloseCode::INVALID_PAYLOAD
            }
            Self::FrameTooLarge { .. }
            | Self::MessageTooLarge { .. }
            | Self::TooManyFragments { .. } => CloseCode::MESSAGE_TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

// These messages are sent as the reason of a Close frame, so each fits 123 bytes.
impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBit => {
                f.write_str("reserved bit set that no negotiated extension uses here")
            }
            Self::ReservedOpCode(code) => write!(f, "reserved opcode {code}"),
            Self::FragmentedControl => f.write_str("fragmented control frame"),
            Self::ControlTooLong => f.write_str("control frame longer than 125 bytes"),
            Self::NonMinimalLength => f.write_str("payload length not in its shortest form"),
            Self::LengthTopBit => f.write_str("payload length with its top bit set"),
            Self::UnmaskedFrame => f.write_str("client sent an unmasked frame"),
            Self::MaskedFrame => f.write_str("server sent a masked frame"),
            Self::UnexpectedContinuation => {
                f.write_str("continuation frame outside a fragmented message")
            }
            Self::InterleavedMessage => f.write_str("new message inside a fragmented one"),
            Self::TruncatedCloseCode => f.write_str("close frame with an incomplete code"),
            Self::InvalidCloseCode(code) => write!(f, "close code {code} not allowed on the wire"),
            Self::InvalidCloseReason => f.write_str("close reason is not UTF-8"),
            Self::InvalidUtf8 => f.write_str("text message is not UTF-8"),
            Self::InvalidDeflate => f.write_str("compressed message is not DEFLATE data"),
            Self::FrameTooLarge { size, limit } => {
                write!(f, "frame of {size} bytes exceeds the limit of {limit}")
            }
            Self::MessageTooLarge { size, limit } => {
                write!(
                    f,
                    "message of at least {size} bytes exceeds the limit of {limit}"
                )
            }
            Self::TooManyFragments { limit } => {
                write!(f, "message in too many short frames, limit {limit}")
            }
        }
    }
}

impl Error for ProtocolError {}

impl From<InvalidUtf8> for ProtocolError {
    fn from(_: InvalidUtf8) -> Self {
        Self::InvalidUtf8
    }
}

/// A frame that cannot be sent. Nothing was written, and the connection is not affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// Either side has begun the closing handshake, or the peer violated the protocol: no more
    /// messages can be sent (RFC 6455 §5.5.1).
    Closed,
    /// Fragments of an earlier message have not been written yet, and messages must not interleave
    /// (RFC 6455 §5.4).
    Busy,
    /// A ping or pong of more than 125 bytes (RFC 6455 §5.5).
    ControlTooLong,
    /// A close code that cannot be sent (see [`CloseCode::is_sendable`]), or a reason of more than
    /// 123 bytes.
    InvalidCloseFrame,
    /// A Close frame where only messages can be sent: in a
    /// [`PreparedMessage`](crate::frame::PreparedMessage), which is for many WebSockets, or on a
    /// [`ReconnectingWebSocket`](crate::client::ReconnectingWebSocket), whose `close` ends it for
    /// good.
    NotAMessage,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the WebSocket is closing or closed",
            Self::Busy => "an earlier message has not been sent completely yet",
            Self::ControlTooLong => "ping or pong payload longer than 125 bytes",
            Self::InvalidCloseFrame => {
                "close code that cannot be sent, or close reason longer than 123 bytes"
            }
            Self::NotAMessage => "a Close frame is not a message here: call `close` instead",
        })
    }
}

impl Error for SendError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_fit_a_close_frame() {
        let limit = usize::MAX;
        let errors = [
            ProtocolError::ReservedBit,
            ProtocolError::ReservedOpCode(15),
            ProtocolError::FragmentedControl,
            ProtocolError::ControlTooLong,
            ProtocolError::NonMinimalLength,
            ProtocolError::LengthTopBit,
            ProtocolError::UnmaskedFrame,
            ProtocolError::MaskedFrame,
            ProtocolError::UnexpectedContinuation,
            ProtocolError::InterleavedMessage,
            ProtocolError::TruncatedCloseCode,
            ProtocolError::InvalidCloseCode(u16::MAX),
            ProtocolError::InvalidCloseReason,
            ProtocolError::InvalidUtf8,
            ProtocolError::InvalidDeflate,
            ProtocolError::FrameTooLarge {
                size: u64::MAX,
                limit,
            },
            ProtocolError::MessageTooLarge {
                size: u64::MAX,
                limit,
            },
            ProtocolError::TooManyFragments { limit },
        ];
        let mut seen = std::collections::HashSet::new();
        for error in errors {
            let sentence = error.to_string();
            assert!(sentence.len() <= 123, "{sentence}");
            assert!(error.close_code().is_sendable());
            assert!(
                seen.insert(sentence),
                "{error:?} has the message of another"
            );
        }
    }

    #[test]
    fn send_errors_name_the_cause() {
        let table = [
            (SendError::Closed, "closing"),
            (SendError::Busy, "earlier message"),
            (SendError::ControlTooLong, "125"),
            (SendError::InvalidCloseFrame, "123"),
            (SendError::NotAMessage, "call `close`"),
        ];
        for (error, word) in table {
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
