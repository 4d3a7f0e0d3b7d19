//! Makes connections: TCP, a proxy's tunnel, TLS, HTTP/2.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Version;
use tokio::time::timeout;

use super::http1_sockets::Http1Sockets;
use super::settings::Settings;
use super::version::HttpVersion;
use crate::error::{Error, Timeout};
use crate::frame::Role;
use crate::handshake::Target;
use crate::metrics::Observed;
use crate::socket::WebSocketConfig;
use crate::transport::h2::H2Client;
use crate::transport::{BoxIo, ConnectionId, dial, tls};

pub(super) struct Connector {
    /// Configured, or that of the operating system once it is needed.
    tls: OnceLock<Arc<rustls::ClientConfig>>,
    pub(super) settings: Settings,
    pub(super) socket: Arc<WebSocketConfig>,
    pub(super) http1_sockets: Http1Sockets,
}

/// A connection of either version.
pub(super) enum Connection {
    Http2(H2Client),
    /// Ready for one Upgrade.
    Http1(BoxIo),
}

impl Connector {
    pub(super) fn new(tls: Option<Arc<rustls::ClientConfig>>, settings: Settings) -> Self {
        Self {
            tls: tls.map(OnceLock::from).unwrap_or_default(),
            socket: Arc::new(settings.socket.clone()),
            http1_sockets: Http1Sockets::new(),
            settings,
        }
    }

    /// Connects to `target` within `limit`, at `address` if given. With
    /// [`HttpVersion::Auto`] the server selects the version.
    pub(super) async fn connect(
        &self,
        target: &Target,
        address: Option<SocketAddr>,
        version: HttpVersion,
        limit: Duration,
    ) -> Result<Connection, Error> {
        let connect = async {
            match self.negotiate(target, address, version).await? {
                (true, io) => Box::pin(self.http2(target, io)).await,
                (false, io) => Ok(Connection::Http1(io)),
            }
        };
        in_time(limit, Box::pin(connect)).await
    }

    /// Opens the byte stream that a connection to `target` would use.
    pub(super) async fn dial(&self, target: &Target) -> Result<BoxIo, Error> {
        let limit = self.settings.connect_timeout;
        in_time(limit, Box::pin(self.reach(target, None))).await
    }

    /// As [`connect`](Self::connect), without sending anything of HTTP. Returns whether the
    /// connection is for HTTP/2.
    pub(super) async fn negotiated(
        &self,
        target: &Target,
        address: Option<SocketAddr>,
        version: HttpVersion,
    ) -> Result<(bool, BoxIo), Error> {
        let negotiate = Box::pin(self.negotiate(target, address, version));
        in_time(self.settings.connect_timeout, negotiate).await
    }

    async fn negotiate(
        &self,
        target: &Target,
        address: Option<SocketAddr>,
        version: HttpVersion,
    ) -> Result<(bool, BoxIo), Error> {
        let io = self.reach(target, address).await?;
        if !target.secure() {
            return Ok((version == HttpVersion::Http2, io));
        }
        let alpn: &[&[u8]] = match version {
            HttpVersion::Auto => &[tls::H2, tls::HTTP1],
            HttpVersion::Http1 => &[tls::HTTP1],
            HttpVersion::Http2 => &[tls::H2],
        };
        let tls = Box::pin(tls::connect(self.tls()?, alpn, target.host(), io))
            .await
            .map_err(|error| tls_error(error, version))?;
        if version == HttpVersion::Http2 && !tls.is_http2 {
            return Err(Error::NoExtendedConnect);
        }
        Ok((tls.is_http2, tls.io))
    }

    fn tls(&self) -> Result<&Arc<rustls::ClientConfig>, Error> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let platform = tls::client_config(tls::Trust::Platform, None).map_err(Error::TlsConfig)?;
        Ok(self.tls.get_or_init(|| Arc::new(platform)))
    }

    /// Opens a byte stream to the target's host, directly or through a proxy, or to its Unix socket.
    async fn reach(&self, target: &Target, address: Option<SocketAddr>) -> Result<BoxIo, Error> {
        if let Some(connector) = &self.settings.connector {
            let tcp = &self.settings.tcp;
            return connector.connect(target, address, tcp).await;
        }
        let (host, port) = (target.host(), target.port());
        if let Some(address) = address {
            let tcp = dial::address(address, &self.settings.tcp)
                .await
                .map_err(|error| Error::Connect(Arc::new(error)))?;
            return Ok(Box::new(tcp));
        }
        if let Some(path) = target.unix_path() {
            let stream = dial::unix(path)
                .await
                .map_err(|error| Error::Connect(Arc::new(error)))?;
            return Ok(Box::new(stream));
        }
        if let Some(proxy) = self.settings.proxy.proxy(target) {
            let body = self.settings.max_rejection_body;
            let tls = if proxy.is_secure() {
                Some(self.tls()?)
            } else {
                None
            };
            return Ok(Box::pin(proxy.tunnel(tls, host, port, &self.settings.tcp, body)).await?);
        }
        let tcp = dial::tcp(host, port, &self.settings.tcp)
            .await
            .map_err(|error| Error::Connect(Arc::new(error)))?;
        Ok(Box::new(tcp))
    }

    /// Starts HTTP/2 and waits for the server's SETTINGS.
    async fn http2(&self, target: &Target, io: BoxIo) -> Result<Connection, Error> {
        let settings = &self.settings;
        let observed = self.observed(target, Version::HTTP_2);
        let (client, driver) = H2Client::handshake(
            io,
            &settings.http2,
            settings.handshake_timeout,
            settings.idle_timeout,
            settings.max_streams,
            observed,
        )
        .await?;
        tokio::spawn(driver);
        match client.settings().await {
            Ok(()) => Ok(Connection::Http2(client)),
            Err(_) if client.is_http1() => Err(Error::NoExtendedConnect),
            Err(error) => Err(error.into()),
        }
    }

    /// Describes a new connection to `target` to metrics and traces. Its span has no parent,
    /// because the connection outlives the request that it was made for.
    pub(super) fn observed(&self, target: &Target, version: Version) -> Observed {
        let id = ConnectionId::next().get();
        let span = tracing::debug_span!(
            parent: None,
            "connection",
            connection = id,
            peer = %Peer(target),
            ?version,
        );
        let observer = self.settings.observer.clone();
        Observed::new(id, Role::Client, version, observer, span)
    }
}

/// Where a target is, in traces.
struct Peer<'a>(&'a Target);

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.unix_path() {
            Some(path) => path.display().fmt(f),
            None => f.write_str(self.0.authority()),
        }
    }
}

/// Boxed, because an async function stores an argument twice.
async fn in_time<T>(
    limit: Duration,
    connect: Pin<Box<impl Future<Output = Result<T, Error>>>>,
) -> Result<T, Error> {
    timeout(limit, connect)
        .await
        .map_err(|_| Error::Timeout(Timeout::Connect))?
}

fn tls_error(error: io::Error, version: HttpVersion) -> Error {
    let alert = error.get_ref().and_then(|inner| inner.downcast_ref());
    if version == HttpVersion::Http2
        && let Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)) =
            alert
    {
        return Error::NoExtendedConnect;
    }
    Error::Tls(Arc::new(error))
}
