//! Limits on the number of WebSockets: in total, per client and per route, and on
//! connections to upstreams that clients share.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;

use super::sharing::{Place, Sharer, Sharing};
use crate::server::{ClientCounts, ClientId};

/// Limits on the number of WebSockets of a bridge, with the plain HTTP requests in
/// progress. Requests beyond a limit get 503 with `Retry-After`.
///
/// [`RouteBuilder::max_sockets`] limits a single route.
///
/// [`RouteBuilder::max_sockets`]: crate::bridge::RouteBuilder::max_sockets
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BridgeLimits {
    /// Maximum number of WebSockets in total. Default 100,000.
    pub max_sockets: Option<usize>,
    /// Maximum number of WebSockets per client: per IPv4 address, or per IPv6 /64
    /// network, which is what one subscriber has. Behind a load balancer that
    /// terminates connections all clients share its address, unless the route
    /// [trusts](crate::bridge::RouteBuilder::trust_forwarded) its forwarding fields.
    /// Default: unlimited.
    pub max_sockets_per_client: Option<usize>,
    /// Maximum number of WebSockets of one client on HTTP/2 connections to upstreams
    /// that it shares with other clients. Further ones use connections of their own, so
    /// that a client with a thousand busy WebSockets does not delay the others. A client
    /// is an HTTP/2 connection, or over HTTP/1.1 an address as for
    /// [`max_sockets_per_client`](Self::max_sockets_per_client). At most 256 clients at a
    /// time get connections of their own. Default 100.
    pub max_shared_sockets: Option<usize>,
    /// The value of `Retry-After`, rounded up to whole seconds. Default 1 s.
    pub retry_after: Duration,
}

impl Default for BridgeLimits {
    fn default() -> Self {
        Self {
            max_sockets: Some(100_000),
            max_sockets_per_client: None,
            max_shared_sockets: Some(100),
            retry_after: Duration::from_secs(1),
        }
    }
}

impl BridgeLimits {
    /// Sets [`max_sockets`](Self::max_sockets); `None` is unlimited.
    #[must_use]
    pub fn max_sockets(self, sockets: impl Into<Option<usize>>) -> Self {
        let max_sockets = sockets.into();
        Self {
            max_sockets,
            ..self
        }
    }

    /// Sets [`max_sockets_per_client`](Self::max_sockets_per_client); `None` is
    /// unlimited.
    #[must_use]
    pub fn max_sockets_per_client(self, sockets: impl Into<Option<usize>>) -> Self {
        Self {
            max_sockets_per_client: sockets.into(),
            ..self
        }
    }

    /// Sets [`max_shared_sockets`](Self::max_shared_sockets); `None` is unlimited.
    #[must_use]
    pub fn max_shared_sockets(self, sockets: impl Into<Option<usize>>) -> Self {
        Self {
            max_shared_sockets: sockets.into(),
            ..self
        }
    }

    /// Sets [`retry_after`](Self::retry_after).
    #[must_use]
    pub fn retry_after(self, retry_after: Duration) -> Self {
        Self {
            retry_after,
            ..self
        }
    }
}

/// A request would exceed a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitExceeded {
    /// The limit.
    pub limit: Limit,
    /// The value of `Retry-After`.
    pub retry_after: Duration,
}

/// What a limit applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// The whole bridge.
    Bridge,
    /// One route.
    Route,
    /// One client.
    Client,
}

impl LimitExceeded {
    /// Returns the value of `Retry-After`: whole seconds (RFC 9110 §10.2.3), at least
    /// one.
    #[must_use]
    pub fn to_header(&self) -> HeaderValue {
        let seconds = self.retry_after.as_secs_f64().ceil().max(1.0);
        HeaderValue::from(seconds as u64)
    }
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.limit {
            Limit::Bridge => "the bridge's max_sockets is reached",
            Limit::Route => "the route's max_sockets is reached",
            Limit::Client => "max_sockets_per_client is reached",
        })
    }
}

impl std::error::Error for LimitExceeded {}

/// The number of open WebSockets. It outlives the routing table.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    total: usize,
    routes: HashMap<Arc<str>, usize>,
    clients: ClientCounts,
    sharing: Sharing,
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a WebSocket if that exceeds no limit.
    pub(super) fn admit(
        self: &Arc<Self>,
        limits: &BridgeLimits,
        route: &Arc<str>,
        max_of_route: Option<usize>,
        peer: IpAddr,
    ) -> Result<Permit, LimitExceeded> {
        let client = ClientId::of(peer);
        let mut state = self.lock();
        let of_route = state.routes.get(route).copied().unwrap_or(0);
        let is_full = |open, max: Option<usize>| max.is_some_and(|max| open >= max);
        let of_client = limits.max_sockets_per_client;
        for (limit, is_full) in [
            (Limit::Client, state.clients.is_full(client, of_client)),
            (Limit::Route, is_full(of_route, max_of_route)),
            (Limit::Bridge, is_full(state.total, limits.max_sockets)),
        ] {
            if is_full {
                let retry_after = limits.retry_after;
                return Err(LimitExceeded { limit, retry_after });
            }
        }
        state.total += 1;
        *state.routes.entry(route.clone()).or_default() += 1;
        state.clients.add(client);
        drop(state);
        Ok(Permit {
            counts: self.clone(),
            route: route.clone(),
            client,
            place: Place::Uncounted,
            connection: 0,
        })
    }

    pub(super) fn total(&self) -> usize {
        self.lock().total
    }

    /// Returns the number of the client that has most.
    pub(super) fn of_busiest_client(&self) -> usize {
        self.lock().clients.of_busiest()
    }

    pub(super) fn of_route(&self, route: &str) -> usize {
        self.lock().routes.get(route).copied().unwrap_or(0)
    }
}

/// Counts one WebSocket or request against the limits until it is dropped.
#[derive(Debug)]
#[must_use = "it counts only until this is dropped"]
pub struct Permit {
    counts: Arc<Counts>,
    route: Arc<str>,
    client: ClientId,
    place: Place,
    /// The client's HTTP/2 connection; 0 over HTTP/1.1.
    connection: u64,
}

impl Permit {
    /// Decides whether the WebSocket shares connections to upstreams with those of other
    /// clients. `connection` is the client's, over HTTP/2.
    pub(super) fn share(&mut self, limits: &BridgeLimits, connection: Option<u64>) {
        self.connection = connection.unwrap_or(0);
        // Clients without an address cannot be told apart over HTTP/1.1.
        let is_unknown = self.connection == 0 && self.client.is_unknown();
        if let Some(max) = limits.max_shared_sockets.filter(|_| !is_unknown) {
            let sharer = self.sharer();
            self.place = self.counts.lock().sharing.place(sharer, max);
        }
    }

    /// Returns the group of WebSockets that alone share connections to upstreams; `None`
    /// for those that all clients share.
    pub(in crate::bridge) fn group(&self) -> Option<NonZeroU16> {
        match self.place {
            Place::Apart(group) => Some(group),
            Place::Uncounted | Place::Shared => None,
        }
    }

    fn sharer(&self) -> Sharer {
        match self.connection {
            0 => Sharer::Address(self.client),
            connection => Sharer::Connection(connection),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.counts.lock();
        state.sharing.leave(self.sharer(), self.place);
        state.total -= 1;
        state.clients.remove(self.client);
        // Routes that a reload has removed use no memory.
        if let Some(count) = state.routes.get_mut(&self.route) {
            *count -= 1;
            if *count == 0 {
                state.routes.remove(&self.route);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "192.0.2.1";

    struct Gate {
        counts: Arc<Counts>,
        limits: BridgeLimits,
    }

    impl Gate {
        fn new(limits: BridgeLimits) -> Self {
            let counts = Arc::default();
            Self { counts, limits }
        }

        fn admit(&self, route: &str, max: Option<usize>, peer: &str) -> Result<Permit, Limit> {
            self.counts
                .admit(&self.limits, &route.into(), max, peer.parse().unwrap())
                .map_err(|exceeded| exceeded.limit)
        }
    }

    #[test]
    fn each_limit_rejects_only_what_exceeds_it() {
        let gate = Gate::new(
            BridgeLimits::default()
                .max_sockets(4)
                .max_sockets_per_client(2),
        );
        let first = gate.admit("a", Some(3), A).unwrap();
        let _second = gate.admit("a", Some(3), A).unwrap();
        assert_eq!(gate.admit("a", Some(3), A).unwrap_err(), Limit::Client);
        let _third = gate.admit("a", Some(3), "192.0.2.2").unwrap();
        assert_eq!(
            gate.admit("a", Some(3), "192.0.2.2").unwrap_err(),
            Limit::Route
        );
        let _fourth = gate.admit("b", None, "192.0.2.2").unwrap();
        assert_eq!(
            gate.admit("b", None, "192.0.2.3").unwrap_err(),
            Limit::Bridge
        );
        drop(first);
        assert!(
            gate.admit("a", Some(3), A).is_ok(),
            "a dropped permit counts no more"
        );
    }

    #[test]
    fn a_limit_of_zero_rejects_everything() {
        let gate = Gate::new(BridgeLimits::default().max_sockets(0));
        assert_eq!(gate.admit("a", None, A).unwrap_err(), Limit::Bridge);
    }

    #[test]
    fn peers_without_an_address_are_not_one_client() {
        let gate = Gate::new(BridgeLimits::default().max_sockets_per_client(1));
        let _one = gate.admit("a", None, "0.0.0.0").unwrap();
        let _two = gate.admit("a", None, "0.0.0.0").unwrap();
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let gate = Gate::new(BridgeLimits::default().max_sockets_per_client(1));
        let _one = gate.admit("a", None, "2001:db8::1").unwrap();
        assert_eq!(
            gate.admit("a", None, "2001:db8::2").unwrap_err(),
            Limit::Client
        );
        let _next = gate.admit("a", None, "2001:db8:0:1::1").unwrap();
        let _four = gate.admit("a", None, A).unwrap();
        let mapped = format!("::ffff:{A}");
        assert_eq!(gate.admit("a", None, &mapped).unwrap_err(), Limit::Client);
    }

    #[test]
    fn former_clients_use_no_memory() {
        let gate = Gate::new(BridgeLimits::default());
        let permits: Vec<_> = (0..100)
            .map(|n| gate.admit("a", None, &format!("10.0.0.{n}")).unwrap())
            .collect();
        assert_eq!(gate.counts.of_route("a"), 100);
        drop(permits);
        let state = gate.counts.lock();
        assert_eq!(
            (state.total, state.routes.len(), state.clients.clients()),
            (0, 0, 0)
        );
    }
}
