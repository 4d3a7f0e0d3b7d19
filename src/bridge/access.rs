//! One line for each request, for a socket or an ordinary one, at its end.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, StatusCode, Version, request};

use crate::frame::CloseCode;
use crate::metrics::REPORT;
use crate::server::{Peer, Upgrade};
use crate::transport::Transport;

/// Is told of each request, to be counted; see
/// [`Bridge::observe`](crate::Bridge::observe).
///
/// Called from the tasks that move bytes: add to an atomic or two and return.
pub trait BridgeObserver: Send + Sync + 'static {
    /// A client that asked for a socket was answered: both sides are open, or it was refused, as the
    /// [status](Access::status) says.
    fn answered(&self, access: &Access) {
        let _ = access;
    }

    /// So many bytes have passed since this was called last: `up` from the
    /// client to the upstream, `down` from the upstream to the client. Told
    /// while a socket or a body is on its way, about once a second, and before
    /// its [end](Self::ended).
    fn moved(&self, access: &Access, up: u64, down: u64) {
        let _ = (access, up, down);
    }

    /// It is over, and [`Access::closed`] says how. Told of refused requests,
    /// too.
    fn ended(&self, access: &Access) {
        let _ = access;
    }

    /// An ordinary request is over, answered or not, as [`Access::closed`]
    /// says.
    fn passed(&self, access: &Access) {
        let _ = access;
    }
}

/// Who did something to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Party {
    /// Who asked for it.
    Client,
    /// Whom it was led to.
    Upstream,
    /// The bridge in between.
    Bridge,
}

impl fmt::Display for Party {
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
pub enum Closed {
    /// Who ended it first, and with which code: 1005 where the Close frame had
    /// none, 1006 where there was none (RFC 6455 §7.1.5).
    By(Party, CloseCode),
    /// A side was reset, or its connection broke.
    Broken(Party),
    /// It had begun to end, and then nothing came.
    Silence,
    /// An ordinary request was answered by its upstream, to the end.
    Answered,
    /// The bridge refused the request, or the upstream a socket.
    Refused,
    /// The client did not wait: for the answer, or for all of its body.
    Gone,
}

impl Closed {
    /// Who ended it.
    #[must_use]
    pub fn by(self) -> Party {
        match self {
            Self::By(party, _) | Self::Broken(party) => party,
            Self::Gone => Party::Client,
            Self::Answered => Party::Upstream,
            Self::Silence | Self::Refused => Party::Bridge,
        }
    }

    /// The close code, 1006 where there was a socket without a Close frame.
    #[must_use]
    pub fn code(self) -> Option<u16> {
        match self {
            Self::By(_, code) => Some(code.into()),
            Self::Broken(_) | Self::Silence => Some(CloseCode::ABNORMAL.into()),
            Self::Answered | Self::Refused | Self::Gone => None,
        }
    }

    /// In one word.
    #[must_use]
    pub fn how(self) -> &'static str {
        match self {
            Self::By(_, CloseCode::ABNORMAL) => "end",
            Self::By(..) => "close",
            Self::Broken(_) => "reset",
            Self::Silence => "silence",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Gone => "gone",
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
pub struct Access {
    began: Instant,
    peer: SocketAddr,
    transport: Transport,
    /// Of an ordinary request.
    method: Option<Method>,
    pub(super) authority: String,
    /// Without its query, which may hold secrets.
    path: String,
    pub(super) route: Option<String>,
    pub(super) upstream: Option<String>,
    pub(super) address: Option<SocketAddr>,
    pub(super) upstream_version: Option<Version>,
    pub(super) status: Option<StatusCode>,
    moved: Moved,
    /// What of it the observer knows, and since when.
    told: Moved,
    told_at: Instant,
    is_open: bool,
    closed: Option<Closed>,
    observer: Option<Arc<dyn BridgeObserver>>,
}

impl Access {
    pub(super) fn begin(request: &Upgrade, observer: Option<Arc<dyn BridgeObserver>>) -> Self {
        let (peer, transport) = (request.peer_addr(), request.transport());
        let mut access = Self::new(peer, transport, request.path(), observer);
        access.authority = request.authority().to_string();
        access
    }

    /// Of an ordinary request, whose authority is yet to be found out.
    pub(super) fn of_ordinary(
        parts: &request::Parts,
        peer: &Peer,
        observer: Option<Arc<dyn BridgeObserver>>,
    ) -> Self {
        let transport = parts.extensions.get().copied().unwrap_or(Transport::Io);
        let mut access = Self::new(peer.addr(), transport, parts.uri.path(), observer);
        access.method = Some(parts.method.clone());
        access
    }

    fn new(
        peer: SocketAddr,
        transport: Transport,
        path: &str,
        observer: Option<Arc<dyn BridgeObserver>>,
    ) -> Self {
        let began = Instant::now();
        Self {
            began,
            peer,
            transport,
            method: None,
            authority: String::new(),
            path: path.to_owned(),
            route: None,
            upstream: None,
            address: None,
            upstream_version: None,
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

    /// The method of an ordinary request; none for a socket.
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
    pub fn closed(&self) -> Option<Closed> {
        self.closed
    }

    /// There is a socket now, or there will be none.
    pub(super) fn answered(&mut self, is_open: bool) {
        self.is_open = is_open;
        if let Some(observer) = &self.observer {
            observer.answered(self);
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
            observer.moved(self, now.up - before.up, now.down - before.down);
        }
    }

    pub(super) fn end(mut self, closed: Closed) {
        self.closed = Some(closed);
    }
}

/// The server drops a request whose client has gone, and cuts sockets at the
/// end of a drain.
impl Drop for Access {
    fn drop(&mut self) {
        let unsaid = if self.is_open {
            Closed::Broken(Party::Bridge)
        } else {
            Closed::Gone
        };
        let closed = *self.closed.get_or_insert(unsaid);
        tracing::info!(
            target: "h2ws::access",
            peer = %self.peer,
            transport = %self.transport,
            authority = self.authority,
            path = self.path,
            route = self.route,
            upstream = self.upstream,
            address = self.address.map(tracing::field::display),
            upstream_version = self.upstream_version.map(tracing::field::debug),
            status = self.status.map(|status| status.as_u16()),
            bytes_up = self.moved.up,
            bytes_down = self.moved.down,
            milliseconds = self.began.elapsed().as_millis() as u64,
            closed_by = %closed.by(),
            closed = closed.how(),
            code = closed.code().filter(|_| self.method.is_none()),
            method = self.method.as_ref().map(Method::as_str),
            "{}",
            if self.method.is_some() { "request" } else { "socket" },
        );
        self.report();
        match &self.observer {
            Some(observer) if self.method.is_some() => observer.passed(self),
            Some(observer) => observer.ended(self),
            None => {}
        }
    }
}

impl fmt::Debug for Access {
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
