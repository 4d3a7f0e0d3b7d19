//! What the peer can do wrong, and what the caller can.

use std::error::Error;
use std::fmt;

use super::close_code::CloseCode;
use super::utf8::InvalidUtf8;

/// A rule of RFC 6455 that the peer broke, or a limit of ours that it ran into.
///
/// Each is fatal to the connection: [`close_code`](Self::close_code) is what to tell the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit is set that no negotiated extension gives a meaning in such a frame (RFC 6455
    /// §5.2, RFC 7692 §6).
    ReservedBit,
    /// The opcode is one of 3-7 or 11-15 (RFC 6455 §5.2).
    ReservedOpCode(u8),
    /// A control frame without FIN (RFC 6455 §5.5).
    FragmentedControl,
    /// A control frame of more than 125 bytes (RFC 6455 §5.5).
    ControlTooLong,
    /// A length in more bytes than it needs (RFC 6455 §5.2).
    NonMinimalLength,
    /// A 64-bit length with its top bit set (RFC 6455 §5.2).
    LengthTopBit,
    /// A client sent a frame without a mask (RFC 6455 §5.1).
    UnmaskedFrame,
    /// A server sent a frame with a mask (RFC 6455 §5.1).
    MaskedFrame,
    /// A continuation frame, but no message was begun (RFC 6455 §5.4).
    UnexpectedContinuation,
    /// A new message inside a fragmented one (RFC 6455 §5.4).
    InterleavedMessage,
    /// A Close payload of a single byte (RFC 6455 §5.5.1).
    TruncatedCloseCode,
    /// A close code that must not appear on the wire (RFC 6455 §7.4).
    InvalidCloseCode(u16),
    /// The reason in a Close frame is not UTF-8 (RFC 6455 §5.5.1).
    InvalidCloseReason,
    /// A text message is not UTF-8 (RFC 6455 §8.1).
    InvalidUtf8,
    /// A compressed message is not DEFLATE, or ends within a block (RFC 7692 §7.2.2).
    InvalidDeflate,
    /// A frame's header announces more than [`Limits::max_frame_size`](super::Limits).
    FrameTooLarge {
        /// What the header announces, in bytes.
        size: u64,
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// A message is, or is announced or inflates to become, larger than
    /// [`Limits::max_message_size`](super::Limits).
    MessageTooLarge {
        /// The size that is known so far, in bytes.
        size: u64,
        /// What is allowed, in bytes.
        limit: usize,
    },
    /// A message came in more frames than [`Limits::max_fragments`](super::Limits) beyond those
    /// that its bytes pay for.
    TooManyFragments {
        /// How many are allowed.
        limit: usize,
    },
}

impl ProtocolError {
    /// The code for the Close frame that answers this error (RFC 6455 §7.4.1).
    #[must_use]
    pub fn close_code(&self) -> CloseCode {
        match self {
            // RFC 7692 names no code for bad DEFLATE data. The frames are in order, what they carry
            // is not: that is "data not consistent with the type of the message".
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

// These sentences travel as the reason of a Close frame, hence under 123 bytes each.
impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReservedBit => f.write_str("reserved bit set without a meaning"),
            Self::ReservedOpCode(code) => write!(f, "reserved opcode {code}"),
            Self::FragmentedControl => f.write_str("fragmented control frame"),
            Self::ControlTooLong => f.write_str("control frame longer than 125 bytes"),
            Self::NonMinimalLength => f.write_str("payload length not in its shortest form"),
            Self::LengthTopBit => f.write_str("payload length with its top bit set"),
            Self::UnmaskedFrame => f.write_str("client sent an unmasked frame"),
            Self::MaskedFrame => f.write_str("server sent a masked frame"),
            Self::UnexpectedContinuation => f.write_str("continuation without a message"),
            Self::InterleavedMessage => f.write_str("new message inside a fragmented one"),
            Self::TruncatedCloseCode => f.write_str("close frame with half a code"),
            Self::InvalidCloseCode(code) => write!(f, "close code {code} not allowed on the wire"),
            Self::InvalidCloseReason => f.write_str("close reason is not UTF-8"),
            Self::InvalidUtf8 => f.write_str("text message is not UTF-8"),
            Self::InvalidDeflate => f.write_str("compressed message is not DEFLATE data"),
            Self::FrameTooLarge { size, limit } => {
                write!(f, "frame of {size} bytes, {limit} allowed")
            }
            Self::MessageTooLarge { size, limit } => {
                write!(f, "message of {size} bytes or more, {limit} allowed")
            }
            Self::TooManyFragments { limit } => {
                write!(f, "message in too many short frames, {limit} allowed")
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

/// Why a frame cannot be sent. Nothing was written then, and the connection is unharmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The closing handshake has begun, by either side, or the peer broke the protocol: no more
    /// messages (RFC 6455 §5.5.1).
    Closed,
    /// The fragments of an earlier message are not written yet, and messages may not interleave
    /// (RFC 6455 §5.4).
    Busy,
    /// A ping or pong of more than 125 bytes (RFC 6455 §5.5).
    ControlTooLong,
    /// A close code that may not be sent (see
    /// [`CloseCode::is_sendable`]), or a reason of more than 123 bytes.
    InvalidCloseFrame,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the WebSocket is closing or closed",
            Self::Busy => "an earlier message is not written to its end",
            Self::ControlTooLong => "ping or pong payload longer than 125 bytes",
            Self::InvalidCloseFrame => "close code not allowed or close reason over 123 bytes",
        })
    }
}

impl Error for SendError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_fit_a_close_frame() {
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
            assert!(seen.insert(sentence), "{error:?} says the same as another");
        }
    }

    #[test]
    fn send_errors_say_what_to_do() {
        let table = [
            (SendError::Closed, "closing"),
            (SendError::Busy, "earlier message"),
            (SendError::ControlTooLong, "125"),
            (SendError::InvalidCloseFrame, "123"),
        ];
        for (error, word) in table {
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
