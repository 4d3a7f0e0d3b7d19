//! What a client knows of one origin: its connections, and whether they can
//! carry WebSockets.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::{Instant, sleep, timeout};

use super::HttpVersion;
use super::connector::{Connection, Connector};
use crate::error::{Error, Timeout};
use crate::frame::Role;
use crate::handshake::Target;
use crate::metrics::Handshake;
use crate::transport::h2::{H2Client, Hub, Slot};
use crate::transport::{BoxIo, ConnectionStats};

#[derive(Default)]
pub(super) struct Origin {
    /// Where it is, if the caller knows better than the resolver.
    address: Option<SocketAddr>,
    known: Mutex<Known>,
    /// Held while a connection is made, so that all who come meanwhile share
    /// it instead of making their own.
    dialling: AsyncMutex<()>,
    /// Told when a stream may have become free on any of the connections, or
    /// one of them is in the way of a new one no more.
    room: Arc<Notify>,
}

#[derive(Default)]
struct Known {
    connections: Vec<H2Client>,
    /// The server has no RFC 8441, as seen at this time.
    http1_since: Option<Instant>,
}

/// Where a socket can be opened.
pub(super) enum Route {
    Http2(H2Client, Slot),
    Http1(BoxIo),
}

impl Origin {
    pub(super) fn at(address: Option<SocketAddr>) -> Arc<Self> {
        Arc::new(Self {
            address,
            ..Self::default()
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a connection that could carry sockets.
    pub(super) fn is_connected(&self) -> bool {
        self.known().connections.iter().any(H2Client::is_open)
    }

    pub(super) fn stats(&self) -> Vec<ConnectionStats> {
        let known = self.known();
        known.connections.iter().map(|c| c.hub().stats()).collect()
    }

    /// A stream on a connection that is there, or else a new connection within
    /// the `limit`.
    pub(super) async fn route(
        self: &Arc<Self>,
        connector: &Connector,
        target: &Target,
        version: HttpVersion,
        limit: Duration,
    ) -> Result<Route, Error> {
        if !self.is_plain(connector, target, version)
            && let Some(route) = self.claim()
        {
            return Ok(route);
        }
        // Boxed, and the timer with it, only where there is something to wait for.
        let route = Box::pin(self.new_route(connector, target, version));
        let route = timeout(limit, route).await;
        route.unwrap_or(Err(Error::Timeout(Timeout::Connect)))
    }

    /// A new connection, or a stream on one that others have made meanwhile.
    async fn new_route(
        self: &Arc<Self>,
        connector: &Connector,
        target: &Target,
        version: HttpVersion,
    ) -> Result<Route, Error> {
        if self.is_plain(connector, target, version) {
            return self.http1(connector, target).await;
        }
        let mut patience = None;
        loop {
            let mut room = pin!(self.room.notified());
            // What becomes free from here on is not missed.
            room.as_mut().enable();
            if let Some(route) = self.claim() {
                return Ok(route);
            }
            let dialling = self.dialling.lock().await;
            if let Some(route) = self.claim() {
                return Ok(route);
            }
            if version == HttpVersion::Auto && self.is_http1(connector.settings.forget_after) {
                drop(dialling);
                return self.http1(connector, target).await;
            }
            if self.is_full(connector.settings.max_connections) {
                drop(dialling);
                let limit = connector.settings.connect_timeout;
                let patience = patience.get_or_insert_with(|| Box::pin(sleep(limit)));
                tokio::select! {
                    biased;
                    () = room => continue,
                    () = patience => return Err(Error::Timeout(Timeout::Connect)),
                }
            }
            match connector.connect(target, self.address, version).await? {
                Connection::Http2(client) if client.is_capable() => {
                    self.keep(client.clone());
                    // Also where it is about to end already: that fails as any
                    // attempt does, of which there is a number. To make one
                    // connection after the other here would have no end.
                    if let Some(slot) = client.claim() {
                        return Ok(Route::Http2(client, slot));
                    }
                }
                Connection::Http1(io) => {
                    fell_back(connector);
                    self.known().http1_since = Some(Instant::now());
                    return Ok(Route::Http1(io));
                }
                Connection::Http2(_) if version == HttpVersion::Http2 => {
                    return Err(Error::NoExtendedConnect);
                }
                Connection::Http2(_) => {
                    tracing::debug!(
                        host = target.host(),
                        "HTTP/2 without extended CONNECT: falling back to HTTP/1.1"
                    );
                    fell_back(connector);
                    self.known().http1_since = Some(Instant::now());
                    // Not by way of what was just noted: that may be set to be
                    // forgotten sooner than a connection is made.
                    drop(dialling);
                    return self.http1(connector, target).await;
                }
            }
        }
    }

    /// Knows a connection until it ends.
    fn keep(self: &Arc<Self>, client: H2Client) {
        let (origin, hub) = (Arc::downgrade(self), client.hub().clone());
        client.tells_of_room(self.room.clone());
        self.known().connections.push(client);
        tokio::spawn(async move {
            hub.ended().await;
            if let Some(origin) = origin.upgrade() {
                origin.forget(&hub);
            }
        });
    }

    fn forget(&self, hub: &Arc<Hub>) {
        self.known()
            .connections
            .retain(|one| !Arc::ptr_eq(one.hub(), hub));
        self.room.notify_waiters();
    }

    /// Takes a connection out of use, whatever it carries.
    pub(super) fn retire(&self, client: &H2Client) {
        self.forget(client.hub());
    }

    /// Takes all connections out of use.
    pub(super) fn retire_all(&self) -> Vec<Arc<Hub>> {
        let connections = std::mem::take(&mut self.known().connections);
        self.room.notify_waiters();
        connections.iter().map(|c| c.hub().clone()).collect()
    }

    async fn http1(&self, connector: &Connector, target: &Target) -> Result<Route, Error> {
        match connector
            .connect(target, self.address, HttpVersion::Http1)
            .await?
        {
            Connection::Http1(io) => Ok(Route::Http1(io)),
            Connection::Http2(_) => Err(Error::NoExtendedConnect),
        }
    }

    /// Whether a socket is opened over HTTP/1.1, whatever connections there are.
    fn is_plain(&self, connector: &Connector, target: &Target, version: HttpVersion) -> bool {
        match version {
            HttpVersion::Http1 => true,
            HttpVersion::Http2 => false,
            HttpVersion::Auto => !target.secure() || self.is_http1(connector.settings.forget_after),
        }
    }

    fn is_http1(&self, forget_after: Duration) -> bool {
        let since = self.known().http1_since;
        since.is_some_and(|since| since.elapsed() < forget_after)
    }

    fn claim(&self) -> Option<Route> {
        let mut known = self.known();
        known.connections.retain(H2Client::is_open);
        known
            .connections
            .iter()
            .find_map(|client| Some(Route::Http2(client.clone(), client.claim()?)))
    }

    /// Whether there is nothing to do but to wait for room: no further
    /// connection may be made, or there is one that carries nothing and has no
    /// room all the same. Its server takes no streams for now (RFC 9113
    /// §6.5.2), and would not on another one.
    fn is_full(&self, max: usize) -> bool {
        let known = self.known();
        let barred = known.connections.iter().any(H2Client::is_barred);
        known.connections.len() >= max || barred
    }
}

fn fell_back(connector: &Connector) {
    let version = Some(http::Version::HTTP_2);
    let observer = &connector.settings.observer;
    observer.tell(|m| m.handshake(Role::Client, version, Handshake::Fallback));
}
