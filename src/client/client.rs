//! [`Client`]: the connections, and how to ask for a WebSocket.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::connector::Connector;
use super::dialed::Dialed;
use super::origin::Origin;
use super::origins::Origins;
use super::target::IntoTarget;
use super::target_cache::TargetCache;
use super::{ClientBuilder, HttpVersion, RequestBuilder};
use crate::error::Error;
use crate::handshake::{HandshakeError, Target};
use crate::socket::WebSocket;
use crate::transport::ConnectionStats;
use crate::transport::{BoxIo, TcpConfig, h2::Http2Config};

/// Opens WebSockets.
///
/// It owns the connections: sockets to one origin share them. Have one client
/// in a program; clones are cheap and share it. A connection that carries no
/// socket stays open for the next, for the [idle time](ClientBuilder::idle_timeout)
/// or until the last clone is dropped.
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
    /// Creates a client with default settings. The certificates that the operating
    /// system trusts are loaded when the first `wss` URL is opened.
    ///
    /// # Panics
    ///
    /// If there is no cryptography for TLS: neither a default provider installed in
    /// `rustls`, nor one of the features `ring` and `aws-lc-rs`. Use
    /// [`builder`](Self::builder) to handle that as an error.
    #[must_use]
    pub fn new() -> Self {
        let built = Self::builder().build();
        built.expect("a client with default settings needs a TLS provider")
    }

    /// Starts to configure a client.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    pub(super) fn over(connector: Connector) -> Self {
        Self {
            inner: Arc::new(Inner {
                connector: Arc::new(connector),
                origins: Mutex::default(),
                target_cache: TargetCache::default(),
            }),
        }
    }

    /// Opens a WebSocket to a `ws`, `wss`, `http` or `https` URL.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the server answers with something other than a
    /// WebSocket; [`Error::Handshake`] if the URL is invalid; otherwise the error that
    /// kept the request from being answered.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the attempt: a stream that was asked for
    /// is cancelled. Other sockets are not disturbed.
    pub async fn connect(&self, url: impl IntoTarget) -> Result<WebSocket, Error> {
        self.request(url).connect().await
    }

    /// Begins an opening request, to add header fields, subprotocols and so on.
    ///
    /// An invalid URL is reported by [`RequestBuilder::connect`].
    pub fn request(&self, url: impl IntoTarget) -> RequestBuilder {
        RequestBuilder::new(self.clone(), url)
    }

    /// The proxy on the way to the server of `url`, as a URL without what it
    /// is told; `None` where that server is reached directly.
    ///
    /// # Errors
    ///
    /// [`Error::Handshake`] if the URL names no WebSocket.
    pub fn proxy_for(&self, url: impl IntoTarget) -> Result<Option<String>, Error> {
        let target = url.target().map_err(HandshakeError::Url)?;
        let proxy = self.inner.connector.settings.proxy.proxy(&target);
        Ok(proxy.map(ToString::to_string))
    }

    /// Opens what a connection to the server of `url` would run on: TCP, or
    /// a tunnel through the proxy. TLS and HTTP inside are left to the caller,
    /// who wants to see more of them than a socket shows.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`], [`Error::Proxy`], [`Error::Timeout`] after the
    /// [`connect_timeout`](ClientBuilder::connect_timeout);
    /// [`Error::Handshake`] if the URL names no WebSocket.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the attempt.
    pub async fn dial(&self, url: impl IntoTarget) -> Result<Dialed, Error> {
        let target = url.target().map_err(HandshakeError::Url)?;
        Ok(Dialed::new(self.inner.connector.dial(&target).await?))
    }

    /// Figures of the HTTP/2 connections in use.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionStats> {
        let origins: Vec<_> = self.origins().all();
        origins.iter().flat_map(|origin| origin.stats()).collect()
    }

    /// Lets the connections end: each does with the last of its sockets, which
    /// are not touched, and this waits for it. What sockets that were closed or
    /// dropped left to send [has reached the operating
    /// system](WebSocket#what-becomes-of-what-was-sent) then; a program should
    /// wait for that before it exits.
    ///
    /// The client stays usable; sockets opened later use new connections.
    ///
    /// # Cancel safety
    ///
    /// The connections end all the same. To wait no longer than a given time,
    /// use `tokio::time::timeout`.
    pub async fn shutdown(&self) {
        let origins: Vec<_> = self.origins().all();
        let handles: Vec<_> = origins.iter().flat_map(|o| o.retire_all()).collect();
        let upgraded = self.inner.connector.upgraded.ended();
        for handle in handles {
            handle.ended().await;
        }
        upgraded.await;
    }

    /// A connection of its own, for requests that are no openings, and whether
    /// HTTP/2 is to be spoken on it.
    pub(crate) async fn reach(
        &self,
        target: &Target,
        address: Option<SocketAddr>,
        version: HttpVersion,
    ) -> Result<(bool, BoxIo), Error> {
        self.inner
            .connector
            .unspoken(target, address, version)
            .await
    }

    /// The same for its clones, and for no other while one of them lives.
    pub(crate) fn identity(&self) -> *const () {
        Arc::as_ptr(&self.inner).cast()
    }

    /// How its HTTP/2 connections are set up.
    pub(crate) fn http2_config(&self) -> &Http2Config {
        &self.inner.connector.settings.http2
    }

    /// The settings of TCP connections.
    pub(crate) fn tcp(&self) -> &TcpConfig {
        &self.inner.connector.settings.tcp
    }

    /// How long connections are kept unused.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.inner.connector.settings.idle_timeout
    }

    fn origins(&self) -> std::sync::MutexGuard<'_, Origins> {
        self.inner
            .origins
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn origin(&self, target: &Target, address: Option<SocketAddr>) -> Arc<Origin> {
        let max = self.inner.connector.settings.max_origins;
        let key = (target.endpoint().clone(), address);
        self.origins().find(key, max)
    }
}

impl Default for Client {
    /// As [`Client::new`].
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
