//! The client at the other end of a connection.

use std::net::SocketAddr;

use crate::transport::tls::TlsInfo;

/// The client at the other end of a connection: its address and the results of its TLS
/// handshake.
///
/// Plain HTTP requests carry it among their extensions, beside
/// [`Transport`](crate::Transport):
///
/// ```
/// use h2ws::server::{Body, Peer};
///
/// fn has_certificate(request: &http::Request<Body>) -> bool {
///     let tls = request.extensions().get::<Peer>().and_then(Peer::tls);
///     tls.is_some_and(|tls| !tls.client_certificates().is_empty())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Peer {
    pub(super) addr: SocketAddr,
    pub(super) tls: Option<TlsInfo>,
}

impl Peer {
    /// Creates a peer, to test a service without a [`Server`](crate::Server) or to run it
    /// under another one.
    ///
    /// ```
    /// use h2ws::server::Peer;
    ///
    /// let mut request = http::Request::new(());
    /// let peer = Peer::new(([192, 0, 2, 1], 50_000).into(), None);
    /// request.extensions_mut().insert(peer);
    /// ```
    #[must_use]
    pub fn new(addr: SocketAddr, tls: impl Into<Option<TlsInfo>>) -> Self {
        Self {
            addr: SocketAddr::new(addr.ip().to_canonical(), addr.port()),
            tls: tls.into(),
        }
    }

    /// Address at the other end of the connection: the client's, or that of a proxy in
    /// front. `0.0.0.0:0` if it has none, as over a Unix socket. An IPv4 client of a
    /// listener for both families has its IPv4 address, not one such as
    /// `::ffff:192.0.2.1`.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Results of the TLS handshake; `None` without TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_client_has_its_ipv4_address() {
        for (addr, shown) in [
            ("[::ffff:192.0.2.1]:7", "192.0.2.1:7"),
            ("192.0.2.1:7", "192.0.2.1:7"),
            ("[2001:db8::1]:7", "[2001:db8::1]:7"),
        ] {
            let peer = Peer::new(addr.parse().unwrap(), None);
            assert_eq!(peer.addr().to_string(), shown);
        }
    }
}
