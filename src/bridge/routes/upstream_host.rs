//! Which host is sent to an upstream.

use crate::handshake::HostPort;

/// The host that is sent to an upstream (`Host`, `:authority`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamHost {
    /// The host in the client's request.
    #[default]
    Client,
    /// The host of the upstream's URL.
    Upstream,
    /// This host.
    Name(HostPort),
}

/// `true` is [`UpstreamHost::Upstream`], `false` is [`UpstreamHost::Client`].
impl From<bool> for UpstreamHost {
    fn from(is_own: bool) -> Self {
        if is_own { Self::Upstream } else { Self::Client }
    }
}

impl From<HostPort> for UpstreamHost {
    fn from(name: HostPort) -> Self {
        Self::Name(name)
    }
}
