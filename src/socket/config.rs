//! [`WebSocketConfig`]: limits and timeouts of a WebSocket.

use std::time::Duration;

use crate::frame::{Limits, Role};
use crate::setting::InvalidSetting;
use crate::transport::Linger;

/// Limits and timeouts of a [`WebSocket`](crate::WebSocket).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebSocketConfig {
    /// Maximum sizes of frames and messages.
    pub limits: Limits,
    /// Maximum duration of the closing handshake (RFC 6455 §7.1.1), from the call that begins it
    /// until the peer's Close frame has arrived. It includes the rest of a long message that has
    /// to be sent before our own Close frame. Default 10 s.
    pub close_timeout: Duration,
    /// How long a WebSocket that was closed or dropped continues in the background: first until
    /// queued data has left, and then, for the same time again, until the peer ends its side of
    /// the stream. After that the stream is reset (HTTP/2) or the connection closed (HTTP/1.1);
    /// see [what becomes of what was sent](crate::WebSocket#what-becomes-of-what-was-sent).
    ///
    /// `None`, the default, is 5 s, because a peer may be far away; but a client waits only
    /// 300 ms for a server to end its side, because a stream whose server never does (Hypercorn)
    /// continues to count against that server's limit.
    pub linger: Option<Duration>,
    /// How a client ends a stream after the closing handshake.
    pub ending: StreamEnd,
    /// Maximum number of bytes that are queued before writers wait, if the WebSocket has a
    /// connection of its own. Over HTTP/2 it is
    /// [`Http2Config::write_buffer`](crate::Http2Config::write_buffer).
    /// Default 128 KiB. Clients and servers reject zero; elsewhere it counts as one.
    pub write_buffer: usize,
    /// Duration of silence after which the peer is sent a keep-alive Ping (RFC 6455 §5.5.2), while
    /// the WebSocket is read. Anything that the peer sends ends the silence, which may be noticed
    /// up to one interval late. Pings detect a dead application behind a live proxy, and dead
    /// peers over HTTP/1.1. Over HTTP/2,
    /// [`Http2Config::keep_alive_interval`](crate::Http2Config::keep_alive_interval) detects dead
    /// connections, once for all their WebSockets. Default `None`: no Pings.
    pub ping_interval: Option<Duration>,
    /// How long the peer may take to send anything after a keep-alive Ping. After that the
    /// WebSocket fails with [`Timeout::KeepAlive`](crate::Timeout::KeepAlive)
    /// (close code 1006). Default 20 s.
    pub ping_timeout: Duration,
    /// Whether the peer's Pings, Pongs and Close frame are received as messages. Default `false`: an
    /// application receives text and binary messages only. Pings and the Close frame are answered
    /// either way, and the answers to our own [keep-alive Pings](Self::ping_interval) are never
    /// shown.
    pub control_messages: bool,
}

/// How a client ends an HTTP/2 stream after the closing handshake.
///
/// RFC 8441 §5 requires END_STREAM from both sides, but not every server survives a client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StreamEnd {
    /// With END_STREAM in answer to the server's. With RST_STREAM (CANCEL) if the server's does
    /// not come within [`linger`](WebSocketConfig::linger), or came in the same frame as its
    /// Close: libwebsockets (up to 4.1) does that, and takes a later END_STREAM for an error of
    /// the whole connection. Works with every server that was tested.
    #[default]
    AfterPeer,
    /// With RST_STREAM (CANCEL), once the server has ended its side or `linger` is over. Nothing
    /// is lost after both Close frames, but servers may count it as an abort.
    Cancel,
    /// With END_STREAM at once, without waiting for the server. Hypercorn (up to 0.18) then drops
    /// the connection with all its WebSockets, and libwebsockets ends it with GOAWAY.
    AtOnce,
}

impl Default for WebSocketConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            close_timeout: Duration::from_secs(10),
            linger: None,
            ending: StreamEnd::default(),
            write_buffer: 128 * 1024,
            ping_interval: None,
            ping_timeout: Duration::from_secs(20),
            control_messages: false,
        }
    }
}

impl WebSocketConfig {
    /// # Errors
    ///
    /// The first setting with which a socket would hang or spin.
    pub(crate) fn validate(&self) -> Result<(), InvalidSetting> {
        use crate::setting::{some, time};
        some("WebSocketConfig::write_buffer", self.write_buffer)?;
        if let Some(interval) = self.ping_interval {
            time("WebSocketConfig::ping_interval", interval)?;
        }
        time("WebSocketConfig::ping_timeout", self.ping_timeout)
    }

    pub(crate) fn linger_as(&self, role: Role) -> Linger {
        let unsent = Duration::from_secs(5);
        let peer = match role {
            Role::Client => Duration::from_millis(300),
            Role::Server => unsent,
        };
        Linger {
            unsent: self.linger.unwrap_or(unsent),
            peer: self.linger.unwrap_or(peer),
        }
    }
}

impl WebSocketConfig {
    /// Sets the [limits](Self::limits) on frames and messages.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the [time limit of the closing handshake](Self::close_timeout).
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// Sets [how long a closed or dropped WebSocket lingers](Self::linger).
    #[must_use]
    pub fn linger(mut self, linger: impl Into<Option<Duration>>) -> Self {
        self.linger = linger.into();
        self
    }

    /// Sets [how a client ends a stream](Self::ending).
    #[must_use]
    pub fn ending(mut self, ending: StreamEnd) -> Self {
        self.ending = ending;
        self
    }

    /// Sets the [size of the write buffer](Self::write_buffer) in bytes.
    #[must_use]
    pub fn write_buffer(mut self, bytes: usize) -> Self {
        self.write_buffer = bytes;
        self
    }

    /// Sets the [interval of keep-alive Pings](Self::ping_interval).
    #[must_use]
    pub fn ping_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.ping_interval = interval.into();
        self
    }

    /// Sets the [time limit for the answer to a keep-alive Ping](Self::ping_timeout).
    #[must_use]
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.ping_timeout = timeout;
        self
    }

    /// Sets [whether control frames are received as messages](Self::control_messages).
    #[must_use]
    pub fn control_messages(mut self, receive: bool) -> Self {
        self.control_messages = receive;
        self
    }
}
