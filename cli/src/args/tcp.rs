//! Options that decide when a TCP peer that does not respond is given up.

use std::time::Duration;

use clap::Args;
use h2ws::config::TcpConfig;

use super::TCP;
use super::values::seconds;

#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct TcpArgs {
    /// Silence before TCP sends the first keepalive probe; 0 disables probes [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = TCP)]
    tcp_keepalive_idle: Option<f64>,
    /// Time between keepalive probes [default: 20]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = TCP)]
    tcp_keepalive_interval: Option<f64>,
    /// Unanswered keepalive probes after which a connection is dropped [default: 6]
    #[arg(long, value_name = "N", help_heading = TCP)]
    tcp_keepalive_probes: Option<u32>,
    /// Time that sent data may stay unacknowledged, or find no room at the peer, before its
    /// connection is dropped; 0 leaves that to the system [default: 180]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = TCP)]
    tcp_user_timeout: Option<f64>,
}

impl TcpArgs {
    /// Returns `config` with the options that were given on the command line.
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
