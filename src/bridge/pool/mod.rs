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
            .filter(|member| member.health().is_fit(now))
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
            is_fit: member.health().is_fit(now),
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

/// What is known of a server; see [`Route::upstreams`](crate::Route::upstreams).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamStatus {
    /// Which, with its address where its name was resolved.
    pub upstream: Upstream,
    /// Sockets that lead there.
    pub sockets: usize,
    /// Whether it gets new ones: it was not ejected and passes its checks.
    pub is_fit: bool,
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

    /// The server did not answer, or not as one that works.
    pub fn failed(&self) {
        let now = Instant::now().into_std();
        let change = self.member.health().failed(now, &self.ejection);
        if let Some(change) = change {
            Pool::changed(&self.route, &self.member, change);
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
mod tests {
    use super::*;
    use http::header::COOKIE;
    use proptest::prelude::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn pool(urls: &[&str], settings: Settings) -> Pool {
        let targets = urls.iter().map(|url| url.parse().unwrap()).collect();
        Pool::new("route".into(), targets, settings)
    }

    fn three() -> Pool {
        pool(&["ws://a", "ws://b", "ws://c"], Settings::default())
    }

    fn pick(pool: &Pool) -> Lease {
        pool.pick(&HeaderMap::new(), PEER, &[]).unwrap()
    }

    fn host(lease: &Lease) -> String {
        lease.upstream().host().to_owned()
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    fn open(pool: &Pool) -> Vec<usize> {
        pool.statuses()
            .iter()
            .map(|status| status.sockets)
            .collect()
    }

    #[tokio::test]
    async fn sockets_go_where_the_fewest_are() {
        let pool = three();
        let mut leases: Vec<_> = (0..9).map(|_| pick(&pool)).collect();
        assert_eq!(open(&pool), [3, 3, 3]);
        leases.retain(|lease| host(lease) != "b");
        assert_eq!(open(&pool), [3, 0, 3]);
        let next: Vec<_> = (0..3).map(|_| pick(&pool)).collect();
        assert!(next.iter().all(|lease| host(lease) == "b"));
        drop((leases, next));
        assert_eq!(open(&pool), [0, 0, 0]);
    }

    #[tokio::test]
    async fn what_was_tried_is_not_picked_again() {
        let pool = three();
        let mut tried = Vec::new();
        for _ in 0..3 {
            tried.push(pool.pick(&HeaderMap::new(), PEER, &tried).unwrap());
        }
        let mut hosts: Vec<_> = tried.iter().map(host).collect();
        hosts.sort();
        assert_eq!(hosts, ["a", "b", "c"]);
        let none = pool.pick(&HeaderMap::new(), PEER, &tried);
        assert_eq!(none.unwrap_err(), NoUpstream);
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_is_left_out_for_a_time_unless_all_do() {
        let pool = three();
        let fail = |host_name: &str| {
            for _ in 0..3 {
                let leases: Vec<_> = (0..3).map(|_| pick(&pool)).collect();
                let lease = leases.iter().find(|lease| host(lease) == host_name);
                // Once it is left out there is none.
                if let Some(lease) = lease {
                    lease.failed();
                }
            }
        };
        fail("a");
        let picked: Vec<_> = (0..4).map(|_| pick(&pool)).collect();
        assert!(picked.iter().all(|lease| host(lease) != "a"));
        assert_eq!(pool.statuses().iter().filter(|one| one.is_fit).count(), 2);
        drop(picked);
        fail("b");
        fail("c");
        assert!(pool.statuses().iter().all(|status| !status.is_fit));
        let picked: Vec<_> = (0..3).map(|_| pick(&pool)).collect();
        assert_eq!(open(&pool), [1, 1, 1], "the last resort is all of them");
        drop(picked);
        tokio::time::advance(Ejection::default().first).await;
        assert!(pool.statuses().iter().all(|status| status.is_fit));
    }

    fn cookie(lease: &Lease) -> Option<HeaderMap> {
        let set = lease.set_cookie()?.to_str().unwrap();
        let pair = set.split(';').next().unwrap();
        Some([(COOKIE, pair.parse().unwrap())].into_iter().collect())
    }

    #[tokio::test(start_paused = true)]
    async fn a_cookie_leads_back_even_through_another_replica() {
        let settings = Settings {
            affinity: Some(Affinity::cookie("lb").unwrap()),
            ..Settings::default()
        };
        let urls = ["ws://a", "ws://b", "ws://c", "ws://d"];
        let (one, other) = (pool(&urls, settings.clone()), pool(&urls, settings));
        let first: Vec<_> = (0..200).map(|_| pick(&one)).collect();
        assert!(
            open(&one).iter().all(|open| (35..65).contains(open)),
            "{:?}",
            open(&one)
        );
        for lease in &first {
            let request = cookie(lease).expect("a cookie is set");
            for replica in [&one, &other] {
                let again = replica.pick(&request, PEER, &[]).unwrap();
                assert_eq!(host(&again), host(lease));
                assert_eq!(again.set_cookie(), None);
            }
        }
        // While its server is out it is led elsewhere, and then back.
        let request = cookie(&first[0]).unwrap();
        (0..3).for_each(|_| first[0].failed());
        let elsewhere = one.pick(&request, PEER, &[]).unwrap();
        assert_ne!(host(&elsewhere), host(&first[0]));
        tokio::time::advance(Ejection::default().first).await;
        let back = one.pick(&request, PEER, &[]).unwrap();
        assert_eq!(host(&back), host(&first[0]));
    }

    #[tokio::test]
    async fn without_its_field_a_request_goes_anywhere() {
        let name = http::HeaderName::from_static("x-user");
        let settings = Settings {
            affinity: Some(Affinity::header(name.clone())),
            ..Settings::default()
        };
        let pool = pool(&["ws://a", "ws://b"], settings);
        let leases: Vec<_> = (0..4).map(|_| pick(&pool)).collect();
        assert_eq!(open(&pool), [2, 2]);
        assert!(leases.iter().all(|lease| lease.set_cookie().is_none()));
        let ann: HeaderMap = [(name, HeaderValue::from_static("ann"))]
            .into_iter()
            .collect();
        let of_ann: Vec<_> = (0..5)
            .map(|_| pool.pick(&ann, PEER, &[]).unwrap())
            .collect();
        assert!(of_ann.iter().all(|lease| host(lease) == host(&of_ann[0])));
    }

    #[tokio::test]
    async fn each_address_of_a_name_is_a_server_and_gone_ones_drain() {
        let pool = pool(&["ws://a", "ws://10.9.9.9"], Settings::default());
        let target = pool.targets[0].clone();
        let addresses = |pool: &Pool| -> Vec<_> {
            let statuses = pool.statuses();
            statuses
                .iter()
                .map(|status| status.upstream.address())
                .collect()
        };
        pool.resolved(&target, &[address(1), address(2)]);
        assert_eq!(addresses(&pool), [None, Some(address(1)), Some(address(2))]);
        let leases: Vec<_> = (0..6).map(|_| pick(&pool)).collect();
        assert_eq!(open(&pool), [2, 2, 2]);
        pool.resolved(&target, &[address(2), address(3)]);
        assert_eq!(addresses(&pool), [None, Some(address(2)), Some(address(3))]);
        assert_eq!(open(&pool), [2, 2, 0], "what stays keeps its count");
        let next: Vec<_> = (0..9).map(|_| pick(&pool)).collect();
        let is_gone = |lease: &Lease| lease.upstream().address() == Some(address(1));
        assert!(!next.iter().any(is_gone));
        assert_eq!(leases.iter().filter(|lease| is_gone(lease)).count(), 2);
        // It comes back: the same address, and nothing is known of it.
        pool.resolved(&target, &[address(1)]);
        assert_eq!(open(&pool)[1], 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_newer_pool_knows_what_the_older_one_learned() {
        let older = three();
        let leases: Vec<_> = (0..3).map(|_| pick(&older)).collect();
        let on_a = leases.iter().find(|lease| host(lease) == "a").unwrap();
        (0..3).for_each(|_| on_a.failed());
        let newer = pool(&["ws://d", "ws://a", "ws://b"], Settings::default());
        newer.inherit(&older);
        let mut known: Vec<_> = newer
            .statuses()
            .into_iter()
            .map(|status| (status.upstream.to_string(), status.sockets, status.is_fit))
            .collect();
        known.sort();
        let expected = [
            ("ws://a:80", 1, false),
            ("ws://b:80", 1, true),
            ("ws://d:80", 0, true),
        ];
        assert_eq!(
            known,
            expected.map(|(url, sockets, fit)| (url.to_owned(), sockets, fit))
        );
        drop(leases);
        assert_eq!(open(&newer), [0, 0, 0]);
    }

    #[tokio::test]
    async fn addresses_are_inherited_where_names_are_still_resolved() {
        let resolves = Settings {
            resolve: Some(Duration::from_secs(30)),
            ..Settings::default()
        };
        let older = pool(&["ws://a"], resolves.clone());
        older.resolved(&older.targets[0], &[address(1), address(2)]);
        let newer = pool(&["ws://a"], resolves);
        newer.inherit(&older);
        assert_eq!(newer.statuses().len(), 2);
        let plain = pool(&["ws://a"], Settings::default());
        plain.inherit(&older);
        assert_eq!(plain.statuses()[0].upstream.address(), None);
    }

    proptest! {
        /// Whatever happens, in whatever order: somebody is picked, never one
        /// that has more sockets than another that is as fit, and nothing is
        /// left at the end.
        #[test]
        fn there_is_always_a_server_and_counts_add_up(
            steps in prop::collection::vec((0_u8..5, any::<prop::sample::Index>()), 1..80),
        ) {
            let pool = three();
            let mut leases = Vec::new();
            for (what, which) in steps {
                match what {
                    0 | 1 => {
                        let before = pool.statuses();
                        let lease = pick(&pool);
                        let any_fit = before.iter().any(|status| status.is_fit);
                        let least = before.iter()
                            .filter(|status| status.is_fit || !any_fit)
                            .map(|status| status.sockets)
                            .min();
                        let of = |status: &&UpstreamStatus| status.upstream == *lease.upstream();
                        let picked = before.iter().find(of).unwrap();
                        prop_assert_eq!(Some(picked.sockets), least);
                        prop_assert!(picked.is_fit || !any_fit);
                        leases.push(lease);
                    }
                    _ if leases.is_empty() => {}
                    2 => which.get(&leases).failed(),
                    3 => which.get(&leases).succeeded(),
                    _ => drop(leases.swap_remove(which.index(leases.len()))),
                }
                prop_assert_eq!(open(&pool).iter().sum::<usize>(), leases.len());
            }
        }
    }
}
