//! One request for a socket: who may, where it goes, and what both sides are
//! told.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{HeaderMap, Response, StatusCode, Version};
use tokio::time::timeout;

use super::access::{AccessRecord, Outcome, Side};
use super::forwarded::{From, View};
use super::location::LocationMap;
use super::meters::Meters;
use super::splice::{Splice, Times};
use super::tcp::{self, Tunnel};
use super::verdict::Verdict;
use super::{
    Inner, Lease, NoUpstream, Permit, Route, Scheme, Upstream, headers, plain_http, refusal,
};
use crate::client::{Accepted, HttpVersion, RequestBuilder};
use crate::error::{Error, Timeout};
use crate::frame::Role;
use crate::handshake::{HandshakeKind, HostPort, Offer};
use crate::server::WebSocketRequest;

/// A socket that is open on both sides, with its places: pointers, as it is
/// part of what a socket weighs.
pub(super) struct Socket {
    carrier: Carrier,
    _places: Box<(Lease, Permit)>,
}

enum Carrier {
    Splice(Box<Splice>),
    Tcp(Box<Tunnel>),
}

/// What the client is told instead.
struct No(Box<Response<Bytes>>);

impl std::convert::From<Response<Bytes>> for No {
    fn from(response: Response<Bytes>) -> Self {
        Self(Box::new(response))
    }
}

impl Socket {
    pub(super) async fn run(self, access: &mut AccessRecord) -> Outcome {
        match self.carrier {
            Carrier::Splice(splice) => splice.run(access).await,
            Carrier::Tcp(tunnel) => tunnel.run(access).await,
        }
    }
}

/// Opens both sides of a socket, or answers the request otherwise.
///
/// Many requests may wait at a time, for their upstream: what is not needed
/// any more is not held meanwhile.
pub(super) async fn open(
    bridge: &Inner,
    mut request: WebSocketRequest,
    access: &mut AccessRecord,
) -> Result<Socket, Outcome> {
    let (route, permit) = match admit(bridge, &request, access) {
        Ok(admitted) => admitted,
        Err(no) => return Err(refuse(request, no, access)),
    };
    let asked = Asked::of(&mut request, &route);
    let (answered, lease) = match ask(bridge, &route, &asked, access).await {
        Ok(answered) => answered,
        Err(no) => {
            // Before the client hears of it, who may ask again at once.
            drop(permit);
            return Err(refuse(request, no, access));
        }
    };
    let carrier = accept(&route, &lease, &asked, request, answered, access).await?;
    Ok(Socket {
        carrier,
        _places: Box::new((lease, permit)),
    })
}

fn refuse(request: WebSocketRequest, No(response): No, access: &mut AccessRecord) -> Outcome {
    access.status = Some(response.status());
    request.reject_with(*response);
    access.refused()
}

fn admit(
    bridge: &Inner,
    request: &WebSocketRequest,
    access: &mut AccessRecord,
) -> Result<(Arc<Route>, Permit), No> {
    let routes = bridge.routes();
    let found = routes.find_only(request.authority(), request.path());
    let Ok(Some(route)) = found else {
        access.because(if found.is_err() {
            "servers read this path in different ways"
        } else {
            "no route for this host and path"
        });
        return Err(refusal::no_route(found.is_err()).into());
    };
    let route = route.clone();
    access.takes(&route, request.headers());
    let opening = request.opening();
    opening.check_origin(route.origins()).map_err(|rejection| {
        access.because(rejection);
        rejection.to_response(opening.kind)
    })?;
    let permit = route.admit(access.client()).map_err(|saturated| {
        access.because(saturated);
        refusal::saturated(saturated)
    })?;
    Ok((route, permit))
}

/// A client's request, as its upstream is to see it.
struct Asked {
    client: IpAddr,
    path: String,
    /// What was cut off it.
    cut: String,
    view: View,
    authority: HostPort,
    fields: HeaderMap,
    offer: Offer,
    via: HandshakeKind,
}

impl Asked {
    /// Takes the request's fields: many requests wait at a time.
    fn of(request: &mut WebSocketRequest, route: &Route) -> Self {
        let fields = std::mem::take(request.headers_mut());
        let client = route.counted_as(&fields, request.peer_addr().ip());
        let opening = request.opening();
        let path = request.uri().path_and_query();
        let path = path.map_or("/", |path| path.as_str());
        let mut offer = Offer::default();
        offer.subprotocols.clone_from(&opening.subprotocols);
        offer.extensions.clone_from(&opening.extensions);
        let from = From {
            client: request.peer_addr().ip(),
            secure: request.is_secure(),
            host: request.authority(),
            trusted: route.trusts_forwarded(),
            families: route.families(),
            prefix: route.cut_off(path),
        };
        let (mut fields, view) = headers::request(fields, from);
        headers::add_via(&mut fields, request.version(), route.via());
        Self {
            client,
            path: route.path_for_upstream(path).to_owned(),
            cut: route.cut_off(path).to_owned(),
            view,
            authority: request.authority().clone(),
            fields,
            offer,
            via: opening.kind,
        }
    }
}

/// What an upstream said yes with.
enum Answered {
    WebSocket(Box<Accepted>),
    Tcp(tokio::net::TcpStream),
}

impl Answered {
    /// Of HTTP, where it was spoken.
    fn version(&self) -> Option<Version> {
        match self {
            Self::WebSocket(accepted) => Some(accepted.response.version()),
            Self::Tcp(_) => None,
        }
    }
}

/// Servers that are tried for a request.
pub(super) const TRIES: usize = 3;

async fn ask(
    bridge: &Inner,
    route: &Route,
    asked: &Asked,
    access: &mut AccessRecord,
) -> Result<(Answered, Lease), No> {
    let mut tried = Vec::new();
    let mut last = None;
    for _ in 0..TRIES {
        let lease = match route.pick_other(&asked.fields, asked.client, &tried) {
            Ok(lease) => lease,
            Err(none) => {
                return Err(last.unwrap_or_else(|| {
                    access.because(none);
                    refusal::no_upstream(none).into()
                }));
            }
        };
        let upstream = lease.upstream();
        access.tries(upstream);
        let error = match ask_one(bridge, route, upstream, asked).await {
            Ok(answered) => {
                access.upstream_version = answered.version();
                lease.succeeded();
                return Ok((answered, lease));
            }
            Err(error) => error,
        };
        access.upstream_version = error.rejected_response().map(|refusal| refusal.version);
        access.blame(Side::Upstream, &error);
        if error.rejected_response().is_none() || refusal::is_none(&error) {
            tracing::warn!(%upstream, %error, "no socket from an upstream");
        }
        lease.judge(Verdict::of(&error));
        let unseen = is_unseen(&error);
        let mut refusal = refusal::upstream(error, asked.via, route.via());
        LocationMap::new(route, upstream, &asked.cut, &asked.view).apply(refusal.headers_mut());
        route.response_headers().apply(refusal.headers_mut());
        if !unseen {
            return Err(refusal.into());
        }
        last = Some(refusal.into());
        tried.push(lease);
    }
    Err(last.unwrap_or_else(|| refusal::no_upstream(NoUpstream).into()))
}

/// Whether the upstream certainly has not seen the request: another one may be
/// asked.
fn is_unseen(error: &Error) -> bool {
    matches!(
        error,
        Error::Connect(_) | Error::Tls(_) | Error::Proxy(_) | Error::Timeout(Timeout::Connect)
    )
}

async fn ask_one(
    bridge: &Inner,
    route: &Route,
    upstream: &Upstream,
    asked: &Asked,
) -> Result<Answered, Error> {
    let timeouts = route.timeouts();
    if upstream.scheme() == Scheme::Tcp {
        let config = route.client().unwrap_or(&bridge.client).tcp();
        let address = upstream.address();
        let dial = tcp::dial(upstream.host(), upstream.port(), address, config);
        let tcp = timeout(timeouts.connect, dial)
            .await
            .map_err(|_| Error::Timeout(Timeout::Connect))?;
        return Ok(Answered::Tcp(
            tcp.map_err(|error| Error::Connect(Arc::new(error)))?,
        ));
    }
    let request = request(bridge, route, upstream, asked);
    Ok(Answered::WebSocket(Box::new(request.accepted().await?)))
}

/// The request for a WebSocket upstream.
fn request(bridge: &Inner, route: &Route, upstream: &Upstream, asked: &Asked) -> RequestBuilder {
    let timeouts = route.timeouts();
    let mut fields = asked.fields.clone();
    let version = match upstream.http_version() {
        // It authenticates a connection, which is to be the socket's own.
        HttpVersion::Auto if plain_http::authenticates(&fields) => HttpVersion::Http1,
        version => version,
    };
    route.request_headers().apply(&mut fields);
    let request = route
        .client()
        .unwrap_or(&bridge.client)
        .request(upstream.url(&asked.path))
        .version(version)
        .websocket_key(route.websocket_key())
        .within(timeouts.connect, timeouts.handshake)
        .on_behalf(fields, asked.offer.clone());
    let request = match route.host_for(upstream, &asked.authority) {
        Some(host) => request.authority(host),
        None => request,
    };
    match upstream.reached_at() {
        Some(address) => request.address(address),
        None => request,
    }
}

/// Tells the client what its upstream agreed to.
async fn accept(
    route: &Route,
    lease: &Lease,
    asked: &Asked,
    mut request: WebSocketRequest,
    answered: Answered,
    access: &mut AccessRecord,
) -> Result<Carrier, Outcome> {
    let config = request.config().clone();
    let via = request.opening().kind;
    let gone = |error: Error| {
        tracing::debug!(%error, "gone before the answer");
        Outcome::Gone
    };
    let carrier = match answered {
        Answered::WebSocket(accepted) => {
            let answer = accepted.response.into_parts().0;
            let mut fields = headers::acceptance(answer.headers);
            headers::add_via(&mut fields, answer.version, route.via());
            LocationMap::new(route, lease.upstream(), &asked.cut, &asked.view).apply(&mut fields);
            route.response_headers().apply(&mut fields);
            if let Some(cookie) = lease.set_cookie() {
                fields.append(SET_COOKIE, cookie.clone());
            }
            let (client, meter) = request
                .accept_as(accepted.agreed, fields)
                .await
                .map_err(gone)?;
            let meters = Meters::new(meter, accepted.meter);
            let times = Times {
                idle: route.timeouts().idle,
                close: config.close_timeout,
                client_linger: config.linger_as(Role::Server),
                upstream_linger: config.linger_as(Role::Client),
            };
            Carrier::Splice(Box::new(Splice::new(
                client,
                accepted.stream,
                times,
                meters,
            )))
        }
        Answered::Tcp(tcp) => {
            if let Some(cookie) = lease.set_cookie() {
                request.response_header(SET_COOKIE, cookie.clone());
            }
            let socket = tcp::accept(request).await.map_err(gone)?;
            Carrier::Tcp(Box::new(Tunnel::new(socket, tcp, route.timeouts().idle)))
        }
    };
    access.status = Some(match via {
        HandshakeKind::Http1 => StatusCode::SWITCHING_PROTOCOLS,
        HandshakeKind::Http2 => StatusCode::OK,
    });
    Ok(carrier)
}
