//! The settings of a client.

use std::time::Duration;

use super::custom_connector::CustomConnector;
use super::proxy::Policy;
use super::version::HttpVersion;
use crate::handshake::DeflateConfig;
use crate::metrics::Observer;
use crate::setting::{InvalidSetting, some, time};
use crate::socket::WebSocketConfig;
use crate::transport::TcpConfig;
use crate::transport::h2::{Http2Config, MAX_STREAMS};

/// See [`ClientBuilder`](super::ClientBuilder).
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) http2: Http2Config,
    pub(super) tcp: TcpConfig,
    pub(super) proxy: Policy,
    pub(super) connector: Option<CustomConnector>,
    pub(super) socket: WebSocketConfig,
    pub(super) deflate: Option<DeflateConfig>,
    pub(super) version: HttpVersion,
    pub(super) websocket_key: bool,
    pub(super) connect_timeout: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) max_connections: usize,
    pub(super) max_origins: usize,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_rejection_body: usize,
    pub(super) http1_cache_ttl: Duration,
    pub(super) observer: Observer,
    /// Number of streams after which a connection is replaced. Tests lower it; otherwise
    /// it is the limit of HTTP/2's stream identifiers.
    pub(super) max_streams: u32,
}

impl Settings {
    pub(super) fn validate(&self) -> Result<(), InvalidSetting> {
        self.http2.validate()?;
        self.socket.validate()?;
        some("ClientBuilder::max_connections", self.max_connections)?;
        some("ClientBuilder::max_origins", self.max_origins)?;
        time("ClientBuilder::connect_timeout", self.connect_timeout)?;
        time("ClientBuilder::handshake_timeout", self.handshake_timeout)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            http2: Http2Config::default(),
            tcp: TcpConfig::default(),
            proxy: Policy::default(),
            connector: None,
            socket: WebSocketConfig::default(),
            deflate: None,
            version: HttpVersion::Auto,
            websocket_key: false,
            connect_timeout: Duration::from_secs(20),
            handshake_timeout: Duration::from_secs(20),
            max_connections: 64,
            max_origins: 1_000,
            idle_timeout: Some(Duration::from_secs(90)),
            max_rejection_body: 64 * 1024,
            http1_cache_ttl: Duration::from_secs(600),
            observer: Observer::default(),
            max_streams: MAX_STREAMS,
        }
    }
}
