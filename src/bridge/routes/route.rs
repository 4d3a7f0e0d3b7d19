//! A route: which requests it matches, and how they are forwarded.

mod builder;
mod invalid;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use http::HeaderMap;

pub use self::builder::RouteBuilder;
pub use self::invalid::InvalidRoute;

use super::limits::{BridgeLimits, Counts, LimitExceeded, Permit};
use super::pattern::{HostPattern, InvalidPattern, PathPattern, after_segments};
use super::pings::Pings;
use super::rules::HeaderRules;
use super::tcp_preface::TcpPreface;
use super::timeouts::Timeouts;
use super::upstream_host::UpstreamHost;
use crate::bridge::client_cert::{ClientCert, Presented};
use crate::bridge::forward_auth::ForwardAuth;
use crate::bridge::forwarded::{self, Families};
use crate::bridge::pool::{KeySource, Lease, NoUpstream, Pool, UpstreamStatus};
use crate::bridge::request_ids::{Identification, RequestIds};
use crate::bridge::upstream::{Scheme, Upstream};
use crate::client::Client;
use crate::handshake::{AllowedOrigins, HostPort};
use crate::transport::tls::TlsInfo;

/// A route: the upstreams for requests with matching host and path, and how they are
/// forwarded. Built by [`Route::builder`] and added to
/// [`Routes`](crate::bridge::Routes).
#[derive(Debug)]
pub struct Route {
    name: Arc<str>,
    pub(super) host: HostPattern,
    pub(super) path: PathPattern,
    /// Number of path segments to remove.
    strip: usize,
    scheme: Scheme,
    origins: AllowedOrigins,
    request: HeaderRules,
    response: HeaderRules,
    timeouts: Timeouts,
    pings: Pings,
    upstream_host: UpstreamHost,
    families: Families,
    identification: Identification,
    client_cert: ClientCert,
    forward_auth: Option<ForwardAuth>,
    websocket_key: bool,
    trust_forwarded: bool,
    websockets_only: bool,
    via: Option<String>,
    max_sockets: Option<usize>,
    tcp_preface: Option<TcpPreface>,
    client: Option<Client>,
    pool: Arc<Pool>,
    admission: OnceLock<(BridgeLimits, Arc<Counts>)>,
}

impl Route {
    /// Returns a builder for a route with a host pattern (a name or an address, `*.name`
    /// for all its subdomains, or `*`) and a path pattern (`/chat`, `/chat/*` for
    /// `/chat` and all paths below, or `/*`).
    ///
    /// # Errors
    ///
    /// If one of the patterns is invalid.
    pub fn builder(host: &str, path: &str) -> Result<RouteBuilder, InvalidPattern> {
        Ok(RouteBuilder::of(host.parse()?, path.parse()?))
    }

    /// Returns the name of the route in logs and metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the host pattern, in the form accepted by [`builder`](Self::builder).
    #[must_use]
    pub fn host(&self) -> String {
        self.host.to_string()
    }

    /// Returns the path pattern, in the form accepted by [`builder`](Self::builder).
    #[must_use]
    pub fn path(&self) -> String {
        self.path.to_string()
    }

    /// Returns the protocol spoken to the upstreams.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the origins whose pages may open WebSockets.
    #[must_use]
    pub fn origins(&self) -> &AllowedOrigins {
        &self.origins
    }

    /// Returns the header rules for requests to the upstream.
    #[must_use]
    pub fn request_headers(&self) -> &HeaderRules {
        &self.request
    }

    /// Returns the header rules for responses to the client.
    #[must_use]
    pub fn response_headers(&self) -> &HeaderRules {
        &self.response
    }

    /// Returns the timeouts.
    #[must_use]
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Returns the Pings that the bridge itself sends.
    #[must_use]
    pub fn pings(&self) -> Pings {
        self.pings
    }

    /// Returns which host is sent to the upstream.
    #[must_use]
    pub fn upstream_host(&self) -> &UpstreamHost {
        &self.upstream_host
    }

    /// Returns the host that is sent to all upstreams, if it is configured.
    pub(in crate::bridge) fn fixed_authority(&self) -> Option<&HostPort> {
        match &self.upstream_host {
            UpstreamHost::Name(name) => Some(name),
            _ => None,
        }
    }

    /// Returns the host to send to this upstream.
    pub(in crate::bridge) fn authority_for(
        &self,
        upstream: &Upstream,
        client: &HostPort,
    ) -> Option<HostPort> {
        match &self.upstream_host {
            UpstreamHost::Client => Some(client.clone()),
            UpstreamHost::Upstream => upstream.authority().parse().ok(),
            UpstreamHost::Name(name) => Some(name.clone()),
        }
    }

    /// Returns the families of forwarding fields to read and write.
    pub(in crate::bridge) fn families(&self) -> Families {
        self.families
    }

    /// Whether `Sec-WebSocket-Key` is sent to upstreams over HTTP/2 as well.
    #[must_use]
    pub fn websocket_key(&self) -> bool {
        self.websocket_key
    }

    /// Whether forwarding fields sent by clients are trusted.
    #[must_use]
    pub fn trusts_forwarded(&self) -> bool {
        self.trust_forwarded
    }

    /// Returns the client's address for limits, affinity and the access log.
    pub(in crate::bridge) fn client_address(&self, fields: &HeaderMap, peer: IpAddr) -> IpAddr {
        if self.trust_forwarded {
            forwarded::client_address(fields, peer, self.families)
        } else {
            peer
        }
    }

    /// Returns the server that authorizes requests, if there is one.
    #[must_use]
    pub fn forward_auth(&self) -> Option<&ForwardAuth> {
        self.forward_auth.as_ref()
    }

    /// Returns what is reported to upstreams of a client's certificate.
    pub(in crate::bridge) fn presented<'a>(&self, tls: Option<&'a TlsInfo>) -> Presented<'a> {
        Presented {
            reported: self.client_cert,
            certificates: tls.map_or(&[], TlsInfo::client_certificates),
        }
    }

    /// Returns the identifiers of a request with these fields.
    pub(in crate::bridge) fn identify(&self, fields: &HeaderMap) -> RequestIds {
        self.identification.identify(fields, self.trust_forwarded)
    }

    /// Writes the identifiers into the fields for the upstream.
    pub(in crate::bridge) fn write_ids(&self, ids: &RequestIds, fields: &mut HeaderMap) {
        self.identification.write(ids, fields);
    }

    /// Whether plain HTTP requests are rejected.
    #[must_use]
    pub fn websockets_only(&self) -> bool {
        self.websockets_only
    }

    /// Returns the name of this hop in `Via`, if it is written.
    #[must_use]
    pub fn via(&self) -> Option<&str> {
        self.via.as_deref()
    }

    /// Returns the client for the upstreams, if it is not the bridge's.
    #[must_use]
    pub fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// Returns what a `tcp` upstream is sent before the client's bytes.
    pub(in crate::bridge) fn tcp_preface(&self) -> Option<&TcpPreface> {
        self.tcp_preface.as_ref()
    }

    /// Counts a WebSocket or plain HTTP request of `peer` against the limits.
    ///
    /// # Errors
    ///
    /// If it would exceed a limit.
    pub fn admit(&self, peer: IpAddr) -> Result<Permit, LimitExceeded> {
        // A route that is not in a table has the default limits, and counts of its
        // own.
        let (limits, counts) = self.admission.get_or_init(Default::default);
        counts.admit(limits, &self.name, self.max_sockets, peer)
    }

    /// Decides whether a WebSocket shares connections to upstreams with those of other
    /// clients. `connection` is the client's, over HTTP/2.
    pub(in crate::bridge) fn share(&self, permit: &mut Permit, connection: Option<u64>) {
        let (limits, _) = self.admission.get_or_init(Default::default);
        permit.share(limits, connection);
    }

    /// Picks a server for a request: by affinity, or the one with the fewest WebSockets
    /// and requests. `path_and_query` and `fields` are the client's, and `client` is its
    /// address.
    ///
    /// # Errors
    ///
    /// If the route has no server.
    pub fn pick(
        &self,
        path_and_query: &str,
        fields: &HeaderMap,
        client: IpAddr,
    ) -> Result<Lease, NoUpstream> {
        let source = KeySource {
            path_and_query,
            fields,
            client,
        };
        self.pool.pick(source, &[])
    }

    /// Picks a server other than those that were tried for this request.
    pub(in crate::bridge) fn pick_other(
        &self,
        source: KeySource<'_>,
        tried: &[Lease],
    ) -> Result<Lease, NoUpstream> {
        self.pool.pick(source, tried)
    }

    /// Returns the path and query to forward, without [the
    /// prefix](RouteBuilder::strip_prefix) if that is to be removed.
    #[must_use]
    pub fn path_for_upstream<'a>(&self, path_and_query: &'a str) -> &'a str {
        after_segments(path_and_query, self.strip)
    }

    /// Returns the prefix that is removed from the path.
    pub(in crate::bridge) fn removed_prefix<'a>(&self, path_and_query: &'a str) -> &'a str {
        let rest = self.path_for_upstream(path_and_query).len();
        &path_and_query[..path_and_query.len() - rest]
    }

    /// Returns the status of each server.
    #[must_use]
    pub fn upstreams(&self) -> Vec<UpstreamStatus> {
        self.pool.statuses()
    }

    /// Returns the number of open WebSockets and requests in progress, including those of
    /// earlier tables.
    #[must_use]
    pub fn sockets(&self) -> usize {
        let counts = self.admission.get();
        counts.map_or(0, |(_, counts)| counts.of_route(&self.name))
    }

    /// Returns the maximum number of WebSockets and requests in progress of this route.
    #[must_use]
    pub fn max_sockets(&self) -> Option<usize> {
        self.max_sockets
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Sets the limits and counts to use; only the first call has an effect.
    pub(super) fn set_limits(&self, limits: &BridgeLimits, counts: &Arc<Counts>) {
        let _ = self.admission.set((limits.clone(), counts.clone()));
    }
}
