//! The table of routes.

mod limits;
mod pattern;
mod route;
mod rules;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tokio::task::JoinSet;

pub use self::limits::{BridgeLimits, Limit, LimitExceeded, Permit};
pub use self::pattern::InvalidPattern;
pub use self::route::{InvalidRoute, Route, RouteBuilder, Timeouts, UpstreamHost};
pub use self::rules::{HeaderRules, InvalidHeaderRule};

use self::limits::Counts;
use self::pattern::{HostPattern, PathPattern, normal, readings};
use crate::client::Client;
use crate::handshake::HostPort;

/// Which route a request takes.
///
/// Of all routes that match, the most specific one: first by host (a name
/// alone, before `*.name` with the longer name, before `*`), then by path (a
/// path alone, before `path/*` with the longer path).
///
/// Paths are compared without needless percent-encoding, in their case. Those
/// with `.` or `..` for a segment match nothing. Servers read some paths in
/// different ways: they join `//`, take `%2F`, `%5C` and `\` for `/`, or cut off
/// what follows `;` in a segment. Where such a reading would take another route,
/// or has `..` for a segment, the path matches nothing: `//admin` is no way around
/// a route for `/admin/*`.
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

/// A path that leads to different places, by who reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ambiguous;

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
        self.find_only(authority, path).ok().flatten().cloned()
    }

    /// As [`find`](Self::find); an error where the path may be read otherwise.
    pub(super) fn find_only(
        &self,
        authority: &HostPort,
        path: &str,
    ) -> Result<Option<&Arc<Route>>, Ambiguous> {
        let path = normal(path).ok_or(Ambiguous)?;
        let Some(host) = HostPattern::key(authority) else {
            return Ok(None);
        };
        let found = self.find_as_read(host, &path);
        let name = |route: Option<&Arc<Route>>| route.map(Arc::as_ptr);
        for reading in readings(&path).ok_or(Ambiguous)? {
            if name(self.find_as_read(host, &reading)) != name(found) {
                return Err(Ambiguous);
            }
        }
        Ok(found)
    }

    fn find_as_read(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
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
mod tests;
