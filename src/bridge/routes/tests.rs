//! Tests of the table of routes and of its limits.

use super::*;
use crate::bridge::Upstream;
use proptest::prelude::*;

fn route(host: &str, path: &str) -> Route {
    let upstream: Upstream = "ws://127.0.0.1:9".parse().unwrap();
    let builder = Route::builder(host, path).unwrap();
    builder.upstream(upstream).build().unwrap()
}

fn table(places: &[(&str, &str)]) -> Routes {
    let builder = Routes::builder();
    let builder = places.iter().fold(builder, |builder, (host, path)| {
        builder.route(route(host, path))
    });
    builder.build().unwrap()
}

fn find(routes: &Routes, host: &str, path: &str) -> Option<String> {
    let route = routes.find(&host.parse().ok()?, path)?;
    Some(route.name().to_owned())
}

#[test]
fn the_most_specific_route_wins_in_any_order() {
    let mut places = [
        ("*", "/*"),
        ("*", "/chat"),
        ("*", "/chat/*"),
        ("*", "/chat/v2/*"),
        ("*.example.com", "/chat/*"),
        ("*.eu.example.com", "/chat/*"),
        ("chat.example.com", "/chat/v2/*"),
        ("::1", "/*"),
    ];
    for _ in 0..places.len() {
        places.rotate_left(1);
        let routes = table(&places);
        for (host, path, name) in [
            ("a", "/", "*/*"),
            ("a", "", "*/*"),
            ("a", "/chat", "*/chat"),
            ("a", "/chat/", "*/chat/*"),
            ("a", "/chat/v1", "*/chat/*"),
            ("a", "/chat/v2", "*/chat/v2/*"),
            ("a", "/chat/v2/x/y", "*/chat/v2/*"),
            ("a", "/chat/v22", "*/chat/*"),
            ("a", "/chatter", "*/*"),
            ("a", "/%63hat", "*/chat"),
            ("a.example.com", "/chat", "*.example.com/chat/*"),
            ("a.b.example.com", "/chat", "*.example.com/chat/*"),
            ("a.eu.example.com", "/chat", "*.eu.example.com/chat/*"),
            ("eu.example.com", "/chat", "*.example.com/chat/*"),
            // The exact host has no route for this path; `*.example.com` has one.
            ("chat.example.com", "/chat/v1", "*.example.com/chat/*"),
            ("chat.example.com", "/x", "*/*"),
            (
                "CHAT.example.com.:8443",
                "/chat/v2",
                "chat.example.com/chat/v2/*",
            ),
            ("example.com", "/chat/x", "*/chat/*"),
            ("badexample.com", "/chat/x", "*/chat/*"),
            ("[::1]:80", "/", "::1/*"),
        ] {
            assert_eq!(
                find(&routes, host, path).as_deref(),
                Some(name),
                "{host}{path}"
            );
        }
    }
}

#[test]
fn a_request_that_matches_no_pattern_has_no_route() {
    let routes = table(&[("example.com", "/a/*"), ("*.example.com", "/a/*")]);
    for (host, path) in [
        ("example.org", "/a"),
        ("example.com", "/"),
        ("example.com", "/a/../a"),
        ("example.com", "/a/%2e%2e/a"),
        ("", "/a"),
        ("a b", "/a"),
        (&*format!("{}example.com", "a.".repeat(30_000)), "/a"),
    ] {
        assert_eq!(find(&routes, host, path), None, "{host}{path}");
    }
}

/// CVE-2024-1459 and similar: a path that the upstream may interpret as `/admin` does not match
/// another route.
#[test]
fn a_restricted_route_cannot_be_bypassed() {
    let routes = table(&[("*", "/*"), ("*", "/admin/*"), ("*", "/redis")]);
    for path in [
        "//admin",
        "///admin/x",
        "/%2fadmin",
        "/%5cadmin",
        "/\\admin",
        "/admin;x",
        "/admin;x/",
        "/admin;/../x",
        "/admin%2f",
        "/admin%2fx",
        "/admin%3bx/y",
        "/x/..;/admin",
        "/x/..%2fadmin",
        "/x/%2e%2e/admin",
        "/%252fadmin",
        "/./admin",
        "/;/admin",
        "//redis",
        "/redis;x",
    ] {
        assert_eq!(find(&routes, "a", path), None, "{path}");
    }
    for (path, name) in [
        ("/admin", "*/admin/*"),
        ("/admin/", "*/admin/*"),
        ("/admin//x", "*/admin/*"),
        ("/admin/a;b/c", "*/admin/*"),
        ("/admin/a%2Fb", "*/admin/*"),
        ("/@scope%2fname", "*/*"),
        ("/a;jsessionid=1/b", "*/*"),
        ("/a//b", "*/*"),
        ("/100%25", "*/*"),
        ("/administrator", "*/*"),
    ] {
        assert_eq!(find(&routes, "a", path).as_deref(), Some(name), "{path}");
    }
}

#[test]
fn duplicate_routes_are_a_conflict() {
    let conflict = |second: Route| {
        let builder = Routes::builder().route(route("a", "/x/*"));
        builder.route(second).build().unwrap_err().to_string()
    };
    let message = conflict(route("A.", "/%78/*"));
    assert!(message.contains("same host and path"), "{message}");
    let named = Route::builder("b", "/*").unwrap().name("a/x/*");
    let named = named.upstream("ws://127.0.0.1".parse().unwrap());
    assert_eq!(
        conflict(named.build().unwrap()),
        "two routes have the name a/x/*"
    );
}

#[tokio::test]
async fn a_new_table_inherits_the_socket_counts() {
    let limits = BridgeLimits::default().max_sockets(2);
    let build = |place| {
        let builder = Routes::builder().limits(limits.clone());
        builder.route(route("*", place)).build().unwrap()
    };
    let client = Client::builder().build().unwrap();
    let (host, peer) = ("x".parse().unwrap(), [192, 0, 2, 1].into());
    let old = build("/a/*");
    let _tasks = old.start(&client);
    let old_route = old.find(&host, "/a").unwrap();
    let _one = old_route.admit(peer).unwrap();
    let new = build("/b/*").inherit(&old);
    let _tasks = new.start(&client);
    drop(old);
    let new_route = new.find(&host, "/b").unwrap();
    let two = new_route.admit(peer).unwrap();
    assert_eq!((old_route.sockets(), new_route.sockets()), (1, 1));
    assert_eq!(new_route.admit(peer).unwrap_err().limit, Limit::Bridge);
    drop(two);
    assert!(new_route.admit(peer).is_ok());
}

proptest! {
    /// Compares the table with a direct implementation of the rule.
    #[test]
    fn the_table_finds_the_most_specific_route(
        places in prop::collection::btree_set(
            ("(\\*|\\*\\.[ab](\\.[ab])?|[ab](\\.[ab]){0,2})", "(/[ab]){0,3}(/\\*|/)"), 1..12),
        host in "[ab](\\.[ab]){0,3}",
        path in "(/[ab]){0,4}/?",
    ) {
        let places: Vec<_> = places.iter().map(|(h, p)| (h.as_str(), p.as_str())).collect();
        let routes = table(&places);
        let specificity = |(h, p): &(&str, &str)| {
            let by_host = match h.strip_prefix('*') {
                None if *h == host => (2, h.len()),
                Some("") => (0, 0),
                Some(suffix) if host.ends_with(suffix) => (1, suffix.len()),
                _ => return None,
            };
            let by_path = match p.strip_suffix("/*") {
                None if *p == path => (1, p.len()),
                Some(prefix) if path.strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) =>
                    (0, prefix.len()),
                _ => return None,
            };
            Some((by_host, by_path))
        };
        let best = places.iter().filter(|place| specificity(place).is_some())
            .max_by_key(|place| specificity(place));
        prop_assert_eq!(
            find(&routes, &host, &path),
            best.map(|(h, p)| format!("{h}{p}"))
        );
    }
}
