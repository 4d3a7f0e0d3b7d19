//! What counts as one client, and a number per client: the rule of every limit per client.
//!
//! A client is an IPv4 address, or an IPv6 /64 network, which is what one subscriber has. Peers
//! without an address, such as those of a Unix socket, cannot be told apart, and are not limited.
//! Former clients use no memory.

use std::collections::HashMap;
use std::net::IpAddr;

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientId(IpAddr);

impl ClientId {
    pub(crate) fn of(peer: IpAddr) -> Self {
        Self(match peer.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
            v4 @ IpAddr::V4(_) => v4,
        })
    }

    /// Whether it has no address.
    pub(crate) fn is_unknown(self) -> bool {
        self.0.is_unspecified()
    }
}

/// A number per client.
#[derive(Debug, Default)]
pub(crate) struct ClientCounts(HashMap<ClientId, usize>);

impl ClientCounts {
    /// Whether one more would exceed `max`.
    pub(crate) fn is_full(&self, client: ClientId, max: Option<usize>) -> bool {
        let count = self.0.get(&client).copied().unwrap_or(0);
        !client.is_unknown() && max.is_some_and(|max| count >= max)
    }

    pub(crate) fn add(&mut self, client: ClientId) {
        *self.0.entry(client).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, client: ClientId) {
        if let Some(count) = self.0.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&client);
            }
        }
    }

    /// Returns the number of the client that has most.
    pub(crate) fn of_busiest(&self) -> usize {
        let known = self.0.iter().filter(|(client, _)| !client.is_unknown());
        known.map(|(_, count)| *count).max().unwrap_or(0)
    }

    #[cfg(test)]
    pub(crate) fn clients(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> ClientId {
        ClientId::of(address.parse().unwrap())
    }

    #[test]
    fn an_ipv6_network_is_one_client_and_peers_without_an_address_are_not() {
        assert_eq!(client("2001:db8::1"), client("2001:db8::2"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_eq!(client("192.0.2.1"), client("::ffff:192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        let mut counts = ClientCounts::default();
        for address in ["0.0.0.0", "::", "192.0.2.1"] {
            counts.add(client(address));
            let is_full = counts.is_full(client(address), Some(1));
            assert_eq!(is_full, address == "192.0.2.1", "{address}");
        }
        counts.add(client("0.0.0.0"));
        assert_eq!(counts.of_busiest(), 1);
        assert!(!counts.is_full(client("192.0.2.1"), None));
        for address in ["0.0.0.0", "::", "192.0.2.1", "0.0.0.0"] {
            counts.remove(client(address));
        }
        assert_eq!((counts.clients(), counts.of_busiest()), (0, 0));
    }
}
