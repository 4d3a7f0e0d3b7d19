//! Passes a WebSocket request to a service, and opens the WebSocket if the response
//! accepts it.

use http::{Method, Request, Response, StatusCode, Version};

use super::slot::{Accepted, Slot};
use crate::handshake::{HandshakeKind, extended_connect, headers};
use crate::server::body::Body;
use crate::server::http_service;
use crate::server::request::WebSocketRequest;
use crate::server::response::text;
use crate::server::service::{Fallback, ResponseBody};

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

/// Passes a WebSocket request to a service.
pub(in crate::server) async fn route(
    mut upgrade: WebSocketRequest,
    service: Fallback,
    options: ServiceOptions,
) {
    // Held here, so that a panic of the service leaves the request unanswered.
    let unanswered = upgrade.take_unanswered();
    let kind = upgrade.kind();
    let path = upgrade.uri().clone();
    let mut request = as_request(&mut upgrade, options);
    let slot = Slot::new(upgrade);
    request.extensions_mut().insert(slot.clone());
    let response = http_service::call(&service, request).await;
    let rejection = match (slot.settle(), opens(response.status(), kind)) {
        (Some(accepted), Opens::Yes) => return open(accepted, response).await,
        (None, Opens::Yes | Opens::OtherVersion) => {
            let status = response.status();
            tracing::warn!(
                path = path.path(), %status,
                "the service answered a WebSocket request with success but extracted no WebSocket"
            );
            text(
                StatusCode::NOT_IMPLEMENTED,
                "this path does not accept WebSockets\n",
            )
        }
        (Some(_), Opens::OtherVersion) => {
            let status = response.status();
            tracing::warn!(
                path = path.path(), %status, ?kind,
                "the response to an accepted WebSocket was given a status that cannot open it"
            );
            text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
        }
        (_, Opens::No) => response,
    };
    if let Some(unanswered) = unanswered {
        unanswered.reject(rejection);
    }
}

/// Whether a response opens a WebSocket.
enum Opens {
    Yes,
    No,
    /// It would open one over the other version of HTTP, or is an interim response.
    OtherVersion,
}

fn opens(status: StatusCode, kind: HandshakeKind) -> Opens {
    let opening = match kind {
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
    // The handshake writes these itself, and layers may have added a length.
    headers::remove_reserved(&mut fields);
    request.set_response_headers(fields);
    // Fails if the handler no longer waits, which drops the WebSocket.
    let _ = socket.send(request.accept().await);
}

/// Returns the request as the service sees it. Opening the WebSocket needs nothing of it.
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
