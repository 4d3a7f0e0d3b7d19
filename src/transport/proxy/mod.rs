//! Forward proxies: a byte stream to an origin by way of a host in between.
//!
//! What comes out is as good as a TCP connection to the origin: TLS, ALPN and
//! HTTP/2 run inside, and the proxy sees none of it.

mod connect;
mod error;
mod socks;
mod url;

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;

pub use self::error::{ProxyError, ProxyUrlError};

use super::{BoxIo, TcpConfig, dial, tls};

/// A proxy and what to say to it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    host: String,
    port: u16,
    way: Way,
}

/// How a proxy is asked.
#[derive(Clone, PartialEq, Eq)]
enum Way {
    /// CONNECT (RFC 9110 §9.3.6), with TLS to the proxy or without.
    Connect {
        secure: bool,
        authorization: Option<HeaderValue>,
    },
    /// RFC 1928.
    Socks5 { login: Option<Login> },
}

/// A user name and a password, of 1 to 255 bytes each (RFC 1929 §2).
#[derive(Clone, PartialEq, Eq)]
struct Login {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl Proxy {
    /// Whether TLS is spoken to the proxy itself.
    pub(crate) fn is_secure(&self) -> bool {
        matches!(self.way, Way::Connect { secure: true, .. })
    }

    /// Opens a tunnel to `host`, whose name the proxy resolves; `tls` is for a
    /// [secure](Self::is_secure) proxy. Of the body of
    /// a refusal `max_rejection_body` bytes are kept. Dropping the future ends the
    /// connection to the proxy.
    pub(crate) async fn tunnel(
        &self,
        tls: Option<&Arc<rustls::ClientConfig>>,
        host: &str,
        port: u16,
        config: &TcpConfig,
        max_rejection_body: usize,
    ) -> Result<BoxIo, ProxyError> {
        tracing::debug!(proxy = %self, host, port, "asking a proxy");
        let tcp = dial::tcp(&self.host, self.port, config)
            .await
            .map_err(|error| ProxyError::Connect(Arc::new(error)))?;
        let io: BoxIo = Box::new(tcp);
        match &self.way {
            Way::Socks5 { login } => socks::tunnel(io, host, port, login.as_ref()).await,
            Way::Connect { authorization, .. } => {
                let io = if self.is_secure() {
                    // Never in the clear what was to be said under TLS.
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

/// Without what it is told: that is secret.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.way {
            Way::Connect { secure: false, .. } => "http",
            Way::Connect { secure: true, .. } => "https",
            Way::Socks5 { .. } => "socks5h",
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
