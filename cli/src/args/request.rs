//! Options of the commands that connect to a server: `connect`, `probe` and `bench`.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use http::{HeaderName, HeaderValue};

use super::values::header;
use super::{HTTP, PROXY, REQUEST, TLS};

/// A request, and the HTTP version that carries it.
#[derive(Clone, Debug, Args)]
pub(crate) struct RequestArgs {
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) version: VersionArgs,
    /// Offer compression (permessage-deflate)
    #[arg(long, help_heading = REQUEST)]
    pub(crate) deflate: bool,
}

/// A request, and how the connection for it is made.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConnectionArgs {
    /// Header field to send (repeatable)
    #[arg(short = 'H', long = "header", value_name = "'NAME: VALUE'", value_parser = header, help_heading = REQUEST)]
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Subprotocol to offer (repeatable)
    #[arg(long, value_name = "NAME", help_heading = REQUEST)]
    pub(crate) subprotocol: Vec<String>,
    /// Origin to send, as a browser does
    #[arg(long, help_heading = REQUEST)]
    pub(crate) origin: Option<HeaderValue>,
    /// Send Sec-WebSocket-Key over HTTP/2 in the first request, not only after a 400
    #[arg(long, help_heading = REQUEST)]
    pub(crate) websocket_key: bool,
    /// Accept any server certificate
    #[arg(long, help_heading = TLS)]
    pub(crate) insecure: bool,
    /// Trust only server certificates signed by one of these, PEM
    /// [default: those that the operating system trusts]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure", help_heading = TLS)]
    pub(crate) cacert: Option<PathBuf>,
    /// Certificate chain to present to servers that ask for one, PEM
    #[arg(long, value_name = "FILE", requires = "key", help_heading = TLS)]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = TLS)]
    pub(crate) key: Option<PathBuf>,
    /// Proxy: http://, https:// or socks5://, with user:password@ if it requires that
    /// [default: from https_proxy, http_proxy, all_proxy and no_proxy]
    #[arg(long, value_name = "URL", help_heading = PROXY)]
    pub(crate) proxy: Option<ProxyUrl>,
    /// Connect directly, whatever the environment says
    #[arg(long, conflicts_with = "proxy", help_heading = PROXY)]
    pub(crate) no_proxy: bool,
}

/// A proxy's URL. It may hold a password, so `Debug` does not show it.
#[derive(Clone)]
pub(crate) struct ProxyUrl(pub(crate) String);

impl From<&str> for ProxyUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyUrl(..)")
    }
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct VersionArgs {
    /// Use HTTP/1.1 only [default: negotiated by TLS; HTTP/1.1 for ws://]
    #[arg(long, conflicts_with = "http2", help_heading = HTTP)]
    pub(super) http1: bool,
    /// Use HTTP/2 only; for ws:// with prior knowledge
    #[arg(long, help_heading = HTTP)]
    pub(super) http2: bool,
}

impl VersionArgs {
    pub(crate) const HTTP1: Self = Self {
        http1: true,
        http2: false,
    };
    pub(crate) const HTTP2: Self = Self {
        http1: false,
        http2: true,
    };

    pub(crate) fn version(self) -> h2ws::HttpVersion {
        match self {
            Self { http1: true, .. } => h2ws::HttpVersion::Http1,
            Self { http2: true, .. } => h2ws::HttpVersion::Http2,
            _ => h2ws::HttpVersion::Auto,
        }
    }
}
