//! The listener for clients, and the settings that a reload does not change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h2ws::config::{ProcessBuffer, TcpConfig};
use h2ws::metrics::Metrics;
use h2ws::tls::ServerTls;
use h2ws::{Http2Config, Server};

use super::config::Config;
use super::upstream::NO_TIMEOUT;
use crate::args::{BridgeArgs, ListenArgs, SecondsOrNone};
use crate::commands::listen;
use crate::error::Failure;
use crate::tls::{ClientFiles, ServerFiles};

/// Default limit on a request's header list, in bytes: what most servers accept. A client can encode
/// this with HPACK in a few hundred bytes, but an HTTP/1.1 upstream receives all of it.
const MAX_HEADER_LIST_SIZE: u32 = 16 * 1024;

/// Settings that take effect only at the next start. The command line takes precedence over the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) listen: SocketAddr,
    pub(super) metrics: Option<SocketAddr>,
    pub(super) cleartext: bool,
    pub(super) drain_delay: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) upstream_tls: ClientFiles,
    pub(super) tcp: TcpConfig,
    max_connections: usize,
    max_connections_per_client: Option<usize>,
    process_buffer: Option<usize>,
    max_concurrent_streams: u32,
    max_header_list_size: u32,
    /// `None` for the default.
    connection_idle_timeout: Option<Option<Duration>>,
}

impl Fixed {
    /// Merges the command line and the file.
    pub(super) fn of(args: &BridgeArgs, config: Option<&Config>) -> Self {
        let ListenArgs {
            listen,
            cleartext,
            cert,
            ..
        } = &args.listen;
        let listen = listen.or(config.and_then(|config| config.listen));
        let file_cleartext = config.and_then(|config| config.cleartext);
        let drain_timeout = config.and_then(|config| config.drain_timeout);
        let delay = args.drain_delay.map(Duration::from_secs_f64);
        let delay = delay.or(config.and_then(|config| config.drain_delay));
        Self {
            listen: listen.unwrap_or(ListenArgs::DEFAULT),
            metrics: args.metrics.or(config.and_then(|config| config.metrics)),
            cleartext: cert.is_empty() && (*cleartext || file_cleartext.unwrap_or_default()),
            drain_delay: delay.unwrap_or_default(),
            upstream_tls: upstream_files(args, config),
            drain_timeout: drain_timeout.unwrap_or(Duration::from_secs(30)),
            tcp: match config {
                Some(config) => config.tcp.clone(),
                None => args.tcp.over(TcpConfig::default()),
            },
            // A WebSocket over HTTP/1.1 takes a connection.
            max_connections: config
                .and_then(|config| config.max_connections)
                .or(args.max_sockets)
                .unwrap_or(100_000),
            max_connections_per_client: config
                .and_then(|config| config.max_connections_per_client)
                .or(args.max_connections_per_client),
            process_buffer: config
                .and_then(|config| config.process_buffer)
                .or(args.process_buffer),
            max_concurrent_streams: config
                .and_then(|config| config.max_concurrent_streams)
                .or(args.max_concurrent_streams)
                .unwrap_or(1000),
            max_header_list_size: config
                .and_then(|config| config.max_header_list_size)
                .or(args.max_header_list_size)
                .unwrap_or(MAX_HEADER_LIST_SIZE),
            connection_idle_timeout: args
                .listen
                .connection_idle_timeout
                .map(SecondsOrNone::duration)
                .or(config.and_then(|config| config.connection_idle_timeout)),
        }
    }

    /// Returns the names of the settings in which `new` differs.
    pub(super) fn changes(&self, new: &Self) -> Vec<&'static str> {
        let settings = [
            ("listen", self.listen != new.listen),
            ("metrics", self.metrics != new.metrics),
            ("cleartext", self.cleartext != new.cleartext),
            ("drain_delay", self.drain_delay != new.drain_delay),
            ("drain_timeout", self.drain_timeout != new.drain_timeout),
            ("[upstream_tls]", self.upstream_tls != new.upstream_tls),
            ("[tcp]", self.tcp != new.tcp),
            (
                "max_connections",
                self.max_connections != new.max_connections,
            ),
            (
                "max_connections_per_client",
                self.max_connections_per_client != new.max_connections_per_client,
            ),
            ("process_buffer", self.process_buffer != new.process_buffer),
            (
                "max_concurrent_streams",
                self.max_concurrent_streams != new.max_concurrent_streams,
            ),
            (
                "max_header_list_size",
                self.max_header_list_size != new.max_header_list_size,
            ),
            (
                "connection_idle_timeout",
                self.connection_idle_timeout != new.connection_idle_timeout,
            ),
        ];
        let changed = settings.into_iter().filter(|(_, differs)| *differs);
        changed.map(|(name, _)| name).collect()
    }
}

/// Merges the TLS files for upstreams; the command line takes precedence.
fn upstream_files(args: &BridgeArgs, config: Option<&Config>) -> ClientFiles {
    let file = config.map(|config| config.upstream_tls.clone());
    let file = file.unwrap_or_default();
    let pair = args.upstream_cert.clone().zip(args.upstream_key.clone());
    ClientFiles {
        ca: args.upstream_cacert.clone().or(file.ca),
        pair: pair.or(file.pair),
        insecure: args.upstream_insecure || (file.insecure && args.upstream_cacert.is_none()),
    }
}

/// Merges the TLS files for clients. The command line takes precedence, but neither source can turn
/// off a check of client certificates that the other asks for.
pub(super) fn files(
    args: &ListenArgs,
    of_file: Option<ServerFiles>,
) -> Result<ServerFiles, Failure> {
    let Some(mut files) = of_file else {
        return listen::files(args);
    };
    if !args.cert.is_empty() {
        files.pairs = listen::files(args)?.pairs;
    }
    if args.client_ca.is_some() {
        files.client_ca.clone_from(&args.client_ca);
        files.client_cert_optional = args.client_cert_optional;
    }
    Ok(files)
}

/// A bound listener.
pub(super) struct Listener {
    pub(super) server: Server,
    /// The TLS configuration, which a reload replaces; `None` in cleartext.
    pub(super) tls: Option<ServerTls>,
}

impl Listener {
    pub(super) async fn bind(
        args: &ListenArgs,
        fixed: &Fixed,
        of_file: Option<ServerFiles>,
        metrics: Option<Arc<dyn Metrics>>,
    ) -> Result<Self, Failure> {
        if let Some(bytes) = fixed.process_buffer {
            ProcessBuffer::default().set_limit(bytes);
        }
        let mut builder = Server::builder()
            // The routes' own timeouts apply instead.
            .handler_timeout(NO_TIMEOUT)
            .max_connections(fixed.max_connections)
            .max_connections_per_client(fixed.max_connections_per_client)
            .tcp(fixed.tcp.clone())
            .http2(
                Http2Config::default()
                    .max_concurrent_streams(fixed.max_concurrent_streams)
                    .max_header_list_size(fixed.max_header_list_size),
            );
        if let Some(timeout) = fixed.connection_idle_timeout {
            builder = builder.idle_timeout(timeout);
        }
        if let Some(metrics) = metrics {
            builder = builder.metrics(metrics);
        }
        let mut tls = None;
        if !fixed.cleartext {
            let current = ServerTls::new(files(args, of_file)?.load()?);
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
