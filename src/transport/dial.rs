//! Opens TCP connections to hosts with several addresses by Happy Eyeballs (RFC
//! 8305), and connections to Unix sockets.
//!
//! If every attempt fails, the error names all addresses that were tried, and
//! [`is_local_failure`] tells a failure of this machine from one of the peer.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{NetStream, TcpConfig, is_lack_of_files};

/// Delay before the next address is attempted in parallel with those in
/// progress (RFC 8305 §8).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the first address of `host` that answers. Dropping the future
/// cancels all attempts.
pub(crate) async fn tcp(host: &str, port: u16, config: &TcpConfig) -> io::Result<TcpStream> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|error| unresolved(host, error))?;
    let addresses = interleave(found);
    if addresses.is_empty() {
        let error = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        return Err(unresolved(host, error));
    }
    let connected = match addresses[..] {
        [only] => connect(only, config).await,
        ref several => race(several, STAGGER)
            .await
            .and_then(|stream| config.apply(&stream).map(|()| stream)),
    };
    connected.map_err(|error| unreached(&describe(host, port, &addresses), error))
}

/// Describes what was attempted, for an error's text.
fn describe(host: &str, port: u16, addresses: &[SocketAddr]) -> String {
    let tried: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    let tried = tried.join(", ");
    match addresses {
        [only] if host.parse() == Ok(only.ip()) => tried,
        _ => format!("{host}:{port} ({tried})"),
    }
}

/// Connects to one address.
pub(crate) async fn address(address: SocketAddr, config: &TcpConfig) -> io::Result<TcpStream> {
    let connected = connect(address, config).await;
    connected.map_err(|error| unreached(&address.to_string(), error))
}

async fn connect(address: SocketAddr, config: &TcpConfig) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    config.apply(&stream)?;
    Ok(stream)
}

/// Longest pause before a Unix socket whose queue is full is tried again.
#[cfg(unix)]
const MAX_PAUSE: Duration = Duration::from_millis(64);

/// Connects to a Unix socket. Waits while the server's queue of connections is full, as TCP does: the
/// operating system reports that as an error instead.
#[cfg(unix)]
pub(crate) async fn unix(path: &Path) -> io::Result<NetStream> {
    let mut pause = Duration::from_millis(1);
    loop {
        match tokio::net::UnixStream::connect(path).await {
            Ok(stream) => return Ok(NetStream::Unix(stream)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(pause).await;
                pause = MAX_PAUSE.min(pause * 2);
            }
            Err(error) => return Err(Unreached::wrap(&path.to_string_lossy(), error, Stage::Unix)),
        }
    }
}

/// This system has no Unix sockets.
#[cfg(not(unix))]
pub(crate) async fn unix(path: &Path) -> io::Result<NetStream> {
    let error = io::ErrorKind::Unsupported.into();
    Err(Unreached::wrap(&path.to_string_lossy(), error, Stage::Unix))
}

/// What failed of a connection attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Name,
    Tcp,
    Unix,
}

/// The destination of a failed connection attempt, and the error.
#[derive(Debug)]
struct Unreached {
    destination: String,
    error: io::Error,
    stage: Stage,
}

impl Unreached {
    fn wrap(destination: &str, error: io::Error, stage: Stage) -> io::Error {
        let destination = destination.to_owned();
        let kind = error.kind();
        let unreached = Self {
            destination,
            error,
            stage,
        };
        io::Error::new(kind, unreached)
    }
}

/// Adds the destination to the error of a connection attempt.
pub(crate) fn unreached(destination: &str, error: io::Error) -> io::Error {
    Unreached::wrap(destination, error, Stage::Tcp)
}

/// Adds the name to the error of its resolution.
pub(crate) fn unresolved(host: &str, error: io::Error) -> io::Error {
    Unreached::wrap(host, error, Stage::Name)
}

/// Returns whether a connection failed because of this machine and not because of the peer: it has
/// run out of files, ports or memory, its firewall forbids the connection, its network is down, or
/// its resolver has no address.
pub(crate) fn is_local_failure(error: &io::Error) -> bool {
    let unreached = error.get_ref().and_then(|error| error.downcast_ref());
    let cause = match unreached {
        Some(Unreached {
            stage: Stage::Name, ..
        }) => return true,
        // Permission is that of the server's file, not of this machine's firewall.
        Some(Unreached {
            stage: Stage::Unix,
            error,
            ..
        }) if error.kind() == io::ErrorKind::PermissionDenied => return false,
        Some(Unreached { error, .. }) => error,
        None => error,
    };
    let is_lack = cause.raw_os_error().is_some_and(is_lack_of_system_memory);
    is_lack
        || is_lack_of_files(cause)
        || matches!(
            cause.kind(),
            io::ErrorKind::AddrNotAvailable
                | io::ErrorKind::AddrInUse
                | io::ErrorKind::OutOfMemory
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::NetworkDown
        )
}

/// Whether an error code is ENFILE or ENOBUFS, which have no [`io::ErrorKind`].
fn is_lack_of_system_memory(code: i32) -> bool {
    const ENFILE: i32 = 23;
    const ENOBUFS: i32 = if cfg!(windows) {
        10055
    } else if cfg!(any(target_os = "linux", target_os = "android")) {
        105
    } else {
        55
    };
    code == ENOBUFS || (cfg!(unix) && code == ENFILE)
}

/// Returns where no connection could be made, such as `example.com:443 (192.0.2.1:443)`, if the
/// error is of this file.
pub(crate) fn destination(error: &io::Error) -> Option<&str> {
    let unreached: &Unreached = error.get_ref()?.downcast_ref()?;
    Some(&unreached.destination)
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)?;
        if is_lack_of_files(&self.error) {
            f.write_str("; raise the limit of open files (ulimit -n)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Unreached {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Alternates the address families, starting with that of the first address,
/// which the resolver preferred (RFC 8305 §4).
fn interleave(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let all: Vec<_> = addresses.collect();
    let Some(first) = all.first() else {
        return all;
    };
    let (preferred, other): (Vec<_>, Vec<_>) = all
        .iter()
        .copied()
        .partition(|a: &SocketAddr| a.is_ipv6() == first.is_ipv6());
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut ordered = Vec::with_capacity(all.len());
    while ordered.len() < all.len() {
        ordered.extend(preferred.next());
        ordered.extend(other.next());
    }
    ordered
}

async fn race(addresses: &[SocketAddr], stagger: Duration) -> io::Result<TcpStream> {
    let mut addresses = addresses.iter().copied();
    let mut attempts = JoinSet::new();
    let mut last = None;
    loop {
        match addresses.next() {
            Some(address) => {
                attempts.spawn(TcpStream::connect(address));
            }
            None if attempts.is_empty() => {
                return Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()));
            }
            None => {}
        }
        let next = async {
            if addresses.len() == 0 {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(stagger).await;
        };
        tokio::select! {
            biased;
            Some(done) = attempts.join_next() => match done {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = Some(error),
                Err(error) => last = Some(io::Error::other(error)),
            },
            () = next => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn families_alternate_from_the_preferred_one() {
        let addresses = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"].map(|a| a.parse().unwrap());
        let ordered = interleave(addresses.into_iter());
        assert_eq!(
            ordered,
            [addresses[0], addresses[3], addresses[1], addresses[2]]
        );
        assert!(interleave(std::iter::empty()).is_empty());
    }

    #[test]
    fn failures_of_this_machine_are_not_the_peers() {
        let code = io::Error::from_raw_os_error;
        let kind = |kind: io::ErrorKind| io::Error::from(kind);
        let ours = [
            io::ErrorKind::AddrNotAvailable,
            io::ErrorKind::AddrInUse,
            io::ErrorKind::OutOfMemory,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::NetworkDown,
        ];
        let theirs = [
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::TimedOut,
            io::ErrorKind::HostUnreachable,
            io::ErrorKind::NetworkUnreachable,
        ];
        for (kinds, is_local) in [(ours, true), (theirs, false)] {
            for of in kinds {
                assert_eq!(is_local_failure(&kind(of)), is_local, "{of}");
                let wrapped = unreached("a", kind(of));
                assert_eq!(is_local_failure(&wrapped), is_local, "{of}");
            }
        }
        if cfg!(target_os = "linux") {
            // ENOMEM, ENFILE, EMFILE, ENOBUFS, EPERM and EACCES.
            for number in [12, 23, 24, 105, 1, 13] {
                assert!(is_local_failure(&unreached("a", code(number))), "{number}");
            }
        }
        let unknown = io::Error::other("no answer of the resolver");
        assert!(is_local_failure(&unresolved("a", unknown)));
    }

    #[tokio::test]
    async fn an_unreachable_address_does_not_delay_the_next_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        // The listener is closed at the end of the statement.
        let dead = TcpListener::bind("127.0.0.1:0")
            .await
            .and_then(|listener| listener.local_addr())
            .unwrap();
        let stream = race(&[dead, alive], Duration::from_secs(3600)).await;
        assert_eq!(stream.unwrap().peer_addr().unwrap(), alive);
        assert!(race(&[dead], STAGGER).await.is_err());
        assert!(race(&[], STAGGER).await.is_err());
    }
}
