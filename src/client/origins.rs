//! The origins that a client knows, limited in number.
//!
//! Origins in use are kept: those with connections or requests in progress. The others are
//! kept while there are at most `max_origins` in all; then a quarter is forgotten, the least
//! recently used ones first. So a client that tries a hundred thousand servers once takes no
//! more memory than one that tries a thousand.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::origin::Origin;
use crate::handshake::Endpoint;

/// What WebSockets must have in common to share a connection: the origin, and the address
/// and the group if the caller gave them.
type Key = (Endpoint, Option<SocketAddr>, Option<NonZeroU16>);

#[derive(Default)]
pub(super) struct Origins {
    known: HashMap<Key, Arc<Origin>>,
    /// Number of lookups, used as a clock.
    lookups: u64,
    /// Number of origins at which unused ones are forgotten. It exceeds `max_origins` if more
    /// than that are in use.
    threshold: usize,
}

impl Origins {
    pub(super) fn all(&self) -> Vec<Arc<Origin>> {
        self.known.values().cloned().collect()
    }

    /// Returns the origin, and forgets others if there are more than `max`.
    pub(super) fn find(&mut self, key: Key, max: usize) -> Arc<Origin> {
        if self.known.len() >= self.threshold.max(max) && !self.known.contains_key(&key) {
            self.forget_unused(max);
        }
        let address = key.1;
        let origin = self.known.entry(key);
        let origin = origin.or_insert_with(|| Origin::at(address));
        self.lookups += 1;
        origin.used.store(self.lookups, Ordering::Relaxed);
        origin.clone()
    }

    fn forget_unused(&mut self, max: usize) {
        // References are only handed out by `find`, so they cannot appear meanwhile.
        let is_in_use =
            |origin: &Arc<Origin>| Arc::strong_count(origin) > 1 || origin.is_connected();
        let used = |origin: &Arc<Origin>| origin.used.load(Ordering::Relaxed);
        let unused = self.known.values().filter(|origin| !is_in_use(origin));
        let mut unused: Vec<_> = unused.map(used).collect();
        unused.sort_unstable();
        let excess = self.known.len() + 1 + max / 4 - max;
        let until = unused
            .get(excess.min(unused.len()).wrapping_sub(1))
            .copied();
        if let Some(until) = until {
            self.known
                .retain(|_, origin| is_in_use(origin) || used(origin) > until);
        }
        if self.known.capacity() > 4 * (self.known.len() + max) {
            self.known.shrink_to(max);
        }
        // Grows with the number in use, so that not every new origin causes a scan.
        self.threshold = self.known.len() + 1 + max / 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        let key = Endpoint {
            secure: true,
            host: format!("host-{number}.example"),
            port: 443,
            unix_path: None,
        };
        (key, None, None)
    }

    #[test]
    fn unused_origins_are_limited_in_number() {
        for max in [1, 2, 3, 8, 100] {
            let mut origins = Origins::default();
            for number in 0..1_000 {
                drop(origins.find(key(number), max));
                assert!(
                    origins.known.len() <= max,
                    "{} of {max}",
                    origins.known.len()
                );
                assert!(origins.known.contains_key(&key(number)), "the newest");
            }
            assert!(
                origins.known.len() >= max - max / 4,
                "not sooner than needed"
            );
        }
    }

    #[test]
    fn the_least_recently_used_origins_are_forgotten_first() {
        let mut origins = Origins::default();
        let often = key(0);
        for number in 1..1_000 {
            drop(origins.find(often.clone(), 8));
            drop(origins.find(key(number), 8));
            assert!(origins.known.contains_key(&often));
        }
    }

    #[test]
    fn origins_in_use_are_never_forgotten() {
        let mut origins = Origins::default();
        let in_use: Vec<_> = (0..100).map(|n| origins.find(key(n), 8)).collect();
        for number in 100..1_000 {
            drop(origins.find((key(number).0, Some(([10, 0, 0, 1], 443).into()), None), 8));
        }
        assert!(origins.known.len() <= 100 + 100 / 4 + 8);
        for (number, origin) in in_use.iter().enumerate() {
            assert!(Arc::ptr_eq(origin, &origins.find(key(number), 8)));
        }
        drop(in_use);
        drop(origins.find(key(1_000), 8));
        for number in 1_001..1_100 {
            drop(origins.find(key(number), 8));
        }
        assert!(origins.known.len() <= 8);
    }
}
