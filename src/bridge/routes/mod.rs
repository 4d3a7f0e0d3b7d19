//! The routing table.

mod limits;
mod pattern;
mod pings;
mod route;
mod rules;
mod sharing;
mod tcp_preface;
mod timeouts;
mod upstream_host;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tokio::task::JoinSet;

pub use self::limits::{BridgeLimits, Limit, LimitExceeded, Permit};
pub use self::pattern::InvalidPattern;
pub use self::pings::Pings;
pub use self::route::{InvalidRoute, Route, RouteBuilder};
pub use self::rules::{HeaderRules, InvalidHeaderRule};
pub use self::tcp_preface::TunnelEnds;
pub use self::timeouts::Timeouts;
pub use self::upstream_host::UpstreamHost;

use self::limits::Counts;
use self::pattern::{HostPattern, PathPattern, interpretations, normalize};
use crate::client::Client;
use crate::handshake::HostPort;

/// A routing table, which finds the route of a request.
///
/// The most specific matching route applies: first by host (`name` before `*.name`
/// before `*`, and a longer `*.name` before a shorter one), then by path (`path`
/// before `path/*`, and a longer `path/*` before a shorter one).
///
/// Paths are case-sensitive, and compared without unnecessary percent-encoding. A
/// path with a `.` or `..` segment matches nothing. Servers interpret some paths in
/// different ways: they merge `//`, treat `%2F`, `%5C` and `\` as `/`, ignore what
/// follows `;` in a segment, or end a path at `%00`, `%3F` or `%23`. If such an interpretation would select another route, or
/// contains a `..` segment, the path matches nothing, so `//admin` does not bypass a
/// route for `/admin/*`.
///
/// ```
/// use h2ws::bridge::{Route, Routes};
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

/// The path selects different routes, depending on how a server interprets it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ambiguous;

/// The routes with one host pattern.
#[derive(Default)]
struct Paths {
    exact: HashMap<String, Arc<Route>>,
    prefixes: HashMap<String, Arc<Route>>,
    /// Length of the longest prefix, in bytes; longer ones are not looked up.
    max_prefix: usize,
}

impl Paths {
    fn insert(&mut self, route: &Arc<Route>) {
        let (paths, path) = match &route.path {
            PathPattern::Exact(path) => (&mut self.exact, path),
            PathPattern::Prefix(path) => {
                self.max_prefix = self.max_prefix.max(path.len());
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
            if end <= self.max_prefix
                && let Some(route) = self.prefixes.get(&path[..end])
            {
                return Some(route);
            }
            end = path[..end].rfind('/')?;
        }
    }
}

impl Routes {
    /// Returns a builder for a routing table.
    pub fn builder() -> RoutesBuilder {
        RoutesBuilder::default()
    }

    /// Returns the most specific route for a host, regardless of its port, and a path.
    #[must_use]
    pub fn find(&self, authority: &HostPort, path: &str) -> Option<Arc<Route>> {
        self.find_unambiguous(authority, path)
            .ok()
            .flatten()
            .cloned()
    }

    /// Like [`find`](Self::find), but fails if the path is ambiguous.
    pub(super) fn find_unambiguous(
        &self,
        authority: &HostPort,
        path: &str,
    ) -> Result<Option<&Arc<Route>>, Ambiguous> {
        let path = normalize(path).ok_or(Ambiguous)?;
        let Some(host) = HostPattern::key(authority) else {
            return Ok(None);
        };
        let found = self.find_literal(host, &path);
        let name = |route: Option<&Arc<Route>>| route.map(Arc::as_ptr);
        for interpretation in interpretations(&path).ok_or(Ambiguous)? {
            if name(self.find_literal(host, &interpretation)) != name(found) {
                return Err(Ambiguous);
            }
        }
        Ok(found)
    }

    fn find_literal(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        if let Some(route) = self.hosts.get(host).and_then(|paths| paths.find(path)) {
            return Some(route);
        }
        let mut rest = host;
        while let Some((_, above)) = rest.split_once('.') {
            if let Some(route) = self.below.get(above).and_then(|paths| paths.find(path)) {
                return Some(route);
            }
            rest = above;
        }
        self.any.find(path)
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

    /// Returns a table with a single route.
    pub(super) fn single(route: Route, limits: BridgeLimits) -> Self {
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

    /// Returns all routes, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.all.iter()
    }

    /// Returns the limits.
    #[must_use]
    pub fn limits(&self) -> &BridgeLimits {
        &self.limits
    }

    /// Returns the number of open WebSockets and requests in progress, including those of
    /// earlier tables.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.counts.total()
    }

    /// Returns the number of open WebSockets and requests in progress of the client that has
    /// most. Looks at all clients, so call it for each scrape, not for each request.
    #[must_use]
    pub fn sockets_of_busiest_client(&self) -> usize {
        self.counts.of_busiest_client()
    }

    /// Takes over the counts of an older table, and the state of servers that are in
    /// both.
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

    /// Applies the limits, and starts the tasks that resolve names and check servers.
    /// They stop when the returned set is dropped.
    pub(crate) fn start(&self, client: &Client) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for route in &self.all {
            route.set_limits(&self.limits, &self.counts);
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

/// Configures a routing table; see [`Routes::builder`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RoutesBuilder {
    routes: Vec<Route>,
    limits: BridgeLimits,
}

impl RoutesBuilder {
    /// Adds a route. The order of routes does not matter.
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Sets the limits. Default [`BridgeLimits::default`].
    pub fn limits(mut self, limits: BridgeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Builds the routing table.
    ///
    /// # Errors
    ///
    /// If two routes are for the same host and path, or have the same name.
    pub fn build(self) -> Result<Routes, RouteConflict> {
        let mut routes = Routes::empty(self.limits);
        let mut names = HashMap::new();
        let mut patterns = HashMap::new();
        for (at, route) in self.routes.iter().enumerate() {
            let by_name = names.insert(route.name(), at);
            let by_pattern = patterns.insert((&route.host, &route.path), at);
            if let Some(first) = by_pattern.or(by_name) {
                return Err(RouteConflict {
                    routes: [first, at].map(|at| self.routes[at].name().to_owned()),
                    same_pattern: by_pattern.is_some(),
                });
            }
        }
        self.routes
            .into_iter()
            .for_each(|route| routes.insert(route));
        Ok(routes)
    }
}

/// Two routes have the same name, or the same host and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteConflict {
    routes: [String; 2],
    same_pattern: bool,
}

impl fmt::Display for RouteConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = &self.routes;
        if self.same_pattern {
            write!(f, "{first} and {second} are for the same host and path")
        } else {
            write!(f, "two routes have the name {first}")
        }
    }
}

impl std::error::Error for RouteConflict {}

#[cfg(test)]
mod tests;
