//! Plain HTTP requests: admits them, forwards them to an upstream, and returns
//! its response to the client.

mod abandoned;
mod authorization;
mod connections;
mod download;
mod forward;
mod response;
mod upload;

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version, request};
use tower_service::Service;

pub(super) use self::authorization::authorize;
pub(super) use self::connections::Connections;
pub use self::download::{BridgeBody, BridgeBodyError};

use self::forward::ForwardedRequest;
use self::upload::{BoxError, Progress, Upload};
use super::access::{AccessRecord, Outcome};
use super::{ActiveGuard, Inner, Lease, Permit, Route, rejection};
use crate::handshake::{HandshakeKind, HostPort, Rejection, authority};
use crate::server::Peer;

/// A service that forwards plain HTTP requests to the upstreams of a bridge;
/// see [`Bridge::service`](crate::bridge::Bridge::service).
///
/// It accepts requests with any body, so it also works outside of
/// [`Server::serve`](crate::Server::serve), such as in a hyper server or as the
/// fallback service of an axum router. There, each request needs a
/// [`Peer`] among its extensions ([`Peer::new`]), which describes the client's
/// connection: its address is what upstreams, limits and the access log see, and its
/// TLS information decides between `http` and `https`. Without one the
/// service responds with 500 and logs an error. [`Transport`](crate::Transport)
/// is optional and appears in the access log.
#[derive(Clone)]
pub struct BridgeService(pub(super) Arc<Inner>);

impl<B> Service<Request<B>> for BridgeService
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<BridgeBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let bridge = self.0.clone();
        let (parts, body) = request.into_parts();
        let progress = Arc::default();
        let upload = Upload::new(body, Arc::clone(&progress));
        Box::pin(async move { Ok(serve(bridge, parts, upload, progress).await) })
    }
}

impl fmt::Debug for BridgeService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BridgeService").finish_non_exhaustive()
    }
}

/// A request in progress: what it counts against, and its access record, which is
/// logged when this is dropped.
struct InFlight {
    bridge: Arc<Inner>,
    progress: Arc<Progress>,
    lease: Option<Lease>,
    permit: Option<Permit>,
    /// Dropped after the limits: they are free when the request is logged.
    access: AccessRecord,
    /// Dropped last: the bridge is idle only once every request is logged.
    _active: ActiveGuard,
}

impl InFlight {
    /// Releases the limits, then logs how the request ended.
    fn end(self, outcome: Outcome) {
        let Self {
            bridge: _bridge,
            progress,
            lease,
            permit,
            mut access,
            _active,
        } = self;
        drop((lease, permit));
        let down = access.bytes_down();
        access.set_bytes(progress.bytes(), down);
        access.end(outcome);
    }
}

async fn serve(
    bridge: Arc<Inner>,
    parts: request::Parts,
    upload: Upload,
    progress: Arc<Progress>,
) -> Response<BridgeBody> {
    let Some(peer) = parts.extensions.get::<Peer>().cloned() else {
        tracing::error!("BridgeService: request without a Peer extension; insert one first");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        return rejection::plain(status, "internal error").map(BridgeBody::own);
    };
    let mut in_flight = InFlight {
        access: AccessRecord::for_plain_http(&parts, &peer, bridge.observer.get().cloned()),
        _active: ActiveGuard::new(&bridge),
        bridge,
        progress,
        lease: None,
        permit: None,
    };
    let (method, kind) = (parts.method.clone(), handshake_kind(&parts));
    let rejected = match admit(&parts, &peer, &mut in_flight) {
        Ok((route, authority)) => {
            let mut request = ForwardedRequest::new(
                parts,
                &upload,
                &peer,
                &route,
                authority,
                in_flight.access.ids(),
            );
            let forwarded = async {
                request.authorize(&route, &mut in_flight).await?;
                forward::forward(&route, request, upload, &mut in_flight).await
            };
            match forwarded.await {
                Ok(upstream) => {
                    return response::to_client(upstream, &method, kind, &route, in_flight);
                }
                Err(rejected) => rejected,
            }
        }
        Err(rejected) => rejected,
    };
    in_flight.access.set_status(rejected.status());
    let outcome = in_flight.access.rejected();
    in_flight.end(outcome);
    rejected.map(BridgeBody::own)
}

fn handshake_kind(parts: &request::Parts) -> HandshakeKind {
    if parts.version == Version::HTTP_2 {
        HandshakeKind::Http2
    } else {
        HandshakeKind::Http1
    }
}

/// Finds the route of a request and counts it against the limits. Fails with the
/// response to the client.
fn admit(
    parts: &request::Parts,
    peer: &Peer,
    in_flight: &mut InFlight,
) -> Result<(Arc<Route>, HostPort), Box<Response<Bytes>>> {
    let kind = handshake_kind(parts);
    let reject = |rejection: Rejection, access: &mut AccessRecord| {
        access.set_reason(rejection);
        Box::new(rejection.to_response(kind))
    };
    let default_port = authority::default_port(peer.tls().is_some());
    let authority = authority::of_request(parts, default_port);
    let authority = authority.map_err(|rejection| reject(rejection, &mut in_flight.access))?;
    in_flight.access.set_authority(&authority);
    // Its response would show the client the fields that the bridge adds (RFC
    // 9110 §9.3.8).
    if parts.method == Method::TRACE {
        let text = "TRACE is not supported";
        in_flight.access.set_reason(text);
        return Err(Box::new(rejection::plain(
            StatusCode::NOT_IMPLEMENTED,
            text,
        )));
    }
    let routes = in_flight.bridge.routes();
    let found = routes.find_unambiguous(&authority, parts.uri.path());
    let Ok(Some(route)) = found else {
        let (reason, response) = rejection::no_route(found.is_err());
        in_flight.access.set_reason(reason);
        return Err(Box::new(response));
    };
    let route = route.clone();
    in_flight.access.set_route(&route, &parts.headers);
    if route.websockets_only() {
        return Err(reject(Rejection::NotWebSocket, &mut in_flight.access));
    }
    let client = route.client_address(&parts.headers, peer.addr().ip());
    let permit = route.admit(client).map_err(|exceeded| {
        in_flight.access.set_reason(exceeded);
        Box::new(rejection::limit_exceeded(exceeded))
    })?;
    in_flight.permit = Some(permit);
    Ok((route, authority))
}
