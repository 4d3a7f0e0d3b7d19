//! The options of `h2ws connect`.

use clap::Args;

use super::values::seconds;
use super::{RequestArgs, TIMEOUTS};

pub(super) const EXAMPLES: &str = "\
Examples:
  echo hello | h2ws connect --insecure wss://127.0.0.1:8443/
  echo hello | h2ws connect --http1 -H 'Authorization: Bearer TOKEN' ws://127.0.0.1:8080/";

#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// ws:// or wss:// URL (http:// and https:// mean the same)
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    /// After the end of stdin, close after this long without a message
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = seconds, help_heading = TIMEOUTS)]
    pub(crate) wait: f64,
}
