//! The builder of routes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderName;

use super::{InvalidRoute, Route};
use crate::bridge::client_cert::ClientCert;
use crate::bridge::forward_auth::ForwardAuth;
use crate::bridge::forwarded::Families;
use crate::bridge::pool::{Affinity, Check, Ejection, Pool, Settings};
use crate::bridge::request_ids::{Identification, TraceContext};
use crate::bridge::routes::pattern::{HostPattern, PathPattern};
use crate::bridge::routes::pings::Pings;
use crate::bridge::routes::rules::{HeaderRules, changeable};
use crate::bridge::routes::tcp_preface::{TcpPreface, TunnelEnds};
use crate::bridge::routes::timeouts::Timeouts;
use crate::bridge::routes::upstream_host::UpstreamHost;
use crate::bridge::upstream::{Scheme, Upstream};
use crate::client::Client;
use crate::handshake::{AllowedOrigins, HostPort};
use crate::setting::time;

/// How often names are resolved with [`RouteBuilder::server_name`], unless configured.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);

/// Configures a [`Route`]; see [`Route::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
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
    pings: Pings,
    upstream_host: UpstreamHost,
    server_name: Option<String>,
    families: Families,
    identification: Identification,
    client_cert: ClientCert,
    forward_auth: Option<ForwardAuth>,
    websocket_key: bool,
    trust_forwarded: bool,
    websockets_only: Option<bool>,
    via: Option<String>,
    max_sockets: Option<usize>,
    tcp_preface: Option<TcpPreface>,
    client: Option<Client>,
    pool: Settings,
}

impl RouteBuilder {
    /// Returns a builder for a route that matches every host and path.
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
            pings: Pings::default(),
            upstream_host: UpstreamHost::Client,
            server_name: None,
            families: Families::default(),
            identification: Identification::default(),
            client_cert: ClientCert::Off,
            forward_auth: None,
            websocket_key: false,
            trust_forwarded: false,
            websockets_only: None,
            via: None,
            max_sockets: None,
            tcp_preface: None,
            client: None,
            pool: Settings::default(),
        }
    }

    /// Sets the name of the route in logs and metrics. Default: its host and path. A
    /// table that [replaces](crate::bridge::Bridge::replace) another one identifies
    /// routes by their names.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Adds an upstream. A request goes to the upstream with the fewest WebSockets and
    /// requests, unless [`affinity`](Self::affinity) determines it.
    pub fn upstream(mut self, upstream: Upstream) -> Self {
        self.upstreams.push(upstream);
        self
    }

    /// Sets whether the path of the route is removed from the path of requests: a route
    /// for `/chat/*` then forwards `/chat/room` as `/room`. Default false.
    pub fn strip_prefix(mut self, strip: bool) -> Self {
        self.strip_prefix = strip;
        self
    }

    /// Sets the origins whose pages may open WebSockets (RFC 6455 §10.2); others get 403.
    /// Default: any, except that a `tcp` route requires this setting.
    pub fn allowed_origins(mut self, origins: AllowedOrigins) -> Self {
        self.origins = Some(origins);
        self
    }

    /// Sets the client for the upstreams of this route, such as one with another
    /// certificate or another certificate authority. It shares no connections with other
    /// clients. Default: the bridge's client.
    pub fn client(mut self, client: impl Into<Option<Client>>) -> Self {
        self.client = client.into();
        self
    }

    /// Sets the header rules for requests to the upstream.
    pub fn request_headers(mut self, rules: HeaderRules) -> Self {
        self.request = rules;
        self
    }

    /// Sets the header rules for responses to the client.
    pub fn response_headers(mut self, rules: HeaderRules) -> Self {
        self.response = rules;
        self
    }

    /// Sets the timeouts. Default [`Timeouts::default`].
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets the WebSocket Pings that the bridge itself sends. Default: none.
    pub fn pings(mut self, pings: Pings) -> Self {
        self.pings = pings;
        self
    }

    /// Sets the host that is sent to the upstream (`Host`, `:authority`): `false` for the
    /// host in the client's request, `true` for that of the upstream's URL, or a name.
    /// Default `false`.
    pub fn upstream_host(mut self, host: impl Into<UpstreamHost>) -> Self {
        self.upstream_host = host.into();
        self
    }

    /// Sets the name that `wss` upstreams must have in their certificates, and that is
    /// sent in TLS (SNI). Default: the host of the upstream's URL, which may be an
    /// address if this is set. With it, names of upstreams are resolved every 30 s unless
    /// [`resolve_every`](Self::resolve_every) is set.
    pub fn server_name(mut self, name: impl Into<Option<String>>) -> Self {
        self.server_name = name.into();
        self
    }

    /// Sets whether `Forwarded` (RFC 7239) is written for the upstream, and read if it is
    /// [trusted](Self::trust_forwarded). If false, it is dropped. Default true.
    pub fn forwarded(mut self, forwarded: bool) -> Self {
        self.families.forwarded = forwarded;
        self
    }

    /// Sets whether `X-Forwarded-*` are written for the upstream, and read if they are
    /// [trusted](Self::trust_forwarded). If false, they are dropped. Default true.
    pub fn x_forwarded(mut self, x_forwarded: bool) -> Self {
        self.families.x_forwarded = x_forwarded;
        self
    }

    /// Sets a server that authorizes requests, for WebSockets and others. Default: none.
    pub fn forward_auth(mut self, auth: impl Into<Option<ForwardAuth>>) -> Self {
        self.forward_auth = auth.into();
        self
    }

    /// Sets whether the upstream gets the certificate that the client presented, in
    /// `Client-Cert` and `Client-Cert-Chain` (RFC 9440). These fields of clients are
    /// always dropped. Default [`ClientCert::Off`].
    pub fn client_cert(mut self, client_cert: ClientCert) -> Self {
        self.client_cert = client_cert;
        self
    }

    /// Sets the field with the request ID that the upstream gets, and that is in the
    /// access log, or `None` for neither. An ID of a client is used if the route [trusts
    /// its forwarding fields](Self::trust_forwarded) and it has 1 to 128 letters, digits
    /// and `-._~:/+=@`; otherwise it is replaced with 32 random hexadecimal digits.
    /// Default `x-request-id`.
    pub fn request_id(mut self, field: impl Into<Option<HeaderName>>) -> Self {
        self.identification.field = field.into();
        self
    }

    /// Sets what is done with `traceparent` and `tracestate` (W3C Trace Context). Default
    /// [`TraceContext::Pass`].
    pub fn trace_context(mut self, trace_context: TraceContext) -> Self {
        self.identification.trace_context = trace_context;
        self
    }

    /// Sets whether a fresh `Sec-WebSocket-Key` is sent to upstreams over HTTP/2 in the
    /// first request, instead of only after a response of 400 without it. Overrides
    /// [`ClientBuilder::websocket_key`](crate::client::ClientBuilder::websocket_key).
    /// Default false. The client's own key is never forwarded.
    pub fn websocket_key(mut self, enabled: bool) -> Self {
        self.websocket_key = enabled;
        self
    }

    /// Sets whether `Forwarded` and `X-Forwarded-*` sent by clients are trusted and
    /// extended, as is right behind a load balancer, instead of replaced. The address
    /// reported by the last proxy then counts as the client's, for
    /// [`BridgeLimits::max_sockets_per_client`](crate::bridge::BridgeLimits::max_sockets_per_client)
    /// and [`Affinity::client`]. Default false.
    pub fn trust_forwarded(mut self, trust: bool) -> Self {
        self.trust_forwarded = trust;
        self
    }

    /// Sets whether plain HTTP requests, such as for the page that opens the WebSockets,
    /// are rejected (with 426 over HTTP/1.1, 400 over HTTP/2) instead of forwarded.
    /// Default false, and always true for `tcp` upstreams.
    pub fn websockets_only(mut self, websockets_only: bool) -> Self {
        self.websockets_only = Some(websockets_only);
        self
    }

    /// Sets the name under which this hop is added to `Via`, in requests and in responses
    /// of upstreams (RFC 9110 §7.6.3). Default: not added. Some servers treat requests
    /// with `Via` differently: nginx compresses no responses to them without
    /// `gzip_proxied`.
    pub fn via(mut self, name: impl Into<String>) -> Self {
        self.via = Some(name.into());
        self
    }

    /// Sets the maximum number of concurrent WebSockets and plain HTTP requests of this
    /// route; further ones get 503. Default: unlimited, besides the
    /// [limits](crate::bridge::RoutesBuilder::limits) of the table.
    pub fn max_sockets(mut self, sockets: impl Into<Option<usize>>) -> Self {
        self.max_sockets = sockets.into();
        self
    }

    /// Sets what a `tcp` upstream is sent before the client's bytes, such as a header of the PROXY
    /// protocol with the client's address. [Checks](Self::check) do not send it. Default: nothing.
    pub fn tcp_preface(
        mut self,
        preface: impl Fn(TunnelEnds) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        self.tcp_preface = Some(TcpPreface::new(preface));
        self
    }

    /// Sends requests with the same key to the same server. Default: none.
    pub fn affinity(mut self, affinity: impl Into<Option<Affinity>>) -> Self {
        self.pool.affinity = affinity.into();
        self
    }

    /// Sets when a failing server gets no requests. Default [`Ejection::default`].
    pub fn ejection(mut self, ejection: Ejection) -> Self {
        self.pool.ejection = ejection;
        self
    }

    /// Sets an active health check of the servers. Default: none.
    pub fn check(mut self, check: impl Into<Option<Check>>) -> Self {
        self.pool.check = check.into();
        self
    }

    /// Resolves the names of upstreams at this interval and treats each address as a
    /// separate server. Requests are balanced over them; a server whose address is gone
    /// gets no new requests, and keeps its open WebSockets. Default `None`: a name is one
    /// server, resolved for each new connection.
    pub fn resolve_every(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.pool.resolve = interval.into();
        self
    }

    /// Builds the route.
    ///
    /// # Errors
    ///
    /// See [`InvalidRoute`].
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
            if self.upstreams.iter().any(Upstream::has_name) {
                self.pool.resolve.get_or_insert(RESOLVE_INTERVAL);
            }
        }
        let first = self.upstreams.first().ok_or(InvalidRoute::NoUpstream)?;
        self.timeouts.validate().map_err(InvalidRoute::Setting)?;
        if let Some(auth) = &self.forward_auth {
            time("ForwardAuth::timeout", auth.timeout).map_err(InvalidRoute::Setting)?;
        }
        self.pings.validate().map_err(InvalidRoute::Setting)?;
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
        if is_tcp(first) && self.pings.upstream.is_some() {
            return Err(InvalidRoute::PingsToTcp);
        }
        if !is_tcp(first) && self.tcp_preface.is_some() {
            return Err(InvalidRoute::PrefaceToHttp);
        }
        // A pseudonym is a token, like the name of a header field.
        if let Some(name) = &self.via
            && HeaderName::try_from(name).is_err()
        {
            return Err(InvalidRoute::Via(name.clone()));
        }
        if let Some(field) = &self.identification.field {
            let invalid = |_| InvalidRoute::RequestId(field.clone());
            changeable(field.as_str()).map_err(invalid)?;
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
            pings: self.pings,
            upstream_host: self.upstream_host,
            websocket_key: self.websocket_key,
            trust_forwarded: self.trust_forwarded,
            families: self.families,
            identification: self.identification,
            client_cert: self.client_cert,
            forward_auth: self.forward_auth,
            websockets_only: self.websockets_only.unwrap_or(scheme == Scheme::Tcp),
            via: self.via,
            max_sockets: self.max_sockets,
            tcp_preface: self.tcp_preface,
            client: self.client,
            admission: OnceLock::new(),
        })
    }
}

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
    fn invalid_routes_are_rejected() {
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
            (
                build(&[tcp])
                    .allowed_origins(any())
                    .pings(Pings::default().upstream(Duration::from_secs(1))),
                PingsToTcp,
            ),
            (build(&["ws://a"]).via("a b"), Via("a b".into())),
            (
                build(&["ws://a"]).request_id(http::header::HOST),
                RequestId(http::header::HOST),
            ),
        ] {
            assert_eq!(route.build().unwrap_err(), error);
        }
        assert!(build(&[tcp]).allowed_origins(any()).build().is_ok());
        assert!(build(&["ws://a", "wss://a"]).build().is_ok());
    }

    #[test]
    fn the_prefix_is_kept_or_removed() {
        let route = |strip| build(&["ws://a"]).strip_prefix(strip).build().unwrap();
        assert_eq!(route(false).path_for_upstream("/chat/a?b"), "/chat/a?b");
        assert_eq!(route(true).path_for_upstream("/%63hat/a?b"), "/a?b");
        assert_eq!(route(true).path_for_upstream("/chat?b"), "?b");
    }
}
