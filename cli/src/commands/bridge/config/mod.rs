//! The configuration file of `h2ws bridge`.

mod errors;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod listener;
mod reader;
mod route;
mod routes;
mod tls;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use h2ws::bridge::{BridgeLimits, Routes};
use h2ws::config::TcpConfig;
use toml::de::DeTable;

use self::errors::ErrorCollector;
use self::reader::Section;
use self::route::RouteContext;
use super::upstream::{Clients, RouteClients};
use crate::args::LogFormat;
use crate::listener::ListenAddress;
use crate::log::AccessLog;
use crate::tls::ClientFiles;

pub(super) use self::errors::ConfigErrors;
pub(super) use self::listener::{FileListener, FileListeners};
pub(super) use self::routes::RouteHost;

/// The contents of a configuration file. A missing key is `None` or has its default.
pub(super) struct Config {
    pub(super) listeners: FileListeners,
    pub(super) metrics: Option<ListenAddress>,
    pub(super) log_format: Option<LogFormat>,
    pub(super) access_log: Option<AccessLog>,
    pub(super) log_limit: Option<u32>,
    pub(super) upstream_tls: ClientFiles,
    pub(super) drain_delay: Option<Duration>,
    pub(super) drain_timeout: Option<Duration>,
    pub(super) tcp: TcpConfig,
    pub(super) max_connections: Option<usize>,
    pub(super) max_connections_per_client: Option<usize>,
    pub(super) process_buffer: Option<usize>,
    pub(super) max_concurrent_streams: Option<u32>,
    pub(super) max_header_list_size: Option<u32>,
    pub(super) connection_idle_timeout: Option<Option<Duration>>,
    pub(super) routes: Routes,
    /// The hosts of the routes that name one.
    pub(super) hosts: Vec<RouteHost>,
    /// The clients of routes with `[route.upstream_tls]`.
    pub(super) clients: RouteClients,
    /// The lines of the keys, such as `limits.max_sockets`.
    pub(super) keys: HashMap<String, usize>,
    /// What may hinder the bridge although it can start.
    pub(super) notices: ConfigErrors,
    /// Whether `--check` fails nevertheless.
    pub(super) fails_check: bool,
}

impl Config {
    /// Reads a file.
    pub(super) fn load(path: &Path, clients: &Clients) -> Result<Self, ConfigErrors> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigErrors::unreadable(path, &error))?;
        Self::parse(path, &text, clients)
    }

    fn parse(path: &Path, text: &str, clients: &Clients) -> Result<Self, ConfigErrors> {
        let errors = RefCell::new(ErrorCollector::new(path, text));
        // A file with syntax errors is read as far as possible, to find its other errors.
        let (root, broken) = DeTable::parse_recoverable(text);
        for error in &broken {
            let span = error.span().unwrap_or_default();
            let what = error.message().trim_end();
            errors.borrow_mut().add_broken(&span, what);
        }
        let mut config = Self::read(path, reader::table(&root, &errors), clients);
        let mut errors = errors.into_inner();
        if let Some(config) = &mut config {
            config.notices = errors.notices();
            config.fails_check = errors.fails_check();
            config.keys = errors.keys();
        }
        errors.result(config)
    }

    fn read(path: &Path, mut root: Section<'_>, clients: &Clients) -> Option<Self> {
        let metrics = root.parsed("metrics", listener::address);
        let log_format = root.parsed("log_format", LogFormat::parse);
        let access_log = root.parsed("access_log", str::parse);
        let log_limit = root.integer("log_limit", 1..1 << 32);
        let drain_delay = root.duration("drain_delay");
        let drain_timeout = root.duration("drain_timeout");
        let listeners = listener::read(path, &mut root, metrics.as_ref());
        let upstream_tls = tls::upstream(path, &mut root).unwrap_or_default();
        let mut max_connections = None;
        let mut max_connections_per_client = None;
        let mut process_buffer = None;
        let mut max_concurrent_streams = None;
        let mut max_header_list_size = None;
        let mut connection_idle_timeout = None;
        let mut limits = BridgeLimits::default();
        if let Some(mut section) = root.section("limits") {
            max_connections = section.integer("max_connections", 1..COUNT);
            max_connections_per_client = section.integer("max_connections_per_client", 1..COUNT);
            process_buffer = section.integer("process_buffer", 1..1 << 50);
            max_concurrent_streams = section.integer("max_concurrent_streams", 1..1 << 31);
            max_header_list_size = section.integer("max_header_list_size", 1024..1 << 31);
            connection_idle_timeout = section.duration_or_none("connection_idle_timeout");
            if let Some(sockets) = section.integer("max_sockets", 0..COUNT) {
                limits = limits.max_sockets(sockets as usize);
            }
            if let Some(sockets) = section.integer("max_sockets_per_client", 0..COUNT) {
                limits = limits.max_sockets_per_client(sockets as usize);
            }
            if let Some(sockets) = section.integer("max_shared_sockets", 0..COUNT) {
                limits = limits.max_shared_sockets(sockets as usize);
            }
            if let Some(retry_after) = section.duration("retry_after") {
                limits = limits.retry_after(retry_after);
            }
            section.finish();
        }
        let own = RefCell::new(RouteClients::new());
        let tcp = clients.tcp.over(tcp(&mut root));
        let client = |files: &ClientFiles| {
            clients.of_route(files, metrics.is_some(), &tcp, &mut own.borrow_mut())
        };
        let context = RouteContext {
            path,
            client: &client,
        };
        let mut hosts = Vec::new();
        let routes = routes::read(&mut root, limits, &context, &mut hosts);
        root.finish();
        Some(Self {
            listeners,
            metrics,
            log_format,
            access_log,
            log_limit: log_limit.map(|lines| lines as u32),
            upstream_tls,
            drain_delay,
            drain_timeout,
            tcp,
            max_connections: max_connections.map(|number| number as usize),
            max_connections_per_client: max_connections_per_client.map(|number| number as usize),
            process_buffer: process_buffer.map(|bytes| bytes as usize),
            max_concurrent_streams: max_concurrent_streams.map(|number| number as u32),
            max_header_list_size: max_header_list_size.map(|number| number as u32),
            connection_idle_timeout,
            routes: routes?,
            hosts,
            clients: own.into_inner(),
            notices: ConfigErrors::none(path),
            fails_check: false,
            keys: HashMap::new(),
        })
    }
}

/// Upper bound of counts; more is most likely a typing error.
const COUNT: u64 = 1_000_000_001;

/// Reads `[tcp]`, for connections to clients and upstreams.
fn tcp(root: &mut Section<'_>) -> TcpConfig {
    let mut tcp = TcpConfig::default();
    let Some(mut section) = root.section("tcp") else {
        return tcp;
    };
    if let Some(idle) = section.duration_or_none("keepalive_idle") {
        tcp = tcp.keepalive_idle(idle);
    }
    if let Some(interval) = section.duration("keepalive_interval") {
        tcp = tcp.keepalive_interval(interval);
    }
    if let Some(probes) = section.integer("keepalive_probes", 1..128) {
        tcp = tcp.keepalive_probes(probes as u32);
    }
    if let Some(timeout) = section.duration_or_none("user_timeout") {
        tcp = tcp.user_timeout(timeout);
    }
    if let Some(bytes) = section.integer("notsent_lowat", 0..1 << 31) {
        tcp = tcp.notsent_lowat((bytes > 0).then_some(bytes as u32));
    }
    section.finish();
    tcp
}

#[cfg(test)]
mod tests;
