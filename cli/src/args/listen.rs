//! Options of the commands that listen: `serve` and `bridge`.

use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;

use super::values::{SecondsOrNone, seconds_or_none};
use super::{LISTENING, TIMEOUTS, TLS};
use crate::listener::{ListenAddress, Networks};

#[derive(Clone, Debug, Args)]
pub(crate) struct ListenArgs {
    /// Where to listen: an address, a host name with a port (all its addresses; port 0 picks a free
    /// one), unix:PATH, systemd:NAME for sockets of that FileDescriptorName=, or systemd for all
    /// others (repeatable) [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR", value_parser = ListenAddress::parse, help_heading = LISTENING)]
    pub(crate) listen: Vec<ListenAddress>,
    /// Where to redirect plain HTTP requests to https, with 308, and refuse WebSockets (repeatable)
    #[arg(long, value_name = "ADDR", value_parser = ListenAddress::parse, conflicts_with = "cleartext", help_heading = LISTENING)]
    pub(crate) redirect_https: Vec<ListenAddress>,
    /// Network of load balancers that send a PROXY header (version 1 or 2) on every connection, such
    /// as 10.0.0.0/8; connections from elsewhere are closed (repeatable)
    #[arg(long, value_name = "NETWORK", value_parser = Networks::parse, help_heading = LISTENING)]
    pub(crate) proxy_protocol: Vec<IpNet>,
    /// Share the ports with another process that does so too (SO_REUSEPORT): start the new version,
    /// then stop the old one
    #[arg(long, help_heading = LISTENING)]
    pub(crate) reuse_port: bool,
    /// Listen without TLS: HTTP/2 with prior knowledge and HTTP/1.1 on one port
    #[arg(long, conflicts_with_all = ["cert", "key", "client_ca"], help_heading = LISTENING)]
    pub(crate) cleartext: bool,
    /// Certificate chain, PEM; each is used for its names, the first for all others (repeatable)
    /// [default: a self-signed certificate for localhost]
    #[arg(long, value_name = "FILE", requires = "key", help_heading = TLS)]
    pub(crate) cert: Vec<PathBuf>,
    /// Private key, PEM; one per --cert, in the same order
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = TLS)]
    pub(crate) key: Vec<PathBuf>,
    /// Require clients to present a certificate signed by one of these, PEM
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    pub(crate) client_ca: Option<PathBuf>,
    /// With --client-ca: admit clients without a certificate too
    #[arg(long, requires = "client_ca", help_heading = TLS)]
    pub(crate) client_cert_optional: bool,
    /// Close a client's connection after this long without a request or WebSocket, or none
    /// [default: 300]
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_none, help_heading = TIMEOUTS)]
    pub(crate) connection_idle_timeout: Option<SecondsOrNone>,
}
