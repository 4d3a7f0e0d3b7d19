//! [`Destination`]: what a connector connects to.

use std::net::SocketAddr;
use std::path::Path;

use http::Uri;

use crate::handshake::Target;

/// Where a [connector](super::ClientBuilder::connector) is to make a connection to.
#[derive(Clone, Debug)]
pub struct Destination {
    target: Target,
    address: Option<SocketAddr>,
}

impl Destination {
    pub(super) fn new(target: Target, address: Option<SocketAddr>) -> Self {
        Self { target, address }
    }

    /// Returns the host of the URL, without brackets if it is an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        self.target.host()
    }

    /// Returns the port of the URL, or the default one of its scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.target.port()
    }

    /// Returns the path of the Unix socket to connect to instead, if the URL has one.
    #[must_use]
    pub fn unix_path(&self) -> Option<&Path> {
        self.target.unix_path()
    }

    /// Returns the [address](super::RequestBuilder::address) to connect to instead of resolving
    /// the host, if the request has one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns the URL of the WebSocket.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Returns the destination as tower's connectors take it: `http://`, the
    /// [address](Self::address) or the host, and the port. The scheme is `http` also for `wss`
    /// URLs, because TLS remains the client's task.
    #[must_use]
    pub fn uri(&self) -> Uri {
        let authority = match self.address {
            Some(address) => address.to_string(),
            None if self.host().contains(':') => format!("[{}]:{}", self.host(), self.port()),
            None => format!("{}:{}", self.host(), self.port()),
        };
        let uri = Uri::builder()
            .scheme("http")
            .authority(authority)
            .path_and_query("/");
        // Does not fail, because the host was parsed as one.
        uri.build().unwrap_or_else(|_| self.target.http_uri())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tower_connector_gets_the_place_to_connect_to() {
        let cases = [
            ("ws://app.example/chat?x", None, "http://app.example:80/"),
            ("wss://app.example", None, "http://app.example:443/"),
            ("wss://[::1]:9/", None, "http://[::1]:9/"),
            (
                "wss://app.example",
                Some("192.0.2.1:99"),
                "http://192.0.2.1:99/",
            ),
            (
                "ws://app.example",
                Some("[2001:db8::1]:99"),
                "http://[2001:db8::1]:99/",
            ),
        ];
        for (url, address, expected) in cases {
            let address = address.map(|address| address.parse().unwrap());
            let destination = Destination::new(url.parse().unwrap(), address);
            assert_eq!(destination.uri(), expected);
        }
    }
}
