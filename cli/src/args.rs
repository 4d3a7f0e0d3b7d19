//! The command line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use h2ws::config::TcpConfig;
use h2ws::handshake::{HostPort, Target, UrlError};
use http::{HeaderName, HeaderValue};

/// WebSockets over HTTP/2 (RFC 8441), with HTTP/1.1 Upgrade as the fallback.
#[derive(Debug, Parser)]
#[command(
    name = "h2ws",
    version,
    about,
    propagate_version = true,
    max_term_width = 100,
    after_help = STATUS
)]
pub(crate) struct Args {
    /// Log more to stderr (-v, -vv); RUST_LOG has the last word
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const STATUS: &str = "\
Exit status: 0 done, 1 failed, 2 bad usage, 130 stopped by Ctrl-C (143 by SIGTERM) unless it is a
server, which drains; that of probe says more.";

const SIGNALS: &str = "\
SIGINT and SIGTERM drain: no more sockets are taken, those that are open are closed with 1001, and
after a grace of 30 seconds what is left is cut. A second one stops at once.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show it: many sockets over one connection, and what happened
    Demo(DemoArgs),
    /// Run an echo server, with a page for browsers
    #[command(after_help = SIGNALS)]
    Serve(ServeArgs),
    /// Take sockets on to a server behind: RFC 6455, RFC 8441 or TCP
    #[command(after_help = SIGNALS)]
    Bridge(Box<BridgeArgs>),
    /// Send lines of stdin as text messages, print what comes back
    Connect(ConnectArgs),
    /// Tell what a server can do, and what it does wrong
    #[command(after_help = PROBE_STATUS)]
    Probe(ProbeArgs),
    /// Load a server, and measure
    Bench(BenchArgs),
}

impl Command {
    /// How logs are written, and whether a service has more to tell than
    /// warnings.
    pub(crate) fn logs(&self) -> (LogFormat, bool) {
        match self {
            Self::Bridge(args) => (args.log_format, true),
            Self::Serve(_) => (LogFormat::Text, true),
            _ => (LogFormat::Text, false),
        }
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// A JSON object a line
    Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DemoArgs {
    /// Sockets to open
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) sockets: u32,
    /// Messages to echo on each
    #[arg(long, default_value_t = 10)]
    pub(crate) messages: u32,
    /// Bytes of a message
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) size: u32,
    /// Leave the server running afterwards, with a page to open in a browser
    #[arg(long)]
    pub(crate) keep: bool,
    /// Take the server down after so many echoes, to see what becomes of the sockets
    #[arg(long, value_name = "ECHOES", conflicts_with = "keep")]
    pub(crate) cut_after: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    /// Streams that a client may have open on one connection
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub(crate) max_concurrent_streams: u32,
    /// TCP connections at a time; when all are taken, those unused for longest make way, and
    /// where all are in use further ones wait to be accepted
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub(crate) max_connections: usize,
    /// Bytes that a client may send on one HTTP/2 socket before they are read
    #[arg(long, default_value_t = 256 * 1024, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..1 << 31))]
    pub(crate) stream_window: u32,
    #[command(flatten)]
    pub(crate) threads: ThreadsArgs,
    /// TCP connections of one IPv4 address, or of one IPv6 network of 64 bits; further ones are
    /// closed at once. Not behind a load balancer, which has one address [default: no limit]
    #[arg(long, value_name = "N")]
    pub(crate) max_connections_per_client: Option<usize>,
    /// Bytes that all HTTP/2 connections together may hold, unread, unsent and in half messages;
    /// beyond it the sockets that hold most are closed with 1013 or reset [default: 2147483648]
    #[arg(long, value_name = "BYTES")]
    pub(crate) process_buffer: Option<usize>,
    #[command(flatten)]
    pub(crate) tcp: TcpArgs,
    /// Take compression (permessage-deflate) where it is offered
    #[arg(long)]
    pub(crate) deflate: bool,
    /// Do not take WebSockets over HTTP/2
    #[arg(long)]
    pub(crate) no_extended_connect: bool,
    /// Origins whose pages may open sockets, such as https://*.example.com, or file:// and app://.
    /// of applications (repeatable)
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Vec<String>,
    /// Hosts that the server is reached as, such as example.com or *.example.com:8443
    /// (repeatable); requests for others are answered 421
    #[arg(long, value_name = "HOST")]
    pub(crate) allow_host: Vec<String>,
    /// Subprotocols to agree to, where they are offered (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(crate) subprotocol: Vec<String>,
}

/// Where a server listens.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct ListenArgs {
    /// Address or name to listen on; port 0 picks a free one [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Without TLS: HTTP/2 by prior knowledge, HTTP/1.1 otherwise
    #[arg(long, conflicts_with_all = ["cert", "key", "client_ca"])]
    pub(crate) cleartext: bool,
    /// Certificate chain, PEM (repeatable: each is shown for its names, the first for all others);
    /// without it a self-signed one for localhost is made. SIGHUP reads the files again
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Vec<PathBuf>,
    /// Private key, PEM (one for each --cert, in the same order)
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Vec<PathBuf>,
    /// Seconds that a connection may be without a request or a socket, or none [default: 300]
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_none)]
    pub(crate) connection_idle_timeout: Option<SecondsOrNone>,
    /// Let only clients in that have a certificate signed by one of these, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) client_ca: Option<PathBuf>,
    /// Let clients without a certificate in, too
    #[arg(long, requires = "client_ca")]
    pub(crate) client_cert_optional: bool,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("where").required(true))]
pub(crate) struct BridgeArgs {
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    /// Where sockets go: ws://, wss:// (a path is put before theirs), or tcp://host:port
    #[arg(long, value_name = "URL", group = "where")]
    pub(crate) to: Option<String>,
    /// Routes and more, in TOML (see examples/bridge.toml); read again at SIGHUP
    #[arg(long, value_name = "FILE", group = "where")]
    pub(crate) config: Option<PathBuf>,
    /// Look for mistakes in the file, tell them all, and end
    #[arg(long, conflicts_with = "to")]
    pub(crate) check: bool,
    /// Origins whose pages may open sockets, such as https://*.example.com, or file:// and app://.
    /// of applications (repeatable); without one, any may for ws:// and wss://
    #[arg(long, value_name = "ORIGIN", conflicts_with = "config")]
    pub(crate) allow_origin: Vec<String>,
    /// Pages of any origin may open sockets, to a tcp:// target too
    #[arg(long, conflicts_with_all = ["allow_origin", "config"])]
    pub(crate) allow_any_origin: bool,
    #[command(flatten)]
    pub(crate) upstream: UpstreamVersionArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadsArgs,
    /// TCP connections of one IPv4 address, or of one IPv6 network of 64 bits; further ones are
    /// closed at once. Not behind a load balancer, which has one address [default: no limit]
    #[arg(long, value_name = "N", conflicts_with = "config")]
    pub(crate) max_connections_per_client: Option<usize>,
    /// Bytes that all HTTP/2 connections together may hold, unread, unsent and in half messages;
    /// beyond it the sockets that hold most are closed with 1013 or reset [default: 2147483648]
    #[arg(long, value_name = "BYTES", conflicts_with = "config")]
    pub(crate) process_buffer: Option<usize>,
    #[command(flatten)]
    pub(crate) tcp: TcpArgs,
    /// Ask the upstream by this name (Host, :authority), or without NAME by its own, instead of
    /// the one that the client asked for
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, conflicts_with = "config")]
    pub(crate) upstream_host: Option<Option<HostPort>>,
    /// Name in the certificate of a wss:// upstream, and in SNI, instead of its URL's host
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub(crate) server_name: Option<String>,
    /// Do not write Forwarded (RFC 7239) for the upstream, and drop that of clients
    #[arg(long, conflicts_with = "config")]
    pub(crate) no_forwarded: bool,
    /// Do not write X-Forwarded-* for the upstream, and drop those of clients
    #[arg(long, conflicts_with = "config")]
    pub(crate) no_x_forwarded: bool,
    /// Send a Sec-WebSocket-Key over HTTP/2 at once, not only where the answer was 400 without it
    #[arg(long, conflicts_with = "config")]
    pub(crate) websocket_key: bool,
    /// Accept any certificate of the upstream
    #[arg(long)]
    pub(crate) upstream_insecure: bool,
    /// Keep ordinary requests, such as for pages, from a ws:// or wss:// upstream
    #[arg(long, conflicts_with = "config")]
    pub(crate) websockets_only: bool,
    /// Trust upstreams with a certificate signed by one of these, PEM, and no others
    #[arg(long, value_name = "FILE", conflicts_with = "upstream_insecure")]
    pub(crate) upstream_cacert: Option<PathBuf>,
    /// Certificate chain to show to upstreams that ask, PEM
    #[arg(long, value_name = "FILE", requires = "upstream_key")]
    pub(crate) upstream_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "upstream_cert")]
    pub(crate) upstream_key: Option<PathBuf>,
    /// Believe the Forwarded and X-Forwarded-* fields of clients, which are proxies of one's own
    #[arg(long, conflicts_with = "config")]
    pub(crate) trust_forwarded: bool,
    /// Close sockets after so many seconds without a byte in either direction
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "config")]
    pub(crate) idle_timeout: Option<f64>,
    /// Seconds that an upstream may take to begin its response to a plain HTTP request, or none;
    /// later ones are answered 504 [default: 300]
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_none, conflicts_with = "config")]
    pub(crate) response_timeout: Option<SecondsOrNone>,
    /// Seconds that a client may keep the body of a plain HTTP request back [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "config")]
    pub(crate) request_body_timeout: Option<f64>,
    /// Seconds that unused HTTP/1.1 connections to upstreams are kept [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "config")]
    pub(crate) pool_idle_timeout: Option<f64>,
    /// Sockets at a time; further ones are answered 503 [default: 100000]
    #[arg(long, value_name = "N", conflicts_with = "config")]
    pub(crate) max_sockets: Option<usize>,
    /// Streams that a client may have open on one connection [default: 1000]
    #[arg(long, value_name = "N", conflicts_with = "config")]
    pub(crate) max_concurrent_streams: Option<u32>,
    /// Bytes of the header fields of a request, by the count of RFC 9113 section 6.5.2; larger ones
    /// are answered 431 [default: 16384]
    #[arg(long, value_name = "BYTES", conflicts_with = "config")]
    pub(crate) max_header_list_size: Option<u32>,
    /// Serve figures for Prometheus at /metrics there, and /healthz and /readyz
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) metrics: Option<SocketAddr>,
    /// Seconds from SIGTERM, when /readyz says no, until no more sockets are taken: the time
    /// that load balancers need to notice [default: 0]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) drain_delay: Option<f64>,
    /// How logs are written, among them a line for each socket at its end
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// What is spoken to an upstream.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct UpstreamVersionArgs {
    /// HTTP/1.1 only, to the upstream
    #[arg(long, conflicts_with_all = ["upstream_http2", "config"])]
    upstream_http1: bool,
    /// HTTP/2 only, to the upstream; with ws:// by prior knowledge
    #[arg(long, conflicts_with = "config")]
    upstream_http2: bool,
}

impl ListenArgs {
    pub(crate) const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);
}

impl UpstreamVersionArgs {
    pub(crate) fn version(self) -> h2ws::HttpVersion {
        let Self {
            upstream_http1: http1,
            upstream_http2: http2,
        } = self;
        VersionArgs { http1, http2 }.version()
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ConnectArgs {
    /// ws://, wss://, http:// or https://
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    /// Seconds to wait for answers after the end of stdin, since the last one
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) wait: f64,
}

const PROBE_STATUS: &str = "\
Exit status: 0 a WebSocket over HTTP/2 works, 3 only over HTTP/1.1, 1 neither, 2 bad usage.
Of several URLs the worst decides: neither, then HTTP/1.1, then HTTP/2.

At most two connections are made to a server, for four sockets in all and a few messages on each.";

#[derive(Debug, ClapArgs)]
pub(crate) struct ProbeArgs {
    /// ws://, wss://, http:// or https:// URLs, looked at one after the other; ws:// ones in HTTP/2
    /// by prior knowledge as well
    #[arg(required = true, value_name = "URL", value_parser = target)]
    pub(crate) targets: Vec<Target>,
    #[command(flatten)]
    pub(crate) way: WayArgs,
    /// Seconds that each step may take
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: f64,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct BenchArgs {
    /// ws://, wss://, http:// or https:// URL of a server that echoes
    pub(crate) url: String,
    /// Sockets to open
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) sockets: u32,
    /// HTTP/2 connections to spread them over, at least
    #[arg(long, default_value_t = 1, value_name = "C", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// Bytes of a message
    #[arg(long, default_value_t = 64, value_name = "B", value_parser = clap::value_parser!(u32).range(..=16_000_000))]
    pub(crate) size: u32,
    /// Messages on their way at a time, on each socket
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) in_flight: u32,
    /// End after so many messages on each socket
    #[arg(long, value_name = "M", conflicts_with = "duration")]
    pub(crate) messages: Option<u64>,
    /// End after so many seconds [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) duration: Option<f64>,
    /// Send so many messages a second, all sockets together, whether or not
    /// answers come; latency counts from when a message was due
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: Option<u64>,
    /// Sockets that talk; the others stay open and silent [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) talkers: Option<u32>,
    /// Ping every socket before the load, and wait for its Pong
    #[arg(long)]
    pub(crate) ping: bool,
    /// Further sockets, uncounted, that move large messages meanwhile
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) bulk: u32,
    /// Bytes of these messages
    #[arg(long, default_value_t = 1 << 20, value_name = "B", value_parser = clap::value_parser!(u32).range(..=16_000_000))]
    pub(crate) bulk_size: u32,
    /// Let silent sockets rest so long before and after the load, then look at the memory
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) rest: f64,
    /// Sockets to be opened at a time
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) opening: u32,
    /// Seconds of the run that are not counted, at its beginning [default: a tenth]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) warm_up: Option<f64>,
    /// Process whose memory and CPU time is shown too: the server's, if it runs here
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,
    /// Send text instead of binary messages
    #[arg(long)]
    pub(crate) text: bool,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadsArgs,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// When TCP peers that are gone without a word are given up.
#[derive(Clone, Copy, Debug, Default, ClapArgs)]
pub(crate) struct TcpArgs {
    /// Seconds of silence after which TCP asks a peer for a sign of life; 0 never [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    tcp_keepalive_idle: Option<f64>,
    /// Seconds that it waits for an answer before it asks again [default: 20]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    tcp_keepalive_interval: Option<f64>,
    /// Questions without an answer that end a connection [default: 6]
    #[arg(long, value_name = "N")]
    tcp_keepalive_probes: Option<u32>,
    /// Seconds that a peer may leave what it was sent unacknowledged, or leave no room for
    /// it, before its connection ends; 0 is up to the system [default: 180]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    tcp_user_timeout: Option<f64>,
}

impl TcpArgs {
    /// What the command line says, and the rest as in `config`.
    pub(crate) fn over(&self, mut config: TcpConfig) -> TcpConfig {
        let positive = |seconds: f64| (seconds > 0.0).then(|| Duration::from_secs_f64(seconds));
        if let Some(idle) = self.tcp_keepalive_idle {
            config = config.keepalive_idle(positive(idle));
        }
        if let Some(interval) = self.tcp_keepalive_interval {
            config = config.keepalive_interval(Duration::from_secs_f64(interval));
        }
        if let Some(probes) = self.tcp_keepalive_probes {
            config = config.keepalive_probes(probes);
        }
        if let Some(timeout) = self.tcp_user_timeout {
            config = config.user_timeout(positive(timeout));
        }
        config
    }
}

#[derive(Clone, Copy, Debug, Default, ClapArgs)]
pub(crate) struct ThreadsArgs {
    /// Threads that do the work; 1 does without their coordination [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

impl Command {
    pub(crate) fn threads(&self) -> Option<u16> {
        match self {
            Self::Serve(args) => args.threads.threads,
            Self::Bridge(args) => args.threads.threads,
            Self::Bench(args) => args.threads.threads,
            _ => None,
        }
    }
}

/// What a client asks for, and in which version of HTTP.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct RequestArgs {
    #[command(flatten)]
    pub(crate) way: WayArgs,
    #[command(flatten)]
    pub(crate) version: VersionArgs,
    /// Offer compression (permessage-deflate)
    #[arg(long)]
    pub(crate) deflate: bool,
}

/// What every client says, and the way to the server.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct WayArgs {
    /// Header field to send (repeatable)
    #[arg(short = 'H', long = "header", value_name = "'NAME: VALUE'", value_parser = header)]
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Subprotocol to offer (repeatable)
    #[arg(long, value_name = "NAME")]
    pub(crate) subprotocol: Vec<String>,
    /// Send a Sec-WebSocket-Key over HTTP/2 at once, not only where the answer was 400 without it
    #[arg(long)]
    pub(crate) websocket_key: bool,
    /// Origin to name, as a browser does
    #[arg(long)]
    pub(crate) origin: Option<HeaderValue>,
    /// Accept any certificate
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Trust servers with a certificate signed by one of these, PEM, and no others
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(crate) cacert: Option<PathBuf>,
    /// Certificate chain to show to servers that ask, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Go through this proxy: http://, https:// or socks5://, with user:password@ if it wants
    /// that; otherwise as https_proxy, http_proxy, all_proxy and no_proxy say
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<ProxyUrl>,
    /// Go directly, whatever the environment says
    #[arg(long, conflicts_with = "proxy")]
    pub(crate) no_proxy: bool,
}

/// Not to be shown: there may be a password in it.
#[derive(Clone)]
pub(crate) struct ProxyUrl(pub(crate) String);

impl From<&str> for ProxyUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyUrl(..)")
    }
}

#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct VersionArgs {
    /// HTTP/1.1 only
    #[arg(long, conflicts_with = "http2")]
    pub(crate) http1: bool,
    /// HTTP/2 only; with ws:// by prior knowledge
    #[arg(long)]
    pub(crate) http2: bool,
}

impl VersionArgs {
    pub(crate) fn version(self) -> h2ws::HttpVersion {
        match self {
            Self { http1: true, .. } => h2ws::HttpVersion::Http1,
            Self { http2: true, .. } => h2ws::HttpVersion::Http2,
            _ => h2ws::HttpVersion::Auto,
        }
    }
}

fn target(text: &str) -> Result<Target, UrlError> {
    text.parse()
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("not of the form 'Name: value'")?;
    let name = name.trim().parse::<HeaderName>();
    let value = value.trim().parse::<HeaderValue>();
    Ok((
        name.map_err(|error| error.to_string())?,
        value.map_err(|error| error.to_string())?,
    ))
}

/// An address or a name of this machine, with a port, where a server listens.
/// Of a name's addresses the first of IPv4, which more clients reach.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let form = || "not an address such as 0.0.0.0:443, [::]:443 or localhost:8443".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
    let port: u16 = port.parse().map_err(|_| form())?;
    if host.is_empty() || host.contains(['/', ':', '[', ']', ' ']) {
        return Err(form());
    }
    let found = (host, port).to_socket_addrs();
    let found: Vec<_> = found
        .map_err(|error| format!("{host} has no address here: {error}"))?
        .collect();
    let ipv4 = found.iter().find(|address| address.is_ipv4());
    ipv4.or(found.first())
        .copied()
        .ok_or_else(|| format!("{host} has no address here"))
}

/// A time that may be unlimited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecondsOrNone(pub(crate) Option<f64>);

impl SecondsOrNone {
    pub(crate) fn duration(self) -> Option<Duration> {
        self.0.map(Duration::from_secs_f64)
    }
}

fn seconds_or_none(text: &str) -> Result<SecondsOrNone, String> {
    if text == "none" {
        return Ok(SecondsOrNone(None));
    }
    let seconds = seconds(text).map_err(|error| format!("{error}, nor none"))?;
    Ok(SecondsOrNone(Some(seconds)))
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number")?;
    if (0.0..=1e6).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("not between 0 and 1,000,000".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn header_fields_are_split_at_the_first_colon() {
        let field = (
            HeaderName::from_static("a"),
            HeaderValue::from_static("b:c"),
        );
        assert_eq!(header("A: b:c"), Ok(field));
        for wrong in ["A", "A b: c", ": c", "a: b\nc"] {
            assert!(header(wrong).is_err(), "{wrong}");
        }
    }
}
