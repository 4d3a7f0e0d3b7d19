//! The options of `h2ws serve`.

use clap::Args;

use super::{ACCESS, LIMITS, LISTENING, ListenArgs, LogArgs, TcpArgs, ThreadsArgs, WEBSOCKET};
use crate::listener::ListenAddress;

pub(super) const EXAMPLES: &str = "\
Signals:
  SIGINT and SIGTERM drain: the server stops accepting, closes its WebSockets with code 1001, and
  drops what is left after 30 seconds. A second signal stops it at once. SIGHUP reloads the
  certificates.

Examples:
  h2ws serve --cleartext --listen 127.0.0.1:8080
  h2ws serve --listen-http1 127.0.0.1:8444
  h2ws serve --cert chain.pem --key key.pem --allow-origin https://example.com";

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    /// Where to listen for HTTP/1.1 only, so that the page can open WebSockets over HTTP/1.1 beside
    /// those over HTTP/2, for comparison
    #[arg(long, value_name = "ADDR", value_parser = ListenAddress::parse, conflicts_with_all = ["cleartext", "no_extended_connect"], help_heading = LISTENING)]
    pub(crate) listen_http1: Option<ListenAddress>,
    /// Origin whose pages may open WebSockets, such as https://*.example.com or app://.
    /// (repeatable) [default: any]
    #[arg(long, value_name = "ORIGIN", help_heading = ACCESS)]
    pub(crate) allow_origin: Vec<String>,
    /// Host by which the server may be addressed, such as example.com or *.example.com:8443;
    /// others are answered 421 (repeatable) [default: any]
    #[arg(long, value_name = "HOST", help_heading = ACCESS)]
    pub(crate) allow_host: Vec<String>,
    /// Subprotocol to accept when a client offers it (repeatable)
    #[arg(long, value_name = "NAME", help_heading = WEBSOCKET)]
    pub(crate) subprotocol: Vec<String>,
    /// Accept compression (permessage-deflate) when a client offers it
    #[arg(long, help_heading = WEBSOCKET)]
    pub(crate) deflate: bool,
    /// Reject WebSockets over HTTP/2 (extended CONNECT)
    #[arg(long, help_heading = WEBSOCKET)]
    pub(crate) no_extended_connect: bool,
    /// Maximum number of connections; beyond it idle ones are closed, and if all are in use, new
    /// ones wait to be accepted
    #[arg(long, default_value_t = 10_000, value_name = "N", help_heading = LIMITS)]
    pub(crate) max_connections: usize,
    /// Maximum number of connections per IPv4 address or IPv6 /64; further ones are closed. Not for
    /// use behind a load balancer, which has one address [default: no limit]
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    pub(crate) max_connections_per_client: Option<usize>,
    /// Maximum number of open streams per HTTP/2 connection
    #[arg(long, default_value_t = 10_000, value_name = "N", help_heading = LIMITS)]
    pub(crate) max_concurrent_streams: u32,
    /// Bytes that a client may send ahead on one HTTP/2 stream
    #[arg(long, default_value_t = 256 * 1024, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..1 << 31), help_heading = LIMITS)]
    pub(crate) stream_window: u32,
    /// Maximum memory that all HTTP/2 connections together may buffer; beyond it the WebSockets that
    /// hold most are closed with 1013 or reset [default: 2147483648]
    #[arg(long, value_name = "BYTES", help_heading = LIMITS)]
    pub(crate) process_buffer: Option<usize>,
    #[command(flatten)]
    pub(crate) tcp: TcpArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadsArgs,
}
