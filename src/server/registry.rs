//! What a server has open, for its shutdown: HTTP/2 connections, and the WebSockets that
//! took over an HTTP/1.1 connection.

use std::sync::{Arc, PoisonError};

use slab::Slab;
use tokio::sync::watch;

use super::connection_slots::InUse;
use crate::metrics::OpenConnection;
use crate::sync::{Mutex, MutexGuard};
use crate::transport::h2::ConnectionHandle;
use crate::transport::{IoHandle, IoStream};

pub(super) struct Registry {
    state: Mutex<State>,
    connections: watch::Sender<usize>,
    upgraded: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    upgraded: Slab<IoHandle>,
    http2: Slab<Arc<ConnectionHandle>>,
    draining: bool,
}

/// The HTTP/1.1 connection that a WebSocket takes over.
pub(super) struct UpgradedFrom {
    pub(super) connection: Arc<OpenConnection>,
    /// Keeps the connection's slot.
    pub(super) _in_use: InUse,
}

/// Counts a connection of either version until it is dropped.
pub(super) struct ConnectionGuard(Arc<Registry>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.connections.send_modify(|open| *open -= 1);
    }
}

/// Registers an HTTP/2 connection until it is dropped.
pub(super) struct Http2Guard {
    registry: Arc<Registry>,
    key: usize,
}

impl Drop for Http2Guard {
    fn drop(&mut self) {
        self.registry.lock().http2.remove(self.key);
    }
}

/// Registers an upgraded connection; held by its stream.
struct UpgradedGuard {
    registry: Arc<Registry>,
    key: usize,
    _from: UpgradedFrom,
}

impl Drop for UpgradedGuard {
    fn drop(&mut self) {
        self.registry.lock().upgraded.remove(self.key);
        self.registry.upgraded.send_modify(|open| *open -= 1);
    }
}

impl Registry {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            connections: watch::Sender::new(0),
            upgraded: watch::Sender::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connection(self: &Arc<Self>) -> ConnectionGuard {
        self.connections.send_modify(|open| *open += 1);
        ConnectionGuard(self.clone())
    }

    /// Number of open connections, except for those that WebSockets took over.
    pub(super) fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    pub(super) fn http2(self: &Arc<Self>, handle: Arc<ConnectionHandle>) -> Http2Guard {
        let mut state = self.lock();
        if state.draining {
            handle.drain();
        }
        Http2Guard {
            registry: self.clone(),
            key: state.http2.insert(handle),
        }
    }

    pub(super) fn upgraded(self: &Arc<Self>, stream: &mut IoStream, from: UpgradedFrom) {
        let mut state = self.lock();
        let draining = state.draining;
        let entry = state.upgraded.vacant_entry();
        let handle = stream.guarded_by(UpgradedGuard {
            registry: self.clone(),
            key: entry.key(),
            _from: from,
        });
        if draining {
            handle.drain();
        }
        entry.insert(handle);
        self.upgraded.send_modify(|open| *open += 1);
    }

    /// Closes all WebSockets, present and future, with code 1001.
    pub(super) fn drain(&self) {
        let mut state = self.lock();
        state.draining = true;
        state.upgraded.iter().for_each(|(_, handle)| handle.drain());
        state.http2.iter().for_each(|(_, handle)| handle.drain());
    }

    /// Cuts the upgraded WebSockets that are left. Returns how many WebSockets were open,
    /// those on HTTP/2 connections included.
    pub(super) fn stop(&self) -> usize {
        let state = self.lock();
        let streams = state.http2.iter().map(|(_, handle)| handle.open_streams());
        let upgraded = state.upgraded.iter().filter(|(_, handle)| handle.stop());
        streams.sum::<u64>() as usize + upgraded.count()
    }

    /// Waits until all connections and all upgraded WebSockets have ended.
    pub(super) async fn closed(&self) {
        // Neither can fail, because `self` holds the senders.
        let mut connections = self.connections.subscribe();
        let _ = connections.wait_for(|open| *open == 0).await;
        let mut upgraded = self.upgraded.subscribe();
        let _ = upgraded.wait_for(|open| *open == 0).await;
    }
}
