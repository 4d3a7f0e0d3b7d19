//! The servers of a route, and the choice of one for each request.

mod affinity;
mod balance;
mod check;
mod health;
mod resolve;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

pub(super) use self::affinity::KeySource;
pub use self::affinity::{Affinity, InvalidAffinity};
pub use self::check::{Check, InvalidCheck};
pub use self::health::Ejection;

use self::health::{Change, Health};
use super::upstream::Upstream;
use super::verdict::Verdict;
use crate::socket::nonce;

/// Number of random keys generated for a client without one. The best of a few
/// balances nearly as well as the best of all, at a cost that does not grow with
/// the number of servers.
const CANDIDATE_KEYS: usize = 4;

/// The settings of a pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) affinity: Option<Affinity>,
    pub(super) ejection: Ejection,
    pub(super) check: Option<Check>,
    pub(super) resolve: Option<Duration>,
}

/// Interchangeable servers.
#[derive(Debug)]
pub(super) struct Pool {
    route: Arc<str>,
    /// The configured upstreams: each is one server, or a name for several.
    targets: Vec<Upstream>,
    pub(super) settings: Settings,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    all: Vec<Arc<Member>>,
    turn: usize,
}

/// One server. It outlives the pool while it has open WebSockets.
#[derive(Debug)]
struct Member {
    upstream: Upstream,
    /// Hashed together with keys.
    name: String,
    /// The target of the pool that it belongs to.
    target: Upstream,
    open: AtomicUsize,
    health: Mutex<Health>,
}

impl Member {
    fn new(target: &Upstream, address: Option<SocketAddr>) -> Arc<Self> {
        let upstream = match address {
            Some(address) => target.clone().at(address),
            None => target.clone(),
        };
        Arc::new(Self {
            name: address.map_or_else(|| upstream.to_string(), |address| address.to_string()),
            upstream,
            target: target.clone(),
            open: AtomicUsize::new(0),
            health: Mutex::default(),
        })
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Pool {
    pub(super) fn new(route: Arc<str>, targets: Vec<Upstream>, settings: Settings) -> Self {
        let all = targets.iter().map(|target| Member::new(target, None));
        Self {
            route,
            members: Mutex::new(Members {
                all: all.collect(),
                turn: 0,
            }),
            targets,
            settings,
        }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Picks a server that is not in `tried`, and counts a request there.
    pub(super) fn pick(
        &self,
        request: KeySource<'_>,
        tried: &[Lease],
    ) -> Result<Lease, NoUpstream> {
        let now = Instant::now().into_std();
        let affinity = self.settings.affinity.as_ref();
        let key = affinity.and_then(|affinity| affinity.key(request));
        let mut members = self.members();
        let untried = |member: &&Arc<Member>| {
            let is_same = |lease: &Lease| Arc::ptr_eq(&lease.member, member);
            !tried.iter().any(is_same)
        };
        let untried: Vec<_> = members.all.iter().filter(untried).cloned().collect();
        let healthy = untried
            .iter()
            .filter(|member| member.health().is_healthy(now))
            .cloned()
            .collect::<Vec<_>>();
        // If all are unhealthy, all are candidates.
        let candidates = if healthy.is_empty() { untried } else { healthy };
        let mut assigned = None;
        let picked = match key {
            Some(key) => keyed(&candidates, &key),
            None if affinity.is_some_and(Affinity::assigns_keys) => {
                let (key, picked) = assign_key(&candidates).ok_or(NoUpstream)?;
                assigned = Some(key);
                Some(picked)
            }
            None => {
                let open: Vec<_> = candidates.iter().map(|member| member.open()).collect();
                members.turn = members.turn.wrapping_add(1);
                balance::least(&open, members.turn)
            }
        };
        let picked = picked.and_then(|at| candidates.get(at)).ok_or(NoUpstream)?;
        // Counted under the lock, so that concurrent picks see it.
        picked.open.fetch_add(1, Ordering::Relaxed);
        drop(members);
        let cookie = affinity.zip(assigned);
        Ok(Lease {
            cookie: cookie.and_then(|(affinity, key)| affinity.set_cookie(&key)?.ok()),
            member: picked.clone(),
            ejection: self.settings.ejection,
            route: self.route.clone(),
        })
    }

    /// Replaces the addresses of `target`. Servers that remain keep their state;
    /// those that are gone get no new requests.
    fn set_addresses(&self, target: &Upstream, addresses: &[SocketAddr]) {
        let mut members = self.members();
        let old = std::mem::take(&mut members.all);
        let (of_target, others): (Vec<_>, Vec<_>) =
            old.into_iter().partition(|member| member.target == *target);
        members.all = others;
        for address in addresses {
            let known = of_target
                .iter()
                .find(|member| member.upstream.address() == Some(*address));
            let member = known.map_or_else(|| Member::new(target, Some(*address)), Arc::clone);
            members.all.push(member);
        }
    }

    /// Takes over the state of servers that an older pool has in common with this
    /// one.
    pub(super) fn inherit(&self, older: &Self) {
        let olds = older.members().all.clone();
        let mut members = self.members();
        for target in &self.targets {
            let mut known = olds.iter().filter(|old| old.target == *target).peekable();
            let resolves = self.settings.resolve.is_some() && target.has_name();
            let is_resolved = |old: &Arc<Member>| old.upstream.address().is_some();
            if known.peek().is_none_or(|old| is_resolved(old) != resolves) {
                continue;
            }
            members.all.retain(|member| member.target != *target);
            for old in known {
                if self.settings.check.is_none() {
                    old.health().forget_checks();
                }
                members.all.push(old.clone());
            }
        }
    }

    /// Returns the status of each server.
    pub(super) fn statuses(&self) -> Vec<UpstreamStatus> {
        let now = Instant::now().into_std();
        let members = self.members().all.clone();
        let status = |member: Arc<Member>| UpstreamStatus {
            sockets: member.open(),
            is_healthy: member.health().is_healthy(now),
            upstream: member.upstream.clone(),
        };
        members.into_iter().map(status).collect()
    }

    /// Logs a change of a server's health, and why a check failed.
    fn log_change(route: &str, member: &Member, change: Change, error: Option<&str>) {
        let (upstream, server) = (&member.upstream, &member.name);
        match change {
            Change::Ejected(lasts) => {
                tracing::warn!(route, %upstream, server, seconds = lasts.as_secs(), "upstream ejected");
            }
            Change::Returned => {
                tracing::info!(route, %upstream, server, "upstream answers again after its ejection");
            }
            Change::Down => {
                tracing::warn!(route, %upstream, server, error, "upstream fails its health check");
            }
            Change::Up => {
                tracing::info!(route, %upstream, server, "upstream passes its health check");
            }
        }
    }
}

fn keyed(candidates: &[Arc<Member>], key: &[u8]) -> Option<usize> {
    balance::rendezvous(key, candidates.iter().map(|member| &*member.name))
}

/// Generates a key that belongs to a server with few open requests. Returns the key
/// and the server's index.
fn assign_key(candidates: &[Arc<Member>]) -> Option<(String, usize)> {
    let keys = (0..CANDIDATE_KEYS).filter_map(|_| {
        let key = affinity::key_from(nonce());
        let at = keyed(candidates, key.as_bytes())?;
        Some((key, at))
    });
    keys.min_by_key(|(_, at)| candidates.get(*at).map(|member| member.open()))
}

/// The status of a server; see [`Route::upstreams`](crate::bridge::Route::upstreams).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamStatus {
    /// The server, with its address if its name was resolved.
    pub upstream: Upstream,
    /// Number of open WebSockets and requests in progress.
    pub sockets: usize,
    /// Whether it gets new requests: it is not ejected and passes its check.
    pub is_healthy: bool,
}

/// A server that was picked for one request, which counts there until this is
/// dropped.
#[derive(Debug)]
#[must_use = "the request counts only until this is dropped"]
pub struct Lease {
    member: Arc<Member>,
    ejection: Ejection,
    route: Arc<str>,
    cookie: Option<HeaderValue>,
}

impl Lease {
    /// Returns the server.
    #[must_use]
    pub fn upstream(&self) -> &Upstream {
        &self.member.upstream
    }

    /// Returns the `Set-Cookie` field for the response, if affinity assigned a key to
    /// the client.
    #[must_use]
    pub fn set_cookie(&self) -> Option<&HeaderValue> {
        self.cookie.as_ref()
    }

    /// Records that the request failed at the server; see [`Ejection`].
    pub fn failed(&self) {
        let now = Instant::now().into_std();
        let change = self.member.health().failed(now, &self.ejection);
        if let Some(change) = change {
            Pool::log_change(&self.route, &self.member, change, None);
        }
    }

    /// Records the verdict of a request.
    pub(super) fn judge(&self, verdict: Verdict) {
        match verdict {
            Verdict::Answered(status) if !self.ejection.counts_as_failure(status) => {
                self.succeeded();
            }
            Verdict::Answered(_) | Verdict::Fails => self.failed(),
            Verdict::Unknown => {}
        }
    }

    /// Records that the server responded.
    pub fn succeeded(&self) {
        let now = Instant::now().into_std();
        let change = self.member.health().succeeded(now);
        if let Some(change) = change {
            Pool::log_change(&self.route, &self.member, change, None);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.member.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All servers of the pool have been tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoUpstream;

impl fmt::Display for NoUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no upstream available")
    }
}

impl std::error::Error for NoUpstream {}

#[cfg(test)]
mod tests;
