//! Figures for whoever runs clients and servers: [`Metrics`] and what it is
//! told.

mod observer;

use std::time::Duration;

use http::{StatusCode, Version};

pub(crate) use self::observer::REPORT;
pub(crate) use self::observer::{Handshaking, Observed, Observer, OpenConnection, SocketMeter};
use crate::frame::{CloseCode, Role};

/// Is told what connections, handshakes and sockets do, to be counted:
/// implement what matters for the metrics system at hand, and give it to
/// [`ClientBuilder::metrics`](crate::client::ClientBuilder::metrics) and
/// [`ServerBuilder::metrics`](crate::server::ServerBuilder::metrics).
///
/// It is a trait rather than one of the crates for metrics so that it goes
/// with any of them, and costs nobody a dependency.
///
/// # When
///
/// Openings, ends and handshakes are told as they happen. Messages and bytes
/// are added up for each socket and told at its end and, while it is in use,
/// about once a second; the same for an HTTP/2 connection's frames, at its end
/// and each time that the timers of
/// [`keep_alive_interval`](crate::Http2Config::keep_alive_interval) and the
/// idle timeout ring. So no message of one socket waits for another's count,
/// and the sums are behind by what was said in the last moment.
///
/// # Rules
///
/// Methods are called from the tasks that move bytes: they should add to an
/// atomic or two and return. They may be called from several threads at a
/// time.
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
    /// A connection is established, with TLS where there is any, and its
    /// version is known.
    fn connection_opened(&self, on: &ConnectionInfo) {
        let _ = on;
    }

    /// A connection is over; its last [traffic](Self::connection_traffic) was
    /// told before.
    fn connection_closed(&self, on: &ConnectionInfo, end: ConnectionEnd) {
        let _ = (on, end);
    }

    /// What an HTTP/2 connection carried since this was called last for it.
    fn connection_traffic(&self, on: &ConnectionInfo, traffic: &ConnectionTraffic) {
        let _ = (on, traffic);
    }

    /// The peer of an HTTP/2 connection answered a PING (RFC 9113 §6.7) after
    /// this time. PINGs are sent to silent peers, and to those that are sent
    /// very many short frames.
    fn round_trip(&self, on: &ConnectionInfo, time: Duration) {
        let _ = (on, time);
    }

    /// An opening handshake was answered, or given up. `version` is the one
    /// that it was made in; `None` where it did not come to that.
    fn handshake(&self, role: Role, version: Option<Version>, result: Handshake) {
        let _ = (role, version, result);
    }

    /// A socket is open, as messages or as bytes.
    fn socket_opened(&self, on: &ConnectionInfo) {
        let _ = on;
    }

    /// A socket is over for the application; its last
    /// [traffic](Self::socket_traffic) was told before.
    fn socket_closed(&self, on: &ConnectionInfo, end: SocketEnd) {
        let _ = (on, end);
    }

    /// What a socket carried since this was called last for it.
    fn socket_traffic(&self, on: &ConnectionInfo, traffic: &SocketTraffic) {
        let _ = (on, traffic);
    }
}

/// A connection, or the one that a socket is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Tells the connections of this process apart, as in
    /// [`Transport`](crate::Transport).
    pub id: u64,
    /// Which end this process is.
    pub role: Role,
    /// `HTTP/2.0`, or `HTTP/1.1` with at most one socket.
    pub version: Version,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEnd {
    /// In order: idle, drained, or closed by the peer between two frames.
    Clean,
    /// By GOAWAY with an error code (RFC 9113 §6.8).
    GoAway {
        /// The HTTP/2 error code (RFC 9113 §7).
        code: u32,
        /// Whether the peer sent it.
        by_peer: bool,
    },
    /// The peer gave no sign of life.
    Timeout,
    /// TCP or TLS failed, or the peer broke the protocol of HTTP.
    Broken,
    /// This process let go of it: a drain whose grace was over, or the end of
    /// the runtime.
    Cut,
}

/// What came of an opening handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Handshake {
    /// There is a socket.
    Accepted,
    /// The server answered with this status.
    Refused(StatusCode),
    /// At a client: no connection, or no answer, came in time.
    Timeout,
    /// At a client: the server has certainly not processed the request
    /// (REFUSED_STREAM or GOAWAY, RFC 9113 §8.7), which is repeated where that
    /// may help.
    Unprocessed,
    /// At a client: the server has no RFC 8441, or refused the method over HTTP/2
    /// and took the socket over HTTP/1.1, which is used from now on. Told when
    /// it is found out, beside the results of the handshakes.
    Fallback,
    /// Anything else: no connection, a reset, an answer or a request that
    /// breaks RFC 6455 §4 or RFC 8441 §5.
    Failed,
    /// The client's caller or the server's handler dropped it unanswered.
    Dropped,
}

/// How a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketEnd {
    /// By the closing handshake, with the peer's code
    /// ([`CloseCode::NO_STATUS_RECEIVED`] where it sent none). Of bytes: by the orderly
    /// end of both directions.
    Closed(CloseCode),
    /// The peer broke the protocol, and was told so with this code.
    Failed(CloseCode),
    /// The stream ended without a Close frame (close code 1006, RFC 6455
    /// §7.1.5).
    Abnormal,
    /// The stream was reset (RFC 9113 §6.4).
    Reset {
        /// The HTTP/2 error code (RFC 9113 §7).
        code: u32,
        /// Whether the peer did it.
        by_peer: bool,
    },
    /// The connection ended under it.
    ConnectionLost,
    /// The peer gave no sign of life, or sent no Close frame in time.
    Timeout,
    /// The connection's sockets held too much of what the peer sent, and this
    /// one most of it ([`Error::Overloaded`](crate::Error::Overloaded)).
    Overloaded,
    /// The application let go of it before it had ended.
    Dropped,
}

/// Messages and their payload, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketTraffic {
    /// Messages that the application sent, its Pings and Pongs included.
    pub messages_sent: u64,
    /// Messages that the application was given.
    pub messages_received: u64,
    /// Bytes of payload sent, before compression.
    pub bytes_sent: u64,
    /// Bytes of payload received, after decompression.
    pub bytes_received: u64,
}

/// What passed between HTTP/2 and TLS or TCP.
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
                /// What came to it since `earlier`.
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
