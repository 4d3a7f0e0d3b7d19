//! Options that decide when a TCP peer that does not respond is given up, and how much may wait for
//! it in the operating system.

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
    /// Unsent data that the system may hold per connection, which every later message waits for,
    /// such as 131072; 0 leaves that to the system [default: 0]
    #[arg(long, value_name = "BYTES", help_heading = TCP)]
    tcp_notsent_lowat: Option<u32>,
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
        if let Some(bytes) = self.tcp_notsent_lowat {
            config = config.notsent_lowat((bytes > 0).then_some(bytes));
        }
        config
    }
}
