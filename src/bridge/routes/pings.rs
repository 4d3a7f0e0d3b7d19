//! The settings of WebSocket Pings that the bridge itself sends.

use std::time::Duration;

use crate::setting::{InvalidSetting, time};

/// WebSocket Pings that the bridge itself sends, for load balancers and NATs that cut silent
/// connections, and for peers that are gone.
///
/// Their answers are not forwarded. All other Pings and Pongs pass between the client and
/// the upstream as ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pings {
    /// Maximum silence towards the client: if it has sent nothing, or been sent nothing,
    /// it gets a Ping before this time is over. Default `None`: no Pings.
    pub client: Option<Duration>,
    /// The same towards the upstream. It is not available for `tcp` upstreams.
    pub upstream: Option<Duration>,
    /// How long one that has got a Ping may send nothing before its WebSocket is reset.
    /// It may expire up to half of the interval late. Default `None`: forever.
    pub timeout: Option<Duration>,
}

impl Pings {
    pub(crate) fn validate(&self) -> Result<(), InvalidSetting> {
        for (name, value) in [
            ("Pings::client", self.client),
            ("Pings::upstream", self.upstream),
            ("Pings::timeout", self.timeout),
        ] {
            if let Some(value) = value {
                time(name, value)?;
            }
        }
        Ok(())
    }

    /// Sets [`client`](Self#structfield.client).
    #[must_use]
    pub fn client(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.client = interval.into();
        self
    }

    /// Sets [`upstream`](Self#structfield.upstream).
    #[must_use]
    pub fn upstream(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.upstream = interval.into();
        self
    }

    /// Sets [`timeout`](Self#structfield.timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }
}
