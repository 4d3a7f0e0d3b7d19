//! The connections to one origin as a state machine, without I/O: where a
//! socket is opened, when a connection is given up, and who waits for what.
//!
//! # A socket is asked for
//!
//! The first row that holds decides.
//!
//! | state of the origin | the socket | waits for |
//! |---|---|---|
//! | *Told*: the server refused the method over HTTP/2 and took the socket over HTTP/1.1 (`asking.rs`), no longer than `http1_cache_ttl` ago; `Auto` alone | gets an HTTP/1.1 connection of its own | nobody |
//! | *Room*: an open connection, not in doubt, has a free stream | takes it, whatever was learned of other connections | nobody |
//! | *Plain*: a dial found no RFC 8441, no longer than `http1_cache_ttl` ago; `Auto` alone | gets an HTTP/1.1 connection of its own | nobody |
//! | *Failed*: a dial that began after it came has failed, and none is under way | fails by that error | nobody |
//! | *Dialling*: dials are under way | joins them all; where it has begun none, the youngest has taken a quarter of the limit, and there are fewer than [`DIALS`], begins another | news |
//! | *Full*: there are `max_connections` not in doubt, or one without sockets takes none | | news |
//! | *Empty*: none of these | begins a dial | news |
//!
//! Nobody waits for anybody else's limit: each waits for news for as long as
//! its own limits allow, and then fails. A dial belongs to all that joined it,
//! and ends with the last of them; to drop the one that began it changes
//! nothing for the others.
//!
//! # Events
//!
//! | event | what happens | who looks again |
//! |---|---|---|
//! | a dial made a connection | it is usable | all that wait |
//! | a dial found no RFC 8441, or was told HTTP_1_1_REQUIRED | learned; those that joined it go by it even if that is forgotten at once | all that wait |
//! | a dial failed | shared by those that came before it began; those that came later dial once more, together | all that wait |
//! | a stream ended | | one of those that wait |
//! | the server changed its limit of streams | | all that wait |
//! | GOAWAY came, or the connection ended, or its stream ids ran out | forgotten; open sockets go on | all that wait |
//! | the server answered 421, or a request could not be sent | as above | all that wait |
//! | a request has been unanswered for the handshake's limit, or was given up, and for that long not one byte came | the connection is in doubt: its server is sent a PING, and new sockets go elsewhere | |
//! | a byte came on a connection in doubt | it is as good as any | all that wait |
//! | none came within `keep_alive_timeout` | it has ended, and its sockets with it | all that wait |
//! | a waiting socket is given up | the dials that only it waited for end | |

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::HttpVersion;
use super::fallback_probe::FallbackProbe;
use crate::error::Error;
use crate::transport::BoxIo;

/// Dials to one origin under way at a time: one, and others beside those that
/// hang. One dead server behind a name or a balancer keeps nobody from those
/// that live.
const DIALS: usize = 4;

/// What carries sockets: an HTTP/2 connection.
pub(super) trait Lane: Clone {
    /// The right to open one stream.
    type Slot;

    /// Whether no new streams will ever be opened.
    fn is_over(&self) -> bool;

    /// Whether they may be: not while a request has been unanswered for so long
    /// without one byte.
    fn is_usable(&self, silence: Duration) -> bool;

    fn claim(&self) -> Option<Self::Slot>;

    /// Whether it takes no streams although it carries none.
    fn is_barred(&self) -> bool;
}

/// A connection being made.
pub(super) struct Dial<C> {
    number: u64,
    version: HttpVersion,
    began: Instant,
    end: OnceLock<End<C>>,
    task: OnceLock<AbortHandle>,
}

/// What became of a dial.
pub(super) enum End<C> {
    Made(C),
    /// The server has no RFC 8441. The connection, where it can be used, is for
    /// the first that asks.
    Plain(Mutex<Option<BoxIo>>),
    Failed(Error),
}

impl<C> Dial<C> {
    pub(super) fn is_made_by(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    pub(super) fn ends(&self, end: End<C>) {
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

/// A socket that is asked for.
pub(super) struct Waiting<C> {
    version: HttpVersion,
    /// The number of the first dial that begins after it came.
    came: u64,
    /// The number of the dial that it began last.
    begun: Option<u64>,
    joined: Vec<Arc<Dial<C>>>,
    failed: Option<Error>,
}

/// What holds for a socket that is asked for.
pub(super) struct Rules {
    pub(super) max_connections: usize,
    pub(super) http1_cache_ttl: Duration,
    /// How long a connection may take.
    pub(super) connect: Duration,
    /// How long an answer may take.
    pub(super) handshake: Duration,
}

/// What a socket that is asked for has to do.
pub(super) enum Next<C: Lane> {
    Open(C, C::Slot),
    /// Over HTTP/1.1, on this connection if there is one already.
    Plain(Option<BoxIo>),
    Fail(Error),
    /// A dial of its own, which it has joined; then to look again.
    Dial(Arc<Dial<C>>),
    /// For news, but no longer than until then.
    Wait(Option<Instant>),
}

pub(super) struct Pool<C> {
    connections: Vec<C>,
    dials: Vec<Weak<Dial<C>>>,
    /// Of the next dial.
    number: u64,
    /// When a dial found no RFC 8441.
    plain: Option<Instant>,
    pub(super) asking: FallbackProbe,
}

impl<C> Default for Pool<C> {
    fn default() -> Self {
        Self {
            connections: Vec::new(),
            dials: Vec::new(),
            number: 0,
            plain: None,
            asking: FallbackProbe::default(),
        }
    }
}

impl<C: Lane> Pool<C> {
    pub(super) fn asked_for(&self, version: HttpVersion) -> Waiting<C> {
        Waiting {
            version,
            came: self.number,
            begun: None,
            joined: Vec::new(),
            failed: None,
        }
    }

    /// The first rows of the table, for most sockets.
    pub(super) fn at_once(&mut self, version: HttpVersion, rules: &Rules) -> Option<(C, C::Slot)> {
        if version == HttpVersion::Auto && self.asking.is_told(rules.http1_cache_ttl) {
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

    /// The table.
    pub(super) fn next(&mut self, socket: &mut Waiting<C>, rules: &Rules) -> Next<C> {
        let is_auto = socket.version == HttpVersion::Auto;
        if is_auto && self.asking.is_told(rules.http1_cache_ttl) {
            return Next::Plain(None);
        }
        if let Some((connection, slot)) = self.at_once(socket.version, rules) {
            return Next::Open(connection, slot);
        }
        let is_plain = |since: Instant| since.elapsed() < rules.http1_cache_ttl;
        if is_auto && self.plain.is_some_and(is_plain) {
            // It may have come with a connection.
            return Next::Plain(socket.plain_io());
        }
        if let Some(next) = socket.ended() {
            return next;
        }
        let under_way = self.under_way();
        if under_way.is_empty()
            && let Some(error) = socket.failed.take()
        {
            return Next::Fail(error);
        }
        let another = under_way.last().map(|youngest| {
            let patience = rules.connect / DIALS as u32;
            youngest.began.checked_add(patience)
        });
        let dials = under_way.len();
        socket.joined = under_way;
        // One at a time is enough for each.
        let begun = |dial: &Arc<Dial<C>>| Some(dial.number) == socket.begun;
        let has_begun = socket.failed.is_some() || socket.joined.iter().any(begun);
        if has_begun || dials >= DIALS || self.is_full(dials, rules) {
            return Next::Wait(None);
        }
        match another {
            Some(None) => Next::Wait(None),
            Some(Some(at)) if at > Instant::now() => Next::Wait(Some(at)),
            _ => Next::Dial(self.begin(socket)),
        }
    }

    fn begin(&mut self, socket: &mut Waiting<C>) -> Arc<Dial<C>> {
        let dial = Arc::new(Dial {
            number: self.number,
            version: socket.version,
            began: Instant::now(),
            end: OnceLock::new(),
            task: OnceLock::new(),
        });
        socket.begun = Some(self.number);
        self.number += 1;
        self.dials.push(Arc::downgrade(&dial));
        socket.joined.push(dial.clone());
        dial
    }

    /// The dials that somebody waits for, the youngest last.
    fn under_way(&mut self) -> Vec<Arc<Dial<C>>> {
        let mut under_way = Vec::new();
        self.dials.retain(|dial| match dial.upgrade() {
            Some(dial) if dial.end.get().is_none() => {
                under_way.push(dial);
                true
            }
            _ => false,
        });
        under_way
    }

    /// Whether no further connection may be made, or there is one that carries
    /// nothing and has no room all the same: its server takes no streams for
    /// now (RFC 9113 §6.5.2), and would not on another one.
    fn is_full(&self, dials: usize, rules: &Rules) -> bool {
        let barred = self.usable(rules).any(C::is_barred);
        self.usable(rules).count() + dials >= rules.max_connections || barred
    }

    pub(super) fn made(&mut self, connection: C) {
        self.connections.push(connection);
    }

    pub(super) fn found_plain(&mut self) {
        self.plain = Some(Instant::now());
    }

    /// Takes a connection out of use, whatever it carries.
    pub(super) fn retire(&mut self, is_it: impl Fn(&C) -> bool) {
        self.connections.retain(|one| !is_it(one));
    }

    /// Takes all connections out of use.
    pub(super) fn retire_all(&mut self) -> Vec<C> {
        std::mem::take(&mut self.connections)
    }

    pub(super) fn connections(&self) -> &[C] {
        &self.connections
    }
}

impl<C: Lane> Waiting<C> {
    /// What the dials that have ended mean to this socket.
    fn ended(&mut self) -> Option<Next<C>> {
        let (ended, under_way) = std::mem::take(&mut self.joined)
            .into_iter()
            .partition(|dial| dial.end.get().is_some());
        self.joined = under_way;
        for dial in ended {
            match dial.end.get() {
                // Also where it is about to end already: that fails as any
                // attempt does, of which there is a number. To make one
                // connection after the other here would have no end.
                Some(End::Made(connection)) => {
                    self.failed = None;
                    if let Some(slot) = connection.claim() {
                        return Some(Next::Open(connection.clone(), slot));
                    }
                }
                // Says nothing about the version that this socket is for.
                _ if dial.version != self.version => {}
                Some(End::Plain(io)) => return Some(Next::Plain(take(io))),
                Some(End::Failed(error)) if dial.number >= self.came => {
                    self.failed = Some(error.clone());
                }
                _ => {}
            }
        }
        None
    }

    fn plain_io(&self) -> Option<BoxIo> {
        self.joined.iter().find_map(|dial| match dial.end.get() {
            Some(End::Plain(io)) => take(io),
            _ => None,
        })
    }
}

fn take(io: &Mutex<Option<BoxIo>>) -> Option<BoxIo> {
    io.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests;
