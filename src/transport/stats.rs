//! Identifiers and statistics of connections.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Identifies a connection within this process. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId(u64);

impl ConnectionId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

/// The transport that carries a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// A stream of an HTTP/2 connection (RFC 8441).
    Http2 {
        /// The number of the connection within this process. WebSockets that
        /// share a connection report the same number.
        connection: u64,
        /// The stream identifier (RFC 9113 §5.1.1).
        stream: u32,
    },
    /// A dedicated TCP or TLS connection, upgraded from HTTP/1.1 (RFC 6455).
    Http1 {
        /// The number of the connection within this process.
        connection: u64,
    },
    /// An I/O object that the application supplied.
    Io,
}

impl Transport {
    /// Returns whether the WebSocket is a stream of an HTTP/2 connection.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        matches!(self, Self::Http2 { .. })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http2 { connection, stream } => {
                write!(f, "HTTP/2 connection {connection} stream {stream}")
            }
            Self::Http1 { connection } => write!(f, "HTTP/1.1 connection {connection}"),
            Self::Io => f.write_str("I/O object"),
        }
    }
}

/// Statistics of one HTTP/2 connection, counted from its own frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// The number of the connection within this process.
    pub connection: u64,
    /// Whether the connection is still open.
    pub is_open: bool,
    /// WebSocket streams opened so far.
    pub streams_opened: u64,
    /// WebSocket streams that are open now.
    pub streams_open: u64,
    /// DATA frames sent (RFC 9113 §6.1).
    pub data_frames_sent: u64,
    /// DATA frames received.
    pub data_frames_received: u64,
    /// Bytes written below HTTP/2 and above TLS.
    pub bytes_sent: u64,
    /// Bytes read below HTTP/2 and above TLS.
    pub bytes_received: u64,
    /// RST_STREAM frames sent (RFC 9113 §6.4).
    pub resets_sent: u64,
    /// RST_STREAM frames received.
    pub resets_received: u64,
    /// GOAWAY frames sent (RFC 9113 §6.8).
    pub goaways_sent: u64,
    /// GOAWAY frames received.
    pub goaways_received: u64,
}
