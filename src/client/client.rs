//! [`Client`]: owns the connections.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::connector::Connector;
use super::dialed::Dialed;
use super::origin::Origin;
use super::origins::Origins;
use super::target::IntoTarget;
use super::target_cache::TargetCache;
use super::version::HttpVersion;
use crate::error::Error;
use crate::handshake::{HandshakeError, Target};
use crate::transport::{BoxIo, ConnectionStats, TcpConfig, h2::Http2Config};

/// Opens WebSockets.
///
/// A client owns its connections, and WebSockets to the same origin share them. Create one
/// client per program; clones are cheap and share the connections. A connection without
/// WebSockets is kept for the next one, for the
/// [`idle_timeout`](super::ClientBuilder::idle_timeout) or until the last clone is dropped.
///
/// # Example
///
/// ```no_run
/// use futures_util::{SinkExt, StreamExt};
/// use h2ws::{Client, Message};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), h2ws::Error> {
/// let client = Client::new();
/// let mut ws = client.connect("wss://example.com/chat").await?;
/// ws.send(Message::text("hi")).await?;
/// while let Some(message) = ws.next().await {
///     println!("{:?}", message?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) connector: Arc<Connector>,
    origins: Mutex<Origins>,
    pub(super) target_cache: TargetCache,
}

impl Client {
    pub(super) fn with(connector: Connector) -> Self {
        Self {
            inner: Arc::new(Inner {
                connector: Arc::new(connector),
                origins: Mutex::default(),
                target_cache: TargetCache::default(),
            }),
        }
    }

    /// Returns the URL of the proxy to the server of `url`, without credentials; `None` if
    /// the connection is direct.
    ///
    /// # Errors
    ///
    /// [`Error::Handshake`] if the URL is invalid.
    pub fn proxy_for(&self, url: impl IntoTarget) -> Result<Option<String>, Error> {
        let target = url.target().map_err(HandshakeError::Url)?;
        let proxy = self.inner.connector.settings.proxy.proxy(&target);
        Ok(proxy.map(ToString::to_string))
    }

    /// Opens the byte stream that a connection to the server of `url` would use: TCP, a Unix
    /// socket, or a tunnel through the proxy. TLS and HTTP on it are left to the caller.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`], [`Error::Proxy`], [`Error::Timeout`] after the
    /// [`connect_timeout`](super::ClientBuilder::connect_timeout);
    /// [`Error::Handshake`] if the URL is invalid.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the attempt.
    pub async fn dial(&self, url: impl IntoTarget) -> Result<Dialed, Error> {
        let target = url.target().map_err(HandshakeError::Url)?;
        Ok(Dialed::new(self.inner.connector.dial(&target).await?))
    }

    /// Returns metrics of the HTTP/2 connections in use.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionStats> {
        let origins: Vec<_> = self.origins().all();
        origins.iter().flat_map(|origin| origin.stats()).collect()
    }

    /// Waits until all current connections have ended. Each ends with the last of its
    /// WebSockets, which are not affected, so close or drop yours first.
    ///
    /// What closed or dropped WebSockets still had to send
    /// [has then reached the operating
    /// system](crate::WebSocket#what-becomes-of-what-was-sent). A program should wait for
    /// that before it exits.
    ///
    /// The client remains usable; WebSockets opened later use new connections.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the connections end nevertheless. To limit the wait, use
    /// `tokio::time::timeout`.
    pub async fn shutdown(&self) {
        let origins: Vec<_> = self.origins().all();
        let handles: Vec<_> = origins.iter().flat_map(|o| o.remove_all()).collect();
        let http1_sockets = self.inner.connector.http1_sockets.ended();
        for handle in handles {
            handle.ended().await;
        }
        http1_sockets.await;
    }

    /// Opens a connection for plain HTTP requests, and returns whether it is for HTTP/2.
    pub(crate) async fn reach(
        &self,
        target: &Target,
        address: Option<SocketAddr>,
        version: HttpVersion,
    ) -> Result<(bool, BoxIo), Error> {
        self.inner
            .connector
            .negotiated(target, address, version)
            .await
    }

    /// Returns a value that is equal for clones, and unique while one of them exists.
    pub(crate) fn identity(&self) -> *const () {
        Arc::as_ptr(&self.inner).cast()
    }

    /// The configuration of HTTP/2 connections.
    pub(crate) fn http2_config(&self) -> &Http2Config {
        &self.inner.connector.settings.http2
    }

    /// The configuration of TCP connections.
    pub(crate) fn tcp(&self) -> &TcpConfig {
        &self.inner.connector.settings.tcp
    }

    /// Maximum time that unused connections are kept.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.inner.connector.settings.idle_timeout
    }

    fn origins(&self) -> std::sync::MutexGuard<'_, Origins> {
        self.inner
            .origins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn origin(
        &self,
        target: &Target,
        address: Option<SocketAddr>,
        group: Option<NonZeroU16>,
    ) -> Arc<Origin> {
        let max = self.inner.connector.settings.max_origins;
        let key = (target.endpoint().clone(), address, group);
        self.origins().find(key, max)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
