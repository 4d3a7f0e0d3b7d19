//! What a WebSocket may be told.

use std::time::Duration;

use crate::frame::{Limits, Role};
use crate::setting::InvalidSetting;
use crate::transport::Linger;

/// Limits and times of a [`WebSocket`](crate::WebSocket).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebSocketConfig {
    /// Sizes of frames and messages.
    pub limits: Limits,
    /// How long the closing handshake (RFC 6455 §7.1.1) may take: from the
    /// call that begins it until the peer's Close frame has come, with what is
    /// left of a long message that our own has to wait for. Default 10 s.
    pub close_timeout: Duration,
    /// How long a socket that was closed or dropped stays behind, without the
    /// application: first for what is queued to leave, and then, as long
    /// again, for the peer to end its side of the stream. After that the
    /// stream is reset (HTTP/2) or the connection closed (HTTP/1.1);
    /// [what becomes of what was sent](crate::WebSocket#what-becomes-of-what-was-sent)
    /// has the whole of it.
    ///
    /// `None`, the default, is 5 s, because a peer may be far away; but 300 ms
    /// for a server to end its side, because the stream of one that never does
    /// (Hypercorn) goes on counting against that server's limit.
    pub linger: Option<Duration>,
    /// How a client ends a stream whose closing handshake is over.
    pub ending: StreamEnd,
    /// Bytes that may wait to be sent before writers wait, where the socket
    /// has a connection of its own; on HTTP/2 it is
    /// [`Http2Config::write_buffer`](crate::Http2Config::write_buffer).
    /// Default 128 KiB; zero, which a client or server refuses, counts as one.
    pub write_buffer: usize,
    /// After how long a silence of the peer it is sent a Ping (RFC 6455
    /// §5.5.2), for as long as the socket is read; anything that comes counts.
    /// The silence may be noticed up to one interval late. It finds an
    /// application that is gone behind a proxy that is not, and dead peers over
    /// HTTP/1.1; on HTTP/2 dead connections are found by
    /// [`Http2Config::keep_alive_interval`](crate::Http2Config::keep_alive_interval),
    /// once for all their sockets. Default `None`: no Pings.
    pub ping_interval: Option<Duration>,
    /// How long the peer may take to answer such a Ping, by anything. After it
    /// the socket fails with [`Timeout::KeepAlive`](crate::Timeout::KeepAlive)
    /// (close code 1006). Default 20 s.
    pub ping_timeout: Duration,
    /// Whether the peer's Pings and Pongs are received as messages. Default `false`: an
    /// application sees text and binary messages only. Pings are answered either way, and the
    /// answers to our own [keep-alive Pings](Self::ping_interval) are never shown.
    pub control_messages: bool,
}

/// How a client ends an HTTP/2 stream after the closing handshake.
///
/// RFC 8441 §5 asks for END_STREAM from both sides; not every server survives
/// a client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StreamEnd {
    /// By END_STREAM in answer to the server's; by RST_STREAM with CANCEL if
    /// that does not come within [`linger`](WebSocketConfig::linger), or came in one
    /// frame with the server's Close: libwebsockets (to 4.1), which does that,
    /// takes an END_STREAM after it for an error of the whole connection.
    /// Works with every server that we know.
    #[default]
    AfterPeer,
    /// By RST_STREAM with CANCEL, once the server has ended its side or
    /// `linger` is over. Nothing is lost by it after both Close frames, but
    /// servers may count it as an abort.
    Cancel,
    /// By END_STREAM at once, without waiting for the server. Hypercorn (to
    /// 0.18) then drops the connection with all its sockets, libwebsockets
    /// ends it by GOAWAY.
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
        some("Config::write_buffer", self.write_buffer)?;
        if let Some(interval) = self.ping_interval {
            time("Config::ping_interval", interval)?;
        }
        time("Config::ping_timeout", self.ping_timeout)
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

    /// Sets [whether Pings and Pongs are received as messages](Self::control_messages).
    #[must_use]
    pub fn control_messages(mut self, receive: bool) -> Self {
        self.control_messages = receive;
        self
    }
}
