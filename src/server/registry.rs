//! What a server has open, for its drain: HTTP/2 connections, and the sockets
//! that took over an HTTP/1.1 connection and that nobody else knows of.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;
use tokio::sync::watch;

use super::pending::UpgradedFrom;
use crate::transport::h2::ConnectionHandle;
use crate::transport::{IoHandle, IoStream};

pub(super) struct Registry {
    state: Mutex<State>,
    upgraded: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    upgraded: Slab<IoHandle>,
    http2: Slab<Arc<ConnectionHandle>>,
    draining: bool,
}

/// Counts an HTTP/2 connection until it is dropped.
pub(super) struct Http2Guard {
    open: Arc<Registry>,
    key: usize,
}

impl Drop for Http2Guard {
    fn drop(&mut self) {
        self.open.lock().http2.remove(self.key);
    }
}

/// Counts an upgraded connection; held by its stream.
struct UpgradedGuard {
    open: Arc<Registry>,
    key: usize,
    _kept: UpgradedFrom,
}

impl Drop for UpgradedGuard {
    fn drop(&mut self) {
        self.open.lock().upgraded.remove(self.key);
        self.open.upgraded.send_modify(|open| *open -= 1);
    }
}

impl Registry {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            upgraded: watch::Sender::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn http2(self: &Arc<Self>, handle: Arc<ConnectionHandle>) -> Http2Guard {
        let mut state = self.lock();
        if state.draining {
            handle.drain();
        }
        Http2Guard {
            open: self.clone(),
            key: state.http2.insert(handle),
        }
    }

    /// `from` is the stream's place among the server's connections.
    pub(super) fn upgraded(self: &Arc<Self>, stream: &mut IoStream, from: UpgradedFrom) {
        let mut state = self.lock();
        let draining = state.draining;
        let entry = state.upgraded.vacant_entry();
        let handle = stream.guarded_by(UpgradedGuard {
            open: self.clone(),
            key: entry.key(),
            _kept: from,
        });
        if draining {
            handle.drain();
        }
        entry.insert(handle);
        self.upgraded.send_modify(|open| *open += 1);
    }

    /// Asks all sockets, present and future, to close.
    pub(super) fn drain(&self) {
        let mut state = self.lock();
        state.draining = true;
        state.upgraded.iter().for_each(|(_, handle)| handle.drain());
        state.http2.iter().for_each(|(_, handle)| handle.drain());
    }

    /// Ends the upgraded sockets that are left. Returns how many sockets there
    /// still were, those on HTTP/2 connections included.
    pub(super) fn stop(&self) -> usize {
        let state = self.lock();
        let streams = state.http2.iter().map(|(_, handle)| handle.open_streams());
        let upgraded = state.upgraded.iter().filter(|(_, handle)| handle.stop());
        streams.sum::<u64>() as usize + upgraded.count()
    }

    /// Waits until no upgraded socket is left.
    pub(super) async fn closed(&self) {
        let mut upgraded = self.upgraded.subscribe();
        // The sender is in `self`.
        let _ = upgraded.wait_for(|open| *open == 0).await;
    }
}
