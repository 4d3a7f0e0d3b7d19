//! Forwards a plain HTTP request to an upstream and awaits the head of its
//! response.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TE, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, request};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::InFlight;
use super::authorization::authorize;
use super::connections::{Connection, PoolKey, Requirements, SendFailure};
use super::upload::{Progress, Upload};
use crate::bridge::access::Side;
use crate::bridge::connection_auth::authenticates_connection;
use crate::bridge::forward_auth::Authorizing;
use crate::bridge::forwarded::{ClientView, Received};
use crate::bridge::pool::KeySource;
use crate::bridge::request_ids::RequestIds;
use crate::bridge::retry::Attempts;
use crate::bridge::verdict::Verdict;
use crate::bridge::{Route, Timeouts, Upstream, headers, rejection};
use crate::error::{Chain, Error, Timeout};
use crate::handshake::{HandshakeError, HandshakeKind, HostPort, Target};
use crate::server::Peer;
use crate::transport::Transport;

/// A client's request, as it is forwarded.
pub(super) struct ForwardedRequest {
    method: Method,
    /// The client's path and query.
    path_and_query: String,
    authority: HostPort,
    client: IpAddr,
    kind: HandshakeKind,
    fields: HeaderMap,
    accepts_trailers: bool,
    requirements: Requirements,
    mapping: ResponseMapping,
}

/// What is needed to map locations in the response to the client's names.
pub(super) struct ResponseMapping {
    pub(super) removed_prefix: String,
    pub(super) view: ClientView,
}

/// An upstream's response, whose body is still to be read.
pub(super) struct UpstreamResponse {
    pub(super) response: Response<Incoming>,
    pub(super) connection: Connection,
    pub(super) mapping: ResponseMapping,
}

/// Why one upstream sent no response.
enum ForwardError {
    /// Nothing of the request was sent, so another upstream may be tried.
    Unsent(Error, Verdict),
    /// The upstream may have received the request.
    Sent(Error, Verdict),
    /// The client did not send all of its body, or not in time.
    Client(StatusCode),
}

impl ForwardedRequest {
    pub(super) fn new(
        parts: request::Parts,
        upload: &Upload,
        peer: &Peer,
        route: &Route,
        authority: HostPort,
        ids: &RequestIds,
    ) -> Self {
        let kind = super::handshake_kind(&parts);
        let client = route.client_address(&parts.headers, peer.addr().ip());
        let path = parts.uri.path_and_query().cloned();
        let path = path.as_ref().map_or("/", |path| path.as_str());
        let received = Received {
            client: peer.addr().ip(),
            is_secure: peer.tls().is_some(),
            host: &authority,
            is_trusted: route.trusts_forwarded(),
            families: route.families(),
            removed_prefix: route.removed_prefix(path),
            client_cert: route.presented(peer.tls()),
        };
        let client_connection = single_user_connection(&parts, route);
        let (mut fields, view, accepts_trailers) = headers::plain_http(parts.headers, received);
        headers::add_via(&mut fields, parts.version, route.via());
        route.write_ids(ids, &mut fields);
        Self {
            path_and_query: path.to_owned(),
            mapping: ResponseMapping {
                removed_prefix: route.removed_prefix(path).to_owned(),
                view,
            },
            requirements: Requirements {
                client: client_connection,
                authenticates: authenticates_connection(&fields),
                // RFC 9110 §9.2.2
                is_repeatable: parts.method.is_idempotent() && upload.is_empty(),
                keep: route.timeouts().pool_idle,
            },
            method: parts.method,
            client,
            authority,
            kind,
            fields,
            accepts_trailers,
        }
    }

    /// Asks the route's server for [forward authentication](crate::bridge::ForwardAuth), if
    /// it has one. Fails with the response to the client.
    pub(super) async fn authorize(
        &mut self,
        route: &Route,
        in_flight: &mut InFlight,
    ) -> Result<(), Box<Response<Bytes>>> {
        let request = Authorizing {
            method: &self.method,
            path_and_query: &self.path_and_query,
            view: &self.mapping.view,
            subprotocols: &[],
            fields: &mut self.fields,
        };
        authorize(&in_flight.bridge, route, request, &mut in_flight.access).await
    }

    /// The request to one upstream.
    fn to_request(
        &self,
        route: &Route,
        target: &Target,
        upload: Upload,
        is_http2: bool,
    ) -> Request<Upload> {
        let mut fields = self.fields.clone();
        route.request_headers().apply(&mut fields);
        if self.accepts_trailers {
            fields.insert(TE, HeaderValue::from_static("trailers"));
        }
        let uri = if is_http2 {
            target.http_uri()
        } else {
            self.write_http1(&mut fields, target, &upload)
        };
        let mut request = Request::new(upload);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = fields;
        request
    }

    /// Writes the fields that only HTTP/1.1 has. Returns the request target.
    fn write_http1(&self, fields: &mut HeaderMap, target: &Target, upload: &Upload) -> Uri {
        if let Ok(host) = HeaderValue::from_str(target.authority()) {
            fields.insert(HOST, host);
        }
        if self.accepts_trailers {
            fields.insert(CONNECTION, HeaderValue::from_static("te"));
        }
        if upload.is_empty() {
            // Some servers require it (RFC 9110 §8.6).
            if matches!(self.method, Method::POST | Method::PUT | Method::PATCH) {
                fields.insert(CONTENT_LENGTH, HeaderValue::from(0));
            }
        } else if upload.size_hint().exact().is_none() {
            // hyper assumes that GET and HEAD have no body.
            fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        target.path_and_query().parse().unwrap_or_default()
    }
}

/// The client's connection, if all requests on it come from one user. A proxy's
/// connection, and any HTTP/2 connection, which may be a proxy's, carries requests
/// of several users.
fn single_user_connection(parts: &request::Parts, route: &Route) -> Option<u64> {
    match parts.extensions.get::<Transport>() {
        Some(Transport::Http1 { connection }) if !route.trusts_forwarded() => Some(*connection),
        _ => None,
    }
}

/// Forwards a request, trying other upstreams as
/// [`retry`](crate::bridge::retry) allows. Fails with the response to the client.
pub(super) async fn forward(
    route: &Route,
    request: ForwardedRequest,
    upload: Upload,
    in_flight: &mut InFlight,
) -> Result<UpstreamResponse, Box<Response<Bytes>>> {
    let mut upload = Some(upload);
    let source = KeySource {
        path_and_query: &request.path_and_query,
        fields: &request.fields,
        client: request.client,
    };
    let mut attempts = Attempts::new(route, source);
    loop {
        let lease = attempts.next(&mut in_flight.access)?;
        let upstream = lease.upstream();
        let failed = match forward_to(route, upstream, &request, &mut upload, in_flight).await {
            Ok((response, connection)) => {
                lease.judge(Verdict::Answered(response.status()));
                in_flight.lease = Some(lease);
                return Ok(UpstreamResponse {
                    response,
                    connection,
                    mapping: request.mapping,
                });
            }
            Err(failed) => failed,
        };
        let (error, verdict, may_retry) = match failed {
            ForwardError::Client(status) => {
                let text = "incomplete request body";
                in_flight.access.blame(Side::Client, text);
                return Err(Box::new(rejection::plain(status, text)));
            }
            ForwardError::Unsent(error, verdict) => (error, verdict, true),
            ForwardError::Sent(error, verdict) => (error, verdict, false),
        };
        in_flight.access.blame(Side::Upstream, Chain(&error));
        tracing::warn!(%upstream, error = %Chain(&error), "upstream request failed");
        let mut response = rejection::from_error(error, request.kind, route.via());
        route.response_headers().apply(response.headers_mut());
        attempts.failed(lease, verdict, may_retry, response)?;
    }
}

/// Forwards a request to one upstream; a second time, on a new connection, if the
/// first one had been closed by the server. `upload` still has the body
/// afterwards if nothing of the request was sent.
async fn forward_to(
    route: &Route,
    upstream: &Upstream,
    forwarded: &ForwardedRequest,
    upload: &mut Option<Upload>,
    in_flight: &InFlight,
) -> Result<(Response<Incoming>, Connection), ForwardError> {
    let requirements = &forwarded.requirements;
    let target: Target = upstream
        .url(route.path_for_upstream(&forwarded.path_and_query))
        .parse()
        .map_err(|error| ForwardError::no_connection(HandshakeError::Url(error).into()))?;
    let target = match route.authority_for(upstream, &forwarded.authority) {
        Some(authority) => target.with_authority(&authority),
        None => target,
    };
    let client = route.client().unwrap_or(&in_flight.bridge.client);
    let key = PoolKey::new(client, upstream, &target);
    let mut is_new = false;
    loop {
        let mut connection = connect(route, &key, &target, requirements, is_new, in_flight).await?;
        let Some(body) = upload.take() else {
            return Err(ForwardError::Sent(Error::Closed, Verdict::Unknown));
        };
        let request = forwarded.to_request(route, &target, body, connection.is_http2());
        let sending = connection.send(request, requirements);
        let sent = within_timeouts(sending, &in_flight.progress, route.timeouts()).await?;
        let SendFailure {
            error,
            mut verdict,
            request,
        } = match sent {
            // The request did not ask for another protocol.
            Ok(response) if response.status().is_informational() => {
                let error = HandshakeError::Status(response.status());
                return Err(ForwardError::Sent(error.into(), Verdict::Unknown));
            }
            Ok(response) => return Ok((response, connection)),
            Err(failure) => failure,
        };
        if in_flight.progress.client_broke() {
            return Err(ForwardError::Client(StatusCode::BAD_REQUEST));
        }
        if matches!(
            error,
            Error::Handshake(
                HandshakeError::RequestTooLarge(..)
                    | HandshakeError::AnswerTooLarge(..)
                    | HandshakeError::TooManyFields(..)
                    | HandshakeError::TransferCoding
            )
        ) {
            // It would be the same for another upstream.
            return Err(ForwardError::Sent(error, verdict));
        }
        *upload = request.map(Request::into_body);
        if upload.is_none() && !in_flight.progress.is_complete() {
            // The upstream may have closed because of the body.
            verdict = Verdict::Unknown;
        }
        if upload.is_none() && connection.is_reused && requirements.is_repeatable {
            *upload = Some(Upload::empty(in_flight.progress.clone()));
        }
        if upload.is_none() {
            return Err(ForwardError::Sent(error, verdict));
        }
        if !connection.is_reused {
            return Err(ForwardError::Unsent(error, verdict));
        }
        is_new = true;
    }
}

impl ForwardError {
    fn no_connection(error: Error) -> Self {
        let verdict = Verdict::of(&error);
        Self::Unsent(error, verdict)
    }
}

async fn connect(
    route: &Route,
    key: &PoolKey,
    target: &Target,
    requirements: &Requirements,
    is_new: bool,
    in_flight: &InFlight,
) -> Result<Connection, ForwardError> {
    let connections = &in_flight.bridge.connections;
    let connecting = connections.get(key, target, requirements, is_new);
    match timeout(route.timeouts().connect, connecting).await {
        Ok(connected) => connected.map_err(ForwardError::no_connection),
        Err(_) => Err(ForwardError::no_connection(Error::Timeout(
            Timeout::Connect,
        ))),
    }
}

/// Awaits a response. While the body makes progress no timeout applies; then
/// `request_body` applies to the client, or `response` to the upstream, whichever
/// is awaited. Either may expire up to one timeout late.
async fn within_timeouts<F: Future>(
    sending: F,
    progress: &Progress,
    limits: Timeouts,
) -> Result<F::Output, ForwardError> {
    let mut sending = std::pin::pin!(sending);
    let mut response_within = async |limit| match limit {
        Some(limit) => timeout(limit, &mut sending).await.ok(),
        None => Some((&mut sending).await),
    };
    loop {
        // The client's timeout comes first: only after it is known whether the
        // client is the side that is awaited.
        if !progress.is_complete() {
            if let Some(sent) = response_within(Some(limits.request_body)).await {
                return Ok(sent);
            }
            if progress.has_moved() {
                continue;
            }
            if progress.awaits_client() {
                return Err(ForwardError::Client(StatusCode::REQUEST_TIMEOUT));
            }
        }
        if let Some(sent) = response_within(limits.response).await {
            return Ok(sent);
        }
        if !progress.has_moved() {
            let error = Error::Timeout(Timeout::Handshake);
            return Err(ForwardError::Sent(error, Verdict::Unknown));
        }
    }
}
