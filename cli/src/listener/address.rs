//! Where to listen: `0.0.0.0:443`, `localhost:8443`, `unix:/run/h2ws.sock` or `systemd:NAME`.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// Longest path of a Unix socket: what fits into `sockaddr_un` of Linux with its final zero.
const MAX_UNIX_PATH: usize = 107;

/// An address to listen on. Two are equal if they are written alike, whatever a name resolves to.
#[derive(Clone, Debug)]
pub(crate) struct ListenAddress {
    text: String,
    pub(crate) kind: AddressKind,
}

#[derive(Clone, Debug)]
pub(crate) enum AddressKind {
    /// All addresses of a name, or one.
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
    /// The sockets that systemd passed under a name; `None` for those that no other listener names.
    Systemd(Option<String>),
}

impl ListenAddress {
    /// `127.0.0.1:8443`
    pub(crate) fn default_address() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 8443));
        Self {
            text: address.to_string(),
            kind: AddressKind::Tcp(vec![address]),
        }
    }

    /// Parses an address, and resolves a host name.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let kind = if let Some(path) = text.strip_prefix("unix:") {
            AddressKind::Unix(unix(path)?)
        } else if text == "systemd" {
            AddressKind::Systemd(None)
        } else if let Some(name) = text.strip_prefix("systemd:") {
            if name.is_empty() {
                return Err("expected a name after systemd:, as in FileDescriptorName=".into());
            }
            AddressKind::Systemd(Some(name.to_owned()))
        } else {
            AddressKind::Tcp(resolve(text)?)
        };
        Ok(Self {
            text: text.to_owned(),
            kind,
        })
    }
}

impl ListenAddress {
    /// Whether both cannot be listened on. Port 0 is another port each time.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (AddressKind::Tcp(own), AddressKind::Tcp(others)) => {
                let fixed = own.iter().filter(|address| address.port() != 0);
                fixed.into_iter().any(|address| others.contains(address))
            }
            (AddressKind::Unix(own), AddressKind::Unix(other)) => own == other,
            (AddressKind::Systemd(own), AddressKind::Systemd(other)) => own == other,
            _ => false,
        }
    }
}

impl PartialEq for ListenAddress {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for ListenAddress {}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn unix(path: &str) -> Result<PathBuf, String> {
    if cfg!(not(unix)) {
        return Err("this system has no Unix sockets".into());
    }
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        return Err("expected the path of a socket after unix:, such as /run/h2ws.sock".into());
    }
    if path.len() > MAX_UNIX_PATH {
        let length = path.len();
        return Err(format!(
            "the path of a Unix socket has at most {MAX_UNIX_PATH} bytes, this one has {length}"
        ));
    }
    Ok(path.into())
}

fn resolve(text: &str) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = text.parse() {
        return Ok(vec![address]);
    }
    let form = || {
        "expected an address such as 0.0.0.0:443, [::]:443, localhost:8443, unix:/run/h2ws.sock \
         or systemd"
            .to_owned()
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
    let port: u16 = port.parse().map_err(|_| form())?;
    if host.is_empty() || host.contains(['/', ':', '[', ']', ' ']) {
        return Err(form());
    }
    let found = (host, port).to_socket_addrs();
    let mut addresses = Vec::new();
    for address in found.map_err(|error| format!("cannot resolve {host}: {error}"))? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(format!("cannot resolve {host}: it has no address"));
    }
    // Port 0 is picked at the first, and most clients reach the IPv4 one.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_three_kinds() {
        let tcp = ListenAddress::parse("[::1]:0").expect("an address").kind;
        assert!(matches!(tcp, AddressKind::Tcp(addresses) if addresses.len() == 1));
        let named = ListenAddress::parse("systemd:web").expect("a name").kind;
        assert!(matches!(named, AddressKind::Systemd(Some(name)) if name == "web"));
        let all = ListenAddress::parse("systemd").expect("all").kind;
        assert!(matches!(all, AddressKind::Systemd(None)));
        for wrong in [
            "",
            "a",
            "1.2.3.4",
            ":1",
            "[::1]",
            "systemd:",
            "unix:",
            "http://a:1",
        ] {
            assert!(ListenAddress::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn paths_fit_into_an_address() {
        let path = |bytes: usize| format!("unix:/{}", "a".repeat(bytes - 1));
        let longest = ListenAddress::parse(&path(107)).expect("a path").kind;
        assert!(matches!(longest, AddressKind::Unix(_)));
        let error = ListenAddress::parse(&path(108)).expect_err("too long");
        assert!(error.contains("at most 107 bytes"), "{error}");
    }
}
