//! The pool of connections to upstreams for plain HTTP requests.
//!
//! - An HTTP/2 connection is shared, up to the server's limit of concurrent
//!   streams. An HTTP/1.1 connection is reused until the route's
//!   [`pool_idle`](crate::bridge::Timeouts::pool_idle) expires, or the shorter
//!   time that the server announces in `Keep-Alive`.
//! - A server may close an unused connection at any time. A request that cannot
//!   be repeated (RFC 9110 §9.2.2) is therefore sent on a connection that carried
//!   another one within the last second, or on a new one.
//! - NTLM and Negotiate (RFC 4559) authenticate the connection, not the request.
//!   Such a connection is bound to the client's connection, or used once if
//!   several users may share that. It never carries a request of another client.
//! - A response that announces both a length and a transfer coding is the last one of
//!   its HTTP/1.1 connection: what follows may be the part of it that another parser
//!   sees (RFC 9112 §6.3).

mod http1;
mod http2;
mod in_use;
mod key;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Request;
use tokio::time::{Instant, sleep};

use self::http1::{Binding, Http1, IdleHttp1};
use self::http2::Http2;
use self::in_use::Carrier;
use super::upload::Upload;
use crate::bridge::verdict::Verdict;
use crate::client::{Client, HttpVersion};
use crate::error::Error;
use crate::handshake::Target;
use crate::transport::BoxIo;

pub(super) use self::in_use::Connection;
pub(super) use self::key::PoolKey;

/// Maximum number of unused HTTP/1.1 connections to one upstream.
const MAX_IDLE_HTTP1: usize = 128;

/// How long an HTTP/2 connection is kept unused if the client has no [idle
/// timeout](crate::client::ClientBuilder::idle_timeout); servers usually close it
/// earlier.
const HTTP2_IDLE: Duration = Duration::from_secs(90);

/// Maximum interval between two searches for expired connections.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The connections of a bridge.
pub(in crate::bridge) struct Connections {
    http2_idle: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pools: HashMap<PoolKey, KeyedPool>,
    /// Whether a task closes expired connections.
    is_swept: bool,
}

/// The connections with one key.
#[derive(Default)]
struct KeyedPool {
    idle_http1: Vec<IdleHttp1>,
    /// With the time of their last use; more than one if the earlier ones have
    /// reached the server's stream limit.
    http2: Vec<(Instant, Http2)>,
    /// Held while a connection is made that others may share.
    connecting: Arc<tokio::sync::Mutex<()>>,
    speaks_http1: bool,
}

/// What a request requires of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requirements {
    /// The number of the client's connection, if a single user sends all
    /// requests on it.
    pub(super) client: Option<u64>,
    /// Whether the request authenticates the connection.
    pub(super) authenticates: bool,
    /// Whether the request may be sent a second time.
    pub(super) is_repeatable: bool,
    /// How long to keep the connection unused after the request.
    pub(super) keep: Duration,
}

/// A request that got no response.
pub(super) struct SendFailure {
    pub(super) error: Error,
    pub(super) verdict: Verdict,
    /// The request, if none of it was sent.
    pub(super) request: Option<Request<Upload>>,
}

impl SendFailure {
    /// The upstream responded, but its response cannot be used.
    fn invalid_response(error: Error) -> Self {
        Self {
            error,
            verdict: Verdict::Unknown,
            request: None,
        }
    }
}

impl Connections {
    pub(in crate::bridge) fn new(client: &Client) -> Arc<Self> {
        Arc::new(Self {
            http2_idle: client.idle_timeout().unwrap_or(HTTP2_IDLE),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a connection to `target`: a pooled one if possible, always a new
    /// one if `is_new`.
    pub(super) async fn get(
        self: &Arc<Self>,
        key: &PoolKey,
        target: &Target,
        requirements: &Requirements,
        is_new: bool,
    ) -> Result<Connection, Error> {
        if is_new {
            return self.connect(key, target, requirements).await;
        }
        if !requirements.is_repeatable {
            // Lets the connections' tasks notice which ones the server closed.
            tokio::task::yield_now().await;
        }
        if let Some(connection) = self.pooled(key, requirements) {
            return Ok(connection);
        }
        let _connecting = match self.connecting(key).filter(|_| !requirements.authenticates) {
            Some(connecting) => {
                let guard = connecting.lock_owned().await;
                // Another request may have connected in the meantime.
                if let Some(connection) = self.pooled(key, requirements) {
                    return Ok(connection);
                }
                self.connecting(key).map(|_| guard)
            }
            None => None,
        };
        self.connect(key, target, requirements).await
    }

    /// The lock to hold while connecting, if the new connection may be shared.
    fn connecting(self: &Arc<Self>, key: &PoolKey) -> Option<Arc<tokio::sync::Mutex<()>>> {
        if !key.may_be_http2() {
            return None;
        }
        let mut state = self.state();
        let pool = state.pools.entry(key.clone()).or_default();
        let connecting = (!pool.speaks_http1).then(|| pool.connecting.clone());
        self.start_sweeping(&mut state);
        connecting
    }

    fn pooled(self: &Arc<Self>, key: &PoolKey, requirements: &Requirements) -> Option<Connection> {
        let mut state = self.state();
        let pool = state.pools.get_mut(key)?;
        pool.http2.retain(|(_, http2)| !http2.is_closed());
        pool.idle_http1.retain(|idle| !idle.http1.send.is_closed());
        let carrier = pool.pick(requirements)?;
        let keep = requirements.keep;
        Some(Connection::new(self, key, carrier, true, keep))
    }

    async fn connect(
        self: &Arc<Self>,
        key: &PoolKey,
        target: &Target,
        requirements: &Requirements,
    ) -> Result<Connection, Error> {
        let version = match key.version {
            // NTLM does not work over HTTP/2.
            HttpVersion::Auto if requirements.authenticates => HttpVersion::Http1,
            version => version,
        };
        let (is_http2, io) = key.client().reach(target, key.address, version).await?;
        let carrier = if is_http2 {
            let is_shared = !requirements.authenticates;
            Carrier::Http2(self.connect_http2(key, io, is_shared).await?)
        } else {
            Carrier::Http1(self.connect_http1(key, io, version).await?)
        };
        let keep = requirements.keep;
        Ok(Connection::new(self, key, carrier, false, keep))
    }

    async fn connect_http1(
        &self,
        key: &PoolKey,
        io: BoxIo,
        version: HttpVersion,
    ) -> Result<Http1, Error> {
        let http1 = Http1::connect(io).await?;
        if key.may_be_http2()
            && key.version == version
            && let Some(pool) = self.state().pools.get_mut(key)
        {
            pool.speaks_http1 = true;
        }
        Ok(http1)
    }

    async fn connect_http2(
        self: &Arc<Self>,
        key: &PoolKey,
        io: BoxIo,
        is_shared: bool,
    ) -> Result<Http2, Error> {
        let http2 = Http2::connect(io, key.client().http2_config()).await?;
        if is_shared {
            let mut state = self.state();
            let pool = state.pools.entry(key.clone()).or_default();
            pool.http2.push((Instant::now(), http2.clone()));
            self.start_sweeping(&mut state);
        }
        Ok(http2)
    }

    /// Keeps an unused connection for `keep`.
    fn put_idle(self: &Arc<Self>, key: PoolKey, http1: Http1, keep: Duration) {
        let since = Instant::now();
        // `keep` may be too long for the clock.
        let until = since.checked_add(keep).unwrap_or(since + HTTP2_IDLE);
        let mut state = self.state();
        let pool = state.pools.entry(key).or_default();
        if pool.idle_http1.len() >= MAX_IDLE_HTTP1 {
            pool.idle_http1.remove(0);
        }
        pool.idle_http1.push(IdleHttp1 {
            since,
            until,
            http1,
        });
        self.start_sweeping(&mut state);
    }

    /// Starts a task that closes expired connections, unless one runs already.
    /// It ends when the pool is empty.
    fn start_sweeping(self: &Arc<Self>, state: &mut State) {
        if std::mem::replace(&mut state.is_swept, true) {
            return;
        }
        let connections = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                let Some(pause) = connections.upgrade().and_then(|all| all.sweep()) else {
                    return;
                };
                sleep(pause).await;
            }
        });
    }

    /// Closes expired connections. Returns the time until the next sweep, or
    /// `None` if the pool is empty.
    fn sweep(&self) -> Option<Duration> {
        let limit = self.http2_idle;
        let now = Instant::now();
        let mut next = SWEEP_INTERVAL;
        let mut state = self.state();
        state.pools.retain(|_, pool| {
            pool.idle_http1
                .retain(|idle| now < idle.until && !idle.http1.send.is_closed());
            // Requests that still use a dropped HTTP/2 connection can finish.
            pool.http2.retain(|(used, _)| used.elapsed() < limit);
            for idle in &pool.idle_http1 {
                next = next.min(idle.until - now);
            }
            for (used, _) in &pool.http2 {
                next = next.min(limit.saturating_sub(used.elapsed()));
            }
            let is_connecting = Arc::strong_count(&pool.connecting) > 1;
            is_connecting || !pool.http2.is_empty() || !pool.idle_http1.is_empty()
        });
        state.is_swept = !state.pools.is_empty();
        let pause = next.max(Duration::from_millis(1));
        state.is_swept.then_some(pause)
    }
}

impl KeyedPool {
    /// Picks a connection for a request, preferring one that is bound to its
    /// client.
    fn pick(&mut self, requirements: &Requirements) -> Option<Carrier> {
        if let Some(client) = requirements.client
            && let Some(http1) = self.take_idle(requirements, Binding::Client(client))
        {
            return Some(Carrier::Http1(http1));
        }
        if !requirements.authenticates {
            let mut http2 = self.http2.iter_mut();
            if let Some((used, http2)) = http2.find(|(_, http2)| http2.has_room()) {
                *used = Instant::now();
                return Some(Carrier::Http2(http2.clone()));
            }
        }
        self.take_idle(requirements, Binding::Unbound)
            .map(Carrier::Http1)
    }

    /// Takes the most recently used one, which its server is the least likely to
    /// close.
    fn take_idle(&mut self, requirements: &Requirements, binding: Binding) -> Option<Http1> {
        let serves = |idle: &IdleHttp1| idle.http1.binding == binding && idle.serves(requirements);
        let at = self.idle_http1.iter().rposition(serves)?;
        Some(self.idle_http1.remove(at).http1)
    }
}
