//! The access log: one line for each WebSocket and each plain HTTP request, when
//! it ends.
//!
//! Every line names the reason and the side at fault. `docs/bridge.md` documents
//! its keys. Values are passed to the subscriber as they are, which quotes them
//! where its format requires that.
//!
//! | what ends a request | `closed_by` | `closed` |
//! |---|---|---|
//! | a Close frame; the end of a stream without one | the side that ended it first | `close`; `end` |
//! | a reset or a broken connection | that side | `reset` |
//! | a timeout while it is ending | the side that had begun to end it | `timeout` |
//! | the end of the drain timeout | bridge | `reset` |
//! | no route, an origin or host that is not allowed, a limit | bridge | `rejected` |
//! | a rejection by the upstream, an unreachable upstream | upstream | `rejected` |
//! | an incomplete request body | client | `rejected` |
//! | a client that does not wait for the response | client | `gone` |
//! | a complete response to a plain HTTP request | upstream | `answered` |

mod line;
mod observer;
mod outcome;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ORIGIN, USER_AGENT};
use http::{HeaderMap, Method, StatusCode, Version, request};

pub use self::observer::BridgeObserver;
pub(super) use self::outcome::CUT_BY_DRAIN;
pub use self::outcome::{Outcome, Side};

use super::request_ids::RequestIds;
use super::{Route, Upstream, interned};
use crate::handshake::{Extension, HostPort, Negotiated};
use crate::metrics::REPORT;
use crate::server::{Peer, WebSocketRequest};
use crate::transport::Transport;

/// What the two sides agreed on in the opening handshake, as the upstream's response has it.
struct Agreed {
    subprotocol: Option<Arc<str>>,
    extensions: Option<Arc<str>>,
}

/// What was moved in one direction.
#[derive(Clone, Copy)]
pub(super) struct Traffic {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// Numbers of bytes or messages forwarded in either direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct UpAndDown {
    up: u64,
    down: u64,
}

/// Milliseconds since the request was received; at most 49 days. One more than that, which makes
/// `Option<Moment>` no larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment(NonZeroU32);

impl Moment {
    fn now(began: Instant) -> Self {
        let elapsed = u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX);
        Self(NonZeroU32::MIN.saturating_add(elapsed))
    }

    fn milliseconds(self) -> u32 {
        self.0.get() - 1
    }

    fn duration(self) -> Duration {
        Duration::from_millis(self.milliseconds().into())
    }
}

/// The record of one request, which is logged with the target `h2ws::access` and
/// passed to the [`BridgeObserver`].
pub struct AccessRecord {
    began: Instant,
    peer: SocketAddr,
    transport: Transport,
    /// As reported by trusted proxies.
    client: IpAddr,
    /// `None` for a WebSocket.
    method: Option<Method>,
    authority: Arc<str>,
    /// Without the query, which may contain secrets.
    path: Box<str>,
    origin: Option<Arc<str>>,
    user_agent: Option<Arc<str>>,
    route: Option<Arc<str>>,
    ids: RequestIds,
    upstream: Option<Arc<str>>,
    address: Option<SocketAddr>,
    pub(super) upstream_version: Option<Version>,
    /// `None` if neither was selected.
    agreed: Option<Box<Agreed>>,
    /// The side at fault if the request is rejected.
    blamed: Side,
    reason: Option<Box<str>>,
    status: Option<StatusCode>,
    /// When the response was sent, and when the first byte came from the upstream after it.
    answered_at: Option<Moment>,
    first_byte_at: Option<Moment>,
    bytes: UpAndDown,
    messages: UpAndDown,
    /// The part of `bytes` that was reported to the observer.
    reported: UpAndDown,
    /// Milliseconds from the start, wrapping after 49 days.
    reported_at: u32,
    is_open: bool,
    closed: Option<Outcome>,
    observer: Option<Arc<dyn BridgeObserver>>,
}

impl AccessRecord {
    pub(super) fn for_websocket(
        request: &WebSocketRequest,
        observer: Option<Arc<dyn BridgeObserver>>,
    ) -> Self {
        let fields = (request.path(), request.headers());
        let (peer, transport) = (request.peer_addr(), request.transport());
        let mut access = Self::new(peer, transport, fields, observer);
        access.set_authority(request.authority());
        access
    }

    /// For a plain HTTP request, whose authority is not known yet.
    pub(super) fn for_plain_http(
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
            authority: interned::intern(""),
            path: path.into(),
            origin: fields.get(ORIGIN).map(interned::intern_field),
            user_agent: fields.get(USER_AGENT).map(interned::intern_field),
            route: None,
            ids: RequestIds::default(),
            upstream: None,
            address: None,
            upstream_version: None,
            agreed: None,
            blamed: Side::Bridge,
            reason: None,
            status: None,
            answered_at: None,
            first_byte_at: None,
            bytes: UpAndDown::default(),
            messages: UpAndDown::default(),
            reported: UpAndDown::default(),
            reported_at: 0,
            is_open: false,
            closed: None,
            observer,
        }
    }

    /// Returns the address at the other end of the client's connection.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Returns the client's address as reported by trusted proxies
    /// ([`trust_forwarded`](crate::bridge::RouteBuilder::trust_forwarded)), or else
    /// the peer's address.
    #[must_use]
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// Returns the request's `Origin`, truncated to 256 bytes.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// Returns the request's `User-Agent`, truncated to 256 bytes.
    #[must_use]
    pub fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }

    /// Returns a description of why the request ended as it [did](Self::closed);
    /// `None` before its end.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        let closed = self.closed?;
        Some(self.reason.as_deref().unwrap_or(closed.reason()))
    }

    /// Returns the method of a plain HTTP request; `None` for a WebSocket.
    #[must_use]
    pub fn method(&self) -> Option<&Method> {
        self.method.as_ref()
    }

    /// Returns the name of the request's route, if one matched.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        self.route.as_deref()
    }

    /// Returns the [request ID](crate::bridge::RouteBuilder::request_id), also sent to the
    /// upstream.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        self.ids.request_id().map(|id| id.to_string())
    }

    /// Returns the ID of the [trace](crate::bridge::TraceContext) that the request belongs
    /// to: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> Option<String> {
        self.ids.trace_id().map(|id| id.to_string())
    }

    /// Returns the ID of the bridge's own span in that trace, the parent of the
    /// upstream's: 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> Option<String> {
        self.ids.span_id().map(|id| id.to_string())
    }

    /// Returns the URL of the upstream that was tried last.
    #[must_use]
    pub fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref()
    }

    /// Returns the HTTP version of the upstream's response to a WebSocket
    /// request.
    #[must_use]
    pub fn upstream_version(&self) -> Option<Version> {
        self.upstream_version
    }

    /// Returns the status of the response to the client; `None` if the client
    /// left before.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Returns the number of bytes forwarded from the client to the upstream so
    /// far.
    #[must_use]
    pub fn bytes_up(&self) -> u64 {
        self.bytes.up
    }

    /// Returns the number of bytes forwarded from the upstream to the client so
    /// far.
    #[must_use]
    pub fn bytes_down(&self) -> u64 {
        self.bytes.down
    }

    /// Returns the number of messages that the client has begun to send so far; 0 for a plain HTTP
    /// request and for a `tcp` upstream.
    #[must_use]
    pub fn messages_up(&self) -> u64 {
        self.messages.up
    }

    /// Returns the number of messages that the upstream has begun to send so far.
    #[must_use]
    pub fn messages_down(&self) -> u64 {
        self.messages.down
    }

    /// Returns the subprotocol that was selected.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.agreed.as_ref()?.subprotocol.as_deref()
    }

    /// Returns the extensions that were selected, as in the response to the client.
    #[must_use]
    pub fn extensions(&self) -> Option<&str> {
        self.agreed.as_ref()?.extensions.as_deref()
    }

    /// Returns the time from the request to the response to it.
    #[must_use]
    pub fn answered_after(&self) -> Option<Duration> {
        self.answered_at.map(Moment::duration)
    }

    /// Returns the time from the request to the first byte from the upstream that followed the
    /// response: of a WebSocket's frames, or of a body.
    #[must_use]
    pub fn first_byte_after(&self) -> Option<Duration> {
        self.first_byte_at.map(Moment::duration)
    }

    /// Returns the time since the request was received.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns how the request ended; `None` before its end.
    #[must_use]
    pub fn closed(&self) -> Option<Outcome> {
        self.closed
    }

    /// Records that a WebSocket request was accepted, if `is_open`, or rejected.
    pub(super) fn handshake_done(&mut self, is_open: bool) {
        self.is_open = is_open;
        if let Some(observer) = &self.observer {
            observer.on_handshake(self);
        }
    }

    /// Sets the status of the response, which is sent now.
    pub(super) fn set_status(&mut self, status: StatusCode) {
        self.status = Some(status);
        self.answered_at = Some(Moment::now(self.began));
    }

    /// Sets what the upstream selected.
    pub(super) fn set_agreed(&mut self, agreed: &Negotiated) {
        let subprotocol = agreed.subprotocol.as_deref().map(interned::intern);
        let names: Vec<_> = agreed.extensions.iter().map(Extension::to_string).collect();
        let extensions = (!names.is_empty()).then(|| interned::intern(&names.join(", ")));
        self.agreed = (subprotocol.is_some() || extensions.is_some()).then(|| {
            Box::new(Agreed {
                subprotocol,
                extensions,
            })
        });
    }

    /// Sets what was moved so far in total, as [`set_bytes`](Self::set_bytes) does. Returns what is
    /// new.
    pub(super) fn set_traffic(&mut self, up: Traffic, down: Traffic) -> (Traffic, Traffic) {
        let more = |now: Traffic, messages, bytes| Traffic {
            messages: now.messages - messages,
            bytes: now.bytes - bytes,
        };
        let more_up = more(up, self.messages.up, self.bytes.up);
        let more_down = more(down, self.messages.down, self.bytes.down);
        self.messages = UpAndDown {
            up: up.messages,
            down: down.messages,
        };
        self.set_bytes(up.bytes, down.bytes);
        (more_up, more_down)
    }

    /// Sets the total number of bytes forwarded so far. It may read the clock, so
    /// call it when no more bytes can be moved, not for each chunk.
    pub(super) fn set_bytes(&mut self, up: u64, down: u64) {
        self.bytes = UpAndDown { up, down };
        if down > 0 && self.first_byte_at.is_none() {
            self.first_byte_at = Some(Moment::now(self.began));
        }
        if self.observer.is_none() || self.bytes == self.reported {
            return;
        }
        let now = self.began.elapsed().as_millis() as u32;
        if u128::from(now.wrapping_sub(self.reported_at)) >= REPORT.as_millis() {
            self.reported_at = now;
            self.report();
        }
    }

    fn report(&mut self) {
        let now = self.bytes;
        let before = std::mem::replace(&mut self.reported, now);
        if let Some(observer) = self.observer.as_ref().filter(|_| now != before) {
            observer.on_bytes(self, now.up - before.up, now.down - before.down);
        }
    }

    pub(super) fn set_authority(&mut self, authority: &HostPort) {
        self.authority = interned::intern(&authority.to_string());
    }

    /// Sets the route, which determines whether proxies are trusted.
    pub(super) fn set_route(&mut self, route: &Route, fields: &HeaderMap) {
        self.route = Some(interned::intern(route.name()));
        self.client = route.client_address(fields, self.peer.ip());
        self.ids = route.identify(fields);
    }

    /// The identifiers to send to the upstream.
    pub(super) fn ids(&self) -> &RequestIds {
        &self.ids
    }

    /// Sets the upstream that is tried now. A failure of another one before is no
    /// longer the reason for whatever follows.
    pub(super) fn set_upstream(&mut self, upstream: &Upstream) {
        self.blamed = Side::Bridge;
        self.reason = None;
        self.upstream = Some(interned::intern(&upstream.to_string()));
        self.address = upstream.address();
    }

    /// Sets the side at fault in case the request is rejected, and the reason.
    pub(super) fn blame(&mut self, side: Side, reason: impl fmt::Display) {
        self.blamed = side;
        self.set_reason(reason);
    }

    pub(super) fn set_reason(&mut self, reason: impl fmt::Display) {
        self.reason = Some(reason.to_string().into());
    }

    /// The outcome of a request that is rejected.
    pub(super) fn rejected(&self) -> Outcome {
        Outcome::Rejected(self.blamed)
    }

    /// Sets the outcome, and logs the record.
    pub(super) fn end(mut self, outcome: Outcome) {
        self.closed = Some(outcome);
    }
}

/// A record is also dropped without a call of `end`: when the server
/// drops a request whose client has left, or cuts a WebSocket at the end of the
/// drain timeout.
impl Drop for AccessRecord {
    fn drop(&mut self) {
        if self.closed.is_none() {
            self.closed = Some(if self.is_open {
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

impl fmt::Debug for AccessRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessRecord")
            .field("peer", &self.peer)
            .field("authority", &self.authority)
            .field("path", &self.path)
            .field("upstream", &self.upstream)
            .field("status", &self.status)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
