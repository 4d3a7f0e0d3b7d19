//! Places for the requests to a server of forward authentication.
//!
//! **The rule.** One client has only a share of the places, and waits for a place of its own before
//! it waits for one of all. So however many requests it makes of a slow server, those of other clients
//! find a place, and stand behind none of those that it has waiting.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

use crate::server::ClientId;

#[derive(Debug)]
pub(super) struct AuthPlaces {
    all: Semaphore,
    max: usize,
    per_client: usize,
    /// Of clients with a request, in progress or waiting.
    clients: Mutex<HashMap<ClientId, Arc<Semaphore>>>,
}

/// A client with a request, until it is dropped.
pub(super) struct Turn<'a> {
    places: &'a AuthPlaces,
    client: ClientId,
    own: Arc<Semaphore>,
}

impl AuthPlaces {
    /// Creates `max` places, of which a client has at most `per_client`: by default a tenth, and at
    /// least one.
    pub(super) fn new(max: usize, per_client: Option<usize>) -> Arc<Self> {
        let max = max.min(Semaphore::MAX_PERMITS);
        let per_client = per_client.unwrap_or((max / 10).max(1));
        let per_client = per_client.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            all: Semaphore::new(max),
            max,
            per_client,
            clients: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientId, Arc<Semaphore>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the places of a client; `None` for a peer without an address, which has no share.
    pub(super) fn turn(&self, peer: IpAddr) -> Option<Turn<'_>> {
        let client = ClientId::of(peer);
        if client.is_unknown() {
            return None;
        }
        let new = || Arc::new(Semaphore::new(self.per_client));
        let own = self.lock().entry(client).or_insert_with(new).clone();
        Some(Turn {
            places: self,
            client,
            own,
        })
    }

    /// Waits for a place of all.
    pub(super) async fn take(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.all.acquire().await
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn per_client(&self) -> usize {
        self.per_client
    }

    /// Returns the number of places that are taken.
    pub(super) fn taken(&self) -> usize {
        self.max - self.all.available_permits()
    }

    /// Returns the number of places that the client with most has taken.
    pub(super) fn of_busiest_client(&self) -> usize {
        let clients = self.lock();
        let taken = clients.values();
        let taken = taken.map(|own| self.per_client - own.available_permits());
        taken.max().unwrap_or(0)
    }
}

impl Turn<'_> {
    /// Waits for a place of the client's own.
    pub(super) async fn take(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.own.acquire().await
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut clients = self.places.lock();
        // Only under the lock is there ever another clone: that of the table, and this one.
        if Arc::strong_count(&self.own) == 2 {
            clients.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_a_tenth_by_default_and_former_clients_use_no_memory() {
        for (max, per_client, expected) in [
            (1024, None, 102),
            (9, None, 1),
            (0, None, 1),
            (10, Some(10), 10),
            (10, Some(0), 0),
        ] {
            assert_eq!(AuthPlaces::new(max, per_client).per_client(), expected);
        }
        let places = AuthPlaces::new(10, None);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(places.turn(ip("0.0.0.0")).is_none());
        let (one, again) = (
            places.turn(ip("2001:db8::1")),
            places.turn(ip("2001:db8::2")),
        );
        let other = places.turn(ip("192.0.2.1"));
        assert_eq!(places.lock().len(), 2);
        drop(one);
        assert_eq!(places.lock().len(), 2);
        drop((again, other));
        assert_eq!(places.lock().len(), 0);
    }
}
