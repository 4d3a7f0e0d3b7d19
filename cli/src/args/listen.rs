//! Options of the commands that listen: `serve` and `bridge`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;

use super::values::{SecondsOrNone, address, seconds_or_none};
use super::{LISTENING, TIMEOUTS, TLS};

#[derive(Clone, Debug, Args)]
pub(crate) struct ListenArgs {
    /// Address or host name to listen on; port 0 picks a free port [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR", value_parser = address, help_heading = LISTENING)]
    pub(crate) listen: Option<SocketAddr>,
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

impl ListenArgs {
    pub(crate) const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);
}
