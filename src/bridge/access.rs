//! One line for each request, for a socket or an ordinary one, at its end.
//!
//! The line always gives the reason and the party at fault, one value a key;
//! `docs/bridge.md` has the table of its keys. Values are what they are: how they
//! are quoted is for the subscriber to decide.
//!
//! | what ends a request | `closed_by` | `closed` |
//! |---|---|---|
//! | a Close frame, an end without one | the side that ended it first | `close`, `end` |
//! | a reset, a connection that breaks | that side | `reset` |
//! | nothing, where an end was due | the side that had begun to end it | `silence` |
//! | the end of the server's grace | bridge | `reset` |
//! | no route, an origin or a host that is not allowed, a limit | bridge | `refused` |
//! | an upstream's own status, or that it cannot be reached | upstream | `refused` |
//! | a body that does not come to its end | client | `refused` |
//! | the client does not wait | client | `gone` |
//! | a plain HTTP request is answered, to the end | upstream | `answered` |

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ORIGIN, USER_AGENT};
use http::{HeaderMap, Method, StatusCode, Version, request};

use super::{Route, Upstream, interned};
use crate::frame::CloseCode;
use crate::handshake::HostPort;
use crate::metrics::REPORT;
use crate::server::{Peer, WebSocketRequest};
use crate::transport::Transport;

/// Is told of each request, to be counted; see
/// [`Bridge::observe`](crate::bridge::Bridge::observe).
///
/// Called from the tasks that move bytes: add to an atomic or two and return.
pub trait BridgeObserver: Send + Sync + 'static {
    /// A client that asked for a socket was answered: both sides are open, or it was refused, as the
    /// [status](AccessRecord::status) says.
    fn on_handshake(&self, access: &AccessRecord) {
        let _ = access;
    }

    /// So many bytes have passed since this was called last: `up` from the
    /// client to the upstream, `down` from the upstream to the client. Told
    /// while a socket or a body is on its way, about once a second, and before
    /// its [end](Self::on_websocket_end).
    fn on_bytes(&self, access: &AccessRecord, up: u64, down: u64) {
        let _ = (access, up, down);
    }

    /// It is over, and [`AccessRecord::closed`] says how. Told of refused requests,
    /// too.
    fn on_websocket_end(&self, access: &AccessRecord) {
        let _ = access;
    }

    /// An ordinary request is over, answered or not, as [`AccessRecord::closed`]
    /// says.
    fn on_request_end(&self, access: &AccessRecord) {
        let _ = access;
    }
}

/// A party to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Side {
    /// The one that asked for it.
    Client,
    /// The server behind the bridge.
    Upstream,
    /// The bridge in between.
    Bridge,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Bridge => "bridge",
        })
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The party that ended it first, and its code: 1005 where the Close frame
    /// had none, 1006 where there was no Close frame (RFC 6455 §7.1.5).
    By(Side, CloseCode),
    /// A side was reset, or its connection broke; the bridge's own, where the
    /// server cut it at the end of its grace.
    Broken(Side),
    /// This party had begun to end it, and then nothing came.
    TimedOut(Side),
    /// A plain HTTP request was answered by its upstream, to the end.
    Answered,
    /// The request was refused: by the bridge, by the upstream (which may be out
    /// of reach), or for what the client failed to send.
    Refused(Side),
    /// The client did not wait: for the answer, or for all of its body.
    Gone,
}

impl Outcome {
    /// The party that ended it.
    #[must_use]
    pub fn by(self) -> Side {
        match self {
            Self::By(party, _)
            | Self::Broken(party)
            | Self::TimedOut(party)
            | Self::Refused(party) => party,
            Self::Gone => Side::Client,
            Self::Answered => Side::Upstream,
        }
    }

    /// The close code, 1006 where there was a socket without a Close frame.
    #[must_use]
    pub fn code(self) -> Option<u16> {
        match self {
            Self::By(_, code) => Some(code.into()),
            Self::Broken(_) | Self::TimedOut(_) => Some(CloseCode::ABNORMAL.into()),
            Self::Answered | Self::Refused(_) | Self::Gone => None,
        }
    }

    /// In one word.
    #[must_use]
    pub fn how(self) -> &'static str {
        match self {
            Self::By(_, CloseCode::ABNORMAL) => "end",
            Self::By(..) => "close",
            Self::Broken(_) => "reset",
            Self::TimedOut(_) => "silence",
            Self::Answered => "answered",
            Self::Refused(_) => "refused",
            Self::Gone => "gone",
        }
    }

    /// The reason, where nothing more is known.
    fn reason(self) -> &'static str {
        match self {
            Self::By(_, CloseCode::ABNORMAL) => "the stream ended without a Close frame",
            Self::By(..) => "closed by a Close frame",
            Self::Broken(Side::Bridge) => "cut",
            Self::Broken(_) => "the connection broke",
            Self::TimedOut(_) => "nothing came for too long",
            Self::Answered => "answered",
            Self::Refused(_) => "refused",
            Self::Gone => "the client did not wait",
        }
    }
}

/// Bytes that have passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moved {
    up: u64,
    down: u64,
}

/// What is told of a request, in a line of the target
/// `h2ws::access` and to a [`BridgeObserver`].
pub struct AccessRecord {
    began: Instant,
    peer: SocketAddr,
    transport: Transport,
    /// Where trusted proxies say that the client is.
    client: IpAddr,
    /// Of a plain HTTP request.
    method: Option<Method>,
    authority: Arc<str>,
    /// Without its query, which may hold secrets.
    path: Box<str>,
    origin: Option<Arc<str>>,
    user_agent: Option<Arc<str>>,
    route: Option<Arc<str>>,
    upstream: Option<Arc<str>>,
    address: Option<SocketAddr>,
    pub(super) upstream_version: Option<Version>,
    /// The party to blame for a refusal.
    blamed: Side,
    reason: Option<Box<str>>,
    pub(super) status: Option<StatusCode>,
    moved: Moved,
    /// What of it the observer knows, and since when.
    told: Moved,
    told_at: Instant,
    is_open: bool,
    closed: Option<Outcome>,
    observer: Option<Arc<dyn BridgeObserver>>,
}

impl AccessRecord {
    pub(super) fn begin(
        request: &WebSocketRequest,
        observer: Option<Arc<dyn BridgeObserver>>,
    ) -> Self {
        let fields = (request.path(), request.headers());
        let (peer, transport) = (request.peer_addr(), request.transport());
        let mut access = Self::new(peer, transport, fields, observer);
        access.asks(request.authority());
        access
    }

    /// Of a plain HTTP request, whose authority is yet to be found out.
    pub(super) fn of_ordinary(
        parts: &request::Parts,
        peer: &Peer,
        observer: Option<Arc<dyn BridgeObserver>>,
    ) -> Self {
        let transport = parts.extensions.get().copied().unwrap_or(Transport::Io);
        let fields = (parts.uri.path(), &parts.headers);
        let mut access = Self::new(peer.addr(), transport, fields, observer);
        access.method = Some(parts.method.clone());
        access
    }

    fn new(
        peer: SocketAddr,
        transport: Transport,
        (path, fields): (&str, &HeaderMap),
        observer: Option<Arc<dyn BridgeObserver>>,
    ) -> Self {
        let began = Instant::now();
        Self {
            began,
            peer,
            transport,
            client: peer.ip(),
            method: None,
            authority: interned::shared(""),
            path: path.into(),
            origin: fields.get(ORIGIN).map(interned::of_field),
            user_agent: fields.get(USER_AGENT).map(interned::of_field),
            route: None,
            upstream: None,
            address: None,
            upstream_version: None,
            blamed: Side::Bridge,
            reason: None,
            status: None,
            moved: Moved::default(),
            told: Moved::default(),
            told_at: began,
            is_open: false,
            closed: None,
            observer,
        }
    }

    /// The other end of the client's connection.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The client's address as trusted proxies give it
    /// ([`trust_forwarded`](crate::bridge::RouteBuilder::trust_forwarded)); the peer's otherwise.
    #[must_use]
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// The beginning of the request's `origin`, if it had one.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// The beginning of the request's `user-agent`, if it had one.
    #[must_use]
    pub fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }

    /// Why it ended as it [did](Self::closed), once it has, in words for an operator.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        let closed = self.closed?;
        Some(self.reason.as_deref().unwrap_or(closed.reason()))
    }

    /// The method of a plain HTTP request; none for a socket.
    #[must_use]
    pub fn method(&self) -> Option<&Method> {
        self.method.as_ref()
    }

    /// The name of the route that it took, if there was one.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        self.route.as_deref()
    }

    /// The URL of the upstream that was asked last.
    #[must_use]
    pub fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref()
    }

    /// The version of HTTP in which the upstream answered the request for a
    /// socket.
    #[must_use]
    pub fn upstream_version(&self) -> Option<Version> {
        self.upstream_version
    }

    /// What the client was answered, if it was there to be.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Bytes from the client to the upstream, so far.
    #[must_use]
    pub fn bytes_up(&self) -> u64 {
        self.moved.up
    }

    /// Bytes from the upstream to the client, so far.
    #[must_use]
    pub fn bytes_down(&self) -> u64 {
        self.moved.down
    }

    /// Since the request came.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn closed(&self) -> Option<Outcome> {
        self.closed
    }

    /// There is a socket now, or there will be none.
    pub(super) fn answered(&mut self, is_open: bool) {
        self.is_open = is_open;
        if let Some(observer) = &self.observer {
            observer.on_handshake(self);
        }
    }

    /// So many bytes have passed in all. To be called where the socket pauses,
    /// not for each chunk: looks at the clock if there is something to tell.
    pub(super) fn moved(&mut self, up: u64, down: u64) {
        self.moved = Moved { up, down };
        let is_news = self.observer.is_some() && self.moved != self.told;
        if is_news && self.told_at.elapsed() >= REPORT {
            self.told_at = Instant::now();
            self.report();
        }
    }

    fn report(&mut self) {
        let (now, before) = (self.moved, std::mem::replace(&mut self.told, self.moved));
        if let Some(observer) = self.observer.as_ref().filter(|_| now != before) {
            observer.on_bytes(self, now.up - before.up, now.down - before.down);
        }
    }

    /// The host that was asked for.
    pub(super) fn asks(&mut self, authority: &HostPort) {
        self.authority = interned::shared(&authority.to_string());
    }

    /// The route that it takes, which knows whether to believe proxies.
    pub(super) fn takes(&mut self, route: &Route, fields: &HeaderMap) {
        self.route = Some(interned::shared(route.name()));
        self.client = route.counted_as(fields, self.peer.ip());
    }

    /// The upstream that is asked now.
    pub(super) fn tries(&mut self, upstream: &Upstream) {
        self.upstream = Some(interned::shared(&upstream.to_string()));
        self.address = upstream.address();
    }

    /// The party to blame for a refusal, and the reason.
    pub(super) fn blame(&mut self, party: Side, why: impl fmt::Display) {
        self.blamed = party;
        self.because(why);
    }

    /// The reason for the end.
    pub(super) fn because(&mut self, why: impl fmt::Display) {
        self.reason = Some(why.to_string().into());
    }

    /// It is refused by the party that is blamed.
    pub(super) fn refused(&self) -> Outcome {
        Outcome::Refused(self.blamed)
    }

    pub(super) fn end(mut self, closed: Outcome) {
        self.closed = Some(closed);
    }
}

/// The server drops a request whose client has gone, and cuts sockets at the
/// end of a drain.
impl Drop for AccessRecord {
    fn drop(&mut self) {
        if self.closed.is_none() {
            self.closed = Some(if self.is_open {
                self.because("cut at the end of the grace");
                Outcome::Broken(Side::Bridge)
            } else {
                Outcome::Gone
            });
        }
        self.log();
        self.report();
        match &self.observer {
            Some(observer) if self.method.is_some() => observer.on_request_end(self),
            Some(observer) => observer.on_websocket_end(self),
            None => {}
        }
    }
}

impl AccessRecord {
    fn log(&self) {
        let Some(closed) = self.closed else {
            return;
        };
        let (version, connection, stream) = match self.transport {
            Transport::Http2 { connection, stream } => ("HTTP/2", Some(connection), Some(stream)),
            Transport::Http1 { connection } => ("HTTP/1.1", Some(connection), None),
            _ => ("none", None, None),
        };
        tracing::info!(
            target: "h2ws::access",
            peer = %self.peer,
            client = %self.client,
            version,
            connection,
            stream,
            method = self.method.as_ref().map(Method::as_str),
            authority = &*self.authority,
            path = &*self.path,
            origin = self.origin.as_deref(),
            user_agent = self.user_agent.as_deref(),
            route = self.route.as_deref(),
            upstream = self.upstream.as_deref(),
            address = self.address.map(tracing::field::display),
            upstream_version = self.upstream_version.map(tracing::field::debug),
            status = self.status.map(|status| status.as_u16()),
            bytes_up = self.moved.up,
            bytes_down = self.moved.down,
            milliseconds = self.began.elapsed().as_millis() as u64,
            closed_by = %closed.by(),
            closed = closed.how(),
            code = closed.code().filter(|_| self.method.is_none()),
            reason = self.reason(),
            "{}",
            if self.method.is_some() { "request" } else { "socket" },
        );
    }
}

impl fmt::Debug for AccessRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("peer", &self.peer)
            .field("authority", &self.authority)
            .field("path", &self.path)
            .field("upstream", &self.upstream)
            .field("status", &self.status)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
