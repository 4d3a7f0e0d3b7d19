//! What a client knows about one origin, and the I/O of its [pool](super::pool): making
//! connections, timers, waiting for changes.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep_until, timeout};
use tracing::Instrument;

use super::connector::{Connection, Connector};
use super::fallback_probe::{self, Decision};
use super::pool::{Dial, End, Next, Pool, PooledConnection, Rules};
use super::version::HttpVersion;
use crate::error::{Error, Timeout};
use crate::frame::Role;
use crate::handshake::Target;
use crate::metrics::Handshake;
use crate::transport::h2::{ConnectionHandle, H2Client, Slot};
use crate::transport::{BoxIo, ConnectionStats};

#[derive(Default)]
pub(super) struct Origin {
    /// The address to connect to, if the caller gave one.
    address: Option<SocketAddr>,
    pool: Mutex<Pool<H2Client>>,
    /// Notified of every event in the pool's table.
    changed: Arc<Notify>,
    /// When it was last looked up, as a count of lookups.
    pub(super) used: std::sync::atomic::AtomicU64,
}

/// Where a WebSocket can be opened.
pub(super) enum Route {
    Http2(H2Client, Slot),
    Http1(BoxIo),
}

/// Timeouts of a connection and of a response.
#[derive(Clone, Copy)]
pub(super) struct Within {
    pub(super) connect: Duration,
    pub(super) handshake: Duration,
}

impl PooledConnection for H2Client {
    type Slot = Slot;

    fn is_usable(&self, silence: Duration) -> bool {
        !self.is_unresponsive(silence)
    }

    fn is_over(&self) -> bool {
        !self.is_open()
    }

    fn claim(&self) -> Option<Slot> {
        self.claim()
    }

    fn is_barred(&self) -> bool {
        self.is_barred()
    }
}

impl Origin {
    pub(super) fn at(address: Option<SocketAddr>) -> Arc<Self> {
        Arc::new(Self {
            address,
            ..Self::default()
        })
    }

    fn pool(&self) -> MutexGuard<'_, Pool<H2Client>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is an open connection.
    pub(super) fn is_connected(&self) -> bool {
        self.pool().connections().iter().any(H2Client::is_open)
    }

    pub(super) fn stats(&self) -> Vec<ConnectionStats> {
        let pool = self.pool();
        pool.connections()
            .iter()
            .map(|c| c.handle().stats())
            .collect()
    }

    /// Returns a stream on an existing connection, or else a new connection.
    pub(super) async fn route(
        self: &Arc<Self>,
        connector: &Arc<Connector>,
        target: &Target,
        version: HttpVersion,
        within: Within,
    ) -> Result<Route, Error> {
        let version = version.for_scheme(target.secure());
        let settings = &connector.settings;
        let rules = Rules {
            max_connections: settings.max_connections,
            http1_cache_ttl: settings.http1_cache_ttl,
            connect: within.connect.min(settings.connect_timeout),
            handshake: within.handshake,
        };
        if version != HttpVersion::Http1
            && let Some((client, slot)) = self.pool().at_once(version, &rules)
        {
            return Ok(Route::Http2(client, slot));
        }
        // Boxed together with the timer only if something has to be awaited.
        let route = Box::pin(self.new_route(connector, target, version, &rules));
        let route = timeout(rules.connect, route).await;
        route.unwrap_or(Err(Error::Timeout(Timeout::Connect)))
    }

    /// Returns a new connection, or a stream on one that was made for others meanwhile.
    async fn new_route(
        self: &Arc<Self>,
        connector: &Arc<Connector>,
        target: &Target,
        version: HttpVersion,
        rules: &Rules,
    ) -> Result<Route, Error> {
        if version == HttpVersion::Http1 {
            return self.http1(connector, target, rules.connect).await;
        }
        let mut socket = self.pool().new_request(version);
        loop {
            let mut changed = pin!(self.changed.notified());
            // Enabled before the pool is examined, so that no change is missed.
            changed.as_mut().enable();
            let next = self.pool().next(&mut socket, rules);
            let until = match next {
                Next::Open(client, slot) => return Ok(Route::Http2(client, slot)),
                Next::Http1(Some(io)) => return Ok(Route::Http1(io)),
                Next::Http1(None) => return self.http1(connector, target, rules.connect).await,
                Next::Fail(error) => return Err(error),
                Next::Dial(dial) => {
                    self.dial(&dial, connector, target, version, rules.connect);
                    continue;
                }
                Next::Wait(until) => until,
            };
            let another = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = another => {}
            }
        }
    }

    /// Makes a connection in a task of its own, for all requests that wait for it. The task
    /// is aborted when the last of them is dropped.
    fn dial(
        self: &Arc<Self>,
        dial: &Arc<Dial<H2Client>>,
        connector: &Arc<Connector>,
        target: &Target,
        version: HttpVersion,
        limit: Duration,
    ) {
        let (origin, waited_for) = (self.clone(), Arc::downgrade(dial));
        let (connector, target) = (connector.clone(), target.clone());
        let making = async move {
            let address = origin.address;
            let made = connector.connect(&target, address, version, limit);
            let made = Box::pin(made).await;
            if let Some(dial) = waited_for.upgrade() {
                dial.finish(origin.made(made, &connector, &target, version));
                origin.changed.notify_waiters();
            }
        };
        let task = tokio::spawn(making.in_current_span());
        dial.set_task(task.abort_handle());
    }

    /// Records the result of a dial.
    fn made(
        self: &Arc<Self>,
        made: Result<Connection, Error>,
        connector: &Connector,
        target: &Target,
        version: HttpVersion,
    ) -> End<H2Client> {
        let (io, why) = match made {
            Ok(Connection::Http2(client)) if client.is_capable() => {
                self.keep(client.clone());
                return End::Made(client);
            }
            Ok(Connection::Http2(_)) if version == HttpVersion::Http2 => {
                return End::Failed(Error::NoExtendedConnect);
            }
            Err(error)
                if version == HttpVersion::Auto && fallback_probe::is_http1_required(&error) =>
            {
                (None, "HTTP_1_1_REQUIRED")
            }
            Err(error) => return End::Failed(error),
            Ok(Connection::Http2(_)) => (None, "HTTP/2 without extended CONNECT"),
            Ok(Connection::Http1(io)) => (Some(io), "no HTTP/2"),
        };
        tracing::debug!(host = target.host(), "{why}: falling back to HTTP/1.1");
        fell_back(connector);
        self.pool().found_no_rfc8441();
        End::Http1(Mutex::new(io))
    }

    /// Adds a connection to the pool until it ends.
    fn keep(self: &Arc<Self>, client: H2Client) {
        let (origin, handle) = (Arc::downgrade(self), client.handle().clone());
        client.notify_room(self.changed.clone());
        self.pool().made(client);
        tokio::spawn(async move {
            handle.ended().await;
            if let Some(origin) = origin.upgrade() {
                origin.remove(&handle);
            }
        });
    }

    /// Opens no more WebSockets on a connection; those that are open continue.
    pub(super) fn remove(&self, handle: &Arc<ConnectionHandle>) {
        self.pool().remove(|one| Arc::ptr_eq(one.handle(), handle));
        self.changed.notify_waiters();
    }

    /// Opens no more WebSockets on the current connections.
    pub(super) fn remove_all(&self) -> Vec<Arc<ConnectionHandle>> {
        let connections = self.pool().remove_all();
        self.changed.notify_waiters();
        connections.iter().map(|c| c.handle().clone()).collect()
    }

    async fn http1(
        &self,
        connector: &Connector,
        target: &Target,
        limit: Duration,
    ) -> Result<Route, Error> {
        let version = HttpVersion::Http1;
        let made = connector.connect(target, self.address, version, limit);
        match made.await? {
            Connection::Http1(io) => Ok(Route::Http1(io)),
            Connection::Http2(_) => Err(Error::NoExtendedConnect),
        }
    }

    /// Whether a `Sec-WebSocket-Key` helps over HTTP/2, if it was tried.
    pub(super) fn key_helps(&self, http1_cache_ttl: Duration) -> Option<bool> {
        self.pool().fallback.key_helps(http1_cache_ttl)
    }

    pub(super) fn tried_key(&self, helps: bool) {
        self.pool().fallback.tried_key(helps);
    }

    /// Decides whether a request whose extended CONNECT was rejected is sent over HTTP/1.1.
    /// Waits if another request is finding that out.
    pub(super) async fn http1_instead(self: &Arc<Self>, http1_cache_ttl: Duration) -> Instead {
        loop {
            let decision = self.pool().fallback.rejected(http1_cache_ttl);
            let mut running = match decision {
                Decision::Use => return Instead::Use,
                Decision::No => return Instead::No,
                Decision::Probe(result) => {
                    let origin = self.clone();
                    return Instead::Probe(Probe { origin, result });
                }
                Decision::Wait(running) => running,
            };
            let result = running.wait_for(Option::is_some).await;
            match result.map(|works| *works) {
                Ok(Some(true)) => return Instead::Use,
                Ok(_) => return Instead::No,
                // The probe was abandoned: the first request to get here starts another.
                Err(_) => {}
            }
        }
    }
}

/// What to do with a request whose extended CONNECT was rejected.
pub(super) enum Instead {
    /// Send it over HTTP/1.1, which works.
    Use,
    /// Send it over HTTP/1.1 to find out whether that works.
    Probe(Probe),
    No,
}

/// The one probe of HTTP/1.1 for all requests that were rejected. If it is dropped
/// unfinished, another request may start one.
pub(super) struct Probe {
    origin: Arc<Origin>,
    result: watch::Sender<Option<bool>>,
}

impl Probe {
    pub(super) fn finished(self, connector: &Connector, works: bool) {
        if works {
            fell_back(connector);
        }
        let mut pool = self.origin.pool();
        pool.fallback.finished(&self.result, works);
    }
}

fn fell_back(connector: &Connector) {
    let version = Some(http::Version::HTTP_2);
    let observer = &connector.settings.observer;
    observer.report(|m| m.handshake(Role::Client, version, Handshake::Fallback));
}
