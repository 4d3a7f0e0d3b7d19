//! Tests of how a route's pool picks upstreams.

use std::net::IpAddr;

use super::*;
use http::HeaderMap;
use http::header::COOKIE;
use proptest::prelude::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn pool(urls: &[&str], settings: Settings) -> Pool {
    let targets = urls.iter().map(|url| url.parse().unwrap()).collect();
    Pool::new("route".into(), targets, settings)
}

fn pool_of_three() -> Pool {
    pool(&["ws://a", "ws://b", "ws://c"], Settings::default())
}

fn source(fields: &HeaderMap) -> KeySource<'_> {
    KeySource {
        path_and_query: "/",
        fields,
        client: PEER,
    }
}

fn pick(pool: &Pool) -> Lease {
    pool.pick(source(&HeaderMap::new()), &[]).unwrap()
}

fn host(lease: &Lease) -> String {
    lease.upstream().host().to_owned()
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn open_sockets(pool: &Pool) -> Vec<usize> {
    pool.statuses()
        .iter()
        .map(|status| status.sockets)
        .collect()
}

#[tokio::test]
async fn the_upstream_with_the_fewest_requests_is_picked() {
    let pool = pool_of_three();
    let mut leases: Vec<_> = (0..9).map(|_| pick(&pool)).collect();
    assert_eq!(open_sockets(&pool), [3, 3, 3]);
    leases.retain(|lease| host(lease) != "b");
    assert_eq!(open_sockets(&pool), [3, 0, 3]);
    let next: Vec<_> = (0..3).map(|_| pick(&pool)).collect();
    assert!(next.iter().all(|lease| host(lease) == "b"));
    drop((leases, next));
    assert_eq!(open_sockets(&pool), [0, 0, 0]);
}

#[tokio::test]
async fn upstreams_that_were_tried_are_not_picked_again() {
    let pool = pool_of_three();
    let mut tried = Vec::new();
    for _ in 0..3 {
        tried.push(pool.pick(source(&HeaderMap::new()), &tried).unwrap());
    }
    let mut hosts: Vec<_> = tried.iter().map(host).collect();
    hosts.sort();
    assert_eq!(hosts, ["a", "b", "c"]);
    let none = pool.pick(source(&HeaderMap::new()), &tried);
    assert_eq!(none.unwrap_err(), NoUpstream);
}

#[tokio::test(start_paused = true)]
async fn failing_upstreams_are_not_picked_unless_all_fail() {
    let pool = pool_of_three();
    let fail = |host_name: &str| {
        for _ in 0..3 {
            let leases: Vec<_> = (0..3).map(|_| pick(&pool)).collect();
            let lease = leases.iter().find(|lease| host(lease) == host_name);
            // An ejected upstream is not picked, so there is no lease.
            if let Some(lease) = lease {
                lease.failed();
            }
        }
    };
    fail("a");
    let picked: Vec<_> = (0..4).map(|_| pick(&pool)).collect();
    assert!(picked.iter().all(|lease| host(lease) != "a"));
    assert_eq!(
        pool.statuses().iter().filter(|one| one.is_healthy).count(),
        2
    );
    drop(picked);
    fail("b");
    fail("c");
    assert!(pool.statuses().iter().all(|status| !status.is_healthy));
    let picked: Vec<_> = (0..3).map(|_| pick(&pool)).collect();
    assert_eq!(
        open_sockets(&pool),
        [1, 1, 1],
        "all are used if all are ejected"
    );
    drop(picked);
    tokio::time::advance(Ejection::default().base_ejection_time).await;
    assert!(pool.statuses().iter().all(|status| status.is_healthy));
}

fn cookie(lease: &Lease) -> Option<HeaderMap> {
    let set = lease.set_cookie()?.to_str().unwrap();
    let pair = set.split(';').next().unwrap();
    Some([(COOKIE, pair.parse().unwrap())].into_iter().collect())
}

#[tokio::test(start_paused = true)]
async fn a_cookie_selects_the_same_upstream_in_every_replica() {
    let settings = Settings {
        affinity: Some(Affinity::cookie("lb").unwrap()),
        ..Settings::default()
    };
    let urls = ["ws://a", "ws://b", "ws://c", "ws://d"];
    let (one, other) = (pool(&urls, settings.clone()), pool(&urls, settings));
    let first: Vec<_> = (0..200).map(|_| pick(&one)).collect();
    assert!(
        open_sockets(&one)
            .iter()
            .all(|open| (35..65).contains(open)),
        "{:?}",
        open_sockets(&one)
    );
    for lease in &first {
        let request = cookie(lease).expect("a cookie is set");
        for replica in [&one, &other] {
            let again = replica.pick(source(&request), &[]).unwrap();
            assert_eq!(host(&again), host(lease));
            assert_eq!(again.set_cookie(), None);
        }
    }
    // While its upstream is ejected, the request goes to another; afterwards it returns.
    let request = cookie(&first[0]).unwrap();
    (0..3).for_each(|_| first[0].failed());
    let other_lease = one.pick(source(&request), &[]).unwrap();
    assert_ne!(host(&other_lease), host(&first[0]));
    tokio::time::advance(Ejection::default().base_ejection_time).await;
    let returned = one.pick(source(&request), &[]).unwrap();
    assert_eq!(host(&returned), host(&first[0]));
}

#[tokio::test]
async fn a_request_without_the_affinity_field_is_balanced() {
    let name = http::HeaderName::from_static("x-user");
    let settings = Settings {
        affinity: Some(Affinity::header(name.clone())),
        ..Settings::default()
    };
    let pool = pool(&["ws://a", "ws://b"], settings);
    let leases: Vec<_> = (0..4).map(|_| pick(&pool)).collect();
    assert_eq!(open_sockets(&pool), [2, 2]);
    assert!(leases.iter().all(|lease| lease.set_cookie().is_none()));
    let ann: HeaderMap = [(name, HeaderValue::from_static("ann"))]
        .into_iter()
        .collect();
    let leases_of_ann: Vec<_> = (0..5)
        .map(|_| pool.pick(source(&ann), &[]).unwrap())
        .collect();
    assert!(
        leases_of_ann
            .iter()
            .all(|lease| host(lease) == host(&leases_of_ann[0]))
    );
}

#[tokio::test]
async fn each_resolved_address_is_an_upstream() {
    let pool = pool(&["ws://a", "ws://10.9.9.9"], Settings::default());
    let target = pool.targets[0].clone();
    let addresses = |pool: &Pool| -> Vec<_> {
        let statuses = pool.statuses();
        statuses
            .iter()
            .map(|status| status.upstream.address())
            .collect()
    };
    pool.set_addresses(&target, &[address(1), address(2)]);
    assert_eq!(addresses(&pool), [None, Some(address(1)), Some(address(2))]);
    let leases: Vec<_> = (0..6).map(|_| pick(&pool)).collect();
    assert_eq!(open_sockets(&pool), [2, 2, 2]);
    pool.set_addresses(&target, &[address(2), address(3)]);
    assert_eq!(addresses(&pool), [None, Some(address(2)), Some(address(3))]);
    assert_eq!(
        open_sockets(&pool),
        [2, 2, 0],
        "an upstream that remains keeps its count"
    );
    let next: Vec<_> = (0..9).map(|_| pick(&pool)).collect();
    let is_gone = |lease: &Lease| lease.upstream().address() == Some(address(1));
    assert!(!next.iter().any(is_gone));
    assert_eq!(leases.iter().filter(|lease| is_gone(lease)).count(), 2);
    // An upstream that returns at a former address starts with a count of zero.
    pool.set_addresses(&target, &[address(1)]);
    assert_eq!(open_sockets(&pool)[1], 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_pool_inherits_the_state_of_its_upstreams() {
    let older = pool_of_three();
    let leases: Vec<_> = (0..3).map(|_| pick(&older)).collect();
    let on_a = leases.iter().find(|lease| host(lease) == "a").unwrap();
    (0..3).for_each(|_| on_a.failed());
    let newer = pool(&["ws://d", "ws://a", "ws://b"], Settings::default());
    newer.inherit(&older);
    let mut known: Vec<_> = newer
        .statuses()
        .into_iter()
        .map(|status| {
            (
                status.upstream.to_string(),
                status.sockets,
                status.is_healthy,
            )
        })
        .collect();
    known.sort();
    let expected = [
        ("ws://a:80", 1, false),
        ("ws://b:80", 1, true),
        ("ws://d:80", 0, true),
    ];
    assert_eq!(
        known,
        expected.map(|(url, sockets, is_healthy)| (url.to_owned(), sockets, is_healthy))
    );
    drop(leases);
    assert_eq!(open_sockets(&newer), [0, 0, 0]);
}

#[tokio::test]
async fn resolved_addresses_are_inherited_only_if_names_are_still_resolved() {
    let resolves = Settings {
        resolve: Some(Duration::from_secs(30)),
        ..Settings::default()
    };
    let older = pool(&["ws://a"], resolves.clone());
    older.set_addresses(&older.targets[0], &[address(1), address(2)]);
    let newer = pool(&["ws://a"], resolves);
    newer.inherit(&older);
    assert_eq!(newer.statuses().len(), 2);
    let plain = pool(&["ws://a"], Settings::default());
    plain.inherit(&older);
    assert_eq!(plain.statuses()[0].upstream.address(), None);
}

proptest! {
    /// After any sequence of events an upstream is picked, no upstream of the same health has
    /// fewer requests, and the counts add up.
    #[test]
    fn an_upstream_is_always_picked_and_counts_add_up(
        steps in prop::collection::vec((0_u8..5, any::<prop::sample::Index>()), 1..80),
    ) {
        let pool = pool_of_three();
        let mut leases = Vec::new();
        for (what, which) in steps {
            match what {
                0 | 1 => {
                    let before = pool.statuses();
                    let lease = pick(&pool);
                    let any_healthy = before.iter().any(|status| status.is_healthy);
                    let least = before.iter()
                        .filter(|status| status.is_healthy || !any_healthy)
                        .map(|status| status.sockets)
                        .min();
                    let of = |status: &&UpstreamStatus| status.upstream == *lease.upstream();
                    let picked = before.iter().find(of).unwrap();
                    prop_assert_eq!(Some(picked.sockets), least);
                    prop_assert!(picked.is_healthy || !any_healthy);
                    leases.push(lease);
                }
                _ if leases.is_empty() => {}
                2 => which.get(&leases).failed(),
                3 => which.get(&leases).succeeded(),
                _ => drop(leases.swap_remove(which.index(leases.len()))),
            }
            prop_assert_eq!(open_sockets(&pool).iter().sum::<usize>(), leases.len());
        }
    }
}
