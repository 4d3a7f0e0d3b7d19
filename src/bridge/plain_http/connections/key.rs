//! Which requests may share connections.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;

use crate::bridge::Upstream;
use crate::client::{Client, HttpVersion};
use crate::handshake::{Endpoint, Target};

/// Requests with equal keys may share connections.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(in crate::bridge::plain_http) struct PoolKey {
    client: ClientIdentity,
    endpoint: Endpoint,
    pub(super) address: Option<SocketAddr>,
    pub(super) version: HttpVersion,
}

/// Compares clients by identity: two clients may present different certificates
/// or trust different servers.
#[derive(Clone)]
struct ClientIdentity(Client);

impl PartialEq for ClientIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.0.identity() == other.0.identity()
    }
}

impl Eq for ClientIdentity {}

impl Hash for ClientIdentity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.identity().hash(state);
    }
}

impl PoolKey {
    pub(in crate::bridge::plain_http) fn new(
        client: &Client,
        upstream: &Upstream,
        target: &Target,
    ) -> Self {
        Self {
            client: ClientIdentity(client.clone()),
            endpoint: target.endpoint().clone(),
            address: upstream.known_address(),
            version: upstream.http_version(),
        }
    }

    /// For a server that is not an upstream.
    pub(in crate::bridge::plain_http) fn of_target(client: &Client, target: &Target) -> Self {
        Self {
            client: ClientIdentity(client.clone()),
            endpoint: target.endpoint().clone(),
            address: None,
            version: HttpVersion::Auto,
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client.0
    }

    /// Whether a connection may turn out to be HTTP/2, which requests share.
    pub(super) fn may_be_http2(&self) -> bool {
        match self.version {
            HttpVersion::Http1 => false,
            HttpVersion::Http2 => true,
            HttpVersion::Auto => self.endpoint.secure,
        }
    }
}
