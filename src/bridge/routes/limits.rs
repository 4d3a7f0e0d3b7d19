//! How many sockets there may be: in all, of one client, of one route.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;

/// BridgeLimits on the sockets of a bridge. What is beyond them is answered 503 with
/// `Retry-After`. Those of a route alone: [`RouteBuilder::max_sockets`].
///
/// [`RouteBuilder::max_sockets`]: crate::bridge::RouteBuilder::max_sockets
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BridgeLimits {
    /// Sockets in all. Default 100,000.
    pub max_sockets: Option<usize>,
    /// Sockets of one client: of an IPv4 address, or of an IPv6 network of 64
    /// bits, which is what one subscriber has. Behind a load balancer that
    /// ends connections every client has its address, unless the route
    /// [trusts](crate::bridge::RouteBuilder::trust_forwarded) what it tells of them.
    /// Default none.
    pub max_sockets_per_client: Option<usize>,
    /// What a client that is turned away is told to wait, in whole seconds.
    /// Default 1 s.
    pub retry_after: Duration,
}

impl Default for BridgeLimits {
    fn default() -> Self {
        Self {
            max_sockets: Some(100_000),
            max_sockets_per_client: None,
            retry_after: Duration::from_secs(1),
        }
    }
}

impl BridgeLimits {
    /// Sets [`sockets`](Self::sockets).
    #[must_use]
    pub fn max_sockets(self, sockets: impl Into<Option<usize>>) -> Self {
        let max_sockets = sockets.into();
        Self {
            max_sockets,
            ..self
        }
    }

    /// Sets [`max_sockets_per_client`](Self::max_sockets_per_client).
    #[must_use]
    pub fn max_sockets_per_client(self, sockets: impl Into<Option<usize>>) -> Self {
        Self {
            max_sockets_per_client: sockets.into(),
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

/// A limit that a socket would be beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitExceeded {
    /// Which limit.
    pub limit: Limit,
    /// For `Retry-After`.
    pub retry_after: Duration,
}

/// What a limit counts the sockets of.
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
    /// `Retry-After`: whole seconds (RFC 9110 §10.2.3), and not none.
    #[must_use]
    pub fn to_header(&self) -> HeaderValue {
        let seconds = self.retry_after.as_secs_f64().ceil().max(1.0);
        HeaderValue::from(seconds as u64)
    }
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match self.limit {
            Limit::Bridge => "this bridge",
            Limit::Route => "this route",
            Limit::Client => "this client",
        };
        write!(f, "too many sockets of {of}")
    }
}

impl std::error::Error for LimitExceeded {}

/// Sockets that are open. It outlives the table of routes.
#[derive(Debug, Default)]
pub(super) struct Counts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    total: usize,
    routes: HashMap<Arc<str>, usize>,
    clients: HashMap<IpAddr, usize>,
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a socket, if it is within the limits.
    pub(super) fn admit(
        self: &Arc<Self>,
        limits: &BridgeLimits,
        route: &Arc<str>,
        max_of_route: Option<usize>,
        peer: IpAddr,
    ) -> Result<Permit, LimitExceeded> {
        let client = client(peer);
        let mut state = self.lock();
        let of_route = state.routes.get(route).copied().unwrap_or(0);
        let of_client = state.clients.get(&client).copied().unwrap_or(0);
        for (limit, open, max) in [
            (Limit::Client, of_client, limits.max_sockets_per_client),
            (Limit::Route, of_route, max_of_route),
            (Limit::Bridge, state.total, limits.max_sockets),
        ] {
            if max.is_some_and(|max| open >= max) {
                let retry_after = limits.retry_after;
                return Err(LimitExceeded { limit, retry_after });
            }
        }
        state.total += 1;
        *state.routes.entry(route.clone()).or_default() += 1;
        *state.clients.entry(client).or_default() += 1;
        drop(state);
        Ok(Permit {
            counts: self.clone(),
            route: route.clone(),
            client,
        })
    }

    pub(super) fn of_route(&self, route: &str) -> usize {
        self.lock().routes.get(route).copied().unwrap_or(0)
    }
}

/// Who is one client.
fn client(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(network.into())
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A socket's place within the limits, until it is dropped.
#[derive(Debug)]
#[must_use = "dropped, it is free again"]
pub struct Permit {
    counts: Arc<Counts>,
    route: Arc<str>,
    client: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.counts.lock();
        state.total -= 1;
        leave(&mut state.routes, &self.route);
        leave(&mut state.clients, &self.client);
    }
}

/// Entries without sockets go: there are more addresses than memory.
fn leave<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
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
                .map_err(|saturated| saturated.limit)
        }
    }

    #[test]
    fn each_limit_turns_away_what_is_beyond_it_and_no_other() {
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
            "the place is free again"
        );
    }

    #[test]
    fn a_limit_of_nothing_lets_nobody_in() {
        let gate = Gate::new(BridgeLimits::default().max_sockets(0));
        assert_eq!(gate.admit("a", None, A).unwrap_err(), Limit::Bridge);
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
    fn clients_that_are_gone_leave_nothing() {
        let gate = Gate::new(BridgeLimits::default());
        let permits: Vec<_> = (0..100)
            .map(|n| gate.admit("a", None, &format!("10.0.0.{n}")).unwrap())
            .collect();
        assert_eq!(gate.counts.of_route("a"), 100);
        drop(permits);
        let state = gate.counts.lock();
        assert_eq!(
            (state.total, state.routes.len(), state.clients.len()),
            (0, 0, 0)
        );
    }
}
