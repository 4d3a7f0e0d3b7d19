//! Forward proxies: byte streams to an origin through an intermediary.
//!
//! The result is equivalent to a TCP connection to the origin: TLS, ALPN and
//! HTTP/2 run inside it, invisible to the proxy.

mod connect;
mod error;
mod socks;
mod url;

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;

pub use self::error::{ProxyError, ProxyUrlError};

use super::{BoxIo, TcpConfig, dial, tls};

/// A proxy: its address, its protocol and the credentials for it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    host: String,
    port: u16,
    protocol: TunnelProtocol,
}

/// The protocol of a proxy.
#[derive(Clone, PartialEq, Eq)]
enum TunnelProtocol {
    /// CONNECT (RFC 9110 §9.3.6), over TLS if `secure`.
    Connect {
        secure: bool,
        authorization: Option<HeaderValue>,
    },
    /// SOCKS5 (RFC 1928).
    Socks5 { login: Option<Login> },
}

/// A user name and a password, of 1 to 255 bytes each (RFC 1929 §2).
#[derive(Clone, PartialEq, Eq)]
struct Login {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl Proxy {
    /// Returns whether the connection to the proxy itself uses TLS.
    pub(crate) fn is_secure(&self) -> bool {
        matches!(self.protocol, TunnelProtocol::Connect { secure: true, .. })
    }

    /// Opens a tunnel to `host`, whose name the proxy resolves. `tls` is for a
    /// [secure](Self::is_secure) proxy. At most `max_rejection_body` bytes of a
    /// rejection's body are kept. Dropping the future closes the connection to
    /// the proxy.
    pub(crate) async fn tunnel(
        &self,
        tls: Option<&Arc<rustls::ClientConfig>>,
        host: &str,
        port: u16,
        config: &TcpConfig,
        max_rejection_body: usize,
    ) -> Result<BoxIo, ProxyError> {
        tracing::debug!(proxy = %self, host, port, "opening a tunnel through a proxy");
        let tcp = dial::tcp(&self.host, self.port, config)
            .await
            .map_err(|error| ProxyError::Connect(Arc::new(error)))?;
        let io: BoxIo = Box::new(tcp);
        match &self.protocol {
            TunnelProtocol::Socks5 { login } => socks::tunnel(io, host, port, login.as_ref()).await,
            TunnelProtocol::Connect { authorization, .. } => {
                let io = if self.is_secure() {
                    // Never send in cleartext what was meant for TLS.
                    let config = tls.ok_or_else(|| {
                        ProxyError::Tls(Arc::new(std::io::ErrorKind::Unsupported.into()))
                    })?;
                    tls::connect(config, &[tls::HTTP1], &self.host, io)
                        .await
                        .map_err(|error| ProxyError::Tls(Arc::new(error)))?
                        .io
                } else {
                    io
                };
                connect::tunnel(io, host, port, authorization.clone(), max_rejection_body).await
            }
        }
    }
}

/// Omits the credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            TunnelProtocol::Connect { secure: false, .. } => "http",
            TunnelProtocol::Connect { secure: true, .. } => "https",
            TunnelProtocol::Socks5 { .. } => "socks5h",
        };
        write!(f, "{scheme}://{}", authority(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
