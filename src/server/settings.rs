//! The settings that all connections of a server share.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::connection_slots::ConnectionSlots;
use super::listen::ListenConfig;
use crate::handshake::{AllowedHosts, AllowedOrigins, DeflateConfig};
use crate::metrics::Observer;
use crate::setting::{InvalidSetting, finite, some, time};
use crate::socket::WebSocketConfig;
use crate::transport::{TcpConfig, h2::Http2Config, tls::ServerTls};

/// See [`ServerBuilder`](super::ServerBuilder).
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) tls: Option<ServerTls>,
    pub(super) listen: ListenConfig,
    pub(super) tcp: TcpConfig,
    pub(super) http2: Http2Config,
    pub(super) socket: Arc<WebSocketConfig>,
    pub(super) deflate: Option<DeflateConfig>,
    pub(super) extended_connect: bool,
    pub(super) origins: AllowedOrigins,
    pub(super) hosts: AllowedHosts,
    /// The port of https to which clients are sent.
    pub(super) redirect_https: Option<u16>,
    pub(super) handshake_timeout: Duration,
    pub(super) handler_timeout: Duration,
    pub(super) max_connections: usize,
    pub(super) max_connections_per_client: Option<usize>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) observer: Observer,
    /// Created when the server is built.
    pub(super) slots: OnceLock<Arc<ConnectionSlots>>,
}

impl Settings {
    /// The connections that are open.
    pub(super) fn slots(&self) -> &Arc<ConnectionSlots> {
        let max = self.max_connections;
        let slots = || ConnectionSlots::new(max, self.max_connections_per_client);
        self.slots.get_or_init(slots)
    }

    pub(super) fn validate(&self) -> io::Result<()> {
        let check = || {
            self.http2.validate()?;
            self.socket.validate()?;
            some("ServerBuilder::max_connections", self.max_connections)?;
            finite("ServerBuilder::handshake_timeout", self.handshake_timeout)?;
            time("ServerBuilder::handler_timeout", self.handler_timeout)
        };
        let invalid = |error: InvalidSetting| io::Error::new(io::ErrorKind::InvalidInput, error);
        check().map_err(invalid)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tls: None,
            listen: ListenConfig::default(),
            tcp: TcpConfig::default(),
            http2: Http2Config::default(),
            socket: Arc::default(),
            deflate: None,
            extended_connect: true,
            origins: AllowedOrigins::any(),
            hosts: AllowedHosts::any(),
            redirect_https: None,
            handshake_timeout: Duration::from_secs(20),
            handler_timeout: Duration::from_secs(15),
            max_connections: 10_000,
            max_connections_per_client: None,
            idle_timeout: Some(Duration::from_secs(300)),
            slots: OnceLock::new(),
            observer: Observer::default(),
        }
    }
}
