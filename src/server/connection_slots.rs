//! The places of a server's connections: who has one, who must wait or go.
//!
//! A place is held by a TCP connection from its acceptance to its end. When all
//! are taken, the connection that was unused for longest makes way: one without
//! a socket, a request or an answer under way, for a second at least. So idle
//! connections keep nobody out, however many a client opens, and one in use is
//! never cut. A client that has as many as are allowed to one is turned away,
//! while its own longest unused ones make way for its next attempt.
//!
//! A client is an IPv4 address, or an IPv6 network of 64 bits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use slab::Slab;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::transport::h2::ConnectionHandle;

/// A connection is let begin before it is held to be of no use.
const BEGINNING: Duration = Duration::from_secs(1);

/// How long a client may take to go once it was sent GOAWAY.
const FAREWELL: Duration = Duration::from_secs(1);

/// Looked again so often for one that has fallen idle, where none had.
const AGAIN: Duration = Duration::from_millis(100);

/// The most that make way at a time.
const AT_ONCE: usize = 32;

pub(super) struct ConnectionSlots {
    state: Mutex<State>,
    freed: Notify,
    max: usize,
    per_client: Option<usize>,
    begin: Instant,
}

#[derive(Default)]
struct State {
    taken: Slab<Arc<Entry>>,
    clients: HashMap<IpAddr, usize>,
}

struct Entry {
    client: IpAddr,
    /// Sockets, requests and answers under way, those of `http2` aside.
    busy: AtomicUsize,
    /// When it was last used, in milliseconds since the beginning.
    last: AtomicU64,
    http2: OnceLock<Arc<ConnectionHandle>>,
    /// Whether it is to make way.
    leave: watch::Sender<bool>,
}

/// A connection's place, until it is dropped.
pub(super) struct ConnectionSlot {
    places: Arc<ConnectionSlots>,
    entry: Arc<Entry>,
    key: usize,
}

/// Something is under way on a connection, until it is dropped.
pub(super) struct InUse(Arc<ConnectionSlot>);

/// Why there is no place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Entry {
    /// Since when it is unused.
    fn unused_since(&self) -> Option<u64> {
        let socket = |handle: &Arc<ConnectionHandle>| handle.open_streams() > 0;
        let used = self.busy.load(Ordering::Acquire) > 0 || self.http2.get().is_some_and(socket);
        (!used).then(|| self.last.load(Ordering::Relaxed))
    }
}

impl ConnectionSlots {
    pub(super) fn new(max: usize, per_client: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            freed: Notify::new(),
            max,
            per_client,
            begin: Instant::now(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    /// A place for a connection of `peer`, once there is one. Cancel safe.
    pub(super) async fn take(
        self: &Arc<Self>,
        peer: IpAddr,
    ) -> Result<Arc<ConnectionSlot>, TooMany> {
        let client = client(peer);
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.lock();
                let of_client = state.clients.get(&client).copied().unwrap_or(0);
                let crowded = self.per_client.is_some_and(|max| of_client >= max);
                if !crowded && state.taken.len() < self.max {
                    return Ok(self.enter(&mut state, client));
                }
                self.make_way(&state, crowded.then_some(client));
                if crowded {
                    // Not waited for: it is this client's affair, and others wait behind.
                    return Err(TooMany);
                }
            }
            let _ = timeout(AGAIN, freed).await;
        }
    }

    fn enter(self: &Arc<Self>, state: &mut State, client: IpAddr) -> Arc<ConnectionSlot> {
        *state.clients.entry(client).or_default() += 1;
        let entry = Arc::new(Entry {
            client,
            busy: AtomicUsize::new(0),
            last: AtomicU64::new(self.now()),
            http2: OnceLock::new(),
            leave: watch::Sender::new(false),
        });
        Arc::new(ConnectionSlot {
            places: self.clone(),
            key: state.taken.insert(entry.clone()),
            entry,
        })
    }

    /// Asks those connections to go that were unused for longest, of all or of
    /// one client, unless some are about to.
    fn make_way(&self, state: &State, client: Option<IpAddr>) {
        let latest = self.now().saturating_sub(BEGINNING.as_millis() as u64);
        let mut unused = Vec::new();
        for (_, entry) in &state.taken {
            if client.is_some_and(|client| entry.client != client) {
                continue;
            }
            if *entry.leave.borrow() {
                return;
            }
            if let Some(since) = entry.unused_since()
                && since <= latest
            {
                unused.push((since, entry));
            }
        }
        unused.sort_unstable_by_key(|(since, _)| *since);
        // Where there are many, others are likely to come as well.
        let some = (self.max / 100).clamp(1, AT_ONCE);
        for (_, entry) in unused.iter().take(some) {
            entry.leave.send_replace(true);
        }
    }
}

impl ConnectionSlot {
    /// From here on the connection is of HTTP/2.
    pub(super) fn is_http2(&self, handle: Arc<ConnectionHandle>) {
        let _ = self.entry.http2.set(handle);
    }

    /// Something begins on the connection.
    pub(super) fn begin(self: &Arc<Self>) -> InUse {
        self.entry.busy.fetch_add(1, Ordering::AcqRel);
        InUse(self.clone())
    }

    fn touch(&self) {
        self.entry.last.store(self.places.now(), Ordering::Relaxed);
    }

    /// Waits until the connection is to say goodbye.
    pub(super) async fn asked(&self) {
        // The sender is in `self`.
        let _ = self.entry.leave.subscribe().wait_for(|leave| *leave).await;
    }

    /// Waits until the connection is to be closed: it was asked to go, and is
    /// still not used.
    pub(super) async fn over(&self) {
        loop {
            self.asked().await;
            if self.entry.http2.get().is_some() {
                sleep(FAREWELL).await;
            }
            if self.entry.unused_since().is_some() {
                return;
            }
            self.touch();
            self.entry.leave.send_replace(false);
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        state.taken.remove(self.key);
        let client = self.entry.client;
        if let Some(count) = state.clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                state.clients.remove(&client);
            }
        }
        drop(state);
        self.places.freed.notify_waiters();
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.touch();
        self.0.entry.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Who is one client.
fn client(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn second() {
        sleep(BEGINNING + Duration::from_millis(1)).await;
    }

    async fn is_waiting<T>(future: impl Future<Output = T>) -> bool {
        timeout(Duration::from_secs(10), future).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_unused_for_longest_makes_way_and_none_in_use() {
        let places = ConnectionSlots::new(3, None);
        let (a, b, c) = (ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::1"));
        let used = places.take(a).await.unwrap();
        let use_of_it = used.begin();
        let older = places.take(b).await.unwrap();
        second().await;
        let newer = places.take(c).await.unwrap();
        second().await;
        // A request makes the older one the newer.
        drop(older.begin());
        second().await;
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.take(a).await.map(|_| ()) }
        });
        newer.over().await;
        assert!(!*older.entry.leave.borrow() && !*used.entry.leave.borrow());
        drop(newer);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        let third = places.take(a).await.unwrap();
        let (_use, _other) = (third.begin(), older.begin());
        assert!(is_waiting(places.take(a)).await, "all are in use");
        drop(use_of_it);
        second().await;
        let place = places.take(b);
        let (taken, ()) = tokio::join!(place, async move {
            used.over().await;
            drop(used);
        });
        assert!(taken.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_came_into_use_meanwhile_stays() {
        let places = ConnectionSlots::new(1, None);
        let place = places.take(ip("192.0.2.1")).await.unwrap();
        second().await;
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.take(ip("192.0.2.2")).await.map(|_| ()) }
        });
        place.asked().await;
        let busy = place.begin();
        assert!(is_waiting(place.over()).await);
        drop(busy);
        place.over().await;
        drop(place);
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_so_many_and_a_network_is_one_client() {
        let places = ConnectionSlots::new(10, Some(2));
        let one = places.take(ip("2001:db8::1")).await.unwrap();
        let two = places.take(ip("2001:db8::2")).await.unwrap();
        let (_one, _two) = (one.begin(), two.begin());
        let turned_away = places.take(ip("2001:db8::3")).await;
        assert_eq!(turned_away.map(|_| ()), Err(TooMany));
        assert!(places.take(ip("2001:db8:0:1::1")).await.is_ok());
        drop(_one);
        second().await;
        let turned_away = places.take(ip("2001:db8::3")).await;
        assert_eq!(turned_away.map(|_| ()), Err(TooMany));
        one.over().await;
        drop(one);
        let taken = places.take(ip("2001:db8::3")).await;
        assert!(taken.is_ok(), "its own unused one made way");
        drop((taken, _two, two));
        let state = places.lock();
        assert_eq!((state.taken.len(), state.clients.len()), (0, 0));
    }
}
