//! A route being put together, and what it must not be.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderName;

use super::{Route, Timeouts, UpstreamHost};
use crate::bridge::forwarded::Families;
use crate::bridge::pool::{Affinity, Check, Ejection, Pool, Settings};
use crate::bridge::routes::pattern::{HostPattern, PathPattern};
use crate::bridge::routes::rules::HeaderRules;
use crate::bridge::upstream::{Scheme, Upstream};
use crate::client::Client;
use crate::handshake::{AllowedOrigins, HostPort};
use crate::setting::InvalidSetting;

/// A route being put together; see [`Route::builder`].
#[derive(Clone, Debug)]
#[must_use = "a route does nothing before it is in a table"]
pub struct RouteBuilder {
    host: HostPattern,
    path: PathPattern,
    name: Option<String>,
    upstreams: Vec<Upstream>,
    strip_prefix: bool,
    origins: Option<AllowedOrigins>,
    request: HeaderRules,
    response: HeaderRules,
    timeouts: Timeouts,
    upstream_host: UpstreamHost,
    server_name: Option<String>,
    families: Families,
    websocket_key: bool,
    trust_forwarded: bool,
    websockets_only: Option<bool>,
    via: Option<String>,
    max_sockets: Option<usize>,
    client: Option<Client>,
    pool: Settings,
}

impl RouteBuilder {
    /// For every host and path.
    pub(in crate::bridge) fn any() -> Self {
        Self::of(HostPattern::Any, PathPattern::Prefix(String::new()))
    }

    pub(super) fn of(host: HostPattern, path: PathPattern) -> Self {
        Self {
            host,
            path,
            name: None,
            upstreams: Vec::new(),
            strip_prefix: false,
            origins: None,
            request: HeaderRules::default(),
            response: HeaderRules::default(),
            timeouts: Timeouts::default(),
            upstream_host: UpstreamHost::Client,
            server_name: None,
            families: Families::default(),
            websocket_key: false,
            trust_forwarded: false,
            websockets_only: None,
            via: None,
            max_sockets: None,
            client: None,
            pool: Settings::default(),
        }
    }

    /// What logs and metrics call it. Default its host and path. Tables that
    /// replace each other know their routes by it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Adds an upstream; sockets go where the fewest are.
    pub fn upstream(mut self, upstream: Upstream) -> Self {
        self.upstreams.push(upstream);
        self
    }

    /// Whether the path of the route is cut off before the upstream is asked:
    /// with it, `/chat/*` asks for `/room` where the client asks for
    /// `/chat/room`. Default false.
    pub fn strip_prefix(mut self, strip: bool) -> Self {
        self.strip_prefix = strip;
        self
    }

    /// Whose pages may open sockets (RFC 6455 §10.2). Default any, which a
    /// `tcp` route has to be told.
    pub fn allowed_origins(mut self, origins: AllowedOrigins) -> Self {
        self.origins = Some(origins);
        self
    }

    /// Asks the upstreams of this route by a client of its own, such as one that
    /// trusts another authority or shows another certificate. No connection of
    /// another client is used. Default the bridge's.
    pub fn client(mut self, client: impl Into<Option<Client>>) -> Self {
        self.client = client.into();
        self
    }

    /// What is changed in requests on their way to the upstream.
    pub fn request_headers(mut self, rules: HeaderRules) -> Self {
        self.request = rules;
        self
    }

    /// What is changed in answers on their way to the client.
    pub fn response_headers(mut self, rules: HeaderRules) -> Self {
        self.response = rules;
        self
    }

    /// How long things may take.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// By which name the upstream is asked (`Host`, `:authority`): the one that
    /// the client asked for, which is the default and `false`, that of the
    /// upstream's URL, which is `true`, or another one.
    pub fn upstream_host(mut self, host: impl Into<UpstreamHost>) -> Self {
        self.upstream_host = host.into();
        self
    }

    /// The name in the certificates of `wss` upstreams, which is also what they
    /// are told by TLS (SNI), instead of the host of their URL: that may be an
    /// address then. Names of upstreams are resolved every
    /// [30 s](Self::resolve_every) with it, unless told otherwise.
    pub fn server_name(mut self, name: impl Into<Option<String>>) -> Self {
        self.server_name = name.into();
        self
    }

    /// Whether `Forwarded` (RFC 7239) is written for the upstream, and read where
    /// it is [trusted](Self::trust_forwarded); otherwise it is dropped. Default
    /// true.
    pub fn forwarded(mut self, forwarded: bool) -> Self {
        self.families.forwarded = forwarded;
        self
    }

    /// Whether `X-Forwarded-*` are written for the upstream, and read where they
    /// are [trusted](Self::trust_forwarded); otherwise they are dropped. Default
    /// true.
    pub fn x_forwarded(mut self, x_forwarded: bool) -> Self {
        self.families.x_forwarded = x_forwarded;
        self
    }

    /// Whether upstreams are sent a fresh `Sec-WebSocket-Key` over HTTP/2 at once, and not only
    /// where they answered 400 without it; see
    /// [`ClientBuilder::websocket_key`](crate::client::ClientBuilder::websocket_key), which this overrides.
    /// Default false. A client's own key is never passed on.
    pub fn websocket_key(mut self, enabled: bool) -> Self {
        self.websocket_key = enabled;
        self
    }

    /// Whether `Forwarded` and `X-Forwarded-*` of clients are believed and
    /// added to, as behind a load balancer, instead of replaced. The address
    /// that the last proxy tells is then the client's, for
    /// [`BridgeLimits::max_sockets_per_client`](crate::bridge::BridgeLimits::max_sockets_per_client)
    /// and [`Affinity::client`]. Default false.
    pub fn trust_forwarded(mut self, trust: bool) -> Self {
        self.trust_forwarded = trust;
        self
    }

    /// Whether ordinary requests, such as for the page of the sockets, are
    /// taken on to the upstreams, too. Without it they are answered as by a
    /// WebSocket server that has nothing else: 426 over HTTP/1.1, 400 over
    /// HTTP/2. Default true; `tcp` upstreams cannot be asked.
    pub fn websockets_only(mut self, websockets_only: bool) -> Self {
        self.websockets_only = Some(websockets_only);
        self
    }

    /// Adds this hop to `HandshakeKind`, by this name, in requests and in answers that
    /// upstreams give (RFC 9110 §7.6.3). Default none, and `HandshakeKind` passes as it
    /// came: there are servers that treat requests with it worse, as nginx,
    /// which compresses nothing for them unless told to (`gzip_proxied`).
    pub fn via(mut self, name: impl Into<String>) -> Self {
        self.via = Some(name.into());
        self
    }

    /// Sockets of this route at a time, and ordinary requests under way with
    /// them. Default as many as the table allows.
    pub fn max_sockets(mut self, sockets: impl Into<Option<usize>>) -> Self {
        self.max_sockets = sockets.into();
        self
    }

    /// Leads requests that belong together to the same server. Default none.
    pub fn affinity(mut self, affinity: impl Into<Option<Affinity>>) -> Self {
        self.pool.affinity = affinity.into();
        self
    }

    /// When a server that fails is left out.
    pub fn ejection(mut self, ejection: Ejection) -> Self {
        self.pool.ejection = ejection;
        self
    }

    /// Checks the servers. Default not.
    pub fn check(mut self, check: impl Into<Option<Check>>) -> Self {
        self.pool.check = check.into();
        self
    }

    /// Resolves the names of upstreams this often, and takes each address for a
    /// server of its own: sockets are balanced over them, and one that is gone
    /// gets no more, while those it has go on. Default off: a name is one
    /// server, resolved when a connection is made.
    pub fn resolve_every(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.pool.resolve = interval.into();
        self
    }

    /// Builds the route.
    ///
    /// # Errors
    ///
    /// If it leads nowhere, or two ways at once, or would let any page open
    /// TCP connections without having been told to.
    pub fn build(mut self) -> Result<Route, InvalidRoute> {
        if let Some(name) = &self.server_name {
            let parsed = name.parse::<HostPort>();
            if parsed.is_ok_and(|parsed| parsed.port().is_some())
                || name.parse::<HostPort>().is_err()
            {
                return Err(InvalidRoute::ServerName(name.clone()));
            }
            for upstream in &mut self.upstreams {
                *upstream = upstream.clone().server_name(name);
            }
            if self.upstreams.iter().any(Upstream::is_named) {
                self.pool.resolve.get_or_insert(Duration::from_secs(30));
            }
        }
        let first = self.upstreams.first().ok_or(InvalidRoute::NoUpstream)?;
        self.timeouts.validate().map_err(InvalidRoute::Setting)?;
        let scheme = first.scheme();
        let is_tcp = |upstream: &Upstream| upstream.scheme() == Scheme::Tcp;
        if self
            .upstreams
            .iter()
            .any(|one| is_tcp(one) != is_tcp(first))
        {
            return Err(InvalidRoute::TcpAmongOthers);
        }
        for (at, upstream) in self.upstreams.iter().enumerate() {
            if self.upstreams[..at].contains(upstream) {
                return Err(InvalidRoute::UpstreamTwice(upstream.to_string()));
            }
        }
        if is_tcp(first) && self.origins.is_none() {
            return Err(InvalidRoute::TcpWithoutOrigins);
        }
        if is_tcp(first) && self.pool.check.as_ref().is_some_and(Check::is_http) {
            return Err(InvalidRoute::HttpCheckOfTcp);
        }
        if is_tcp(first) && self.websockets_only == Some(false) {
            return Err(InvalidRoute::PlainHttpToTcp);
        }
        // A token, as the name of a header field is.
        if let Some(name) = &self.via
            && HeaderName::try_from(name).is_err()
        {
            return Err(InvalidRoute::Via(name.clone()));
        }
        let name = self
            .name
            .unwrap_or_else(|| format!("{}{}", self.host, self.path));
        let name: Arc<str> = name.into();
        let strip = match &self.path {
            PathPattern::Prefix(path) | PathPattern::Exact(path) if self.strip_prefix => {
                path.matches('/').count()
            }
            _ => 0,
        };
        Ok(Route {
            pool: Arc::new(Pool::new(name.clone(), self.upstreams.clone(), self.pool)),
            name,
            host: self.host,
            path: self.path,
            strip,
            scheme,
            origins: self.origins.unwrap_or_else(AllowedOrigins::any),
            request: self.request,
            response: self.response,
            timeouts: self.timeouts,
            upstream_host: self.upstream_host,
            websocket_key: self.websocket_key,
            trust_forwarded: self.trust_forwarded,
            families: self.families,
            websockets_only: self.websockets_only.unwrap_or(scheme == Scheme::Tcp),
            via: self.via,
            max_sockets: self.max_sockets,
            client: self.client,
            admission: OnceLock::new(),
        })
    }
}

/// A route that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidRoute {
    /// It has no upstream.
    NoUpstream,
    /// The same upstream twice.
    UpstreamTwice(String),
    /// `tcp` and WebSocket upstreams in one pool.
    TcpAmongOthers,
    /// A `tcp` route that was not told whose pages may open it.
    TcpWithoutOrigins,
    /// A `tcp` upstream that would be asked for a page.
    HttpCheckOfTcp,
    /// A `tcp` upstream that would be sent ordinary requests.
    PlainHttpToTcp,
    /// A name for `HandshakeKind` that is no token (RFC 9110 §5.6.2).
    Via(String),
    /// A name for TLS that is not a host.
    ServerName(String),
    /// A setting has a value that it cannot have.
    Setting(InvalidSetting),
}

impl fmt::Display for InvalidRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoUpstream => f.write_str("the route has no upstream"),
            Self::UpstreamTwice(url) => write!(f, "{url} is named twice"),
            Self::TcpAmongOthers => {
                f.write_str("tcp and WebSocket upstreams cannot stand for each other")
            }
            Self::HttpCheckOfTcp => f.write_str("a tcp upstream answers no HTTP check"),
            Self::Via(name) => write!(f, "{name:?} is no name for Via such as edge-1"),
            Self::ServerName(name) => {
                write!(
                    f,
                    "invalid server name {name:?}; expected a host such as app.example.com"
                )
            }
            Self::Setting(error) => error.fmt(f),
            Self::PlainHttpToTcp => f.write_str("a tcp upstream takes no ordinary requests"),
            Self::TcpWithoutOrigins => f.write_str(
                "a tcp route needs allowed origins, or any page could use it (\"*\" waives this)",
            ),
        }
    }
}

impl std::error::Error for InvalidRoute {}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(upstreams: &[&str]) -> RouteBuilder {
        let builder = Route::builder("*", "/chat/*").unwrap();
        upstreams.iter().fold(builder, |builder, url| {
            builder.upstream(url.parse().unwrap())
        })
    }

    #[test]
    fn what_leads_nowhere_or_two_ways_is_refused() {
        use InvalidRoute::*;
        let tcp = "tcp://127.0.0.1:1";
        let any = AllowedOrigins::any;
        for (route, error) in [
            (build(&[]), NoUpstream),
            (
                build(&["ws://a", "http://a:80/"]),
                UpstreamTwice("ws://a:80".into()),
            ),
            (build(&["ws://a", tcp]), TcpAmongOthers),
            (build(&[tcp, "ws://a"]), TcpAmongOthers),
            (build(&[tcp]), TcpWithoutOrigins),
            (
                build(&[tcp])
                    .allowed_origins(any())
                    .check(Check::http("/").unwrap()),
                HttpCheckOfTcp,
            ),
            (
                build(&[tcp]).allowed_origins(any()).websockets_only(false),
                PlainHttpToTcp,
            ),
            (build(&["ws://a"]).via("a b"), Via("a b".into())),
        ] {
            assert_eq!(route.build().unwrap_err(), error);
        }
        assert!(build(&[tcp]).allowed_origins(any()).build().is_ok());
        assert!(build(&["ws://a", "wss://a"]).build().is_ok());
    }

    #[test]
    fn the_prefix_is_kept_or_cut_off() {
        let route = |strip| build(&["ws://a"]).strip_prefix(strip).build().unwrap();
        assert_eq!(route(false).path_for_upstream("/chat/a?b"), "/chat/a?b");
        assert_eq!(route(true).path_for_upstream("/%63hat/a?b"), "/a?b");
        assert_eq!(route(true).path_for_upstream("/chat?b"), "?b");
    }
}
