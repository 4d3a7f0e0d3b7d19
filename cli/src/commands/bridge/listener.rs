//! Where clients come in: what is settled when the program starts.

use std::net::SocketAddr;
use std::time::Duration;

use h2ws::tls::ServerTls;
use h2ws::{Http2Config, Server};
use rustls::ServerConfig;

use super::config::Config;
use super::upstream::LONGEST;
use crate::Failure;
use crate::args::{BridgeArgs, ListenArgs};
use crate::commands::listen;

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
            cleartext: cert.is_empty() && (*cleartext || by_file.unwrap_or_default()),
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
    pub(super) tls: Option<ServerTls>,
}

impl Listener {
    pub(super) async fn bind(
        args: &ListenArgs,
        fixed: &Fixed,
        by_file: Option<ServerConfig>,
    ) -> Result<Self, Failure> {
        let mut builder = Server::builder()
            // The routes' times hold.
            .answer_timeout(LONGEST)
            .max_connections(fixed.max_connections)
            .http2(Http2Config::default().max_concurrent_streams(fixed.max_streams));
        let mut tls = None;
        if !fixed.cleartext {
            let config = match by_file {
                Some(config) if args.cert.is_empty() => config,
                _ => listen::files(args)?.load()?,
            };
            let current = ServerTls::new(config);
            builder = builder.tls(current.clone());
            tls = Some(current);
        }
        Ok(Self {
            server: listen::bound(builder, fixed.listen).await?,
            tls,
        })
    }

    pub(super) fn url(&self) -> std::io::Result<String> {
        let scheme = match self.tls {
            Some(_) => "wss",
            None => "ws",
        };
        Ok(format!("{scheme}://{}", self.server.local_addr()?))
    }
}
