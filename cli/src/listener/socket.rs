//! Opens the sockets of a [`ListenAddress`].
//!
//! | at the path of a Unix socket is | then |
//! |---|---|
//! | nothing | the socket is created, and removed when the program stops listening |
//! | a socket on which nobody listens | it is replaced |
//! | a socket of a running process, or another file | an error; it stays as it is |

use std::io;
use std::net::SocketAddr;

use h2ws::server::ListenConfig;
use tokio::net::TcpListener;

use super::address::{AddressKind, ListenAddress};
#[cfg(unix)]
use super::unix::UnixSocket;
use crate::log;

pub(super) enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixSocket),
}

impl Socket {
    /// The URL's scheme and address, without `wss` or `ws`.
    pub(super) fn url(&self, secure: bool) -> io::Result<String> {
        let scheme = if secure { "wss" } else { "ws" };
        Ok(match self {
            Self::Tcp(listener) => format!("{scheme}://{}", listener.local_addr()?),
            #[cfg(unix)]
            Self::Unix(socket) => format!("{scheme}+unix:{}", socket.path().display()),
        })
    }
}

/// Opens all sockets of an address: there is at least one.
pub(super) async fn open(
    address: &ListenAddress,
    reuse_port: bool,
    inherited: &mut Inherited,
) -> io::Result<Vec<Socket>> {
    match &address.kind {
        AddressKind::Tcp(addresses) => tcp(addresses, reuse_port),
        #[cfg(unix)]
        AddressKind::Unix(path) => Ok(vec![Socket::Unix(UnixSocket::bind(path).await?)]),
        #[cfg(not(unix))]
        AddressKind::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        AddressKind::Systemd(name) => inherited.take(name.as_deref()),
    }
}

/// Listens on all addresses of a name. One of a family that this machine lacks is skipped.
fn tcp(addresses: &[SocketAddr], reuse_port: bool) -> io::Result<Vec<Socket>> {
    let config = ListenConfig::default().reuse_port(reuse_port);
    let mut sockets = Vec::new();
    let mut port = None;
    let mut lacking = None;
    for address in addresses {
        let mut address = *address;
        if let (0, Some(port)) = (address.port(), port) {
            address.set_port(port);
        }
        match config.bind(address) {
            Ok(listener) => {
                port = Some(listener.local_addr()?.port());
                sockets.push(Socket::Tcp(listener));
            }
            Err(error) if addresses.len() > 1 && is_lacking(&error) => {
                log::notice(format_args!("not listening on {address}: {error}"));
                lacking = Some(error);
            }
            Err(error) => return Err(explained(error, reuse_port)),
        }
    }
    match lacking {
        Some(error) if sockets.is_empty() => Err(error),
        _ => Ok(sockets),
    }
}

/// Whether this machine has no such address, or not its family.
fn is_lacking(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
    )
}

fn explained(error: io::Error, reuse_port: bool) -> io::Error {
    if error.kind() != io::ErrorKind::AddrInUse || cfg!(not(unix)) {
        return error;
    }
    let hint = if reuse_port {
        "the process that listens there was started without --reuse-port, or by another user"
    } else {
        "to take over from a running process, start both with --reuse-port"
    };
    io::Error::new(error.kind(), format!("{error}; {hint}"))
}

/// Returns which sockets there are, and what to do if they lack names.
fn described(names: &[String], unnamed: usize) -> String {
    let mut all = names.to_vec();
    if unnamed > 0 {
        all.push(format!(
            "{unnamed} without a name; set FileDescriptorName= in the .socket unit"
        ));
    }
    if all.is_empty() {
        all.push("none; start the program by its .socket unit".to_owned());
    }
    all.join(", ")
}

/// The listening sockets that systemd passed, by `LISTEN_FDS` and `LISTEN_FDNAMES`.
#[derive(Default)]
pub(super) struct Inherited(Vec<(Option<String>, sd_listen_fds::OwnedFd)>);

impl Inherited {
    /// Takes them over. This may be called once: it makes them this process's own.
    pub(super) fn take_all() -> io::Result<Self> {
        match sd_listen_fds::get() {
            Ok(sockets) => Ok(Self(sockets)),
            Err(error) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("cannot read LISTEN_PID and LISTEN_FDS: {error}"),
            )),
        }
    }

    /// Returns the sockets of a name, or all that are left.
    fn take(&mut self, name: Option<&str>) -> io::Result<Vec<Socket>> {
        let is_meant =
            |passed: &Option<String>| name.is_none_or(|name| passed.as_deref() == Some(name));
        let names: Vec<_> = self.0.iter().filter_map(|(name, _)| name.clone()).collect();
        let unnamed = self.0.len() - names.len();
        let (meant, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(name, _)| is_meant(name));
        self.0 = left;
        if meant.is_empty() {
            let found = described(&names, unnamed);
            let reason = format!(
                "systemd passed no such socket (LISTEN_FDS, LISTEN_FDNAMES); left are: {found}"
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, reason));
        }
        meant
            .into_iter()
            .map(|(_, socket)| passed(socket))
            .collect()
    }

    /// Reports sockets that no listener takes, because their clients would wait forever.
    pub(super) fn report_unused(self) {
        for (name, _) in self.0 {
            let name = name.unwrap_or_else(|| "unknown".to_owned());
            log::notice(format_args!(
                "not listening on a socket that systemd passed, named {name}: no listener names it"
            ));
        }
    }
}

#[cfg(unix)]
fn passed(socket: sd_listen_fds::OwnedFd) -> io::Result<Socket> {
    let socket = socket2::Socket::from(socket.into_std());
    let invalid = |reason: &str| io::Error::new(io::ErrorKind::InvalidInput, reason.to_owned());
    let address = socket.local_addr()?;
    if socket.r#type()? != socket2::Type::STREAM {
        return Err(invalid(
            "systemd passed a socket that is not a stream (use ListenStream=)",
        ));
    }
    #[cfg(target_os = "linux")]
    if !socket.is_listener()? {
        return Err(invalid(
            "systemd passed a socket that does not listen (use Accept=no)",
        ));
    }
    socket.set_nonblocking(true)?;
    if address.is_unix() {
        let path = address.as_pathname().map(std::path::Path::to_owned);
        let listener = tokio::net::UnixListener::from_std(socket.into())?;
        Ok(Socket::Unix(UnixSocket::passed(
            listener,
            path.unwrap_or_default(),
        )))
    } else if address.as_socket().is_some() {
        Ok(Socket::Tcp(TcpListener::from_std(socket.into())?))
    } else {
        Err(invalid(
            "systemd passed a socket that is neither TCP nor a Unix socket",
        ))
    }
}

#[cfg(not(unix))]
fn passed(_: sd_listen_fds::OwnedFd) -> io::Result<Socket> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::described;

    #[test]
    fn sockets_without_names_are_not_said_to_be_missing() {
        let names = ["http".to_owned(), "https".to_owned()];
        for (names, unnamed, expected) in [
            (
                &names[..0],
                0,
                "none; start the program by its .socket unit",
            ),
            (&names[..], 0, "http, https"),
            (
                &names[..0],
                2,
                "2 without a name; set FileDescriptorName= in the .socket unit",
            ),
            (
                &names[..1],
                1,
                "http, 1 without a name; set FileDescriptorName= in the .socket unit",
            ),
        ] {
            assert_eq!(described(names, unnamed), expected);
        }
    }
}
