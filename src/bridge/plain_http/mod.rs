//! Ordinary requests: who may, and what the client is told.

mod abandoned;
mod body;
mod connections;
mod forward;

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderValue, SET_COOKIE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, request, response};
use tower_service::Service;

pub use self::body::{BridgeBody, BridgeBodyError};
pub(super) use self::connections::{Connections, authenticates};

use self::body::{Progress, Upload};
use self::forward::{Answered, Asked};
use super::access::{AccessRecord, Outcome};
use super::location::LocationMap;
use super::{Inner, Lease, Passing, Permit, Route, headers, refusal};
use crate::handshake::{HandshakeKind, HostPort, Rejection, authority};
use crate::server::{Body, Peer};

/// Answers ordinary requests by the upstreams of a bridge; see
/// [`Bridge::service`](crate::bridge::Bridge::service).
#[derive(Clone)]
pub struct BridgeService(pub(super) Arc<Inner>);

impl Service<Request<Body>> for BridgeService {
    type Response = Response<BridgeBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let bridge = self.0.clone();
        Box::pin(async move { Ok(pass(bridge, request).await) })
    }
}

impl fmt::Debug for BridgeService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BridgeService").finish_non_exhaustive()
    }
}

/// A request's places, and what is told of it at its end, which is when this
/// is dropped.
struct Ticket {
    bridge: Arc<Inner>,
    progress: Arc<Progress>,
    lease: Option<Lease>,
    permit: Option<Permit>,
    /// Behind the places, which are free when it tells.
    access: AccessRecord,
    /// Last: the bridge is idle when all is told.
    _passing: Passing,
}

impl Ticket {
    /// Frees its places, and tells how it ended.
    fn end(self, closed: Outcome) {
        let Self {
            bridge: _bridge,
            progress,
            lease,
            permit,
            mut access,
            _passing,
        } = self;
        drop((lease, permit));
        let down = access.bytes_down();
        access.moved(progress.bytes(), down);
        access.end(closed);
    }
}

/// Answers a request, by its upstream or otherwise.
async fn pass(bridge: Arc<Inner>, request: Request<Body>) -> Response<BridgeBody> {
    let (parts, body) = request.into_parts();
    let Some(peer) = parts.extensions.get::<Peer>().cloned() else {
        tracing::error!("a bridge's service answers requests of an h2ws::Server alone");
        let no = refusal::own(StatusCode::INTERNAL_SERVER_ERROR, "");
        return no.map(BridgeBody::own);
    };
    let mut ticket = Ticket {
        access: AccessRecord::of_ordinary(&parts, &peer, bridge.observer.get().cloned()),
        _passing: Passing::new(&bridge),
        bridge,
        progress: Arc::default(),
        lease: None,
        permit: None,
    };
    let (method, via) = (parts.method.clone(), via(&parts));
    let refused = match admit(&parts, &peer, &mut ticket) {
        Ok((route, authority)) => {
            let upload = Upload::new(body, ticket.progress.clone());
            let asked = Asked::of(parts, &upload, &peer, &route, authority);
            match forward::ask(&route, asked, upload, &mut ticket).await {
                Ok(answered) => return answer(answered, &method, via, &route, ticket),
                Err(refused) => refused,
            }
        }
        Err(refused) => refused,
    };
    ticket.access.status = Some(refused.status());
    let closed = ticket.access.refused();
    ticket.end(closed);
    refused.map(BridgeBody::own)
}

fn via(parts: &request::Parts) -> HandshakeKind {
    if parts.version == Version::HTTP_2 {
        HandshakeKind::Http2
    } else {
        HandshakeKind::Http1
    }
}

#[allow(
    clippy::result_large_err,
    reason = "once a request, and handed on at once"
)]
fn admit(
    parts: &request::Parts,
    peer: &Peer,
    ticket: &mut Ticket,
) -> Result<(Arc<Route>, HostPort), Response<Bytes>> {
    let via = via(parts);
    let no = |rejection: Rejection, access: &mut AccessRecord| {
        access.because(rejection);
        rejection.to_response(via)
    };
    let default_port = authority::default_port(peer.tls().is_some());
    let authority = authority::of_request(parts, default_port);
    let authority = authority.map_err(|rejection| no(rejection, &mut ticket.access))?;
    ticket.access.asks(&authority);
    // It would tell the client what the upstream is told of it, and more (RFC
    // 9110 §9.3.8).
    if parts.method == Method::TRACE {
        ticket.access.because("TRACE is not passed on");
        return Err(refusal::own(
            StatusCode::NOT_IMPLEMENTED,
            "TRACE is not passed on\n",
        ));
    }
    let routes = ticket.bridge.routes();
    let found = routes.find_only(&authority, parts.uri.path());
    let Ok(Some(route)) = found else {
        ticket.access.because(if found.is_err() {
            "servers read this path in different ways"
        } else {
            "no route for this host and path"
        });
        return Err(refusal::no_route(found.is_err()));
    };
    let route = route.clone();
    ticket.access.takes(&route, &parts.headers);
    if !route.takes_ordinary() {
        return Err(no(Rejection::NotWebSocket, &mut ticket.access));
    }
    let client = route.counted_as(&parts.headers, peer.addr().ip());
    let permit = route.admit(client).map_err(|saturated| {
        ticket.access.because(saturated);
        refusal::saturated(saturated)
    })?;
    ticket.permit = Some(permit);
    Ok((route, authority))
}

/// The upstream's answer, as the client is to see it.
fn answer(
    answered: Answered,
    method: &Method,
    via: HandshakeKind,
    route: &Route,
    mut ticket: Ticket,
) -> Response<BridgeBody> {
    let Answered {
        response,
        connection,
        back,
    } = answered;
    let (parts, body) = response.into_parts();
    let status = parts.status;
    let version = parts.version;
    let mut fields = head(parts, method, via);
    headers::add_via(&mut fields, version, route.via());
    if let Some(lease) = &ticket.lease {
        LocationMap::new(route, lease.upstream(), &back.cut, &back.view).apply(&mut fields);
    }
    route.response_headers().apply(&mut fields);
    if let Some(cookie) = ticket.lease.as_ref().and_then(Lease::set_cookie) {
        fields.append(SET_COOKIE, cookie.clone());
    }
    ticket.access.status = Some(status);
    let body = BridgeBody::passed(body, connection, ticket, route.timeouts().idle);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

/// The fields of the answer. A length is told where there is a body, which
/// knows it, and where it is that of the body that GET would have had.
fn head(parts: response::Parts, method: &Method, via: HandshakeKind) -> HeaderMap {
    let status = parts.status;
    let length = length_without_body(&parts, method);
    let upgrade = parts.headers.get(UPGRADE).cloned();
    let mut fields = headers::answer(parts.headers);
    if let Some(length) = length {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Some(upgrade) = upgrade
        && status == StatusCode::UPGRADE_REQUIRED
        && via == HandshakeKind::Http1
    {
        // Of the hop that it came over, and just as due on the next
        // (RFC 9110 §15.5.22).
        fields.insert(UPGRADE, upgrade);
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    fields
}

/// The length that is told without a body (RFC 9110 §8.6), if all that the
/// upstream said of it agrees.
fn length_without_body(parts: &response::Parts, method: &Method) -> Option<u64> {
    let is_told = match parts.status {
        StatusCode::NO_CONTENT => false,
        StatusCode::NOT_MODIFIED => true,
        _ => *method == Method::HEAD,
    };
    if !is_told || parts.headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    let first = lengths.next()?;
    let digits = first.as_bytes().iter().all(u8::is_ascii_digit);
    let agree = digits && lengths.all(|other| other == first);
    agree.then(|| first.to_str().ok()?.parse().ok()).flatten()
}
