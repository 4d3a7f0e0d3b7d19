//! One accepted connection: negotiates TLS and the version of HTTP, and passes each
//! request to the WebSocket handler or to the service.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version, request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::Instrument;

use super::body::Body;
use super::connection_slots::ConnectionSlot;
use super::handler::OnUpgrade;
use super::http_service;
use super::peer::Peer;
use super::pending::Responder;
use super::rarely::Rarely;
use super::registry::{Registry, UpgradedFrom};
use super::request::WebSocketRequest;
use super::response::status;
use super::service::{Fallback, ResponseBody};
use super::settings::Settings;
use crate::error::{Error, Timeout};
use crate::frame::Role;
use crate::handshake::{
    HandshakeKind, ParsedRequest, Rejection, authority, extended_connect, headers, upgrade,
};
use crate::metrics::{Observed, OpenConnection};
use crate::transport::h2::header_list::{self, TooLarge};
use crate::transport::h2::{self, H2Incoming, H2Server};
use crate::transport::tls::{self, ServerTls};
use crate::transport::{BoxIo, ConnectionId, MAX_HEADER_FIELDS, Transport, h1, prefix};

#[derive(Clone)]
pub(super) struct Connection {
    pub(super) peer: Peer,
    /// Whether the client sends HTTP without TLS to a server that has it.
    pub(super) lacks_tls: bool,
    pub(super) settings: Arc<Settings>,
    pub(super) on_upgrade: OnUpgrade,
    pub(super) fallback: Option<Fallback>,
    pub(super) draining: watch::Receiver<bool>,
    pub(super) registry: Arc<Registry>,
    pub(super) slot: Arc<ConnectionSlot>,
}

impl Connection {
    /// Serves the connection until it ends, or is closed to free its slot.
    pub(super) async fn serve(self, io: BoxIo) -> Result<(), Error> {
        // A clone of its own, because `self` is dropped before the last response has been
        // delivered.
        let slot = self.slot.clone();
        let evicted = pin!(slot.evicted());
        tokio::select! {
            biased;
            served = self.serve_any(io) => served,
            () = Rarely::new(evicted) => {
                tracing::debug!("closed an unused connection to make room for another");
                Ok(())
            }
        }
    }

    async fn serve_any(mut self, io: BoxIo) -> Result<(), Error> {
        let limit = self.settings.handshake_timeout;
        let tls = self.settings.tls.as_ref().map(ServerTls::current);
        let negotiated = timeout(limit, async {
            let Some(config) = tls else {
                return prefix::sniff(&[], io).await;
            };
            match tls::accept(config, io).await? {
                tls::Accepted::Tls(tls, io) => {
                    let is_http2 = tls.is_http2();
                    self.peer.tls = Some(tls);
                    Ok((is_http2, io))
                }
                tls::Accepted::Cleartext(first, io) => {
                    self.lacks_tls = true;
                    prefix::sniff(&[first], io).await
                }
            }
        });
        let (is_http2, io) = negotiated
            .await
            .map_err(|_| Error::Timeout(Timeout::Handshake))?
            .map_err(|error| Error::Tls(Arc::new(error)))?;
        if is_http2 {
            self.serve_http2(io).await
        } else {
            self.serve_http1(io).await
        }
    }

    async fn serve_http2(self, io: BoxIo) -> Result<(), Error> {
        let settings = &self.settings;
        let observed = self.observed(Version::HTTP_2);
        let span = observed.span.clone();
        let handshake = H2Server::handshake(
            io,
            &settings.http2,
            settings.extended_connect,
            settings.handshake_timeout,
            self.idle_timeout(),
            observed,
        );
        let server = timeout(settings.handshake_timeout, handshake)
            .await
            .map_err(|_| Error::Timeout(Timeout::Handshake))??;
        let mut draining = self.draining.clone();
        let slot = self.slot.clone();
        slot.is_http2(server.handle().clone());
        let leave = pin!(async move {
            tokio::select! {
                biased;
                // Cannot fail, because the sender outlives the connections.
                _ = draining.wait_for(|drain| *drain) => {}
                () = slot.eviction_requested() => {}
            }
        });
        let _registered = self.registry.http2(server.handle().clone());
        let connection = self;
        let on_request = move |incoming| connection.on_http2(incoming);
        let serving = async {
            tracing::debug!("HTTP/2 connection");
            server.run(on_request, Rarely::new(leave)).await
        };
        Ok(serving.instrument(span).await?)
    }

    /// Describes this connection to metrics and traces.
    fn observed(&self, version: Version) -> Observed {
        let id = ConnectionId::next().get();
        let span =
            tracing::debug_span!("connection", connection = id, peer = %self.peer.addr, ?version);
        let observer = self.settings.observer.clone();
        Observed::new(id, Role::Server, version, observer, span)
    }

    /// One that can only be rejected has no reason to stay.
    fn idle_timeout(&self) -> Option<Duration> {
        let Settings {
            handshake_timeout,
            idle_timeout,
            ..
        } = &*self.settings;
        if self.lacks_tls {
            return Some(
                idle_timeout.map_or(*handshake_timeout, |idle| idle.min(*handshake_timeout)),
            );
        }
        *idle_timeout
    }

    fn on_http2(&self, mut incoming: H2Incoming) {
        if h2::are_padded(&incoming.parts.headers) {
            let rejection = Rejection::Malformed("white space around a field value");
            return self.reset_malformed(incoming, rejection);
        }
        // Checked before cookies are joined, so that it is counted as the client does.
        let size = incoming.check_header_list();
        headers::join_cookies(&mut incoming.parts.headers);
        // Over HTTP/1.1 the parser limits the number of fields.
        if size.is_err() || incoming.parts.headers.len() > MAX_HEADER_FIELDS {
            let response = self.reject(
                Rejection::HeaderFields,
                HandshakeKind::Http2,
                &incoming.parts,
            );
            return http_service::respond(incoming, response);
        }
        if incoming.parts.method != Method::CONNECT {
            let transport = incoming.transport();
            if let Err(rejection) = self.admit_plain_http(&mut incoming.parts, transport) {
                let response = self.reject(rejection, HandshakeKind::Http2, &incoming.parts);
                return http_service::respond(incoming, response);
            }
            if let Some(fallback) = self.fallback.clone() {
                let in_use = self.slot.begin();
                tokio::spawn(async move {
                    http_service::answer(incoming, fallback).await;
                    drop(in_use);
                });
            } else {
                http_service::respond(incoming, status(StatusCode::NOT_FOUND));
            }
            return;
        }
        let check = || {
            self.check_tls()?;
            let opening = extended_connect::check_request(&incoming.parts, incoming.protocol())?;
            self.admit(&opening)?;
            if incoming.is_ended() {
                return Err(Rejection::Ended);
            }
            Ok(opening)
        };
        match check() {
            Ok(opening) => {
                let H2Incoming { parts, responder } = incoming;
                let responder = Responder::Http2(responder, self.slot.begin());
                self.on_websocket(parts, opening, responder);
            }
            Err(rejection) if rejection.is_malformed() => {
                self.reset_malformed(incoming, rejection);
            }
            Err(rejection) => {
                let response = self.reject(rejection, HandshakeKind::Http2, &incoming.parts);
                http_service::respond(incoming, response);
            }
        }
    }

    async fn serve_http1(self, io: BoxIo) -> Result<(), Error> {
        let draining = self.draining.clone();
        let limits = h1::Limits {
            head: self.settings.handshake_timeout,
            idle: self.idle_timeout(),
        };
        let peer = self.peer.addr;
        let settings = self.settings.clone();
        let connection = self;
        let observed = connection.observed(Version::HTTP_11);
        let span = observed.span.clone();
        let open = Arc::new(OpenConnection::new(observed));
        let counted = open.clone();
        let service = service_fn(move |request| {
            let (connection, open) = (connection.clone(), open.clone());
            async move {
                let in_use = connection.slot.begin();
                let response = connection.on_http1(request, open).await;
                // In use until the body is written. `map_err` keeps the body's length and
                // end, which `map_frame` does not.
                let guarded = response.map(|body| {
                    let held = body.map_err(move |error| {
                        let _ = &in_use;
                        error
                    });
                    held.boxed_unsync()
                });
                Ok::<_, Infallible>(guarded)
            }
        });
        let serving = async {
            tracing::debug!("HTTP/1.1 connection");
            h1::serve(io, service, limits, draining).await
        };
        let served = serving.instrument(span).await;
        match served.inspect_err(|_| counted.broke())? {
            h1::Served::Done => {}
            h1::Served::Refused { status, why } => {
                counted.broke();
                Self::unparsed(&settings.observer, peer, status, &why);
            }
        }
        Ok(())
    }

    async fn on_http1(
        &self,
        request: Request<Incoming>,
        open: Arc<OpenConnection>,
    ) -> Response<ResponseBody> {
        let size = header_list::of_request(&request, None);
        let limit = self.settings.http2.max_header_list_size;
        if TooLarge::check(size, limit).is_err() {
            let (parts, _) = request.into_parts();
            let mut response = self.reject(Rejection::HeaderFields, HandshakeKind::Http1, &parts);
            if upgrade::is_upgrade(&parts) || parts.method == Method::CONNECT {
                close_after(&mut response);
            }
            return response;
        }
        let (mut parts, body) = request.into_parts();
        headers::resolve_connection(&mut parts.headers);
        if !upgrade::is_upgrade(&parts) && parts.method != Method::CONNECT {
            let connection = open.observed().info.id;
            let transport = Transport::Http1 { connection };
            if let Err(rejection) = upgrade::check_transfer_coding(&parts.headers)
                .and_then(|()| self.admit_plain_http(&mut parts, transport))
            {
                let mut response = self.reject(rejection, HandshakeKind::Http1, &parts);
                // Else the end of the request is unknown.
                if rejection == Rejection::TransferCoding || self.lacks_tls {
                    close_after(&mut response);
                }
                return response;
            }
            return match &self.fallback {
                Some(fallback) => {
                    let request = Request::from_parts(parts, Body::h1(body));
                    http_service::call(fallback, request).await
                }
                None => status(StatusCode::NOT_FOUND),
            };
        }
        let mut response = self.on_http1_upgrade(parts, open).await;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // What the client sent for the WebSocket would be parsed as requests (RFC
            // 9931).
            close_after(&mut response);
        }
        response
    }

    async fn on_http1_upgrade(
        &self,
        mut parts: request::Parts,
        open: Arc<OpenConnection>,
    ) -> Response<ResponseBody> {
        let check = || {
            self.check_tls()?;
            let opening = upgrade::check_request(&parts)?;
            self.admit(&opening)?;
            Ok(opening)
        };
        let opening = match check() {
            Ok(opening) => opening,
            Err(rejection) => return self.reject(rejection, HandshakeKind::Http1, &parts),
        };
        let Some(on) = parts.extensions.remove::<hyper::upgrade::OnUpgrade>() else {
            return status(StatusCode::INTERNAL_SERVER_ERROR);
        };
        let (respond, response) = oneshot::channel();
        let responder = Responder::Http1 {
            respond,
            on,
            registry: self.registry.clone(),
            from: UpgradedFrom {
                connection: open,
                _in_use: self.slot.begin(),
            },
        };
        self.on_websocket(parts, opening, responder);
        // 500 if the handler drops the request unanswered.
        response
            .await
            .unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR))
    }

    fn on_websocket(&self, parts: request::Parts, opening: ParsedRequest, responder: Responder) {
        let (peer, settings) = (self.peer.clone(), self.settings.clone());
        let request = WebSocketRequest::new(peer, settings, parts, opening, responder);
        (self.on_upgrade)(request);
    }

    /// Checks the host and the origin of a WebSocket request.
    fn admit(&self, opening: &ParsedRequest) -> Result<(), Rejection> {
        opening.check_authority(&self.settings.hosts, self.default_port())?;
        opening.check_origin(&self.settings.origins)
    }

    /// Checks the host of a plain HTTP request, and adds the extensions that a service
    /// sees.
    fn admit_plain_http(
        &self,
        parts: &mut request::Parts,
        transport: Transport,
    ) -> Result<(), Rejection> {
        self.check_tls()?;
        // RFC 9113 §8.3.1 leaves other schemes to gateways that translate them.
        if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
            return Err(Rejection::Malformed("the scheme is neither http nor https"));
        }
        let hosts = &self.settings.hosts;
        hosts.check_request(parts, self.default_port())?;
        parts.extensions.insert(transport);
        parts.extensions.insert(self.peer.clone());
        Ok(())
    }

    fn default_port(&self) -> u16 {
        authority::default_port(self.peer.tls.is_some())
    }
}

/// Makes this response the last of its HTTP/1.1 connection (RFC 9112 §9.6).
fn close_after(response: &mut Response<ResponseBody>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().append(CONNECTION, close);
}
