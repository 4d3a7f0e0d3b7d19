//! The clients for connections to upstreams, and the bridge of `--to`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use h2ws::bridge::{Bridge, BridgeBuilder, Pings, Routes, Scheme, Upstream, UpstreamHost};
use h2ws::config::TcpConfig;
use h2ws::handshake::AllowedOrigins;
use h2ws::metrics::Metrics;
use h2ws::{Client, HttpVersion};

use crate::args::{BridgeArgs, TcpArgs};
use crate::error::{Failure, Usage, with_causes};
use crate::listener::v2_header;
use crate::log;
use crate::tls::{ClientContents, ClientFiles};

/// Maximum number of HTTP/2 connections per upstream.
const CONNECTIONS: usize = 1024;

/// For the timeouts of the server and the clients around the bridge, so that the routes' timeouts
/// apply.
pub(super) const NO_TIMEOUT: Duration = Duration::from_secs(366 * 24 * 3600);

/// Makes the clients for the upstreams of a configuration file.
#[derive(Clone)]
pub(super) struct Clients {
    /// `--upstream-insecure`: accept any certificate, whatever the file says.
    pub(super) insecure: bool,
    /// `--metrics`: report to the observer, whatever the file says.
    pub(super) metrics: bool,
    pub(super) observer: Arc<dyn Metrics>,
    /// The TCP options of the command line.
    pub(super) tcp: TcpArgs,
    /// The clients of the routing table that is in use.
    pub(super) of_routes: RouteClients,
}

/// The clients of routes with `[route.upstream_tls]`, by the contents of their files and whether they
/// report metrics. A reload keeps those that it needs again, with their connections.
pub(super) type RouteClients = HashMap<(ClientContents, bool), Client>;

impl Clients {
    /// Returns the client for a route's own TLS files, and adds it to those of the `new` table.
    pub(super) fn of_route(
        &self,
        files: &ClientFiles,
        metrics: bool,
        tcp: &TcpConfig,
        new: &mut RouteClients,
    ) -> Result<Client, Failure> {
        let mut files = files.clone();
        files.insecure |= self.insecure;
        let key = (files.read()?, metrics);
        let client = match new.get(&key).or_else(|| self.of_routes.get(&key)) {
            Some(client) => client.clone(),
            None => self.build(Some(key.0.config()?), metrics, tcp)?,
        };
        new.insert(key, client.clone());
        Ok(client)
    }

    /// Returns the client for all other routes.
    pub(super) fn of_file(
        &self,
        files: &ClientFiles,
        routes: &Routes,
        metrics: bool,
        tcp: &TcpConfig,
    ) -> Result<Client, Failure> {
        let others = routes.iter().filter(|route| route.client().is_none());
        let mut upstreams = others.flat_map(|route| route.upstreams());
        let secure = upstreams.any(|status| status.upstream.scheme() == Scheme::Wss);
        self.build(upstream_tls(files, secure)?, metrics, tcp)
    }

    fn build(
        &self,
        tls: Option<rustls::ClientConfig>,
        metrics: bool,
        tcp: &TcpConfig,
    ) -> Result<Client, Failure> {
        let mut builder = Client::builder()
            .tcp(tcp.clone())
            .connect_timeout(NO_TIMEOUT)
            .handshake_timeout(NO_TIMEOUT)
            .max_connections(CONNECTIONS);
        if let Some(config) = tls {
            builder = builder.tls(config);
        }
        if metrics || self.metrics {
            builder = builder.metrics(self.observer.clone());
        }
        Ok(builder.build()?)
    }
}

/// Builds the bridge of `--to`, which has one upstream.
pub(super) fn bridge_to(
    args: &BridgeArgs,
    files: &ClientFiles,
    metrics: Option<Arc<dyn Metrics>>,
) -> Result<Bridge, Failure> {
    let to = args.to.as_deref().unwrap_or_default();
    // An invalid one is reported by the builder.
    let upstream = to.parse::<Upstream>().ok();
    match upstream.as_ref().and_then(UnreachableSocket::find) {
        Some(problem @ UnreachableSocket::Missing(_)) => {
            log::notice(format_args!("--to: {problem}"));
        }
        Some(problem) => return Err(Usage::option("--to", &problem).into()),
        None => {}
    }
    let scheme = upstream.map(|upstream| upstream.scheme());
    let mut builder = Bridge::to(to)
        .upstream_version(args.upstream.version())
        .upstream_host(match args.upstream_host.clone() {
            None => UpstreamHost::Client,
            Some(None) => UpstreamHost::Upstream,
            Some(Some(name)) => UpstreamHost::Name(name),
        })
        .server_name(args.server_name.clone())
        .forwarded(!args.no_forwarded)
        .x_forwarded(!args.no_x_forwarded)
        .websocket_key(args.websocket_key)
        .trust_forwarded(args.trust_forwarded)
        .pings(
            Pings::default()
                .client(args.ping_client.map(Duration::from_secs_f64))
                .upstream(args.ping_upstream.map(Duration::from_secs_f64))
                .timeout(args.ping_timeout.map(Duration::from_secs_f64)),
        )
        .idle_timeout(args.idle_timeout.map(Duration::from_secs_f64))
        .max_lifetime(args.max_lifetime.map(Duration::from_secs_f64));
    if let Some(auth) = args.forward_auth.clone() {
        let names = args.copy_header.iter().map(String::as_str);
        let copied = auth.copy_headers(names);
        let auth = copied.map_err(|error| Usage::option("--copy-header", &error))?;
        builder = builder.forward_auth(auth);
    }
    if let Some(reported) = args.client_cert {
        builder = builder.client_cert(reported.into());
    }
    if let Some(field) = args.request_id.clone() {
        builder = builder.request_id(field.0);
    }
    if let Some(handling) = args.trace_context {
        builder = builder.trace_context(handling.into());
    }
    if let Some(timeout) = args.response_timeout {
        builder = builder.response_timeout(timeout.duration());
    }
    if let Some(timeout) = args.request_body_timeout {
        builder = builder.request_body_timeout(Duration::from_secs_f64(timeout));
    }
    if let Some(timeout) = args.pool_idle_timeout {
        builder = builder.pool_idle_timeout(Duration::from_secs_f64(timeout));
    }
    if let Some(sockets) = args.max_sockets {
        builder = builder.max_sockets(sockets);
    }
    if let Some(sockets) = args.max_shared_sockets {
        builder = builder.max_shared_sockets(sockets);
    }
    if args.send_proxy_protocol {
        builder = builder.tcp_preface(v2_header);
    }
    if args.websockets_only {
        builder = builder.websockets_only(true);
    }
    builder = origins(builder, args, scheme)?;
    let secure = scheme == Some(Scheme::Wss);
    let mut client = Client::builder()
        .tcp(args.tcp.over(TcpConfig::default()))
        .max_connections(CONNECTIONS);
    if let Some(config) = upstream_tls(files, secure)? {
        client = client.tls(config);
    }
    if let Some(metrics) = metrics {
        client = client.metrics(metrics);
    }
    builder = builder.client(client.build()?);
    Ok(builder
        .build()
        .map_err(|error| Usage::option("--to", &with_causes(&error)))?)
}

/// Whether clients may share upstream connections, which they do over HTTP/2.
pub(super) fn are_shared(bridge: &Bridge) -> bool {
    let routes = bridge.routes();
    let mut upstreams = routes.iter().flat_map(|route| route.upstreams());
    upstreams.any(|status| {
        let upstream = status.upstream;
        match (upstream.scheme(), upstream.http_version()) {
            (Scheme::Tcp, _) | (_, HttpVersion::Http1) => false,
            (Scheme::Ws, version) => version == HttpVersion::Http2,
            // Negotiated.
            _ => true,
        }
    })
}

/// Why the Unix socket of an upstream cannot be reached now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UnreachableSocket {
    /// Its server may start later.
    Missing(String),
    NotASocket(String),
}

impl UnreachableSocket {
    /// Looks at the file of the upstream's socket, if it is on one.
    pub(super) fn find(upstream: &Upstream) -> Option<Self> {
        let path = upstream.unix_path()?;
        let shown = path.display().to_string();
        match std::fs::metadata(path) {
            Ok(file) if !is_socket(&file) => Some(Self::NotASocket(shown)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Self::Missing(shown)),
            // Connecting reports what else is wrong.
            _ => None,
        }
    }
}

impl fmt::Display for UnreachableSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => {
                write!(
                    f,
                    "the socket {path} does not exist; is the upstream running?"
                )
            }
            Self::NotASocket(path) => write!(f, "{path} is not a socket"),
        }
    }
}

#[cfg(unix)]
fn is_socket(file: &std::fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&file.file_type())
}

#[cfg(not(unix))]
fn is_socket(_: &std::fs::Metadata) -> bool {
    false
}

fn origins(
    builder: BridgeBuilder,
    args: &BridgeArgs,
    scheme: Option<Scheme>,
) -> Result<BridgeBuilder, Failure> {
    if args.allow_any_origin {
        return Ok(builder.allowed_origins(AllowedOrigins::any()));
    }
    if args.allow_origin.is_empty() {
        if scheme == Some(Scheme::Tcp) {
            let text =
                "a tcp:// or unix: upstream requires --allow-origin ORIGIN or --allow-any-origin";
            return Err(Usage::option("--to", &text).into());
        }
        return Ok(builder);
    }
    let origins = AllowedOrigins::parse(&args.allow_origin)
        .map_err(|error| Usage::option("--allow-origin", &error))?;
    Ok(builder.allowed_origins(origins))
}

/// Returns the TLS configuration for upstreams, or `None` if it is not needed: a machine without
/// trusted certificates must be able to use cleartext.
fn upstream_tls(
    files: &ClientFiles,
    secure: bool,
) -> Result<Option<rustls::ClientConfig>, Failure> {
    // Explicit options apply to the upstreams of a later routing table too.
    if !secure && *files == ClientFiles::default() {
        return Ok(None);
    }
    files.load().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn upstream_connections_are_shared_where_http2_is_possible() {
        for (url, version, expected) in [
            ("ws://a.example", HttpVersion::Auto, false),
            ("ws://a.example", HttpVersion::Http2, true),
            ("wss://a.example", HttpVersion::Auto, true),
            ("wss://a.example", HttpVersion::Http1, false),
            ("tcp://a.example:1", HttpVersion::Auto, false),
        ] {
            let builder = Bridge::to(url).upstream_version(version);
            let bridge = builder.allowed_origins(AllowedOrigins::any()).build();
            assert_eq!(are_shared(&bridge.unwrap()), expected, "{url} {version:?}");
        }
    }
}
