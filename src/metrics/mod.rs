//! Metrics hooks: [`Metrics`] and the types of its events.

mod observer;

use std::time::Duration;

use http::{StatusCode, Version};

pub(crate) use self::observer::REPORT;
pub(crate) use self::observer::{Handshaking, Observed, Observer, OpenConnection, SocketMeter};
use crate::frame::{CloseCode, Role};

/// Receives the events of connections, handshakes and WebSockets, for a metrics system.
///
/// Implement the methods of interest, and pass the implementation to
/// [`ClientBuilder::metrics`](crate::client::ClientBuilder::metrics) and
/// [`ServerBuilder::metrics`](crate::server::ServerBuilder::metrics). It is a trait so that it works
/// with any metrics crate and adds no dependency.
///
/// # When
///
/// Openings, ends and handshakes are reported as they happen. Messages and bytes are summed up per
/// WebSocket and reported at its end and, while it is in use, about once per second. The frames of
/// an HTTP/2 connection are reported at its end and whenever the timers of
/// [`keep_alive_interval`](crate::Http2Config::keep_alive_interval) and the idle timeout fire. So
/// counting costs a message next to nothing, and totals lag behind by about a second.
///
/// # Rules
///
/// Methods are called from the tasks that move bytes, and possibly from several threads at a time:
/// they should update an atomic or two and return.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use h2ws::metrics::{ConnectionInfo, Metrics, SocketTraffic};
///
/// #[derive(Default)]
/// struct Messages(AtomicU64);
///
/// impl Metrics for Messages {
///     fn socket_traffic(&self, _on: &ConnectionInfo, traffic: &SocketTraffic) {
///         self.0.fetch_add(traffic.messages_received, Ordering::Relaxed);
///     }
/// }
///
/// let messages = Arc::new(Messages::default());
/// let server = h2ws::Server::builder().metrics(messages.clone());
/// # let _ = server;
/// ```
pub trait Metrics: Send + Sync + 'static {
    /// Called when a connection is established, including TLS, and its version is known.
    fn connection_opened(&self, on: &ConnectionInfo) {
        let _ = on;
    }

    /// Called when a connection has ended, after its last
    /// [traffic](Self::connection_traffic).
    fn connection_closed(&self, on: &ConnectionInfo, end: ConnectionEnd) {
        let _ = (on, end);
    }

    /// Called with the traffic of an HTTP/2 connection since the last call for it.
    fn connection_traffic(&self, on: &ConnectionInfo, traffic: &ConnectionTraffic) {
        let _ = (on, traffic);
    }

    /// Called when the peer of an HTTP/2 connection has answered a PING (RFC 9113 §6.7), with the
    /// round-trip time. PINGs are sent to silent peers, and to peers that are sent very many short
    /// frames.
    fn round_trip(&self, on: &ConnectionInfo, time: Duration) {
        let _ = (on, time);
    }

    /// Called when an opening handshake was answered or abandoned. `version` is the version of HTTP
    /// that was used; `None` if there was no connection.
    fn handshake(&self, role: Role, version: Option<Version>, result: Handshake) {
        let _ = (role, version, result);
    }

    /// Called when a server has answered a request by itself, so that no handler and no service saw it:
    /// because of its syntax, its host or its origin, or because it came without TLS. The request for a
    /// WebSocket is also reported as a [handshake](Self::handshake).
    fn request_rejected(&self, request: &RejectedRequest) {
        let _ = request;
    }

    /// Called when a WebSocket or raw stream is open.
    fn socket_opened(&self, on: &ConnectionInfo) {
        let _ = on;
    }

    /// Called when a WebSocket has ended for the application, after its last
    /// [traffic](Self::socket_traffic).
    fn socket_closed(&self, on: &ConnectionInfo, end: SocketEnd) {
        let _ = (on, end);
    }

    /// Called with the traffic of a WebSocket since the last call for it.
    fn socket_traffic(&self, on: &ConnectionInfo, traffic: &SocketTraffic) {
        let _ = (on, traffic);
    }
}

/// A connection, or the connection of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Identifies the connection within this process, as in [`Transport`](crate::Transport).
    pub id: u64,
    /// The role of this process.
    pub role: Role,
    /// `HTTP/2.0`, or `HTTP/1.1`, which carries at most one WebSocket.
    pub version: Version,
}

/// A request that a server answered by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedRequest {
    /// `HTTP/2.0` or `HTTP/1.1`.
    pub version: Version,
    /// Whether it asked for a WebSocket.
    pub is_websocket: bool,
    /// The status of the response; 308 if the client was sent to https.
    pub status: StatusCode,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEnd {
    /// Orderly: idle, drained, or closed by the peer between two frames.
    Clean,
    /// With GOAWAY and an error code (RFC 9113 §6.8).
    GoAway {
        /// The HTTP/2 error code (RFC 9113 §7).
        code: u32,
        /// Whether the peer sent it.
        by_peer: bool,
    },
    /// The peer did not answer a keep-alive PING.
    Timeout,
    /// TCP or TLS failed, or the peer violated HTTP.
    Broken,
    /// This process closed it: the drain timed out, or the runtime ended.
    Cut,
}

/// The result of an opening handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handshake {
    /// The WebSocket is open.
    Accepted,
    /// The server answered with this status.
    Refused(StatusCode),
    /// Clients only: the connection or the response timed out.
    Timeout,
    /// Clients only: the server has certainly not processed the request (REFUSED_STREAM or GOAWAY,
    /// RFC 9113 §8.7). It is repeated if that may help.
    Unprocessed,
    /// Clients only: the server does not support RFC 8441, or rejected the method over HTTP/2 and
    /// accepted the WebSocket over HTTP/1.1, which is used from now on. Reported when it is
    /// detected, in addition to the results of the handshakes.
    Fallback,
    /// Anything else: no connection, a reset, or a response or request that violates RFC 6455 §4 or
    /// RFC 8441 §5.
    Failed,
    /// The client's caller or the server's handler dropped it before there was a response.
    Dropped,
}

/// How a WebSocket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketEnd {
    /// With the closing handshake and the peer's code
    /// ([`CloseCode::NO_STATUS_RECEIVED`] if it sent none). For a raw stream: with the orderly end
    /// of both directions.
    Closed(CloseCode),
    /// The peer violated the protocol, and was sent this code.
    Failed(CloseCode),
    /// The stream ended without a Close frame (close code 1006, RFC 6455
    /// §7.1.5).
    Abnormal,
    /// The stream was reset (RFC 9113 §6.4).
    Reset {
        /// The HTTP/2 error code (RFC 9113 §7).
        code: u32,
        /// Whether the peer reset it.
        by_peer: bool,
    },
    /// Its connection ended.
    ConnectionLost,
    /// The peer did not answer a keep-alive Ping, or sent no Close frame in time.
    Timeout,
    /// The connection exceeded its receive buffer, and this WebSocket held the most
    /// ([`Error::Overloaded`](crate::Error::Overloaded)).
    Overloaded,
    /// The application dropped it before it had ended.
    Dropped,
}

/// Messages and bytes of a WebSocket, in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketTraffic {
    /// Messages that the application sent, including its Pings and Pongs.
    pub messages_sent: u64,
    /// Messages that the application received.
    pub messages_received: u64,
    /// Bytes of payload sent, before compression.
    pub bytes_sent: u64,
    /// Bytes of payload received, after decompression.
    pub bytes_received: u64,
}

/// Bytes and frames of an HTTP/2 connection, above TLS or TCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionTraffic {
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// DATA frames sent (RFC 9113 §6.1).
    pub data_frames_sent: u64,
    /// DATA frames received.
    pub data_frames_received: u64,
    /// RST_STREAM frames sent (RFC 9113 §6.4).
    pub resets_sent: u64,
    /// RST_STREAM frames received.
    pub resets_received: u64,
    /// GOAWAY frames sent (RFC 9113 §6.8).
    pub goaways_sent: u64,
    /// GOAWAY frames received.
    pub goaways_received: u64,
}

macro_rules! counters {
    ($($type:ident: $($field:ident)*),*) => {
        $(
            impl $type {
                /// Returns the difference to `earlier`.
                pub(crate) fn since(&self, earlier: &Self) -> Self {
                    Self {
                        $($field: self.$field.saturating_sub(earlier.$field),)*
                    }
                }
            }
        )*
    };
}

counters!(
    SocketTraffic: messages_sent messages_received bytes_sent bytes_received,
    ConnectionTraffic: bytes_sent bytes_received data_frames_sent data_frames_received
        resets_sent resets_received goaways_sent goaways_received
);
