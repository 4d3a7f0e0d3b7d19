//! The options of `h2ws bench`.

use clap::Args;

use super::values::{seconds, url};
use super::{LOAD, OUTPUT, RequestArgs, ThreadsArgs};

pub(super) const EXAMPLES: &str = "\
With --compare and --compare-http1, two servers or versions are measured in turns (first, second;
second, first; ...), so that what else the machine does slows both. The report has medians, and
the ratios of each pair.

Examples:
  h2ws bench --insecure --messages 100 wss://127.0.0.1:8443/
  h2ws bench --http2 --sockets 500 --rate 5000 --talkers 50 --duration 1 ws://127.0.0.1:8080/
  h2ws bench --insecure --duration 0.2 --compare wss://127.0.0.1:8443/ ws://127.0.0.1:8080/
  h2ws bench --insecure --duration 0.2 --compare-http1 wss://127.0.0.1:8443/";

#[derive(Clone, Debug, Args)]
pub(crate) struct BenchArgs {
    /// wss:// (the default) or ws:// URL of an echo server (https:// and http:// mean the same), or
    /// ws+unix:/run/app.sock:/path
    #[arg(value_parser = url)]
    pub(crate) url: String,
    /// Measure this URL too, in turns with the first and under the same load
    #[arg(long, value_name = "URL", value_parser = url, group = "comparison", conflicts_with = "server_pid", help_heading = LOAD)]
    pub(crate) compare: Option<String>,
    /// Measure the URL over HTTP/2 and over HTTP/1.1, in turns and under the same load
    #[arg(long, group = "comparison", conflicts_with_all = ["http1", "http2"], help_heading = LOAD)]
    pub(crate) compare_http1: bool,
    /// Times that each is measured
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), requires = "comparison", help_heading = LOAD)]
    pub(crate) repeats: u32,
    /// Begins the name of a progress bar.
    #[arg(skip)]
    pub(crate) label: String,
    /// Number of WebSockets to open
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000), help_heading = LOAD)]
    pub(crate) sockets: u32,
    /// HTTP/2 connections to spread them over, at least
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = LOAD)]
    pub(crate) connections: u32,
    /// WebSockets to open at the same time
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = LOAD)]
    pub(crate) opening: u32,
    /// WebSockets that send messages; the others stay open and idle [default: all]
    #[arg(long, value_name = "N", help_heading = LOAD)]
    pub(crate) talkers: Option<u32>,
    /// Size of a message
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..=16_000_000), help_heading = LOAD)]
    pub(crate) size: u32,
    /// Send text instead of binary messages
    #[arg(long, help_heading = LOAD)]
    pub(crate) text: bool,
    /// Unanswered messages per WebSocket
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000), help_heading = LOAD)]
    pub(crate) in_flight: u32,
    /// Send this many messages per second on all WebSockets together, whether or not answers
    /// arrive; latency then counts from when a message was due
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..), help_heading = LOAD)]
    pub(crate) rate: Option<u64>,
    /// Stop after this many messages on each WebSocket
    #[arg(long, value_name = "N", conflicts_with = "duration", help_heading = LOAD)]
    pub(crate) messages: Option<u64>,
    /// Stop after this time [default: 5; to compare 2]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = LOAD)]
    pub(crate) duration: Option<f64>,
    /// Time at the start of the run that is not counted [default: a tenth of the duration]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = LOAD)]
    pub(crate) warm_up: Option<f64>,
    /// Ping every WebSocket before the load, and wait for its Pong
    #[arg(long, help_heading = LOAD)]
    pub(crate) ping: bool,
    /// Additional WebSockets that move large messages during the run and are not counted
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = LOAD)]
    pub(crate) bulk: u32,
    /// Size of these messages
    #[arg(long, default_value_t = 1 << 20, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(..=16_000_000), help_heading = LOAD)]
    pub(crate) bulk_size: u32,
    /// Idle time before and after the load, before memory is sampled
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS", value_parser = seconds, help_heading = LOAD)]
    pub(crate) rest: f64,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    /// Report memory and CPU time of this process too: the server's, if it runs on this machine
    #[arg(long, value_name = "PID", help_heading = OUTPUT)]
    pub(crate) server_pid: Option<u32>,
    /// Print one JSON object
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) threads: ThreadsArgs,
}
