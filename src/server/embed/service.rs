//! Runs a service for a WebSocket request, and does what its response says.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Full;

use super::slot::{Accepted, Slot};
use crate::handshake::{HandshakeKind, extended_connect, headers};
use crate::server::connection::boxed;
use crate::server::http_service;
use crate::server::serve::{Fallback, ResponseBody};
use crate::server::{Body, WebSocketRequest};

/// How WebSocket requests are shown to a service; see
/// [`Server::serve_service`](crate::Server::serve_service).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceOptions {
    /// Shows the extended CONNECT of HTTP/2 as GET, so that one `get` route takes
    /// WebSockets of both versions. The version stays `HTTP/2.0`. Default `true`.
    pub connect_as_get: bool,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            connect_as_get: true,
        }
    }
}

/// Gives a WebSocket request to a service, and opens it or not, as the response
/// says.
pub(in crate::server) async fn route(
    mut upgrade: WebSocketRequest,
    service: Fallback,
    options: ServiceOptions,
) {
    // A panic of the service drops this, and with it the right to answer.
    let unanswered = upgrade.lend_answer();
    let via = upgrade.via();
    let path = upgrade.uri().clone();
    let mut request = as_request(&mut upgrade, options);
    let slot = Slot::new(upgrade);
    request.extensions_mut().insert(slot.clone());
    let response = http_service::call(&service, request).await;
    let refusal = match (slot.settle(), opens(response.status(), via)) {
        (Some(accepted), Opens::Yes) => return open(accepted, response).await,
        (None, Opens::Yes | Opens::OtherVersion) => {
            let status = response.status();
            tracing::warn!(
                path = path.path(), %status,
                "the service answered a WebSocket request with success but extracted no WebSocket"
            );
            plain(
                StatusCode::NOT_IMPLEMENTED,
                "this path does not accept WebSockets\n",
            )
        }
        (Some(_), Opens::OtherVersion) => {
            let status = response.status();
            tracing::warn!(
                path = path.path(), %status, ?via,
                "the response to an accepted WebSocket was given a status that cannot open it"
            );
            plain(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
        }
        (_, Opens::No) => response,
    };
    if let Some(unanswered) = unanswered {
        unanswered.refuse(refusal);
    }
}

/// Whether a response opens a WebSocket.
enum Opens {
    Yes,
    No,
    /// It would over the other version of HTTP, or is an interim response.
    OtherVersion,
}

fn opens(status: StatusCode, via: HandshakeKind) -> Opens {
    let opening = match via {
        HandshakeKind::Http1 => status == StatusCode::SWITCHING_PROTOCOLS,
        HandshakeKind::Http2 => status.is_success(),
    };
    if opening {
        Opens::Yes
    } else if status.is_success() || status.is_informational() {
        Opens::OtherVersion
    } else {
        Opens::No
    }
}

async fn open(accepted: Accepted, response: Response<ResponseBody>) {
    let Accepted {
        mut request,
        socket,
    } = accepted;
    let mut fields = response.into_parts().0.headers;
    // What the handshake writes itself, and lengths that layers add.
    headers::remove_reserved(&mut fields);
    request.set_response_headers(fields);
    // A handler that does not wait any more drops the WebSocket.
    let _ = socket.send(request.accept().await);
}

/// The request as the service sees it; nothing of it is needed to open the
/// WebSocket.
fn as_request(upgrade: &mut WebSocketRequest, options: ServiceOptions) -> Request<Body> {
    let (peer, transport) = (upgrade.peer().clone(), upgrade.transport());
    let mut parts = upgrade.take_parts();
    if parts.version == Version::HTTP_2 {
        let protocol = hyper::ext::Protocol::from_static(extended_connect::PROTOCOL);
        parts.extensions.insert(protocol);
        if options.connect_as_get {
            parts.method = Method::GET;
        }
    }
    parts.extensions.insert(transport);
    parts.extensions.insert(peer);
    Request::from_parts(parts, Body::empty())
}

fn plain(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let mut response = Response::new(boxed(Full::new(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = status;
    response
}
