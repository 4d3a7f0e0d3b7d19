//! Which upstream a request goes to, and whether it may.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::upstream::Upstream;
use crate::handshake::{AllowedOrigins, HostPort};

/// The table of routes.
#[derive(Debug)]
pub(super) struct Routes {
    only: Arc<Route>,
}

/// What holds for the requests of one host and path.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) upstream: Arc<Upstream>,
    /// Whose pages may open sockets.
    pub(super) origins: AllowedOrigins,
    /// Whether clients are the operator's proxies.
    pub(super) trusts_forwarded: bool,
    /// Whether the upstream is told its own name instead of the client's.
    pub(super) upstream_host: bool,
    pub(super) timeouts: Timeouts,
    pub(super) sockets: Arc<Semaphore>,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) handshake: Duration,
    pub(super) idle: Option<Duration>,
}

/// A place among the sockets, for as long as it is held.
pub(super) struct Permit(#[allow(dead_code, reason = "held")] OwnedSemaphorePermit);

/// There is no place left.
pub(super) struct Saturated {
    pub(super) retry_after: Duration,
}

/// No upstream takes sockets.
pub(super) struct NoUpstream {
    pub(super) retry_after: Duration,
}

/// An upstream that was picked; dropped with the socket.
pub(super) struct Lease(Arc<Upstream>);

impl Routes {
    pub(super) fn only(route: Route) -> Self {
        Self {
            only: Arc::new(route),
        }
    }

    pub(super) fn find(&self, _: &HostPort, _: &str) -> Option<Arc<Route>> {
        Some(self.only.clone())
    }
}

impl Route {
    /// Takes a place for a socket of this client.
    pub(super) fn admit(&self, _: IpAddr) -> Result<Permit, Saturated> {
        let permit = self.sockets.clone().try_acquire_owned();
        permit.map(Permit).map_err(|_| Saturated {
            retry_after: Duration::from_secs(1),
        })
    }

    /// Picks the upstream for a request.
    pub(super) fn pick(&self, _: &HeaderMap, _: IpAddr) -> Result<Lease, NoUpstream> {
        Ok(Lease(self.upstream.clone()))
    }
}

impl Lease {
    pub(super) fn upstream(&self) -> &Upstream {
        &self.0
    }

    /// It could not be reached, or did not answer.
    pub(super) fn failed(&self) {}

    /// It answered.
    pub(super) fn succeeded(&self) {}
}
