//! The listeners for clients, and the settings that a reload does not change.

use std::sync::Arc;
use std::time::Duration;

use h2ws::config::{ProcessBuffer, TcpConfig};
use h2ws::metrics::Metrics;
use h2ws::server::ServerBuilder;
use h2ws::{Http2Config, Server};

use super::config::{Config, FileListener, FileListeners};
use super::upstream::NO_TIMEOUT;
use crate::args::{BridgeArgs, ListenArgs, LogFormat, SecondsOrNone};
use crate::commands::listen;
use crate::error::Failure;
use crate::listener::{Change, ListenAddress, ListenerConfig, Networks};
use crate::tls::{ClientFiles, ServerFiles};

/// Default limit on a request's header list, in bytes: what most servers accept. A client can encode
/// this with HPACK in a few hundred bytes, but an HTTP/1.1 upstream receives all of it.
const MAX_HEADER_LIST_SIZE: u32 = 16 * 1024;

/// Settings that take effect only at the next start. The command line takes precedence over the file.
#[derive(Clone, Debug)]
pub(super) struct Fixed {
    pub(super) log_format: LogFormat,
    pub(super) metrics: Option<ListenAddress>,
    pub(super) reuse_port: bool,
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
        let drain_timeout = config.and_then(|config| config.drain_timeout);
        let delay = args.drain_delay.map(Duration::from_secs_f64);
        let delay = delay.or(config.and_then(|config| config.drain_delay));
        let log_format = config.and_then(|config| config.log_format);
        Self {
            log_format: args.log.log_format.or(log_format).unwrap_or_default(),
            metrics: (args.metrics.clone()).or(config.and_then(|config| config.metrics.clone())),
            reuse_port: args.listen.reuse_port
                || config.is_some_and(|config| config.listeners.reuse_port),
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

    /// Returns the settings in which `new` differs.
    pub(super) fn changes(&self, new: &Self) -> Vec<Change> {
        let settings = [
            ("log_format", self.log_format != new.log_format),
            ("metrics", self.metrics != new.metrics),
            ("reuse_port", self.reuse_port != new.reuse_port),
            ("drain_delay", self.drain_delay != new.drain_delay),
            ("drain_timeout", self.drain_timeout != new.drain_timeout),
            ("upstream_tls", self.upstream_tls != new.upstream_tls),
            ("tcp", self.tcp != new.tcp),
            (
                "limits.max_connections",
                self.max_connections != new.max_connections,
            ),
            (
                "limits.max_connections_per_client",
                self.max_connections_per_client != new.max_connections_per_client,
            ),
            (
                "limits.process_buffer",
                self.process_buffer != new.process_buffer,
            ),
            (
                "limits.max_concurrent_streams",
                self.max_concurrent_streams != new.max_concurrent_streams,
            ),
            (
                "limits.max_header_list_size",
                self.max_header_list_size != new.max_header_list_size,
            ),
            (
                "limits.connection_idle_timeout",
                self.connection_idle_timeout != new.connection_idle_timeout,
            ),
        ];
        let changed = settings.into_iter().filter(|(_, differs)| *differs);
        changed.map(|(key, _)| Change { key, line: None }).collect()
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

/// Merges the listeners of the command line and the file. `--listen` replaces those of the file;
/// certificates of the command line replace the file's, except those of a `[[listener]]`.
pub(super) fn listeners(
    args: &ListenArgs,
    of_file: Option<&FileListeners>,
) -> Result<Vec<ListenerConfig>, Failure> {
    let Some(file) = of_file else {
        return listen::listeners(args);
    };
    let is_cleartext =
        args.cert.is_empty() && (args.cleartext || file.cleartext.unwrap_or_default());
    let tls = if is_cleartext {
        None
    } else {
        Some(files(args, file.tls.clone())?)
    };
    let networks = if args.proxy_protocol.is_empty() {
        file.proxy_protocol.clone()
    } else {
        Networks::new(args.proxy_protocol.iter().copied())
    };
    let mut common = if args.listen.is_empty() {
        file.listen.clone()
    } else {
        args.listen.clone()
    };
    let own: &[FileListener] = if args.listen.is_empty() {
        &file.listeners
    } else {
        &[]
    };
    if common.is_empty() && own.iter().all(|listener| listener.redirect_https) {
        common.push(ListenAddress::default_address());
    }
    let common = common.into_iter().map(|address| ListenerConfig {
        line: None,
        address,
        tls: tls.clone(),
        redirect_https: false,
        proxy_protocol: networks.clone(),
        max_connections: None,
        max_connections_per_client: None,
    });
    let own = own.iter().flat_map(|listener| {
        let tls = match (listener.cleartext, &listener.tls) {
            _ if listener.redirect_https => None,
            (Some(true), _) => None,
            (_, Some(files)) => Some(files.clone()),
            (Some(false), None) if tls.is_none() => Some(ServerFiles::default()),
            (_, None) => tls.clone(),
        };
        let networks = &networks;
        listener.listen.iter().map(move |address| ListenerConfig {
            line: Some(listener.line),
            address: address.clone(),
            tls: tls.clone(),
            redirect_https: listener.redirect_https,
            proxy_protocol: (listener.proxy_protocol.clone()).unwrap_or_else(|| networks.clone()),
            max_connections: listener.max_connections,
            max_connections_per_client: listener.max_connections_per_client,
        })
    });
    let redirects = listen::redirects(args, &networks);
    Ok(common.chain(own).chain(redirects).collect())
}

/// Merges the TLS files for clients. The command line takes precedence, but neither source can turn
/// off a check of client certificates that the other asks for.
fn files(args: &ListenArgs, of_file: Option<ServerFiles>) -> Result<ServerFiles, Failure> {
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

/// Returns the settings that all listeners for clients share.
pub(super) fn builder(fixed: &Fixed, metrics: Option<Arc<dyn Metrics>>) -> ServerBuilder {
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
    builder
}
