//! One route: which requests, where to, and what they may.

mod builder;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderMap;

pub use self::builder::{InvalidRoute, RouteBuilder};

use super::limits::{BridgeLimits, Counts, LimitExceeded, Permit};
use super::pattern::{HostPattern, InvalidPattern, PathPattern, behind};
use super::rules::HeaderRules;
use crate::bridge::forwarded::{self, Families};
use crate::bridge::pool::{Lease, NoUpstream, Pool, UpstreamStatus};
use crate::bridge::upstream::{Scheme, Upstream};
use crate::client::Client;
use crate::handshake::{AllowedOrigins, HostPort};
use crate::setting::{InvalidSetting, time};

/// Where requests for some hosts and paths are led, and how; made by
/// [`Route::builder`], put into [`Routes`](crate::bridge::Routes).
#[derive(Debug)]
pub struct Route {
    name: Arc<str>,
    pub(super) host: HostPattern,
    pub(super) path: PathPattern,
    strip: usize,
    scheme: Scheme,
    origins: AllowedOrigins,
    request: HeaderRules,
    response: HeaderRules,
    timeouts: Timeouts,
    upstream_host: UpstreamHost,
    families: Families,
    websocket_key: bool,
    trust_forwarded: bool,
    websockets_only: bool,
    via: Option<String>,
    max_sockets: Option<usize>,
    client: Option<Client>,
    pool: Arc<Pool>,
    admission: OnceLock<(BridgeLimits, Arc<Counts>)>,
}

/// By which name an upstream is asked (`Host`, `:authority`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamHost {
    /// The one that the client asked for.
    #[default]
    Client,
    /// That of the upstream's URL.
    Upstream,
    /// This one.
    Name(HostPort),
}

/// `true` for [`UpstreamHost::Upstream`].
impl From<bool> for UpstreamHost {
    fn from(own: bool) -> Self {
        if own { Self::Upstream } else { Self::Client }
    }
}

impl From<HostPort> for UpstreamHost {
    fn from(name: HostPort) -> Self {
        Self::Name(name)
    }
}

/// How long things may take on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// For a connection to an upstream: name resolution, TCP, TLS and HTTP/2's
    /// SETTINGS. Default 10 s.
    pub connect: Duration,
    /// For the upstream's answer to the opening request of a socket. Default
    /// 20 s.
    pub handshake: Duration,
    /// For the head of the upstream's response to a plain HTTP request, once
    /// the request was sent; after it the client is answered 504. `None` is no
    /// limit. Default 5 minutes: long polls and event streams may have nothing
    /// to send for a while, and are not held against their upstream.
    pub response: Option<Duration>,
    /// For more of a plain HTTP request's body, while it is the client that is
    /// waited for; after it the client is answered 408. Default 1 minute.
    pub request_body: Duration,
    /// How long an unused HTTP/1.1 connection to an upstream is kept for the
    /// next plain HTTP request. An upstream that announces a shorter time in
    /// `Keep-Alive` has its way. Default 1 minute.
    pub pool_idle: Duration,
    /// Without a byte in either direction, after which a socket is ended.
    /// Default none: peers that keep silent are found by
    /// [keep-alive](crate::Http2Config::keep_alive_interval).
    pub idle: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(20),
            response: Some(Duration::from_secs(300)),
            request_body: Duration::from_secs(60),
            pool_idle: Duration::from_secs(60),
            idle: None,
        }
    }
}

impl Timeouts {
    /// # Errors
    ///
    /// The first that would be over as soon as it begins.
    pub(crate) fn validate(&self) -> Result<(), InvalidSetting> {
        time("Timeouts::connect", self.connect)?;
        time("Timeouts::handshake", self.handshake)?;
        self.idle
            .map_or(Ok(()), |idle| time("Timeouts::idle", idle))
    }
}

setters!(Timeouts {
    connect: Duration,
    handshake: Duration,
    response: impl Into<Option<Duration>>,
    request_body: Duration,
    pool_idle: Duration,
    idle: impl Into<Option<Duration>>,
});

impl Route {
    /// Begins a route for a host (a name or an address, `*.name` for all names
    /// below it, or `*`) and a path (`/chat` alone, `/chat/*` for `/chat` and
    /// all below it, `/*` for all).
    ///
    /// # Errors
    ///
    /// If one of the patterns is none of these.
    pub fn builder(host: &str, path: &str) -> Result<RouteBuilder, InvalidPattern> {
        Ok(RouteBuilder::of(host.parse()?, path.parse()?))
    }

    /// What logs and metrics call it: as given, or its host and path.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pattern of its hosts, as [`builder`](Self::builder) takes it.
    #[must_use]
    pub fn host(&self) -> String {
        self.host.to_string()
    }

    /// The pattern of its paths, as [`builder`](Self::builder) takes it.
    #[must_use]
    pub fn path(&self) -> String {
        self.path.to_string()
    }

    /// What is spoken to its upstreams.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whose pages may open sockets.
    #[must_use]
    pub fn origins(&self) -> &AllowedOrigins {
        &self.origins
    }

    /// What is changed in requests on their way to the upstream.
    #[must_use]
    pub fn request_headers(&self) -> &HeaderRules {
        &self.request
    }

    /// What is changed in answers on their way to the client.
    #[must_use]
    pub fn response_headers(&self) -> &HeaderRules {
        &self.response
    }

    /// How long things may take.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// By which name the upstream is asked.
    #[must_use]
    pub fn upstream_host(&self) -> &UpstreamHost {
        &self.upstream_host
    }

    /// The name that all upstreams are asked by, if there is one.
    pub(in crate::bridge) fn sent_host(&self) -> Option<&HostPort> {
        match &self.upstream_host {
            UpstreamHost::Name(name) => Some(name),
            _ => None,
        }
    }

    /// The name that this upstream is asked by.
    pub(in crate::bridge) fn host_for(
        &self,
        upstream: &Upstream,
        client: &HostPort,
    ) -> Option<HostPort> {
        match &self.upstream_host {
            UpstreamHost::Client => Some(client.clone()),
            UpstreamHost::Upstream => upstream.called().parse().ok(),
            UpstreamHost::Name(name) => Some(name.clone()),
        }
    }

    /// Which fields tell the upstream of the client.
    pub(in crate::bridge) fn families(&self) -> Families {
        self.families
    }

    /// Whether upstreams are sent a `Sec-WebSocket-Key` over HTTP/2, too.
    #[must_use]
    pub fn websocket_key(&self) -> bool {
        self.websocket_key
    }

    /// Whether clients are believed what they say of those behind them.
    #[must_use]
    pub fn trusts_forwarded(&self) -> bool {
        self.trust_forwarded
    }

    /// Whom a limit and an affinity by address count a request of `peer` to.
    pub(in crate::bridge) fn counted_as(&self, fields: &HeaderMap, peer: IpAddr) -> IpAddr {
        if self.trust_forwarded {
            forwarded::client(fields, peer, self.families)
        } else {
            peer
        }
    }

    /// Whether ordinary requests are taken on, too, and not sockets alone.
    #[must_use]
    pub fn takes_ordinary(&self) -> bool {
        !self.websockets_only
    }

    /// What it calls this hop in `HandshakeKind`, if it says so.
    #[must_use]
    pub fn via(&self) -> Option<&str> {
        self.via.as_deref()
    }

    /// The client that asks its upstreams, if it is not the bridge's.
    #[must_use]
    pub fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// Finds a place for a socket, or an ordinary request, of `peer`.
    ///
    /// # Errors
    ///
    /// If one of the limits is reached.
    pub fn admit(&self, peer: IpAddr) -> Result<Permit, LimitExceeded> {
        // One that is in no table has the defaults, and nobody beside it.
        let (limits, counts) = self.admission.get_or_init(Default::default);
        counts.admit(limits, &self.name, self.max_sockets, peer)
    }

    /// Picks a server for a request, by the request's affinity or where the
    /// fewest sockets are.
    ///
    /// # Errors
    ///
    /// If the route has none.
    pub fn pick(&self, request: &HeaderMap, peer: IpAddr) -> Result<Lease, NoUpstream> {
        self.pool.pick(request, peer, &[])
    }

    /// Picks another server than those that were tried for this request.
    ///
    /// # Errors
    ///
    /// If all were tried.
    pub fn pick_other(
        &self,
        request: &HeaderMap,
        peer: IpAddr,
        tried: &[Lease],
    ) -> Result<Lease, NoUpstream> {
        self.pool.pick(request, peer, tried)
    }

    /// The request's path and query as the upstream is asked for it, without
    /// [the prefix](RouteBuilder::strip_prefix) where that is cut off.
    #[must_use]
    pub fn path_for_upstream<'a>(&self, path_and_query: &'a str) -> &'a str {
        behind(path_and_query, self.strip)
    }

    /// What is cut off that path.
    pub(in crate::bridge) fn cut_off<'a>(&self, path_and_query: &'a str) -> &'a str {
        let rest = self.path_for_upstream(path_and_query).len();
        &path_and_query[..path_and_query.len() - rest]
    }

    /// What is known of its servers.
    #[must_use]
    pub fn upstreams(&self) -> Vec<UpstreamStatus> {
        self.pool.statuses()
    }

    /// Sockets that are open, those of earlier tables included.
    #[must_use]
    pub fn sockets(&self) -> usize {
        let counts = self.admission.get();
        counts.map_or(0, |(_, counts)| counts.of_route(&self.name))
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Counts by `limits`, once.
    pub(super) fn limited(&self, limits: &BridgeLimits, counts: &Arc<Counts>) {
        let _ = self.admission.set((limits.clone(), counts.clone()));
    }
}
