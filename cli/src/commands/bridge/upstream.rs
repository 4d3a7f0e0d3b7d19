//! What the bridge leads to, and how it is spoken to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use h2ws::Client;
use h2ws::bridge::{Bridge, BridgeBuilder, Routes, Scheme, UpstreamHost};
use h2ws::config::TcpConfig;
use h2ws::handshake::AllowedOrigins;
use h2ws::metrics::Metrics;

use crate::args::{BridgeArgs, TcpArgs};
use crate::tls::{ClientContents, ClientFiles};
use crate::{Failure, Usage};

/// HTTP/2 connections to one upstream.
const CONNECTIONS: usize = 1024;

/// The times of the routes hold; those of the client and server around them are longer than any.
pub(super) const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Makes the clients for the upstreams of a file.
#[derive(Clone)]
pub(super) struct Clients {
    /// Whether any certificate will do, whatever the file says.
    pub(super) insecure: bool,
    /// Whether somebody asks, whatever the file says.
    pub(super) watched: bool,
    pub(super) observer: Arc<dyn Metrics>,
    /// What the command line says of TCP connections.
    pub(super) tcp: TcpArgs,
    /// Those of the table that is in use.
    pub(super) of_routes: RouteClients,
}

/// The clients that routes have of their own, by what they are made of and
/// whether somebody asks. One that is needed again is kept, with its connections.
pub(super) type RouteClients = HashMap<(ClientContents, bool), Client>;

impl Clients {
    /// One for a route of its own, as its files are now; also put to those of
    /// the `new` table.
    pub(super) fn of_route(
        &self,
        files: &ClientFiles,
        watched: bool,
        tcp: &TcpConfig,
        new: &mut RouteClients,
    ) -> Result<Client, Failure> {
        let mut files = files.clone();
        files.insecure |= self.insecure;
        let made_of = (files.read()?, watched);
        let client = match new.get(&made_of).or_else(|| self.of_routes.get(&made_of)) {
            Some(client) => client.clone(),
            None => self.build(Some(made_of.0.config()?), watched, tcp)?,
        };
        new.insert(made_of, client.clone());
        Ok(client)
    }

    /// The one for all other routes.
    pub(super) fn of_file(
        &self,
        files: &ClientFiles,
        routes: &Routes,
        watched: bool,
        tcp: &TcpConfig,
    ) -> Result<Client, Failure> {
        let others = routes.iter().filter(|route| route.client().is_none());
        let mut upstreams = others.flat_map(|route| route.upstreams());
        let secure = upstreams.any(|status| status.upstream.scheme() == Scheme::Wss);
        self.build(upstream_tls(files, secure)?, watched, tcp)
    }

    fn build(
        &self,
        tls: Option<rustls::ClientConfig>,
        watched: bool,
        tcp: &TcpConfig,
    ) -> Result<Client, Failure> {
        let mut builder = Client::builder()
            .tcp(tcp.clone())
            .connect_timeout(LONGEST)
            .handshake_timeout(LONGEST)
            .max_connections(CONNECTIONS);
        if let Some(config) = tls {
            builder = builder.tls(config);
        }
        if watched || self.watched {
            builder = builder.metrics(self.observer.clone());
        }
        Ok(builder.build()?)
    }
}

/// The bridge of a command line, to one upstream.
pub(super) fn only(
    args: &BridgeArgs,
    files: &ClientFiles,
    metrics: Option<Arc<dyn Metrics>>,
) -> Result<Bridge, Failure> {
    let to = args.to.as_deref().unwrap_or_default();
    let scheme = scheme(to);
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
        .idle_timeout(args.idle_timeout.map(Duration::from_secs_f64));
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
    if args.websockets_only {
        builder = builder.websockets_only(true);
    }
    builder = origins(builder, args, &scheme)?;
    let secure = matches!(&*scheme, "wss" | "https");
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
    Ok(builder.build().map_err(|error| Usage::of("--to", &error))?)
}

fn scheme(url: &str) -> String {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    scheme.to_ascii_lowercase()
}

fn origins(
    builder: BridgeBuilder,
    args: &BridgeArgs,
    scheme: &str,
) -> Result<BridgeBuilder, Failure> {
    if args.allow_any_origin {
        return Ok(builder.allowed_origins(AllowedOrigins::any()));
    }
    if args.allow_origin.is_empty() {
        if scheme == "tcp" {
            let text = "whose pages may open sockets to a tcp target? --allow-origin ORIGIN says it, \
                        --allow-any-origin if any may";
            return Err(Usage::of("--to", &text).into());
        }
        return Ok(builder);
    }
    let origins = AllowedOrigins::parse(&args.allow_origin)
        .map_err(|error| Usage::of("--allow-origin", &error))?;
    Ok(builder.allowed_origins(origins))
}

/// How TLS to the upstream goes; `None` where there is none, for cleartext
/// works on a machine that trusts nobody.
fn upstream_tls(
    files: &ClientFiles,
    secure: bool,
) -> Result<Option<rustls::ClientConfig>, Failure> {
    // What was asked for holds for the upstreams of a later table, too.
    if !secure && *files == ClientFiles::default() {
        return Ok(None);
    }
    files.load().map(Some)
}
