//! [`Times`]: the timeouts of a splice.

use std::sync::Arc;
use std::time::Duration;

use crate::frame::Role;
use crate::socket::WebSocketConfig;
use crate::transport::Linger;

/// The timeouts of a splice.
#[derive(Clone, Debug)]
pub(in crate::bridge) struct Times {
    /// How long neither side may send anything before the client is asked to
    /// close.
    pub(in crate::bridge) idle: Option<Duration>,
    /// The timeouts of an end. Shared, because they would take 80 bytes.
    pub(in crate::bridge) config: Arc<WebSocketConfig>,
}

impl Times {
    /// How long neither side may send anything once the WebSocket has begun to
    /// end.
    pub(super) fn close(&self) -> Duration {
        self.config.close_timeout
    }

    /// How long to wait for the client to end its side afterwards.
    pub(super) fn client_linger(&self) -> Linger {
        self.config.linger_as(Role::Server)
    }

    /// How long to wait for the upstream to end its side afterwards.
    pub(super) fn upstream_linger(&self) -> Linger {
        self.config.linger_as(Role::Client)
    }
}
