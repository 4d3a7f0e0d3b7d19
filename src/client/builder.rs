//! Configuration of a [`Client`].

use std::sync::Arc;
use std::time::Duration;

use super::connector::Connector;
use super::{Client, HttpVersion};
use crate::error::Error;
use crate::handshake::DeflateConfig;
use crate::socket::Config;
use crate::transport::{h2::Http2Config, tls};

/// Configures a [`Client`]; every setting has a default.
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) settings: Settings,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) http2: Http2Config,
    pub(super) socket: Config,
    pub(super) deflate: Option<DeflateConfig>,
    pub(super) version: HttpVersion,
    pub(super) connect_timeout: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) max_connections: usize,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) refusal_body: usize,
    pub(super) forget_after: Duration,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            tls: None,
            settings: Settings {
                http2: Http2Config::default(),
                socket: Config::default(),
                deflate: None,
                version: HttpVersion::Auto,
                connect_timeout: Duration::from_secs(20),
                handshake_timeout: Duration::from_secs(20),
                max_connections: 64,
                idle_timeout: Some(Duration::from_secs(90)),
                refusal_body: 64 * 1024,
                forget_after: Duration::from_secs(600),
            },
        }
    }
}

impl ClientBuilder {
    /// TLS as configured here, instead of trusting what the operating system
    /// trusts. ALPN is set by the client.
    #[must_use]
    pub fn tls(mut self, config: impl Into<Arc<rustls::ClientConfig>>) -> Self {
        self.tls = Some(config.into());
        self
    }

    /// Flow control and limits of HTTP/2 connections.
    #[must_use]
    pub fn http2(mut self, config: Http2Config) -> Self {
        self.settings.http2 = config;
        self
    }

    /// Limits and times of sockets.
    #[must_use]
    pub fn socket(mut self, config: Config) -> Self {
        self.settings.socket = config;
        self
    }

    /// Offers permessage-deflate (RFC 7692), with which messages travel
    /// compressed if the server takes it up. Default off: a compressed socket
    /// takes a hundred times the memory of another.
    ///
    /// ```
    /// use h2ws::{Client, DeflateConfig};
    ///
    /// let client = Client::builder().deflate(DeflateConfig::default()).build()?;
    /// # Ok::<_, h2ws::Error>(())
    /// ```
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn deflate(mut self, config: impl Into<Option<DeflateConfig>>) -> Self {
        self.settings.deflate = config.into();
        self
    }

    /// Which version of HTTP carries sockets. Default [`HttpVersion::Auto`].
    #[must_use]
    pub fn version(mut self, version: HttpVersion) -> Self {
        self.settings.version = version;
        self
    }

    /// How long name resolution, TCP, TLS and HTTP/2's SETTINGS may take
    /// together. Default 20 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How long the server may take to answer an opening request, once there
    /// is a connection. Default 20 s. Some servers answer never, beyond a
    /// number of streams that they do not advertise.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// HTTP/2 connections to one origin. Sockets fill one up to the server's
    /// limit of streams before the next is made; when all are full, opening
    /// waits (up to the connect timeout). Default 64.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections.max(1);
        self
    }

    /// How long an HTTP/2 connection without sockets is kept for the next one;
    /// it may take a quarter more. `None` is for as long as there is a client.
    /// Default 90 s.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.idle_timeout = timeout.into();
        self
    }

    /// Bytes kept of the body of a refusal. Default 64 KiB.
    #[must_use]
    pub fn refusal_body(mut self, bytes: usize) -> Self {
        self.settings.refusal_body = bytes;
        self
    }

    /// How long an origin without RFC 8441 is remembered as such, before
    /// HTTP/2 is tried again. Default 10 minutes.
    #[must_use]
    pub fn forget_after(mut self, duration: Duration) -> Self {
        self.settings.forget_after = duration;
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    ///
    /// [`Error::TlsConfig`] if the operating system's trust cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        let tls = match self.tls {
            Some(tls) => tls,
            None => Arc::new(tls::platform().map_err(Error::TlsConfig)?),
        };
        Ok(Client::new(Connector::new(tls, self.settings)))
    }
}
