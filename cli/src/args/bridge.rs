//! The options of `h2ws bridge`. Those that `conflicts_with = "config"` are keys of the
//! configuration file, under the same name.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use h2ws::bridge::{ClientCert, ForwardAuth, TraceContext};
use h2ws::handshake::HostPort;

use super::request::VersionArgs;
use super::values::{
    FieldOrNone, SecondsOrNone, field_or_none, positive_seconds, seconds, seconds_or_none,
};
use super::{
    ACCESS, FORWARDING, LIMITS, LOGGING, ListenArgs, LogArgs, TIMEOUTS, TcpArgs, ThreadsArgs,
    UPSTREAM, UPSTREAM_TLS,
};
use crate::listener::ListenAddress;

pub(super) const EXAMPLES: &str = "\
Signals:
  SIGINT and SIGTERM drain: the bridge stops accepting, closes its WebSockets with code 1001, and
  drops what is left after 30 seconds. A second signal stops it at once. SIGHUP reloads the
  configuration file and the certificates.

Examples:
  h2ws bridge --cert chain.pem --key key.pem --to ws://127.0.0.1:8080
  h2ws bridge --cleartext --to tcp://127.0.0.1:6379 --allow-origin https://admin.example.com
  h2ws bridge --config bridge.toml --check";

#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("where").required(true))]
pub(crate) struct BridgeArgs {
    /// Upstream URL: ws://, wss:// (a path in it is put before the request's), tcp://HOST:PORT, or on
    /// a Unix socket ws+unix:/run/app.sock, ws+unix:/run/app.sock:/path or unix:/run/app.sock
    #[arg(long, value_name = "URL", group = "where", help_heading = UPSTREAM)]
    pub(crate) to: Option<String>,
    /// Configuration file with routes, in TOML (see examples/bridge.toml)
    #[arg(long, value_name = "FILE", group = "where", help_heading = UPSTREAM)]
    pub(crate) config: Option<PathBuf>,
    /// Validate the configuration file, print every error, and exit: 0, 2 with errors, 3 if clients
    /// reject a certificate, such as an expired one
    #[arg(long, conflicts_with = "to", help_heading = UPSTREAM)]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) upstream: UpstreamVersionArgs,
    /// Send this host (Host, :authority) to the upstream; without NAME, the upstream URL's
    /// [default: the host of the client's request]
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, conflicts_with = "config", help_heading = UPSTREAM)]
    pub(crate) upstream_host: Option<Option<HostPort>>,
    /// Send Sec-WebSocket-Key over HTTP/2 in the first request, not only after a 400
    #[arg(long, conflicts_with = "config", help_heading = UPSTREAM)]
    pub(crate) websocket_key: bool,
    /// Forward only WebSockets, not other HTTP requests
    #[arg(long, conflicts_with = "config", help_heading = UPSTREAM)]
    pub(crate) websockets_only: bool,
    /// Accept any certificate of the upstream
    #[arg(long, help_heading = UPSTREAM_TLS)]
    pub(crate) upstream_insecure: bool,
    /// Trust only upstream certificates signed by one of these, PEM
    /// [default: those that the operating system trusts]
    #[arg(long, value_name = "FILE", conflicts_with = "upstream_insecure", help_heading = UPSTREAM_TLS)]
    pub(crate) upstream_cacert: Option<PathBuf>,
    /// Certificate chain to present to upstreams that ask for one, PEM
    #[arg(long, value_name = "FILE", requires = "upstream_key", help_heading = UPSTREAM_TLS)]
    pub(crate) upstream_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "upstream_cert", help_heading = UPSTREAM_TLS)]
    pub(crate) upstream_key: Option<PathBuf>,
    /// Name for SNI and in the certificate of a wss:// upstream [default: the URL's host]
    #[arg(long, value_name = "NAME", conflicts_with = "config", help_heading = UPSTREAM_TLS)]
    pub(crate) server_name: Option<String>,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    /// Origin whose pages may open WebSockets, such as https://*.example.com or app://.
    /// (repeatable); a tcp:// or unix: upstream requires one [default: any]
    #[arg(long, value_name = "ORIGIN", conflicts_with = "config", help_heading = ACCESS)]
    pub(crate) allow_origin: Vec<String>,
    /// Let pages of any origin open WebSockets, to a tcp:// or unix: upstream too
    #[arg(long, conflicts_with_all = ["allow_origin", "config"], help_heading = ACCESS)]
    pub(crate) allow_any_origin: bool,
    /// Ask the server at this http:// or https:// URL whether a request may pass
    #[arg(long, value_name = "URL", value_parser = ForwardAuth::new, conflicts_with = "config", help_heading = ACCESS)]
    pub(crate) forward_auth: Option<ForwardAuth>,
    /// Field of its answer to copy to the request to the upstream, such as Remote-User (repeatable)
    #[arg(long, value_name = "NAME", requires = "forward_auth", help_heading = ACCESS)]
    pub(crate) copy_header: Vec<String>,
    /// Trust Forwarded and X-Forwarded-* of clients; only if all of them are your own proxies
    #[arg(long, conflicts_with = "config", help_heading = FORWARDING)]
    pub(crate) trust_forwarded: bool,
    /// Do not send Forwarded (RFC 7239) to the upstream, and drop that of clients
    #[arg(long, conflicts_with = "config", help_heading = FORWARDING)]
    pub(crate) no_forwarded: bool,
    /// Do not send X-Forwarded-* to the upstream, and drop those of clients
    #[arg(long, conflicts_with = "config", help_heading = FORWARDING)]
    pub(crate) no_x_forwarded: bool,
    /// Send the certificate that the client presented (Client-Cert, RFC 9440), or the whole chain;
    /// with --client-ca
    #[arg(long, value_enum, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "leaf", conflicts_with = "config", help_heading = FORWARDING)]
    pub(crate) client_cert: Option<ClientCertArg>,
    /// Field with an ID of each request, for the upstream and the access log, or none
    /// [default: x-request-id]
    #[arg(long, value_name = "NAME", value_parser = field_or_none, conflicts_with = "config", help_heading = FORWARDING)]
    pub(crate) request_id: Option<FieldOrNone>,
    /// What to do with traceparent and tracestate: forward them as they are, continue the trace, or
    /// always begin a new one [default: pass]
    #[arg(long, value_enum, value_name = "HOW", conflicts_with = "config", help_heading = FORWARDING)]
    pub(crate) trace_context: Option<TraceContextArg>,
    /// Begin each connection to a tcp:// or unix: upstream with the client's address, in a header of the
    /// PROXY protocol, version 2
    #[arg(long, conflicts_with = "config", help_heading = FORWARDING)]
    pub(crate) send_proxy_protocol: bool,
    /// Maximum number of open WebSockets; further ones are answered 503 [default: 100000]
    #[arg(long, value_name = "N", conflicts_with = "config", help_heading = LIMITS)]
    pub(crate) max_sockets: Option<usize>,
    /// Maximum number of WebSockets of one client that share HTTP/2 connections to the upstream with
    /// other clients; further ones use connections of that client alone [default: 100]
    #[arg(long, value_name = "N", conflicts_with = "config", help_heading = LIMITS)]
    pub(crate) max_shared_sockets: Option<usize>,
    /// Maximum number of connections per IPv4 address or IPv6 /64; further ones are closed. Not for
    /// use behind a load balancer, which has one address [default: no limit]
    #[arg(long, value_name = "N", conflicts_with = "config", help_heading = LIMITS)]
    pub(crate) max_connections_per_client: Option<usize>,
    /// Maximum number of open streams per HTTP/2 connection [default: 1000]
    #[arg(long, value_name = "N", conflicts_with = "config", help_heading = LIMITS)]
    pub(crate) max_concurrent_streams: Option<u32>,
    /// Maximum size of a request's header fields (RFC 9113 §6.5.2); larger requests are answered 431
    /// [default: 16384]
    #[arg(long, value_name = "BYTES", conflicts_with = "config", help_heading = LIMITS)]
    pub(crate) max_header_list_size: Option<u32>,
    /// Maximum memory that all HTTP/2 connections together may buffer; beyond it the WebSockets that
    /// hold most are closed with 1013 or reset [default: 2147483648]
    #[arg(long, value_name = "BYTES", conflicts_with = "config", help_heading = LIMITS)]
    pub(crate) process_buffer: Option<usize>,
    /// Close a WebSocket after this long without a byte in either direction [default: none]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "config", help_heading = TIMEOUTS)]
    pub(crate) idle_timeout: Option<f64>,
    /// Close a WebSocket with code 1001 when it has been open this long, or up to 10 % less, by chance
    /// [default: none]
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds, conflicts_with = "config", help_heading = TIMEOUTS)]
    pub(crate) max_lifetime: Option<f64>,
    /// Send the client a Ping of the bridge's own before either direction has been silent for this
    /// long; its answer is not forwarded [default: none]
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds, conflicts_with = "config", help_heading = TIMEOUTS)]
    pub(crate) ping_client: Option<f64>,
    /// The same for the upstream [default: none]
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds, conflicts_with = "config", help_heading = TIMEOUTS)]
    pub(crate) ping_upstream: Option<f64>,
    /// Reset a WebSocket if one side sends nothing for this long after such a Ping [default: none]
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds, conflicts_with = "config", help_heading = TIMEOUTS)]
    pub(crate) ping_timeout: Option<f64>,
    /// Time until an upstream begins its response to a plain HTTP request, or none; then the
    /// client gets 504 [default: 300]
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_none, conflicts_with = "config", help_heading = TIMEOUTS)]
    pub(crate) response_timeout: Option<SecondsOrNone>,
    /// Time without a byte of the body of a plain HTTP request; then the client gets 408
    /// [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "config", help_heading = TIMEOUTS)]
    pub(crate) request_body_timeout: Option<f64>,
    /// Time that an unused HTTP/1.1 connection to an upstream is kept [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "config", help_heading = TIMEOUTS)]
    pub(crate) pool_idle_timeout: Option<f64>,
    /// Time from SIGTERM, when /readyz turns 503, until the bridge stops accepting; load balancers
    /// need it to notice [default: 0]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = TIMEOUTS)]
    pub(crate) drain_delay: Option<f64>,
    #[command(flatten)]
    pub(crate) tcp: TcpArgs,
    /// Serve Prometheus metrics, /healthz and /readyz on this address, as of --listen
    #[arg(long, value_name = "ADDR", value_parser = ListenAddress::parse, help_heading = LOGGING)]
    pub(crate) metrics: Option<ListenAddress>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadsArgs,
}

impl BridgeArgs {
    /// Returns the files of certificates that the options name.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &PathBuf> {
        self.listen.cert.iter().chain(&self.upstream_cert)
    }
}

// The variants have no doc comments: clap would print those below the option.
/// What the upstream gets of the client's certificate.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ClientCertArg {
    Leaf,
    Chain,
}

impl From<ClientCertArg> for ClientCert {
    fn from(arg: ClientCertArg) -> Self {
        match arg {
            ClientCertArg::Leaf => Self::Leaf,
            ClientCertArg::Chain => Self::Chain,
        }
    }
}

// The variants have no doc comments: clap would print those below the option.
/// What to do with the fields of W3C Trace Context.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TraceContextArg {
    Pass,
    Continue,
    Restart,
}

impl From<TraceContextArg> for TraceContext {
    fn from(arg: TraceContextArg) -> Self {
        match arg {
            TraceContextArg::Pass => Self::Pass,
            TraceContextArg::Continue => Self::Continue,
            TraceContextArg::Restart => Self::Restart,
        }
    }
}

/// The HTTP version of connections to the upstream.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct UpstreamVersionArgs {
    /// Use HTTP/1.1 only to the upstream [default: negotiated by TLS; HTTP/1.1 for ws://]
    #[arg(long, conflicts_with_all = ["upstream_http2", "config"], help_heading = UPSTREAM)]
    upstream_http1: bool,
    /// Use HTTP/2 only to the upstream; for ws:// with prior knowledge
    #[arg(long, conflicts_with = "config", help_heading = UPSTREAM)]
    upstream_http2: bool,
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
