//! The options of `h2ws probe`.

use clap::Args;
use h2ws::handshake::HostPort;

use super::values::{ColorChoice, host_and_port, seconds, url};
use super::{CONNECTION, ConnectionArgs, OUTPUT, TIMEOUTS};

pub(super) const EXAMPLES: &str = "\
The probe makes at most two connections to a server, and opens four WebSockets with a few messages
on each. ws:// URLs are probed over HTTP/2 with prior knowledge, too.

Exit status:
  0  WebSockets work over HTTP/2
  3  WebSockets work over HTTP/1.1 only
  1  WebSockets do not work
  2  bad usage
For several URLs it is that of the worst result, and a table compares them.

Examples:
  h2ws probe --insecure wss://127.0.0.1:8443/
  h2ws probe --insecure ws://127.0.0.1:8080/ wss://127.0.0.1:8443/
  h2ws probe --json ws://127.0.0.1:8080/";

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// URLs, probed one after the other: wss:// (the default), ws://, https:// and http://, which
    /// mean the same, or ws+unix:/run/app.sock:/path
    #[arg(required = true, value_name = "URL", value_parser = url)]
    pub(crate) urls: Vec<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    /// Connect to this address instead of the URL's, without a proxy; the requests and the name in the
    /// certificate stay the same
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port, help_heading = CONNECTION)]
    pub(crate) connect_to: Option<HostPort>,
    /// Time that each step may take
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = seconds, help_heading = TIMEOUTS)]
    pub(crate) timeout: f64,
    /// Colors by verdict; auto: at a terminal, unless NO_COLOR is set
    #[arg(long, default_value = "auto", value_name = "WHEN", help_heading = OUTPUT)]
    pub(crate) color: ColorChoice,
    /// Print one JSON object
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
}
