//! The options of `h2ws tunnel`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::values::url;
use super::{LIMITS, LISTENING, RequestArgs, TcpArgs};
use crate::listener::{AddressKind, ListenAddress};

pub(super) const EXAMPLES: &str = "\
For ssh: ssh -o ProxyCommand='h2ws tunnel wss://%h/ssh' server.example

Examples:
  h2ws tunnel --insecure --local 127.0.0.1:7000=/redis wss://127.0.0.1:8443/
  echo PING | h2ws tunnel --insecure wss://127.0.0.1:8443/redis";

#[derive(Debug, Args)]
pub(crate) struct TunnelArgs {
    /// wss:// (the default) or ws:// URL of a bridge's route to a tcp:// upstream
    #[arg(value_parser = url)]
    pub(crate) url: String,
    /// Listen here for connections to tunnel (repeatable): PORT (on 127.0.0.1), HOST:PORT, or
    /// unix:FILE; with =/PATH, they go to another route of the same bridge
    /// [default: none; tunnel stdin and stdout]
    #[arg(short = 'L', long, value_name = "ADDRESS[=/PATH]", value_parser = local, help_heading = LISTENING)]
    pub(crate) local: Vec<Local>,
    /// Connections tunneled at a time per --local; more wait in the system's queue
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = LIMITS)]
    pub(crate) max_connections: u32,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    #[command(flatten)]
    pub(crate) tcp: TcpArgs,
}

/// A place to listen, and the path that its connections go to if it is not the URL's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) at: At,
    pub(crate) path: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

fn local(text: &str) -> Result<Local, String> {
    let (at, path) = match text.rfind("=/") {
        Some(split) => (&text[..split], Some(text[split + 1..].to_owned())),
        None => (text, None),
    };
    let is_port = !at.is_empty() && at.bytes().all(|byte| byte.is_ascii_digit());
    let address = if is_port {
        ListenAddress::parse(&format!("127.0.0.1:{at}"))
    } else {
        ListenAddress::parse(at)
    };
    // A reader used to ssh writes PORT:HOST:HOSTPORT.
    let address = address.map_err(|error| {
        format!("{error}, or a port alone; the bridge's route decides the target")
    })?;
    let at = match address.kind {
        AddressKind::Unix(file) => At::Unix(file),
        AddressKind::Tcp(all) => {
            // More programs reach a name's IPv4 address.
            let ipv4 = all.iter().find(|address| address.is_ipv4());
            At::Tcp(*ipv4.or(all.first()).ok_or("it has no address")?)
        }
        AddressKind::Systemd(_) => return Err("a tunnel cannot listen on systemd's sockets".into()),
    };
    Ok(Local { at, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_end_is_a_port_an_address_or_a_file_and_may_name_a_path() {
        let tcp = |address: &str| At::Tcp(address.parse().expect("an address"));
        for (text, at, path) in [
            ("6379", tcp("127.0.0.1:6379"), None),
            ("0", tcp("127.0.0.1:0"), None),
            ("0.0.0.0:6379=/redis", tcp("0.0.0.0:6379"), Some("/redis")),
            ("[::1]:6379=/", tcp("[::1]:6379"), Some("/")),
            ("7000=/a?b=c", tcp("127.0.0.1:7000"), Some("/a?b=c")),
        ] {
            let path = path.map(str::to_owned);
            assert_eq!(local(text), Ok(Local { at, path }), "{text}");
        }
        for text in [
            "",
            ":",
            "65536",
            "unix:",
            "systemd",
            "6379:127.0.0.1:6379",
            "6379=redis",
        ] {
            assert!(local(text).is_err(), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_may_contain_an_equals_sign() {
        let expected = Local {
            at: At::Unix("/run/a=b".into()),
            path: Some("/pg".into()),
        };
        assert_eq!(local("unix:/run/a=b=/pg"), Ok(expected));
    }
}
