//! The origins that a client knows, and how many it remembers.
//!
//! Those in use are kept: that have connections, or are being asked. Of all
//! others what was learned is remembered for as long as there are no more than
//! `max_origins` in all; then a quarter makes way, those first that were looked
//! up the longest time ago. A client that tries a hundred thousand servers once
//! holds no more than one that tries a thousand.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::origin::Origin;
use crate::handshake::Endpoint;

/// By what connections can be shared: the origin, and the address where the
/// caller knows it.
type Key = (Endpoint, Option<SocketAddr>);

#[derive(Default)]
pub(super) struct Origins {
    known: HashMap<Key, Arc<Origin>>,
    /// Counts what is looked up, which stands for the time.
    lookups: u64,
    /// How many there have to be before it is looked which make way. More than
    /// are remembered where more than that are in use.
    enough: usize,
}

impl Origins {
    pub(super) fn all(&self) -> Vec<Arc<Origin>> {
        self.known.values().cloned().collect()
    }

    /// What is known of an origin, of so many at most.
    pub(super) fn find(&mut self, key: Key, max: usize) -> Arc<Origin> {
        if self.known.len() >= self.enough.max(max) && !self.known.contains_key(&key) {
            self.make_way(max);
        }
        let address = key.1;
        let origin = self.known.entry(key);
        let origin = origin.or_insert_with(|| Origin::at(address));
        self.lookups += 1;
        origin.used.store(self.lookups, Ordering::Relaxed);
        origin.clone()
    }

    fn make_way(&mut self, max: usize) {
        // Nobody else can come to hold one: all go through here.
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
        // Not for each one more where most are in use.
        self.enough = self.known.len() + 1 + max / 4;
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
        };
        (key, None)
    }

    #[test]
    fn what_is_not_in_use_is_remembered_up_to_a_number() {
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
    fn those_looked_up_longest_ago_go_first() {
        let mut origins = Origins::default();
        let often = key(0);
        for number in 1..1_000 {
            drop(origins.find(often.clone(), 8));
            drop(origins.find(key(number), 8));
            assert!(origins.known.contains_key(&often));
        }
    }

    #[test]
    fn those_in_use_stay_however_many_there_are() {
        let mut origins = Origins::default();
        let in_use: Vec<_> = (0..100).map(|n| origins.find(key(n), 8)).collect();
        for number in 100..1_000 {
            drop(origins.find((key(number).0, Some(([10, 0, 0, 1], 443).into())), 8));
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
