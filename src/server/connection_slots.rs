//! Limits the number of a server's connections.
//!
//! A connection holds a slot from its acceptance to its end. When all slots are taken,
//! the server evicts the connection that has been unused for longest: one that has been
//! without a WebSocket, a request or a response in progress for at least a second. So idle
//! connections never keep others out, however many a client opens, and a connection in use
//! is never cut. A client that has reached its own limit is turned away, and its longest
//! unused connections are evicted so that its next attempt succeeds.
//!
//! [`ClientCounts`] says what a client is.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use slab::Slab;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::client_counts::{ClientCounts, ClientId};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::transport::h2::ConnectionHandle;

/// Minimum time without use before a connection may be evicted. A new connection needs
/// some time to send its first request.
const MIN_UNUSED: Duration = Duration::from_secs(1);

/// Time that an HTTP/2 client has to end its connection after GOAWAY.
const GOAWAY_GRACE: Duration = Duration::from_secs(1);

/// Interval at which a waiting connection looks for one that has become unused.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Maximum number of connections evicted at a time.
const MAX_EVICTIONS: usize = 32;

pub(super) struct ConnectionSlots {
    state: Mutex<State>,
    freed: Notify,
    max: usize,
    per_client: Option<usize>,
    created: Instant,
}

#[derive(Default)]
struct State {
    taken: Slab<Arc<Entry>>,
    clients: ClientCounts,
}

struct Entry {
    client: ClientId,
    /// WebSockets, requests and responses in progress, except for the WebSockets of
    /// `http2`.
    in_use: AtomicUsize,
    /// When it was last used, in milliseconds since `ConnectionSlots::created`.
    last_used: AtomicU64,
    http2: OnceLock<Arc<ConnectionHandle>>,
    /// Whether the connection has been asked to end.
    evict: watch::Sender<bool>,
}

/// The slot of one connection, until it is dropped.
pub(super) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    entry: Arc<Entry>,
    key: usize,
}

/// Keeps a connection in use until it is dropped.
pub(super) struct InUse(Arc<ConnectionSlot>);

/// The client has as many connections as are allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Entry {
    /// Since when the connection has been unused, if it is.
    fn unused_since(&self) -> Option<u64> {
        let socket = |handle: &Arc<ConnectionHandle>| handle.open_streams() > 0;
        let used = self.in_use.load(Ordering::Acquire) > 0 || self.http2.get().is_some_and(socket);
        (!used).then(|| self.last_used.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for ConnectionSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSlots").finish_non_exhaustive()
    }
}

impl ConnectionSlots {
    pub(super) fn new(max: usize, per_client: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            freed: Notify::new(),
            max,
            per_client,
            created: Instant::now(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of streams of the connection that has most.
    pub(super) fn of_busiest_connection(&self) -> usize {
        let state = self.lock();
        let http2 = state
            .taken
            .iter()
            .filter_map(|(_, entry)| entry.http2.get());
        http2
            .map(|handle| handle.open_streams() as usize)
            .max()
            .unwrap_or(0)
    }

    /// Returns the number of connections, and the largest number of one client.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.taken.len(), state.clients.of_busiest())
    }

    fn now(&self) -> u64 {
        self.created.elapsed().as_millis() as u64
    }

    /// Waits for a slot for a connection of `peer`. Cancel safe.
    pub(super) async fn take(
        self: &Arc<Self>,
        peer: IpAddr,
    ) -> Result<Arc<ConnectionSlot>, TooMany> {
        let client = ClientId::of(peer);
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.lock();
                let at_limit = state.clients.is_full(client, self.per_client);
                if !at_limit && state.taken.len() < self.max {
                    return Ok(self.enter(&mut state, client));
                }
                self.evict(&state, at_limit.then_some(client));
                if at_limit {
                    // Connections of other clients may wait behind this one.
                    return Err(TooMany);
                }
            }
            let _ = timeout(RETRY_INTERVAL, freed).await;
        }
    }

    fn enter(self: &Arc<Self>, state: &mut State, client: ClientId) -> Arc<ConnectionSlot> {
        state.clients.add(client);
        let entry = Arc::new(Entry {
            client,
            in_use: AtomicUsize::new(0),
            last_used: AtomicU64::new(self.now()),
            http2: OnceLock::new(),
            evict: watch::Sender::new(false),
        });
        Arc::new(ConnectionSlot {
            slots: self.clone(),
            key: state.taken.insert(entry.clone()),
            entry,
        })
    }

    /// Asks the connections that have been unused for longest to end, among all or among
    /// those of one client, unless some have been asked already.
    fn evict(&self, state: &State, client: Option<ClientId>) {
        let latest = self.now().saturating_sub(MIN_UNUSED.as_millis() as u64);
        let mut unused = Vec::new();
        for (_, entry) in &state.taken {
            if client.is_some_and(|client| entry.client != client) {
                continue;
            }
            if *entry.evict.borrow() {
                return;
            }
            if let Some(since) = entry.unused_since()
                && since <= latest
            {
                unused.push((since, entry));
            }
        }
        unused.sort_unstable_by_key(|(since, _)| *since);
        // Many connections mean that more new ones are likely to follow.
        let some = (self.max / 100).clamp(1, MAX_EVICTIONS);
        for (_, entry) in unused.iter().take(some) {
            entry.evict.send_replace(true);
        }
    }
}

impl ConnectionSlot {
    /// Counts the WebSockets of an HTTP/2 connection as use.
    pub(super) fn is_http2(&self, handle: Arc<ConnectionHandle>) {
        let _ = self.entry.http2.set(handle);
    }

    /// Marks the connection as used.
    pub(super) fn begin(self: &Arc<Self>) -> InUse {
        self.entry.in_use.fetch_add(1, Ordering::AcqRel);
        InUse(self.clone())
    }

    #[cfg(all(test, h2ws_loom))]
    pub(super) fn is_in_use(&self) -> bool {
        self.entry.in_use.load(Ordering::Acquire) > 0
    }

    fn touch(&self) {
        self.entry
            .last_used
            .store(self.slots.now(), Ordering::Relaxed);
    }

    /// Waits until the connection is asked to end.
    pub(super) async fn eviction_requested(&self) {
        // Cannot fail, because `self` holds the sender.
        let _ = self.entry.evict.subscribe().wait_for(|evict| *evict).await;
    }

    /// Waits until the connection has to be closed: it was asked to end, and is still
    /// unused.
    pub(super) async fn evicted(&self) {
        loop {
            self.eviction_requested().await;
            if self.entry.http2.get().is_some() {
                sleep(GOAWAY_GRACE).await;
            }
            if self.entry.unused_since().is_some() {
                return;
            }
            self.touch();
            self.entry.evict.send_replace(false);
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        state.taken.remove(self.key);
        state.clients.remove(self.entry.client);
        drop(state);
        self.slots.freed.notify_waiters();
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.touch();
        self.0.entry.in_use.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn unused_long_enough() {
        sleep(MIN_UNUSED + Duration::from_millis(1)).await;
    }

    async fn is_waiting<T>(future: impl Future<Output = T>) -> bool {
        timeout(Duration::from_secs(10), future).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_unused_connection_is_evicted_and_none_in_use() {
        let slots = ConnectionSlots::new(3, None);
        let (a, b, c) = (ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::1"));
        let used = slots.take(a).await.unwrap();
        let in_use = used.begin();
        let older = slots.take(b).await.unwrap();
        unused_long_enough().await;
        let newer = slots.take(c).await.unwrap();
        unused_long_enough().await;
        // A request makes the older connection the more recently used one.
        drop(older.begin());
        unused_long_enough().await;
        let waiting = tokio::spawn({
            let slots = slots.clone();
            async move { slots.take(a).await.map(|_| ()) }
        });
        newer.evicted().await;
        assert!(!*older.entry.evict.borrow() && !*used.entry.evict.borrow());
        drop(newer);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        let third = slots.take(a).await.unwrap();
        let (_use, _other) = (third.begin(), older.begin());
        assert!(is_waiting(slots.take(a)).await, "all are in use");
        drop(in_use);
        unused_long_enough().await;
        let slot = slots.take(b);
        let (taken, ()) = tokio::join!(slot, async move {
            used.evicted().await;
            drop(used);
        });
        assert!(taken.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_used_again_after_the_request_to_end_stays() {
        let slots = ConnectionSlots::new(1, None);
        let slot = slots.take(ip("192.0.2.1")).await.unwrap();
        unused_long_enough().await;
        let waiting = tokio::spawn({
            let slots = slots.clone();
            async move { slots.take(ip("192.0.2.2")).await.map(|_| ()) }
        });
        slot.eviction_requested().await;
        let in_use = slot.begin();
        assert!(is_waiting(slot.evicted()).await);
        drop(in_use);
        slot.evicted().await;
        drop(slot);
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_per_client_counts_a_network_as_one_client() {
        let slots = ConnectionSlots::new(10, Some(2));
        let one = slots.take(ip("2001:db8::1")).await.unwrap();
        let two = slots.take(ip("2001:db8::2")).await.unwrap();
        let (_one, _two) = (one.begin(), two.begin());
        let turned_away = slots.take(ip("2001:db8::3")).await;
        assert_eq!(turned_away.map(|_| ()), Err(TooMany));
        assert!(slots.take(ip("2001:db8:0:1::1")).await.is_ok());
        drop(_one);
        unused_long_enough().await;
        let turned_away = slots.take(ip("2001:db8::3")).await;
        assert_eq!(turned_away.map(|_| ()), Err(TooMany));
        one.evicted().await;
        drop(one);
        let taken = slots.take(ip("2001:db8::3")).await;
        assert!(taken.is_ok(), "its own unused connection was evicted");
        drop((taken, _two, two));
        let state = slots.lock();
        assert_eq!((state.taken.len(), state.clients.clients()), (0, 0));
    }
}
