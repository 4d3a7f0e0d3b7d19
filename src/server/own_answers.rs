//! What a server answers by itself, before a handler or a service sees the request: the only place
//! that makes these answers, so that each of them is logged and counted.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::{Method, Response, StatusCode, Version, request};
use http_body_util::Full;

use super::connection::Connection;
use super::response::boxed;
use super::service::ResponseBody;
use super::{redirect, rejection_log};
use crate::frame::Role;
use crate::handshake::{HandshakeKind, Rejection, upgrade};
use crate::metrics::{Handshake, Observer, RejectedRequest};
use crate::transport::h2::H2Incoming;

impl Connection {
    /// Fails if this server answers nothing without TLS, and the connection has none.
    pub(super) fn check_tls(&self) -> Result<(), Rejection> {
        if self.lacks_tls || self.settings.redirect_https.is_some() {
            return Err(Rejection::TlsRequired);
        }
        Ok(())
    }

    /// Returns the response to a rejected request.
    pub(super) fn reject(
        &self,
        rejection: Rejection,
        kind: HandshakeKind,
        parts: &request::Parts,
    ) -> Response<ResponseBody> {
        let is_websocket = is_opening(parts);
        let port = self.settings.redirect_https;
        let (response, reason) = match port.filter(|_| rejection == Rejection::TlsRequired) {
            None => (rejection.to_response(kind), self.reason(rejection)),
            Some(port) => match redirect::answer(port, parts, is_websocket) {
                Some(response) if is_websocket => (response, "a WebSocket without TLS".into()),
                Some(response) => (response, "redirected to https".into()),
                None => (
                    Rejection::Host.to_response(kind),
                    Rejection::Host.reason().into(),
                ),
            },
        };
        let status = response.status();
        rejection_log::request(self.peer.addr, parts, Some(status), reason);
        let observer = &self.settings.observer;
        count(observer, version(kind), is_websocket, status);
        if is_websocket {
            let result = Handshake::Refused(status);
            observer.report(|m| m.handshake(Role::Server, Some(version(kind)), result));
        }
        response.map(|body| boxed(Full::new(body)))
    }

    /// Returns the reason for the log, which may have more than the client is told.
    fn reason(&self, rejection: Rejection) -> Cow<'static, str> {
        match rejection {
            Rejection::Origin => self.settings.origins.rejection_reason().into(),
            rejection => rejection.reason().into(),
        }
    }

    /// Resets the stream of a malformed request (RFC 9113 §8.1.1).
    pub(super) fn reset_malformed(&self, incoming: H2Incoming, rejection: Rejection) {
        rejection_log::request(self.peer.addr, &incoming.parts, None, rejection);
        if incoming.parts.method == Method::CONNECT {
            let observer = &self.settings.observer;
            let version = Some(Version::HTTP_2);
            observer.report(|m| m.handshake(Role::Server, version, Handshake::Failed));
        }
        incoming.responder.reset_malformed();
    }

    /// Reports a request that could not be parsed, and was answered with `status`.
    pub(super) fn unparsed(observer: &Observer, peer: SocketAddr, status: StatusCode, why: &str) {
        rejection_log::unparsed(peer, status, why);
        count(observer, Version::HTTP_11, false, status);
    }
}

fn count(observer: &Observer, version: Version, is_websocket: bool, status: StatusCode) {
    let request = RejectedRequest {
        version,
        is_websocket,
        status,
    };
    observer.report(|m| m.request_rejected(&request));
}

fn version(kind: HandshakeKind) -> Version {
    match kind {
        HandshakeKind::Http1 => Version::HTTP_11,
        HandshakeKind::Http2 => Version::HTTP_2,
    }
}

/// Whether a request asks for a WebSocket. Only WebSockets are opened by CONNECT.
fn is_opening(parts: &request::Parts) -> bool {
    parts.method == Method::CONNECT
        || (parts.version != Version::HTTP_2 && upgrade::is_upgrade(parts))
}
