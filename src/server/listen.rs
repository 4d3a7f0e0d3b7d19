//! Opens listening TCP sockets: [`ListenConfig`].

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// How a TCP socket listens.
///
/// ```no_run
/// # fn example() -> std::io::Result<()> {
/// use h2ws::Server;
/// use h2ws::server::ListenConfig;
///
/// let listener = ListenConfig::default().reuse_port(true).bind(([0, 0, 0, 0], 8080).into())?;
/// println!("listening on {}", listener.local_addr()?);
/// let server = Server::builder().listener(listener)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenConfig {
    /// Maximum number of connections that wait to be accepted, if the operating system allows as
    /// many. Beyond it a client connects a second later, when it repeats its SYN; a thousand
    /// connections at once are not unusual. Default 4096.
    pub backlog: u32,
    /// Whether other sockets may listen on the same address (`SO_REUSEPORT`), so that the next
    /// process can accept connections before this one stops. All of them need it, and the same
    /// user. The operating system distributes new connections over them; Linux resets those that
    /// wait for a socket when it is closed, unless `net.ipv4.tcp_migrate_req` is 1. Unix only.
    /// Default false.
    pub reuse_port: bool,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self {
            backlog: 4096,
            reuse_port: false,
        }
    }
}

impl ListenConfig {
    /// Sets how many connections may wait to be accepted.
    #[must_use]
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Sets whether other sockets may listen on the same address.
    #[must_use]
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// Listens on an address; port 0 picks a free one.
    ///
    /// # Errors
    ///
    /// If the operating system refuses the address or an option;
    /// [`Unsupported`](io::ErrorKind::Unsupported) for [`reuse_port`](Self::reuse_port) on
    /// Windows.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn bind(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // On Windows it would allow another process to bind the same port.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        if self.reuse_port {
            #[cfg(unix)]
            socket.set_reuseport(true)?;
            #[cfg(not(unix))]
            return Err(io::ErrorKind::Unsupported.into());
        }
        socket.bind(address)?;
        socket.listen(self.backlog)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_shared_only_if_all_sockets_allow_it() {
        let (alone, shared) = (
            ListenConfig::default(),
            ListenConfig::default().reuse_port(true),
        );
        for (first, second, fits) in [
            (&shared, &shared, true),
            (&shared, &alone, false),
            (&alone, &shared, false),
            (&alone, &alone, false),
        ] {
            let listener = first.bind(([127, 0, 0, 1], 0).into()).unwrap();
            let again = second.bind(listener.local_addr().unwrap());
            assert_eq!(again.is_ok(), fits, "{first:?}, {second:?}: {again:?}");
        }
    }
}
