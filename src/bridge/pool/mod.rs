//! The servers of a route: which one a socket is led to.

mod affinity;
mod balance;
mod check;
mod health;
mod resolve;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

pub use self::affinity::{Affinity, InvalidAffinity};
pub use self::check::{Check, InvalidCheck};
pub use self::health::Ejection;

use self::health::{Change, Health};
use super::upstream::Upstream;
use super::verdict::Verdict;
use crate::socket::nonce;

/// Keys that are tried for a client without one: the better of a few random
/// ones is nearly as good as the best, and costs as much for a thousand
/// servers.
const KEYS: usize = 4;

/// How a pool is looked after.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) affinity: Option<Affinity>,
    pub(super) ejection: Ejection,
    pub(super) check: Option<Check>,
    pub(super) resolve: Option<Duration>,
}

/// Servers that are as good as each other.
#[derive(Debug)]
pub(super) struct Pool {
    route: Arc<str>,
    /// As configured; each is one server, or a name of several.
    targets: Vec<Upstream>,
    pub(super) settings: Settings,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    all: Vec<Arc<Member>>,
    turn: usize,
}

/// One server. It outlives the pool while sockets lead to it.
#[derive(Debug)]
struct Member {
    upstream: Upstream,
    /// What keys are hashed with.
    name: String,
    /// What it was made of: a target of the pool.
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

    /// Picks a server that is none of `tried`, and counts a socket there.
    pub(super) fn pick(
        &self,
        request: &HeaderMap,
        peer: IpAddr,
        tried: &[Lease],
    ) -> Result<Lease, NoUpstream> {
        let now = Instant::now().into_std();
        let affinity = self.settings.affinity.as_ref();
        let key = affinity.and_then(|affinity| affinity.key(request, peer));
        let mut members = self.members();
        let untried = |member: &&Arc<Member>| {
            let is_same = |lease: &Lease| Arc::ptr_eq(&lease.member, member);
            !tried.iter().any(is_same)
        };
        let untried: Vec<_> = members.all.iter().filter(untried).cloned().collect();
        let fit = untried
            .iter()
            .filter(|member| member.health().is_healthy(now))
            .cloned()
            .collect::<Vec<_>>();
        // With nothing against it, or if there is no such, as the last resort.
        let candidates = if fit.is_empty() { untried } else { fit };
        let mut minted = None;
        let picked = match key {
            Some(key) => keyed(&candidates, &key),
            None if affinity.is_some_and(Affinity::mints) => {
                let (key, picked) = mint(&candidates).ok_or(NoUpstream)?;
                minted = Some(key);
                Some(picked)
            }
            None => {
                let open: Vec<_> = candidates.iter().map(|member| member.open()).collect();
                members.turn = members.turn.wrapping_add(1);
                balance::least(&open, members.turn)
            }
        };
        let picked = picked.and_then(|at| candidates.get(at)).ok_or(NoUpstream)?;
        // Under the lock: those who pick now have to see it.
        picked.open.fetch_add(1, Ordering::Relaxed);
        drop(members);
        let cookie = affinity.zip(minted);
        Ok(Lease {
            cookie: cookie.and_then(|(affinity, key)| affinity.set_cookie(&key)?.ok()),
            member: picked.clone(),
            ejection: self.settings.ejection,
            route: self.route.clone(),
        })
    }

    /// Replaces what `target` was resolved to. Servers that stay keep what is
    /// known of them; those that are gone get no more sockets.
    fn resolved(&self, target: &Upstream, addresses: &[SocketAddr]) {
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

    /// Takes over what an older pool knows of servers that this one has, too.
    pub(super) fn inherit(&self, older: &Self) {
        let olds = older.members().all.clone();
        let mut members = self.members();
        for target in &self.targets {
            let mut known = olds.iter().filter(|old| old.target == *target).peekable();
            let resolves = self.settings.resolve.is_some() && target.is_named();
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

    /// What is known of each server.
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

    /// Says so where people look.
    fn changed(route: &str, member: &Member, change: Change) {
        let (upstream, server) = (&member.upstream, &member.name);
        match change {
            Change::Ejected(lasts) => {
                tracing::warn!(route, %upstream, server, seconds = lasts.as_secs(), "upstream fails: left out");
            }
            Change::Down => tracing::warn!(route, %upstream, server, "upstream fails its checks"),
            Change::Up => tracing::info!(route, %upstream, server, "upstream is back"),
        }
    }
}

fn keyed(candidates: &[Arc<Member>], key: &[u8]) -> Option<usize> {
    balance::rendezvous(key, candidates.iter().map(|member| &*member.name))
}

/// A new key, and where it leads: of a few, to the server with the fewest
/// sockets.
fn mint(candidates: &[Arc<Member>]) -> Option<(String, usize)> {
    let keys = (0..KEYS).filter_map(|_| {
        let key = affinity::key_from(nonce());
        let at = keyed(candidates, key.as_bytes())?;
        Some((key, at))
    });
    keys.min_by_key(|(_, at)| candidates.get(*at).map(|member| member.open()))
}

/// What is known of a server; see [`Route::upstreams`](crate::bridge::Route::upstreams).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamStatus {
    /// Which, with its address where its name was resolved.
    pub upstream: Upstream,
    /// Sockets that lead there.
    pub sockets: usize,
    /// Whether it gets new ones: it was not ejected and passes its checks.
    pub is_healthy: bool,
}

/// A server that was picked for one socket, counted there until this is
/// dropped.
#[derive(Debug)]
#[must_use = "dropped, the socket is not counted"]
pub struct Lease {
    member: Arc<Member>,
    ejection: Ejection,
    route: Arc<str>,
    cookie: Option<HeaderValue>,
}

impl Lease {
    /// Where to connect to.
    #[must_use]
    pub fn upstream(&self) -> &Upstream {
        &self.member.upstream
    }

    /// `Set-Cookie` for the accepting answer, where the client was given a key.
    #[must_use]
    pub fn set_cookie(&self) -> Option<&HeaderValue> {
        self.cookie.as_ref()
    }

    /// The server was seen to fail.
    pub fn failed(&self) {
        let now = Instant::now().into_std();
        let change = self.member.health().failed(now, &self.ejection);
        if let Some(change) = change {
            Pool::changed(&self.route, &self.member, change);
        }
    }

    /// What a request showed.
    pub(super) fn judge(&self, verdict: Verdict) {
        match verdict {
            Verdict::Answered(status) if !self.ejection.counts(status) => self.succeeded(),
            Verdict::Answered(_) | Verdict::Fails => self.failed(),
            Verdict::Unknown => {}
        }
    }

    /// The server answered.
    pub fn succeeded(&self) {
        let now = Instant::now().into_std();
        self.member.health().succeeded(now);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.member.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// There is no server left to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoUpstream;

impl fmt::Display for NoUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no upstream is left to try")
    }
}

impl std::error::Error for NoUpstream {}

#[cfg(test)]
mod tests;
