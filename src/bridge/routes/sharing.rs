//! Decides which WebSockets share HTTP/2 connections to upstreams.
//!
//! **The rule.** A client shares connections with others for a limited number of
//! its WebSockets (`max_shared_sockets`); further ones form a group of their own,
//! which shares connections with no other. What one client sends in bulk on a
//! thousand WebSockets then queues on connections of its own: in the kernel, where
//! nothing overtakes, and in the upstream.
//!
//! Groups have numbers, and the number that was freed last is given out first: a
//! connection that the previous group has left idle is used again, and clients that
//! come and go do not make a connection each.

use std::collections::HashMap;
use std::num::NonZeroU16;

use crate::server::ClientId;

/// Maximum number of groups at a time. Further clients share.
const MAX_GROUPS: u16 = 256;

/// What counts as one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sharer {
    /// An HTTP/2 connection.
    Connection(u64),
    /// All HTTP/1.1 connections from an address or network.
    Address(ClientId),
}

/// Where a WebSocket is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Uncounted,
    Shared,
    /// In this group.
    Apart(NonZeroU16),
}

#[derive(Debug, Default)]
pub(super) struct Sharing {
    clients: HashMap<Sharer, Sockets>,
    /// Numbers that were given out and are free again.
    free: Vec<NonZeroU16>,
    /// Number of numbers that were ever given out.
    known: u16,
}

/// The WebSockets of one client.
#[derive(Debug, Default)]
struct Sockets {
    shared: usize,
    apart: usize,
    group: Option<NonZeroU16>,
}

impl Sharing {
    /// Counts a WebSocket of a client that shares at most `max`.
    pub(super) fn place(&mut self, client: Sharer, max: usize) -> Place {
        let sockets = self.clients.entry(client).or_default();
        if sockets.shared >= max {
            if sockets.group.is_none() {
                sockets.group = self.free.pop().or_else(|| {
                    self.known = (self.known + 1).min(MAX_GROUPS + 1);
                    NonZeroU16::new(self.known).filter(|number| number.get() <= MAX_GROUPS)
                });
            }
            if let Some(group) = sockets.group {
                sockets.apart += 1;
                return Place::Apart(group);
            }
        }
        sockets.shared += 1;
        Place::Shared
    }

    /// Counts a WebSocket no longer.
    pub(super) fn leave(&mut self, client: Sharer, place: Place) {
        let Some(sockets) = self.clients.get_mut(&client) else {
            return;
        };
        match place {
            Place::Uncounted => return,
            Place::Shared => sockets.shared -= 1,
            Place::Apart(_) => sockets.apart -= 1,
        }
        if sockets.apart == 0 {
            self.free.extend(sockets.group.take());
        }
        if sockets.shared == 0 && sockets.apart == 0 {
            self.clients.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Sharer = Sharer::Connection(1);
    const OTHER: Sharer = Sharer::Connection(2);

    fn apart(group: u16) -> Place {
        Place::Apart(NonZeroU16::new(group).unwrap())
    }

    #[test]
    fn what_exceeds_the_share_of_a_client_forms_a_group() {
        let mut sharing = Sharing::default();
        let mut place = |client| sharing.place(client, 2);
        assert_eq!([ONE, ONE].map(&mut place), [Place::Shared; 2]);
        assert_eq!([ONE, ONE].map(&mut place), [apart(1); 2]);
        assert_eq!([OTHER, OTHER].map(&mut place), [Place::Shared; 2]);
        assert_eq!(place(OTHER), apart(2));
        sharing.leave(ONE, Place::Shared);
        assert_eq!(sharing.place(ONE, 2), Place::Shared, "one place is free");
        assert_eq!(sharing.place(ONE, 2), apart(1));
    }

    #[test]
    fn the_number_of_a_group_is_used_again_once_it_is_empty() {
        let mut sharing = Sharing::default();
        assert_eq!(sharing.place(ONE, 0), apart(1));
        assert_eq!(sharing.place(ONE, 0), apart(1));
        sharing.leave(ONE, apart(1));
        assert_eq!(sharing.place(OTHER, 0), apart(2));
        sharing.leave(ONE, apart(1));
        assert_eq!(sharing.place(Sharer::Connection(3), 0), apart(1));
        sharing.leave(OTHER, apart(2));
        sharing.leave(Sharer::Connection(3), apart(1));
        assert!(sharing.clients.is_empty(), "no memory of former clients");
    }

    #[test]
    fn clients_share_when_there_is_no_group_left() {
        let mut sharing = Sharing::default();
        let client = |number| Sharer::Connection(u64::from(number));
        for number in 1..=MAX_GROUPS {
            assert_eq!(sharing.place(client(number), 0), apart(number));
        }
        for number in MAX_GROUPS + 1..MAX_GROUPS + 4 {
            assert_eq!(sharing.place(client(number), 0), Place::Shared);
        }
        sharing.leave(client(7), apart(7));
        assert_eq!(sharing.place(client(1000), 0), apart(7));
    }
}
