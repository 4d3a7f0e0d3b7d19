//! The connections to one origin as a state machine without I/O: decides where a WebSocket
//! is opened, when a connection is abandoned, and what a request waits for.
//!
//! # A request arrives
//!
//! The first row that applies decides.
//!
//! | state of the origin | the request | waits for |
//! |---|---|---|
//! | *HTTP/1.1 only*: the server rejected the method over HTTP/2 and accepted the WebSocket over HTTP/1.1 ([`fallback_probe`](super::fallback_probe)), within the last `http1_cache_ttl`; only for `Auto` | gets an HTTP/1.1 connection of its own | nothing |
//! | *Free stream*: an open connection, not in doubt, has a free stream | takes it, whatever is known about other connections | nothing |
//! | *No RFC 8441*: a dial found no RFC 8441, within the last `http1_cache_ttl`; only for `Auto` | gets an HTTP/1.1 connection of its own | nothing |
//! | *Failed*: a dial that began after the request arrived has failed, and none is running | fails with that error | nothing |
//! | *Dialling*: dials are running | joins all of them; if it has begun none itself, the youngest has taken a quarter of the timeout, and there are fewer than [`MAX_DIALS`], it begins another | a change |
//! | *Full*: there are `max_connections` not in doubt, or one without WebSockets that accepts none | does nothing | a change |
//! | *Empty*: none of these | begins a dial | a change |
//!
//! No request waits for the timeout of another: each waits for a change until its own
//! timeout, and then fails. A dial belongs to all requests that joined it, and is aborted with
//! the last of them; dropping the request that began it does not affect the others.
//!
//! # Events
//!
//! | event | effect | wakes |
//! |---|---|---|
//! | a dial made a connection | it is usable | all that wait |
//! | a dial found no RFC 8441, or got HTTP_1_1_REQUIRED | remembered; requests that joined it use the result even if it expires at once | all that wait |
//! | a dial failed | shared by the requests that arrived before it began; later ones dial once more, together | all that wait |
//! | a stream ended | | one of those that wait |
//! | the server changed its limit of streams | | all that wait |
//! | GOAWAY arrived, or the connection ended, or its stream identifiers ran out | forgotten; open WebSockets continue | all that wait |
//! | the server answered 421, or a request could not be sent | as above | all that wait |
//! | a request was unanswered for the handshake timeout, or was dropped, and nothing arrived for that long | the connection is in doubt: its server is sent a PING, and new WebSockets use other connections | |
//! | something arrived on a connection in doubt | it is usable again | all that wait |
//! | nothing arrived within `keep_alive_timeout` | the connection and its WebSockets have ended | all that wait |
//! | a waiting request is dropped | dials that only it waited for are aborted | |

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::fallback_probe::FallbackProbe;
use super::version::HttpVersion;
use crate::error::Error;
use crate::transport::BoxIo;

/// Maximum number of dials to one origin at a time. Further ones begin while the first hang,
/// so that one dead server behind a name or a load balancer does not make the others
/// unreachable.
const MAX_DIALS: usize = 4;

/// An HTTP/2 connection, or a fake of one in tests.
pub(super) trait PooledConnection: Clone {
    /// A free stream, reserved.
    type Slot;

    /// Whether no new streams can ever be opened.
    fn is_over(&self) -> bool;

    /// Whether new streams may be opened: not while a request has been unanswered, and nothing
    /// has arrived, for `silence`.
    fn is_usable(&self, silence: Duration) -> bool;

    fn claim(&self) -> Option<Self::Slot>;

    /// Whether it accepts no streams although it has none.
    fn is_barred(&self) -> bool;
}

/// An attempt to make a connection.
pub(super) struct Dial<C> {
    number: u64,
    version: HttpVersion,
    began: Instant,
    end: OnceLock<End<C>>,
    task: OnceLock<AbortHandle>,
}

/// The result of a dial.
pub(super) enum End<C> {
    Made(C),
    /// The server does not support RFC 8441. The first request that takes the connection, if
    /// it is usable over HTTP/1.1, gets it.
    Http1(Mutex<Option<BoxIo>>),
    Failed(Error),
}

impl<C> Dial<C> {
    pub(super) fn set_task(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    pub(super) fn finish(&self, end: End<C>) {
        let _ = self.end.set(end);
    }
}

impl<C> Drop for Dial<C> {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// A request that waits for a connection.
pub(super) struct Waiting<C> {
    version: HttpVersion,
    /// The number of the first dial that begins after the request arrived.
    arrived: u64,
    /// The number of the dial that it last began.
    begun: Option<u64>,
    joined: Vec<Arc<Dial<C>>>,
    failed: Option<Error>,
}

/// Settings that apply to a request.
pub(super) struct Rules {
    pub(super) max_connections: usize,
    pub(super) http1_cache_ttl: Duration,
    /// Timeout of a connection.
    pub(super) connect: Duration,
    /// Timeout of a response.
    pub(super) handshake: Duration,
}

/// What a request has to do.
pub(super) enum Next<C: PooledConnection> {
    Open(C, C::Slot),
    /// Over HTTP/1.1, on this connection if there is one already.
    Http1(Option<BoxIo>),
    Fail(Error),
    /// Start this dial, which it has joined, and examine the pool again.
    Dial(Arc<Dial<C>>),
    /// Wait for a change, at most until then.
    Wait(Option<Instant>),
}

pub(super) struct Pool<C> {
    connections: Vec<C>,
    dials: Vec<Weak<Dial<C>>>,
    /// The number of the next dial.
    number: u64,
    /// When a dial found no RFC 8441.
    no_rfc8441: Option<Instant>,
    pub(super) fallback: FallbackProbe,
}

impl<C> Default for Pool<C> {
    fn default() -> Self {
        Self {
            connections: Vec::new(),
            dials: Vec::new(),
            number: 0,
            no_rfc8441: None,
            fallback: FallbackProbe::default(),
        }
    }
}

impl<C: PooledConnection> Pool<C> {
    pub(super) fn new_request(&self, version: HttpVersion) -> Waiting<C> {
        Waiting {
            version,
            arrived: self.number,
            begun: None,
            joined: Vec::new(),
            failed: None,
        }
    }

    /// The first rows of the table, which apply to most requests.
    pub(super) fn at_once(&mut self, version: HttpVersion, rules: &Rules) -> Option<(C, C::Slot)> {
        if version == HttpVersion::Auto && self.fallback.needs_http1(rules.http1_cache_ttl) {
            return None;
        }
        self.connections.retain(|c| !c.is_over());
        let mut usable = self.usable(rules);
        usable.find_map(|c| Some((c.clone(), c.claim()?)))
    }

    fn usable(&self, rules: &Rules) -> impl Iterator<Item = &C> {
        let all = self.connections.iter();
        all.filter(|c| c.is_usable(rules.handshake))
    }

    /// Applies the table.
    pub(super) fn next(&mut self, request: &mut Waiting<C>, rules: &Rules) -> Next<C> {
        let is_auto = request.version == HttpVersion::Auto;
        if is_auto && self.fallback.needs_http1(rules.http1_cache_ttl) {
            return Next::Http1(None);
        }
        if let Some((connection, slot)) = self.at_once(request.version, rules) {
            return Next::Open(connection, slot);
        }
        let is_recent = |since: Instant| since.elapsed() < rules.http1_cache_ttl;
        if is_auto && self.no_rfc8441.is_some_and(is_recent) {
            // The dial may have left a connection.
            return Next::Http1(request.http1_io());
        }
        if let Some(next) = request.ended() {
            return next;
        }
        let running = self.running();
        if running.is_empty()
            && let Some(error) = request.failed.take()
        {
            return Next::Fail(error);
        }
        let another = running.last().map(|youngest| {
            let patience = rules.connect / MAX_DIALS as u32;
            youngest.began.checked_add(patience)
        });
        let dials = running.len();
        request.joined = running;
        // Each request has at most one dial of its own running.
        let begun = |dial: &Arc<Dial<C>>| Some(dial.number) == request.begun;
        let has_own_dial = request.failed.is_some() || request.joined.iter().any(begun);
        if has_own_dial || dials >= MAX_DIALS || self.is_full(dials, rules) {
            return Next::Wait(None);
        }
        match another {
            Some(None) => Next::Wait(None),
            Some(Some(at)) if at > Instant::now() => Next::Wait(Some(at)),
            _ => Next::Dial(self.begin(request)),
        }
    }

    fn begin(&mut self, request: &mut Waiting<C>) -> Arc<Dial<C>> {
        let dial = Arc::new(Dial {
            number: self.number,
            version: request.version,
            began: Instant::now(),
            end: OnceLock::new(),
            task: OnceLock::new(),
        });
        request.begun = Some(self.number);
        self.number += 1;
        self.dials.push(Arc::downgrade(&dial));
        request.joined.push(dial.clone());
        dial
    }

    /// Returns the running dials, the youngest last.
    fn running(&mut self) -> Vec<Arc<Dial<C>>> {
        let mut running = Vec::new();
        self.dials.retain(|dial| match dial.upgrade() {
            Some(dial) if dial.end.get().is_none() => {
                running.push(dial);
                true
            }
            _ => false,
        });
        running
    }

    /// Whether no further connection may be made, or the server accepts no streams on one that
    /// has none (RFC 9113 §6.5.2), and would accept none on another connection either.
    fn is_full(&self, dials: usize, rules: &Rules) -> bool {
        let barred = self.usable(rules).any(C::is_barred);
        self.usable(rules).count() + dials >= rules.max_connections || barred
    }

    pub(super) fn made(&mut self, connection: C) {
        self.connections.push(connection);
    }

    pub(super) fn found_no_rfc8441(&mut self) {
        self.no_rfc8441 = Some(Instant::now());
    }

    /// Removes a connection. Its open WebSockets continue.
    pub(super) fn remove(&mut self, is_it: impl Fn(&C) -> bool) {
        self.connections.retain(|one| !is_it(one));
    }

    /// Removes all connections. Their open WebSockets continue.
    pub(super) fn remove_all(&mut self) -> Vec<C> {
        std::mem::take(&mut self.connections)
    }

    pub(super) fn connections(&self) -> &[C] {
        &self.connections
    }
}

impl<C: PooledConnection> Waiting<C> {
    /// Applies the results of dials that have ended.
    fn ended(&mut self) -> Option<Next<C>> {
        let (ended, running) = std::mem::take(&mut self.joined)
            .into_iter()
            .partition(|dial| dial.end.get().is_some());
        self.joined = running;
        for dial in ended {
            match dial.end.get() {
                // Even if the connection is about to end: that fails an attempt, whose
                // number is limited. Making another connection here could go on forever.
                Some(End::Made(connection)) => {
                    self.failed = None;
                    if let Some(slot) = connection.claim() {
                        return Some(Next::Open(connection.clone(), slot));
                    }
                }
                // The result is about another version than this request needs.
                _ if dial.version != self.version => {}
                Some(End::Http1(io)) => return Some(Next::Http1(take(io))),
                Some(End::Failed(error)) if dial.number >= self.arrived => {
                    self.failed = Some(error.clone());
                }
                _ => {}
            }
        }
        None
    }

    fn http1_io(&self) -> Option<BoxIo> {
        self.joined.iter().find_map(|dial| match dial.end.get() {
            Some(End::Http1(io)) => take(io),
            _ => None,
        })
    }
}

fn take(io: &Mutex<Option<BoxIo>>) -> Option<BoxIo> {
    io.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests;
