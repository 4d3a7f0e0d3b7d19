//! Opens one WebSocket: admits the client's request, performs the handshake with
//! an upstream, and answers the client with what the upstream agreed to.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::access::{AccessRecord, Outcome, Side};
use super::connection_auth::authenticates_connection;
use super::forward_auth::Authorizing;
use super::forwarded::{ClientView, Received};
use super::lifetime::Lifetime;
use super::location::LocationMap;
use super::meters::Meters;
use super::plain_http::authorize;
use super::pool::KeySource;
use super::request_ids::RequestIds;
use super::retry::{self, Attempts};
use super::splice::{Splice, Times};
use super::tcp::{self, Tunnel};
use super::verdict::Verdict;
use super::{Inner, Lease, Permit, Route, Scheme, TunnelEnds, Upstream, headers, rejection};
use crate::client::{Accepted, HttpVersion, RequestBuilder};
use crate::error::{Chain, Error, Timeout};
use crate::handshake::{HandshakeKind, HostPort, Offer};
use crate::server::WebSocketRequest;
use crate::transport::{NetStream, Transport};

/// A WebSocket that is open on both sides.
///
/// Its parts are boxed, because this is part of the memory of every open socket.
pub(super) enum OpenSocket {
    Splice(Box<Splice>),
    Tcp(Box<Tunnel>),
}

/// The response to a client that gets no WebSocket.
struct Rejected(Box<Response<Bytes>>);

impl From<Response<Bytes>> for Rejected {
    fn from(response: Response<Bytes>) -> Self {
        Self(Box::new(response))
    }
}

impl From<Box<Response<Bytes>>> for Rejected {
    fn from(response: Box<Response<Bytes>>) -> Self {
        Self(response)
    }
}

impl OpenSocket {
    pub(super) async fn run(self, access: &mut AccessRecord) -> Outcome {
        match self {
            Self::Splice(splice) => splice.run(access).await,
            Self::Tcp(tunnel) => tunnel.run(access).await,
        }
    }
}

/// Opens both sides of a WebSocket, or rejects the client's request.
///
/// Many requests may wait for their upstreams at a time, so what is no longer
/// needed is dropped before waiting.
pub(super) async fn open(
    bridge: &Inner,
    mut request: WebSocketRequest,
    access: &mut AccessRecord,
) -> Result<OpenSocket, Outcome> {
    let (route, permit) = match admit(bridge, &request, access) {
        Ok(admitted) => admitted,
        Err(rejected) => return Err(reject(request, rejected, access)),
    };
    let mut opening = OpeningRequest::new(&mut request, &route, permit.group(), access.ids());
    let connecting = async {
        let request = opening.authorizing();
        authorize(bridge, &route, request, access).await?;
        connect_any(bridge, &route, &opening, access).await
    };
    let (upstream_socket, lease) = match connecting.await {
        Ok(connected) => connected,
        Err(rejected) => {
            // Released before the client gets the response, after which it may
            // try again at once.
            drop(permit);
            return Err(reject(request, rejected, access));
        }
    };
    let admitted = (lease, permit);
    accept(&route, admitted, &opening, request, upstream_socket, access).await
}

fn reject(
    request: WebSocketRequest,
    Rejected(response): Rejected,
    access: &mut AccessRecord,
) -> Outcome {
    access.set_status(response.status());
    request.reject_with(*response);
    access.rejected()
}

fn admit(
    bridge: &Inner,
    request: &WebSocketRequest,
    access: &mut AccessRecord,
) -> Result<(Arc<Route>, Permit), Rejected> {
    let routes = bridge.routes();
    let found = routes.find_unambiguous(request.authority(), request.path());
    let Ok(Some(route)) = found else {
        let (reason, response) = rejection::no_route(found.is_err());
        access.set_reason(reason);
        return Err(response.into());
    };
    let route = route.clone();
    access.set_route(&route, request.headers());
    let opening = request.opening();
    opening.check_origin(route.origins()).map_err(|rejection| {
        access.set_reason(route.origins().rejection_reason());
        rejection.to_response(opening.kind)
    })?;
    let mut permit = route.admit(access.client()).map_err(|exceeded| {
        access.set_reason(exceeded);
        rejection::limit_exceeded(exceeded)
    })?;
    let connection = match request.transport() {
        Transport::Http2 { connection, .. } => Some(connection),
        _ => None,
    };
    route.share(&mut permit, connection);
    Ok((route, permit))
}

/// A client's opening request, as it is forwarded.
struct OpeningRequest {
    client: IpAddr,
    /// The peer of the client's connection.
    peer: SocketAddr,
    /// Which connections to upstreams it may share.
    group: Option<NonZeroU16>,
    /// The client's path and query.
    path_and_query: String,
    view: ClientView,
    authority: HostPort,
    fields: HeaderMap,
    offer: Offer,
    kind: HandshakeKind,
}

impl OpeningRequest {
    /// Moves the fields out of `request`, so that they are not kept twice.
    fn new(
        request: &mut WebSocketRequest,
        route: &Route,
        group: Option<NonZeroU16>,
        ids: &RequestIds,
    ) -> Self {
        let fields = std::mem::take(request.headers_mut());
        let client = route.client_address(&fields, request.peer_addr().ip());
        let opening = request.opening();
        let path = request.uri().path_and_query();
        let path = path.map_or("/", |path| path.as_str());
        let mut offer = Offer::default();
        offer.subprotocols.clone_from(&opening.subprotocols);
        offer.extensions.clone_from(&opening.extensions);
        let received = Received {
            client: request.peer_addr().ip(),
            is_secure: request.is_secure(),
            host: request.authority(),
            is_trusted: route.trusts_forwarded(),
            families: route.families(),
            removed_prefix: route.removed_prefix(path),
            client_cert: route.presented(request.tls()),
        };
        let (mut fields, view) = headers::request(fields, received);
        headers::add_via(&mut fields, request.version(), route.via());
        route.write_ids(ids, &mut fields);
        Self {
            client,
            peer: request.peer_addr(),
            group,
            path_and_query: path.to_owned(),
            view,
            authority: request.authority().clone(),
            fields,
            offer,
            kind: opening.kind,
        }
    }
}

impl OpeningRequest {
    fn authorizing(&mut self) -> Authorizing<'_> {
        Authorizing {
            method: &Method::GET,
            path_and_query: &self.path_and_query,
            view: &self.view,
            subprotocols: &self.offer.subprotocols,
            fields: &mut self.fields,
        }
    }

    fn key_source(&self) -> KeySource<'_> {
        KeySource {
            path_and_query: &self.path_and_query,
            fields: &self.fields,
            client: self.client,
        }
    }

    fn ends(&self, upstream: &NetStream) -> TunnelEnds {
        let port = if self.client == self.peer.ip() {
            self.peer.port()
        } else {
            0
        };
        TunnelEnds {
            client: SocketAddr::new(self.client, port),
            upstream: upstream.peer_addr(),
        }
    }
}

/// The upstream's side of a WebSocket.
enum UpstreamSocket {
    WebSocket(Box<Accepted>),
    Tcp(NetStream),
}

impl UpstreamSocket {
    /// The HTTP version of the handshake; `None` for TCP.
    fn version(&self) -> Option<Version> {
        match self {
            Self::WebSocket(accepted) => Some(accepted.response.version()),
            Self::Tcp(_) => None,
        }
    }
}

/// Connects to an upstream, trying others as [`retry`] allows.
async fn connect_any(
    bridge: &Inner,
    route: &Route,
    opening: &OpeningRequest,
    access: &mut AccessRecord,
) -> Result<(UpstreamSocket, Lease), Rejected> {
    let mut attempts = Attempts::new(route, opening.key_source());
    loop {
        let lease = attempts.next(access)?;
        let upstream = lease.upstream();
        let error = match connect(bridge, route, upstream, opening).await {
            Ok(socket) => {
                access.upstream_version = socket.version();
                lease.succeeded();
                return Ok((socket, lease));
            }
            Err(error) => error,
        };
        access.upstream_version = error.rejected_response().map(|rejected| rejected.version);
        access.blame(Side::Upstream, Chain(&error));
        if error.rejected_response().is_none() || rejection::is_invalid_response(&error) {
            tracing::warn!(%upstream, error = %Chain(&error), "upstream handshake failed");
        }
        let (verdict, may_retry) = (Verdict::of(&error), retry::is_unsent(&error));
        let mut response = rejection::from_error(error, opening.kind, route.via());
        let removed_prefix = route.removed_prefix(&opening.path_and_query);
        LocationMap::new(route, upstream, removed_prefix, &opening.view)
            .apply(response.headers_mut());
        route.response_headers().apply(response.headers_mut());
        attempts.failed(lease, verdict, may_retry, response)?;
    }
}

async fn connect(
    bridge: &Inner,
    route: &Route,
    upstream: &Upstream,
    opening: &OpeningRequest,
) -> Result<UpstreamSocket, Error> {
    let timeouts = route.timeouts();
    if upstream.scheme() == Scheme::Tcp {
        let config = route.client().unwrap_or(&bridge.client).tcp();
        let dial = async {
            let mut stream = upstream.dial(config).await?;
            if let Some(preface) = route.tcp_preface() {
                let bytes = preface.bytes(opening.ends(&stream));
                stream
                    .write_all(&bytes)
                    .await
                    .map_err(|error| Error::Connect(Arc::new(error)))?;
            }
            Ok(UpstreamSocket::Tcp(stream))
        };
        return timeout(timeouts.connect, dial)
            .await
            .map_err(|_| Error::Timeout(Timeout::Connect))?;
    }
    let request = request(bridge, route, upstream, opening);
    Ok(UpstreamSocket::WebSocket(Box::new(
        request.accepted().await?,
    )))
}

/// The opening request to a WebSocket upstream.
fn request(
    bridge: &Inner,
    route: &Route,
    upstream: &Upstream,
    opening: &OpeningRequest,
) -> RequestBuilder {
    let timeouts = route.timeouts();
    let mut fields = opening.fields.clone();
    let version = match upstream.http_version() {
        // Such a request needs a connection of its own, which HTTP/1.1 provides.
        HttpVersion::Auto if authenticates_connection(&fields) => HttpVersion::Http1,
        version => version,
    };
    route.request_headers().apply(&mut fields);
    let request = route
        .client()
        .unwrap_or(&bridge.client)
        .request(upstream.url(route.path_for_upstream(&opening.path_and_query)))
        .version(version)
        .websocket_key(route.websocket_key())
        .within(timeouts.connect, timeouts.handshake)
        .group(opening.group)
        .on_behalf(fields, opening.offer.clone());
    let request = match route.authority_for(upstream, &opening.authority) {
        Some(authority) => request.authority(authority),
        None => request,
    };
    match upstream.known_address() {
        Some(address) => request.address(address),
        None => request,
    }
}

/// Accepts the client's request with what the upstream agreed to.
async fn accept(
    route: &Route,
    (lease, permit): (Lease, Permit),
    opening: &OpeningRequest,
    mut request: WebSocketRequest,
    upstream_socket: UpstreamSocket,
    access: &mut AccessRecord,
) -> Result<OpenSocket, Outcome> {
    let config = request.config().clone();
    let kind = request.opening().kind;
    let gone = |error: Error| {
        tracing::debug!(error = %Chain(&error), "client left before the response");
        Outcome::Gone
    };
    let socket = match upstream_socket {
        UpstreamSocket::WebSocket(accepted) => {
            let response = accepted.response.into_parts().0;
            let mut fields = headers::acceptance(response.headers);
            headers::add_via(&mut fields, response.version, route.via());
            LocationMap::new(
                route,
                lease.upstream(),
                route.removed_prefix(&opening.path_and_query),
                &opening.view,
            )
            .apply(&mut fields);
            route.response_headers().apply(&mut fields);
            if let Some(cookie) = lease.set_cookie() {
                fields.append(SET_COOKIE, cookie.clone());
            }
            access.set_agreed(&accepted.agreed);
            let (client, meter) = request
                .accept_as(accepted.agreed, fields)
                .await
                .map_err(gone)?;
            let meters = Meters::new(meter, accepted.meter);
            let times = Times {
                idle: route.timeouts().idle,
                config,
            };
            OpenSocket::Splice(Box::new(Splice::new(
                client,
                accepted.stream,
                times,
                Lifetime::new(route.timeouts().max_lifetime),
                route.pings(),
                meters,
                Box::new((lease, permit)),
            )))
        }
        UpstreamSocket::Tcp(tcp) => {
            if let Some(cookie) = lease.set_cookie() {
                request.response_header(SET_COOKIE, cookie.clone());
            }
            if let Some(interval) = route.pings().client {
                request.ping_every(interval, route.pings().timeout);
            }
            let socket = tcp::accept(request).await.map_err(gone)?;
            OpenSocket::Tcp(Box::new(Tunnel::new(
                socket,
                tcp,
                route.timeouts(),
                Box::new((lease, permit)),
            )))
        }
    };
    access.set_status(match kind {
        HandshakeKind::Http1 => StatusCode::SWITCHING_PROTOCOLS,
        HandshakeKind::Http2 => StatusCode::OK,
    });
    Ok(socket)
}
