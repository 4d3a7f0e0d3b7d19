//! The options of `h2ws health`.

use clap::Args;

use super::values::seconds;
use super::{REQUEST, TIMEOUTS};
use crate::listener::ListenAddress;

pub(super) const EXAMPLES: &str = "\
Examples:
  h2ws health 127.0.0.1:9443
  h2ws health --ready 127.0.0.1:9443";

#[derive(Clone, Debug, Args)]
pub(crate) struct HealthArgs {
    /// Address of the metrics of a bridge, as of its --metrics
    #[arg(value_name = "ADDR", value_parser = ListenAddress::parse)]
    pub(crate) address: ListenAddress,
    /// Ask whether it accepts WebSockets (/readyz), which a draining bridge does not, instead of
    /// whether it is alive (/healthz)
    #[arg(long, help_heading = REQUEST)]
    pub(crate) ready: bool,
    /// Time until the answer
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS", value_parser = seconds, help_heading = TIMEOUTS)]
    pub(crate) timeout: f64,
}
