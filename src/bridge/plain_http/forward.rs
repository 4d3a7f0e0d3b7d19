//! Which upstream is asked for a plain HTTP request, in which words.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TE, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, request};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::Ticket;
use super::body::{Progress, Upload};
use super::connections::{Connection, Place, Unsent, Wanted, authenticates};
use crate::bridge::access::Side;
use crate::bridge::forwarded::{From, View};
use crate::bridge::handshake::TRIES;
use crate::bridge::verdict::Verdict;
use crate::bridge::{NoUpstream, Route, Timeouts, Upstream, headers, refusal};
use crate::error::{Error, Timeout};
use crate::handshake::{HandshakeError, HandshakeKind, HostPort, Target};
use crate::server::Peer;
use crate::transport::Transport;

/// A client's request, as its upstream is to see it.
pub(super) struct Asked {
    method: Method,
    path: String,
    authority: HostPort,
    client: IpAddr,
    via: HandshakeKind,
    fields: HeaderMap,
    takes_trailers: bool,
    wanted: Wanted,
    back: Back,
}

/// What an answer is turned back by, to what its client knows.
pub(super) struct Back {
    pub(super) cut: String,
    pub(super) view: View,
}

/// An answer, whose body is still to come.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    pub(super) connection: Connection,
    pub(super) back: Back,
}

/// Why one upstream gave no answer.
enum Failed {
    Upstream(Error, Verdict),
    /// Nothing is left of the request to ask another one with.
    Spent(Error, Verdict),
    /// The client did not send its body in time, or not to its end.
    Client(StatusCode),
}

impl Asked {
    pub(super) fn of(
        parts: request::Parts,
        upload: &Upload,
        peer: &Peer,
        route: &Route,
        authority: HostPort,
    ) -> Self {
        let via = super::via(&parts);
        let client = route.counted_as(&parts.headers, peer.addr().ip());
        let path = parts.uri.path_and_query().cloned();
        let path = path.as_ref().map_or("/", |path| path.as_str());
        let from = From {
            client: peer.addr().ip(),
            secure: peer.tls().is_some(),
            host: &authority,
            trusted: route.trusts_forwarded(),
            families: route.families(),
            prefix: route.cut_off(path),
        };
        let client_connection = user(&parts, route);
        let (mut fields, view, takes_trailers) = headers::plain_http(parts.headers, from);
        headers::add_via(&mut fields, parts.version, route.via());
        Self {
            path: route.path_for_upstream(path).to_owned(),
            back: Back {
                cut: route.cut_off(path).to_owned(),
                view,
            },
            wanted: Wanted {
                client: client_connection,
                authenticates: authenticates(&fields),
                // RFC 9110 §9.2.2
                is_repeatable: parts.method.is_idempotent() && upload.is_empty(),
                keep: route.timeouts().pool_idle,
            },
            method: parts.method,
            client,
            authority,
            via,
            fields,
            takes_trailers,
        }
    }

    /// The request for one upstream, over HTTP/1.1 or HTTP/2.
    fn request(
        &self,
        route: &Route,
        target: &Target,
        upload: Upload,
        http2: bool,
    ) -> Request<Upload> {
        let mut fields = self.fields.clone();
        route.request_headers().apply(&mut fields);
        if self.takes_trailers {
            fields.insert(TE, HeaderValue::from_static("trailers"));
        }
        let uri = if http2 {
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

    /// What HTTP/1.1 says in fields.
    fn write_http1(&self, fields: &mut HeaderMap, target: &Target, upload: &Upload) -> Uri {
        if let Ok(host) = HeaderValue::from_str(target.authority()) {
            fields.insert(HOST, host);
        }
        if self.takes_trailers {
            fields.insert(CONNECTION, HeaderValue::from_static("te"));
        }
        if upload.is_empty() {
            // Servers may insist (RFC 9110 §8.6).
            if matches!(self.method, Method::POST | Method::PUT | Method::PATCH) {
                fields.insert(CONTENT_LENGTH, HeaderValue::from(0));
            }
        } else if upload.size_hint().exact().is_none() {
            // Said here because hyper takes GET and HEAD to have no body.
            fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        target.path_and_query().parse().unwrap_or_default()
    }
}

/// The client's connection, where it is one user's: that of a proxy, and of
/// HTTP/2, which a proxy may speak as well, carries requests of many.
fn user(parts: &request::Parts, route: &Route) -> Option<u64> {
    match parts.extensions.get::<Transport>() {
        Some(Transport::Http1 { connection }) if !route.trusts_forwarded() => Some(*connection),
        _ => None,
    }
}

/// Asks upstreams, one after the other as long as they cannot have seen the
/// request.
pub(super) async fn ask(
    route: &Route,
    asked: Asked,
    upload: Upload,
    ticket: &mut Ticket,
) -> Result<Answered, Response<Bytes>> {
    let mut upload = Some(upload);
    let mut tried = Vec::new();
    let mut last = None;
    for _ in 0..TRIES {
        let picked = route.pick_other(&asked.fields, asked.client, &tried);
        let lease = match picked {
            Ok(lease) => lease,
            Err(none) => {
                return Err(last.unwrap_or_else(|| {
                    ticket.access.because(none);
                    refusal::no_upstream(none)
                }));
            }
        };
        let upstream = lease.upstream().clone();
        ticket.access.tries(&upstream);
        let failed = match ask_one(route, &upstream, &asked, &mut upload, ticket).await {
            Ok((response, connection)) => {
                lease.judge(Verdict::Answered(response.status()));
                ticket.lease = Some(lease);
                return Ok(Answered {
                    response,
                    connection,
                    back: asked.back,
                });
            }
            Err(failed) => failed,
        };
        let (error, verdict, is_last) = match failed {
            Failed::Client(status) => {
                ticket
                    .access
                    .blame(Side::Client, "the request did not come to its end");
                return Err(refusal::own(
                    status,
                    "the request did not come to its end\n",
                ));
            }
            Failed::Upstream(error, verdict) => (error, verdict, false),
            Failed::Spent(error, verdict) => (error, verdict, true),
        };
        ticket.access.blame(Side::Upstream, &error);
        tracing::warn!(%upstream, %error, "no answer from an upstream");
        lease.judge(verdict);
        let mut refusal = refusal::upstream(error, asked.via, route.via());
        route.response_headers().apply(refusal.headers_mut());
        if is_last {
            return Err(refusal);
        }
        last = Some(refusal);
        tried.push(lease);
    }
    Err(last.unwrap_or_else(|| refusal::no_upstream(NoUpstream)))
}

/// Asks one upstream, a second time if a connection turns out to be used up.
/// `upload` is left where nobody has seen it.
async fn ask_one(
    route: &Route,
    upstream: &Upstream,
    asked: &Asked,
    upload: &mut Option<Upload>,
    ticket: &Ticket,
) -> Result<(Response<Incoming>, Connection), Failed> {
    let target: Target = upstream
        .url(&asked.path)
        .parse()
        .map_err(|error| Failed::of(HandshakeError::Url(error).into()))?;
    let target = match route.host_for(upstream, &asked.authority) {
        Some(host) => target.with_authority(&host),
        None => target,
    };
    let place = Place::of(
        route.client().unwrap_or(&ticket.bridge.client),
        upstream,
        &target,
    );
    let mut anew = false;
    loop {
        let mut connection = connect(route, &place, &target, asked, anew, ticket).await?;
        let Some(body) = upload.take() else {
            return Err(Failed::Spent(Error::Closed, Verdict::Unknown));
        };
        let request = asked.request(route, &target, body, connection.is_http2());
        let sending = connection.send(request, &asked.wanted);
        let sent = in_time(sending, &ticket.progress, route.timeouts()).await?;
        let Unsent {
            error,
            mut verdict,
            request,
        } = match sent {
            // Nobody asked it to switch protocols.
            Ok(response) if response.status().is_informational() => {
                let error = HandshakeError::Status(response.status());
                return Err(Failed::Spent(error.into(), Verdict::Unknown));
            }
            Ok(response) => {
                return Ok((response, connection));
            }
            Err(unsent) => unsent,
        };
        if ticket.progress.client_broke() {
            return Err(Failed::Client(StatusCode::BAD_REQUEST));
        }
        if matches!(
            error,
            Error::Handshake(
                HandshakeError::RequestTooLarge(..) | HandshakeError::AnswerTooLarge(..)
            )
        ) {
            // Nor would it be smaller for another.
            return Err(Failed::Spent(error, verdict));
        }
        *upload = request.map(Request::into_body);
        if upload.is_none() && !ticket.progress.is_sent() {
            // It may have been the body that it did not bear.
            verdict = Verdict::Unknown;
        }
        if upload.is_none() && connection.is_reused && asked.wanted.is_repeatable {
            *upload = Some(Upload::again(ticket.progress.clone()));
        }
        if upload.is_none() {
            return Err(Failed::Spent(error, verdict));
        }
        if !connection.is_reused {
            return Err(Failed::Upstream(error, verdict));
        }
        anew = true;
    }
}

impl Failed {
    /// There was no connection.
    fn of(error: Error) -> Self {
        let verdict = Verdict::of(&error);
        Self::Upstream(error, verdict)
    }
}

async fn connect(
    route: &Route,
    place: &Place,
    target: &Target,
    asked: &Asked,
    anew: bool,
    ticket: &Ticket,
) -> Result<Connection, Failed> {
    let connections = &ticket.bridge.connections;
    let taken = connections.take(place, target, &asked.wanted, anew);
    match timeout(route.timeouts().connect, taken).await {
        Ok(taken) => taken.map_err(Failed::of),
        Err(_) => Err(Failed::of(Error::Timeout(Timeout::Connect))),
    }
}

/// Awaits an answer for as long as the request goes on, and then for as long as
/// whoever is waited for has time, which may be noticed as late again.
async fn in_time<F: Future>(
    sending: F,
    progress: &Progress,
    limits: Timeouts,
) -> Result<F::Output, Failed> {
    let mut sending = std::pin::pin!(sending);
    let mut answered = async |limit| match limit {
        Some(limit) => timeout(limit, &mut sending).await.ok(),
        None => Some((&mut sending).await),
    };
    loop {
        // The client is given its time first: whether it is the one who is
        // waited for shows only then.
        if !progress.is_sent() {
            if let Some(sent) = answered(Some(limits.request_body)).await {
                return Ok(sent);
            }
            if progress.has_moved() {
                continue;
            }
            if progress.awaits_client() {
                return Err(Failed::Client(StatusCode::REQUEST_TIMEOUT));
            }
        }
        if let Some(sent) = answered(limits.response).await {
            return Ok(sent);
        }
        if !progress.has_moved() {
            let error = Error::Timeout(Timeout::Handshake);
            return Err(Failed::Spent(error, Verdict::Unknown));
        }
    }
}
