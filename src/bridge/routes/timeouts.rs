//! The timeouts of a route.

use std::time::Duration;

use crate::setting::{InvalidSetting, time};

/// The timeouts of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Timeout for a new connection to an upstream: name resolution, TCP, TLS and the
    /// SETTINGS of HTTP/2. Default 10 s.
    pub connect: Duration,
    /// Timeout for the upstream's response to the opening request of a WebSocket, once
    /// there is a connection. Default 20 s.
    pub handshake: Duration,
    /// Timeout for the head of the upstream's response to a plain HTTP request, once the
    /// request was sent; after it the client gets 504. `None` disables it. Default 5
    /// minutes: long polls and event streams may have nothing to send for a while. It
    /// does not count as a failure of the upstream.
    pub response: Option<Duration>,
    /// Timeout for more of a plain HTTP request's body while the client is awaited; after
    /// it the client gets 408. Default 1 minute.
    pub request_body: Duration,
    /// How long an unused HTTP/1.1 connection to an upstream is kept for the next plain
    /// HTTP request. A shorter time that the upstream announces in `Keep-Alive` takes
    /// precedence. Default 1 minute.
    pub pool_idle: Duration,
    /// How long no byte may pass in either direction before a WebSocket is closed with
    /// code 1001, or a response cut. `None` disables it, which is the default:
    /// [keep-alive](crate::Http2Config::keep_alive_interval) finds peers that are
    /// gone. It may expire up to one timeout late.
    pub idle: Option<Duration>,
    /// How long a WebSocket may stay open before it is closed with code 1001, between two
    /// frames, so that it is opened again, perhaps at another upstream or with fresh
    /// credentials. It is up to 10 % shorter, by chance, so that many do not end at once.
    /// One that has not ended after another
    /// [`close_timeout`](crate::WebSocketConfig::close_timeout) is cut. Default `None`:
    /// unlimited.
    pub max_lifetime: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(20),
            response: Some(Duration::from_secs(300)),
            request_body: Duration::from_secs(60),
            pool_idle: Duration::from_secs(60),
            idle: None,
            max_lifetime: None,
        }
    }
}

impl Timeouts {
    /// Checks that no timeout would expire at once.
    pub(crate) fn validate(&self) -> Result<(), InvalidSetting> {
        time("Timeouts::connect", self.connect)?;
        time("Timeouts::handshake", self.handshake)?;
        for (name, limit) in [
            ("Timeouts::idle", self.idle),
            ("Timeouts::max_lifetime", self.max_lifetime),
        ] {
            limit.map_or(Ok(()), |limit| time(name, limit))?;
        }
        Ok(())
    }

    /// Sets [`connect`](Self#structfield.connect).
    #[must_use]
    pub fn connect(mut self, timeout: Duration) -> Self {
        self.connect = timeout;
        self
    }

    /// Sets [`handshake`](Self#structfield.handshake).
    #[must_use]
    pub fn handshake(mut self, timeout: Duration) -> Self {
        self.handshake = timeout;
        self
    }

    /// Sets [`response`](Self#structfield.response).
    #[must_use]
    pub fn response(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.response = timeout.into();
        self
    }

    /// Sets [`request_body`](Self#structfield.request_body).
    #[must_use]
    pub fn request_body(mut self, timeout: Duration) -> Self {
        self.request_body = timeout;
        self
    }

    /// Sets [`pool_idle`](Self#structfield.pool_idle).
    #[must_use]
    pub fn pool_idle(mut self, timeout: Duration) -> Self {
        self.pool_idle = timeout;
        self
    }

    /// Sets [`idle`](Self#structfield.idle).
    #[must_use]
    pub fn idle(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle = timeout.into();
        self
    }

    /// Sets [`max_lifetime`](Self#structfield.max_lifetime).
    #[must_use]
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.max_lifetime = lifetime.into();
        self
    }
}
