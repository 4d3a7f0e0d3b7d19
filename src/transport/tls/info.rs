//! Results of a TLS handshake with a client.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, ProtocolVersion, ServerConnection};

use super::H2;

/// The parameters that the TLS handshake of a client's connection negotiated.
/// Cheap to clone.
///
/// Obtained from
/// [`WebSocketRequest::tls`](crate::server::WebSocketRequest::tls) for
/// WebSocket requests, and from [`Peer::tls`](crate::server::Peer::tls), a
/// request extension, for plain HTTP requests.
#[derive(Clone)]
pub struct TlsInfo(Arc<Settled>);

struct Settled {
    server_name: Option<String>,
    alpn: Option<Vec<u8>>,
    version: Option<ProtocolVersion>,
    cipher: Option<CipherSuite>,
    certificates: Vec<CertificateDer<'static>>,
}

impl TlsInfo {
    pub(super) fn of(tls: &ServerConnection) -> Self {
        let certificates = tls.peer_certificates().unwrap_or_default();
        Self(Arc::new(Settled {
            server_name: tls.server_name().map(str::to_owned),
            alpn: tls.alpn_protocol().map(<[u8]>::to_vec),
            version: tls.protocol_version(),
            cipher: tls.negotiated_cipher_suite().map(|suite| suite.suite()),
            certificates: certificates
                .iter()
                .map(|certificate| certificate.clone().into_owned())
                .collect(),
        }))
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.alpn() == Some(H2)
    }

    /// Returns the server name that the client requested (SNI, RFC 6066 §3);
    /// `None` if it requested none, as for an IP address. Requests on the
    /// connection may name other hosts, in their URI or `host` field;
    /// [`allowed_hosts`](crate::server::ServerBuilder::allowed_hosts) checks
    /// those.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.0.server_name.as_deref()
    }

    /// Returns the protocol negotiated by ALPN (RFC 7301), such as `h2`.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.0.alpn.as_deref()
    }

    /// Returns the TLS version.
    #[must_use]
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.0.version
    }

    /// Returns the cipher suite.
    #[must_use]
    pub fn cipher_suite(&self) -> Option<CipherSuite> {
        self.0.cipher
    }

    /// Returns the client's certificate, followed by the intermediates that it
    /// sent, as DER. Empty if the client sent none. Otherwise the server's
    /// configuration ([`ClientAuth`](super::ClientAuth)) has verified the first
    /// certificate, and that the client holds its key.
    #[must_use]
    pub fn client_certificates(&self) -> &[CertificateDer<'static>] {
        &self.0.certificates
    }
}

impl fmt::Debug for TlsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alpn = self.alpn().map(String::from_utf8_lossy);
        f.debug_struct("TlsInfo")
            .field("server_name", &self.server_name())
            .field("alpn", &alpn)
            .field("version", &self.version())
            .field("cipher_suite", &self.cipher_suite())
            .field("client_certificates", &self.client_certificates().len())
            .finish()
    }
}
