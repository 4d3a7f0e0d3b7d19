//! The options of `h2ws demo`.

use clap::Args;

use super::{LOAD, OUTPUT, PROCESS};

pub(super) const EXAMPLES: &str = "\
Examples:
  h2ws demo
  h2ws demo --sockets 200 --messages 5 --json";

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Number of WebSockets to open
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = LOAD)]
    pub(crate) sockets: u32,
    /// Messages to echo on each WebSocket
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = LOAD)]
    pub(crate) messages: u32,
    /// Size of a message
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(..=1_000_000), help_heading = LOAD)]
    pub(crate) size: u32,
    /// Stop the server abruptly after this many echoes, to see how the WebSockets fail
    #[arg(long, value_name = "ECHOES", conflicts_with = "keep", help_heading = LOAD)]
    pub(crate) cut_after: Option<u64>,
    /// Keep the server running afterwards, with a page to open in a browser, and a port for its
    /// WebSockets over HTTP/1.1
    #[arg(long, help_heading = PROCESS)]
    pub(crate) keep: bool,
    /// Print one JSON object
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
}
