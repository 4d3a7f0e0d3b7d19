//! The numbers of a server's connections, beside their limits.

use std::sync::Arc;

use super::settings::Settings;

/// The numbers of a server's connections, and their limits; see
/// [`Server::connection_counts`](crate::Server::connection_counts).
#[derive(Clone, Debug)]
pub struct ConnectionCounts(pub(super) Arc<Settings>);

impl ConnectionCounts {
    /// Returns the number of open connections.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.slots().counts().0
    }

    /// Returns the [maximum number](super::ServerBuilder::max_connections) of connections.
    #[must_use]
    pub fn max(&self) -> usize {
        self.0.max_connections
    }

    /// Returns the number of open connections of the client that has most. A client is an IPv4
    /// address or an IPv6 /64 network. Looks at all clients.
    #[must_use]
    pub fn of_busiest_client(&self) -> usize {
        self.0.slots().counts().1
    }

    /// Returns the number of open WebSockets and requests of the HTTP/2 connection that has most. Looks
    /// at all connections.
    #[must_use]
    pub fn of_busiest_connection(&self) -> usize {
        self.0.slots().of_busiest_connection()
    }

    /// Returns the [maximum number](crate::Http2Config::max_concurrent_streams) of those per HTTP/2
    /// connection.
    #[must_use]
    pub fn max_per_connection(&self) -> usize {
        self.0.http2.max_concurrent_streams as usize
    }

    /// Returns the [maximum number](super::ServerBuilder::max_connections_per_client) of connections
    /// per client, if there is one.
    #[must_use]
    pub fn max_per_client(&self) -> Option<usize> {
        self.0.max_connections_per_client
    }
}
