//! The table of routes.

mod limits;
mod pattern;
mod route;
mod rules;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tokio::task::JoinSet;

pub use self::limits::{BridgeLimits, Limit, Permit, Saturated};
pub use self::pattern::InvalidPattern;
pub use self::route::{InvalidRoute, Route, RouteBuilder, Timeouts};
pub use self::rules::{HeaderRules, InvalidHeaderRule};

use self::limits::Counts;
use self::pattern::{HostPattern, PathPattern, normal};
use crate::client::Client;
use crate::handshake::HostPort;

/// Which route a request takes.
///
/// Of all routes that match, the most specific one: first by host (a name
/// alone, before `*.name` with the longer name, before `*`), then by path (a
/// path alone, before `path/*` with the longer path).
///
/// Paths are compared without needless percent-encoding, and those with `.`
/// or `..` for a segment match nothing.
///
/// ```
/// use h2ws::{Route, Routes};
///
/// let route = |host, path, upstream: &str| -> Result<Route, Box<dyn std::error::Error>> {
///     Ok(Route::builder(host, path)?.upstream(upstream.parse()?).build()?)
/// };
/// let routes = Routes::builder()
///     .route(route("*", "/*", "ws://site.internal:8080")?)
///     .route(route("*", "/chat/*", "ws://chat.internal:8080")?)
///     .route(route("*.example.org", "/*", "ws://org.internal:8080")?)
///     .build()?;
/// let name = |host: &str, path| {
///     let route = routes.find(&host.parse().ok()?, path)?;
///     Some(route.name().to_owned())
/// };
/// assert_eq!(name("example.com", "/chat/room").as_deref(), Some("*/chat/*"));
/// assert_eq!(name("example.com", "/chatter").as_deref(), Some("*/*"));
/// assert_eq!(name("a.example.org", "/chat/room").as_deref(), Some("*.example.org/*"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Routes {
    all: Vec<Arc<Route>>,
    hosts: HashMap<String, Paths>,
    below: HashMap<String, Paths>,
    any: Paths,
    limits: BridgeLimits,
    counts: Arc<Counts>,
}

/// Routes of one pattern of hosts.
#[derive(Default)]
struct Paths {
    exact: HashMap<String, Arc<Route>>,
    prefixes: HashMap<String, Arc<Route>>,
    /// Bytes of the longest prefix: nothing longer needs to be looked up.
    longest: usize,
}

impl Paths {
    fn insert(&mut self, route: &Arc<Route>) {
        let (paths, path) = match &route.path {
            PathPattern::Exact(path) => (&mut self.exact, path),
            PathPattern::Prefix(path) => {
                self.longest = self.longest.max(path.len());
                (&mut self.prefixes, path)
            }
        };
        paths.insert(path.clone(), route.clone());
    }

    fn find(&self, path: &str) -> Option<&Arc<Route>> {
        if let Some(route) = self.exact.get(path) {
            return Some(route);
        }
        let mut end = path.len();
        loop {
            if end <= self.longest
                && let Some(route) = self.prefixes.get(&path[..end])
            {
                return Some(route);
            }
            end = path[..end].rfind('/')?;
        }
    }
}

impl Routes {
    /// Begins a table.
    pub fn builder() -> RoutesBuilder {
        RoutesBuilder::default()
    }

    /// The most specific route for a host, whatever its port, and a path.
    #[must_use]
    pub fn find(&self, authority: &HostPort, path: &str) -> Option<Arc<Route>> {
        let path = normal(path)?;
        let host = HostPattern::key(authority)?;
        if let Some(route) = self.hosts.get(host).and_then(|paths| paths.find(&path)) {
            return Some(route.clone());
        }
        let mut rest = host;
        while let Some((_, above)) = rest.split_once('.') {
            if let Some(route) = self.below.get(above).and_then(|paths| paths.find(&path)) {
                return Some(route.clone());
            }
            rest = above;
        }
        self.any.find(&path).cloned()
    }

    fn empty(limits: BridgeLimits) -> Self {
        Self {
            all: Vec::new(),
            hosts: HashMap::new(),
            below: HashMap::new(),
            any: Paths::default(),
            limits,
            counts: Arc::default(),
        }
    }

    /// A table of one route.
    pub(super) fn only(route: Route, limits: BridgeLimits) -> Self {
        let mut routes = Self::empty(limits);
        routes.insert(route);
        routes
    }

    fn insert(&mut self, route: Route) {
        let route = Arc::new(route);
        let paths = match &route.host {
            HostPattern::Exact(host) => self.hosts.entry(host.clone()).or_default(),
            HostPattern::Below(host) => self.below.entry(host.clone()).or_default(),
            HostPattern::Any => &mut self.any,
        };
        paths.insert(&route);
        self.all.push(route);
    }

    /// All routes, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.all.iter()
    }

    /// Takes over what an older table counted, and what it knows of servers
    /// that are in this one, too.
    pub(crate) fn inherit(self, older: &Self) -> Self {
        let by_name: HashMap<_, _> = older.all.iter().map(|old| (old.name(), old)).collect();
        for route in &self.all {
            if let Some(old) = by_name.get(route.name()) {
                route.pool().inherit(old.pool());
            }
        }
        Self {
            counts: older.counts.clone(),
            ..self
        }
    }

    /// Puts the limits in force, and looks after the servers until what this
    /// returns is dropped.
    pub(crate) fn start(&self, client: &Client) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for route in &self.all {
            route.limited(&self.limits, &self.counts);
            tasks.spawn(route.pool().clone().resolve());
            let client = route.client().unwrap_or(client).clone();
            tasks.spawn(route.pool().clone().check(client));
        }
        tasks
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.all.iter().map(|r| r.name()))
            .finish()
    }
}

/// A table being put together; see [`Routes::builder`].
#[derive(Debug, Default)]
#[must_use = "a table does nothing before it is built"]
pub struct RoutesBuilder {
    routes: Vec<Route>,
    limits: BridgeLimits,
}

impl RoutesBuilder {
    /// Adds a route; their order does not matter.
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// How many sockets there may be.
    pub fn limits(mut self, limits: BridgeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Builds the table.
    ///
    /// # Errors
    ///
    /// If two routes are for the same host and path, or have the same name.
    pub fn build(self) -> Result<Routes, RouteConflict> {
        let mut routes = Routes::empty(self.limits);
        let mut names = HashMap::new();
        let mut places = HashMap::new();
        for (at, route) in self.routes.iter().enumerate() {
            let by_name = names.insert(route.name(), at);
            let by_place = places.insert((&route.host, &route.path), at);
            if let Some(first) = by_place.or(by_name) {
                return Err(RouteConflict {
                    routes: [first, at].map(|at| self.routes[at].name().to_owned()),
                    same_place: by_place.is_some(),
                });
            }
        }
        self.routes
            .into_iter()
            .for_each(|route| routes.insert(route));
        Ok(routes)
    }
}

/// Two routes that cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteConflict {
    routes: [String; 2],
    same_place: bool,
}

impl fmt::Display for RouteConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = &self.routes;
        if self.same_place {
            write!(f, "{first} and {second} are for the same host and path")
        } else {
            write!(f, "two routes are named {first}")
        }
    }
}

impl std::error::Error for RouteConflict {}

#[cfg(test)]
mod tests {
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
    fn the_most_specific_route_wins_whatever_the_order() {
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
                // Its own host has no such path, those above have.
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
    fn what_is_nobodys_finds_nothing() {
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

    #[test]
    fn routes_that_cannot_be_told_apart_are_a_conflict() {
        let conflict = |second: Route| {
            let builder = Routes::builder().route(route("a", "/x/*"));
            builder.route(second).build().unwrap_err().to_string()
        };
        let said = conflict(route("A.", "/%78/*"));
        assert!(said.contains("same host and path"), "{said}");
        let named = Route::builder("b", "/*").unwrap().name("a/x/*");
        let named = named.upstream("ws://127.0.0.1".parse().unwrap());
        assert_eq!(
            conflict(named.build().unwrap()),
            "two routes are named a/x/*"
        );
    }

    #[tokio::test]
    async fn a_replaced_table_goes_on_counting() {
        let limits = BridgeLimits::default().sockets(2);
        let build = |place| {
            let builder = Routes::builder().limits(limits.clone());
            builder.route(route("*", place)).build().unwrap()
        };
        let client = Client::builder().build().unwrap();
        let (host, peer) = ("x".parse().unwrap(), [192, 0, 2, 1].into());
        let old = build("/a/*");
        let _tasks = old.start(&client);
        let of_old = old.find(&host, "/a").unwrap();
        let _one = of_old.admit(peer).unwrap();
        let new = build("/b/*").inherit(&old);
        let _tasks = new.start(&client);
        drop(old);
        let of_new = new.find(&host, "/b").unwrap();
        let two = of_new.admit(peer).unwrap();
        assert_eq!((of_old.sockets(), of_new.sockets()), (1, 1));
        assert_eq!(of_new.admit(peer).unwrap_err().limit, Limit::Bridge);
        drop(two);
        assert!(of_new.admit(peer).is_ok());
    }

    proptest! {
        /// The table against the rule itself, one route at a time.
        #[test]
        fn the_table_finds_what_the_rule_says(
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
}
