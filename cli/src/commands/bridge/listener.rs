//! Where clients come in: what is settled when the program starts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h2ws::{Http2Config, Server};

use super::config::Config;
use crate::Failure;
use crate::args::{BridgeArgs, ListenArgs};
use crate::commands::listen;
use crate::tls::{Certificate, Identity};

/// What another file does not change before the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) listen: SocketAddr,
    pub(super) metrics: Option<SocketAddr>,
    pub(super) cleartext: bool,
    pub(super) drain_grace: Duration,
    max_connections: usize,
    max_streams: u32,
}

impl Fixed {
    /// The command line has the last word.
    pub(super) fn of(args: &BridgeArgs, config: Option<&Config>) -> Self {
        let ListenArgs {
            listen,
            cleartext,
            cert,
            ..
        } = &args.listen;
        let listen = listen.or(config.and_then(|config| config.listen));
        let by_file = config.and_then(|config| config.cleartext);
        let grace = config.and_then(|config| config.drain_grace);
        Self {
            listen: listen.unwrap_or(ListenArgs::DEFAULT),
            metrics: args.metrics.or(config.and_then(|config| config.metrics)),
            cleartext: cert.is_none() && (*cleartext || by_file.unwrap_or_default()),
            drain_grace: grace.unwrap_or(Duration::from_secs(30)),
            // A socket over HTTP/1.1 is a connection.
            max_connections: config
                .and_then(|config| config.max_connections)
                .or(args.max_sockets)
                .unwrap_or(100_000),
            max_streams: config
                .and_then(|config| config.max_streams)
                .or(args.max_streams)
                .unwrap_or(1000),
        }
    }
}

/// A bound listener.
pub(super) struct Listener {
    pub(super) server: Server,
    /// What clients are shown, if it is TLS.
    pub(super) certificate: Option<Arc<Certificate>>,
}

impl Listener {
    pub(super) async fn bind(
        args: &ListenArgs,
        fixed: &Fixed,
        identity: Option<Identity>,
    ) -> Result<Self, Failure> {
        let mut builder = Server::builder()
            .max_connections(fixed.max_connections)
            .http2(Http2Config::default().max_concurrent_streams(fixed.max_streams));
        let mut certificate = None;
        if !fixed.cleartext {
            let identity = match identity {
                Some(identity) if args.cert.is_none() => identity,
                _ => listen::identity(args)?,
            };
            let current = Arc::new(Certificate::new(&identity)?);
            builder = builder.tls(current.clone().server_config()?);
            certificate = Some(current);
        }
        Ok(Self {
            server: listen::bound(builder, fixed.listen).await?,
            certificate,
        })
    }

    pub(super) fn url(&self) -> std::io::Result<String> {
        let scheme = match self.certificate {
            Some(_) => "wss",
            None => "ws",
        };
        Ok(format!("{scheme}://{}", self.server.local_addr()?))
    }
}
