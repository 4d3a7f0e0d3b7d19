//! The codes of Close frames (RFC 6455 §7.4).

use std::fmt;

/// The reason why a connection is closed, as a code (RFC 6455 §7.4 and its IANA registry).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the connection has served its purpose.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server is shutting down, or the browser has left the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer violated the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: the peer sent a type of data that is not accepted, such as binary.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1005: the Close frame had no code. Never sent.
    pub const NO_STATUS_RECEIVED: Self = Self(1005);
    /// 1006: the connection ended without a Close frame. Never sent.
    pub const ABNORMAL: Self = Self(1006);
    /// 1007: a message is not consistent with its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: a message violates a policy.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message is too large to process.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: the server did not negotiate an extension that the client needs.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: the server encountered an unexpected condition.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service is restarting.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the service is overloaded; the client should try again later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway received an invalid response from its upstream.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// Returns whether a Close frame may have this code: 1000-1003, 1007-1014, 3000-4999
    /// (RFC 6455 §7.4.2).
    #[must_use]
    pub const fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Returns whether a new WebSocket may succeed later: the server shuts down (1001), restarts
    /// (1012) or is overloaded (1013), or it or its upstream failed (1011, 1014), as with statuses
    /// 5xx.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self.0, 1001 | 1011..=1014)
    }
}

impl From<u16> for CloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}
