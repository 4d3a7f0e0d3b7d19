//! One request for a socket: who may, where it goes, and what both sides are
//! told.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use tokio::time::timeout;

use super::access::{Access, Closed};
use super::meters::Meters;
use super::route::{Lease, Permit, Route};
use super::splice::{Splice, Times};
use super::tcp::{self, Tunnel};
use super::upstream::{self, Kind, Upstream};
use super::{Inner, headers, refusal};
use crate::client::Accepted;
use crate::error::{Error, Timeout};
use crate::frame::Role;
use crate::handshake::{HostPort, Offer, Via};
use crate::server::Upgrade;

/// A socket that is open on both sides, with its places.
pub(super) struct Socket {
    pub(super) carrier: Carrier,
    _lease: Lease,
    _permit: Permit,
}

pub(super) enum Carrier {
    Splice(Box<Splice>),
    Tcp(Box<Tunnel>),
}

/// What the client is told instead.
struct No(Response<Bytes>);

impl Socket {
    pub(super) async fn run(self, access: &mut Access) -> Closed {
        match self.carrier {
            Carrier::Splice(splice) => {
                let spliced = splice.run().await;
                (access.up, access.down) = (spliced.up, spliced.down);
                spliced.closed
            }
            Carrier::Tcp(tunnel) => {
                let tunnelled = tunnel.run().await;
                (access.up, access.down) = (tunnelled.up, tunnelled.down);
                tunnelled.closed
            }
        }
    }
}

/// Opens both sides of a socket, or answers the request otherwise.
pub(super) async fn open(
    bridge: &Inner,
    request: Upgrade,
    access: &mut Access,
) -> Result<Socket, Closed> {
    let no = match admit(bridge, &request, access) {
        Ok((route, permit)) => {
            let asked = Asked::of(&request, &route);
            match ask(bridge, &route, asked, access).await {
                Ok((answered, lease)) => {
                    return accept(&route, request, answered, access)
                        .await
                        .map(|carrier| Socket {
                            carrier,
                            _lease: lease,
                            _permit: permit,
                        });
                }
                Err(no) => no,
            }
        }
        Err(response) => No(response),
    };
    let No(response) = no;
    access.status = Some(response.status());
    request.reject_with(response);
    Err(Closed::Refused)
}

#[allow(
    clippy::result_large_err,
    reason = "once a socket, and handed on at once"
)]
fn admit(
    bridge: &Inner,
    request: &Upgrade,
    access: &mut Access,
) -> Result<(Arc<Route>, Permit), Response<Bytes>> {
    let Some(route) = bridge.routes.find(request.authority(), request.path()) else {
        return Err(refusal::own(StatusCode::NOT_FOUND, "nothing is here\n"));
    };
    access.route = Some(route.name.clone());
    let opening = request.opening();
    opening
        .check_origin(&route.origins)
        .map_err(|rejection| rejection.to_response(opening.via))?;
    let permit = route
        .admit(request.peer_addr().ip())
        .map_err(|saturated| refusal::saturated(saturated.retry_after))?;
    Ok((route, permit))
}

/// A client's request, as its upstream is to see it.
struct Asked {
    peer: SocketAddr,
    path: String,
    authority: HostPort,
    fields: HeaderMap,
    offer: Offer,
    via: Via,
}

impl Asked {
    fn of(request: &Upgrade, route: &Route) -> Self {
        let opening = request.opening();
        let mut offer = Offer::default();
        offer.subprotocols.clone_from(&opening.subprotocols);
        offer.extensions.clone_from(&opening.extensions);
        let from = headers::From {
            client: request.peer_addr().ip(),
            secure: request.is_secure(),
            host: request.authority(),
            trusted: route.trusts_forwarded,
        };
        let path = request.uri().path_and_query();
        Self {
            peer: request.peer_addr(),
            path: path.map_or("/", |path| path.as_str()).to_owned(),
            authority: request.authority().clone(),
            fields: headers::request(request.headers().clone(), from),
            offer,
            via: opening.via,
        }
    }
}

/// What an upstream said yes with.
enum Answered {
    WebSocket(Box<Accepted>),
    Tcp(tokio::net::TcpStream),
}

async fn ask(
    bridge: &Inner,
    route: &Route,
    asked: Asked,
    access: &mut Access,
) -> Result<(Answered, Lease), No> {
    let lease = route
        .pick(&asked.fields, asked.peer.ip())
        .map_err(|none| No(refusal::saturated(none.retry_after)))?;
    let via = asked.via;
    let upstream = lease.upstream();
    access.upstream = Some(upstream.to_string());
    match ask_one(bridge, route, upstream, asked).await {
        Ok(answered) => {
            lease.succeeded();
            Ok((answered, lease))
        }
        Err(error) => {
            match &error {
                Error::Refused(_) => lease.succeeded(),
                error => {
                    tracing::warn!(%upstream, %error, "no socket from an upstream");
                    lease.failed();
                }
            }
            Err(No(refusal::upstream(error, via)))
        }
    }
}

async fn ask_one(
    bridge: &Inner,
    route: &Route,
    upstream: &Upstream,
    asked: Asked,
) -> Result<Answered, Error> {
    match &upstream.kind {
        Kind::Tcp { host, port } => {
            let dial = tcp::dial(host, *port, upstream.address);
            let tcp = timeout(route.timeouts.connect, dial)
                .await
                .map_err(|_| Error::Timeout(Timeout::Connect))?;
            Ok(Answered::Tcp(
                tcp.map_err(|error| Error::Connect(Arc::new(error)))?,
            ))
        }
        Kind::WebSocket { target, version } => {
            let request = bridge
                .client
                .request(&upstream::url(target, &asked.path))
                .version(*version)
                .on_behalf(asked.fields, asked.offer);
            let request = if route.upstream_host {
                request
            } else {
                request.authority(asked.authority)
            };
            let request = match upstream.address {
                Some(address) => request.address(address),
                None => request,
            };
            let limit = route.timeouts.connect + route.timeouts.handshake;
            let accepted = timeout(limit, request.accepted())
                .await
                .map_err(|_| Error::Timeout(Timeout::Handshake))??;
            Ok(Answered::WebSocket(Box::new(accepted)))
        }
    }
}

/// Tells the client what its upstream agreed to.
async fn accept(
    route: &Route,
    request: Upgrade,
    answered: Answered,
    access: &mut Access,
) -> Result<Carrier, Closed> {
    let config = request.config().clone();
    let via = request.opening().via;
    let gone = |error: Error| {
        tracing::debug!(%error, "gone before the answer");
        Closed::Gone
    };
    let carrier = match answered {
        Answered::WebSocket(accepted) => {
            let fields = headers::acceptance(accepted.response.into_parts().0.headers);
            let (client, meter) = request
                .accept_as(accepted.agreed, fields)
                .await
                .map_err(gone)?;
            let meters = Meters::new(meter, accepted.meter);
            let times = Times {
                idle: route.timeouts.idle,
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
            let socket = tcp::accept(request).await.map_err(gone)?;
            Carrier::Tcp(Box::new(Tunnel::new(socket, tcp, route.timeouts.idle)))
        }
    };
    access.status = Some(match via {
        Via::Http1 => StatusCode::SWITCHING_PROTOCOLS,
        Via::Http2 => StatusCode::OK,
    });
    Ok(carrier)
}
