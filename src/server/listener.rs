//! What a server accepts connections from: [`Listener`].

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;

use crate::transport::memory::{MemoryListener, NO_ADDRESS};
use crate::transport::{BoxIo, TcpConfig};

/// A source of connections, for [`ServerBuilder::listener`](super::ServerBuilder::listener).
///
/// # Example
///
/// A listener that accepts only connections from this machine:
///
/// ```
/// use std::{io, net::SocketAddr};
///
/// use h2ws::server::Listener;
/// use tokio::net::{TcpListener, TcpStream};
///
/// struct Local(TcpListener);
///
/// impl Listener for Local {
///     type Io = TcpStream;
///
///     async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
///         loop {
///             let (stream, peer) = self.0.accept().await?;
///             if peer.ip().is_loopback() {
///                 return Ok((stream, peer));
///             }
///         }
///     }
///
///     fn local_addr(&self) -> io::Result<SocketAddr> {
///         self.0.local_addr()
///     }
/// }
/// ```
pub trait Listener: Send + 'static {
    /// What a connection runs on. A [`TcpStream`] is set up as
    /// [`ServerBuilder::tcp`](super::ServerBuilder::tcp) says.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next connection and returns it with the address of its peer.
    ///
    /// A peer without an IP address has the unspecified one, `0.0.0.0:0`. Limits per
    /// client do not apply to it, and a bridge forwards it as `unknown`.
    ///
    /// The future must be cancel safe: the server drops it whenever another connection
    /// ends. After an error the server calls this again, after a pause unless the error
    /// is of one connection
    /// ([`ConnectionRefused`](io::ErrorKind::ConnectionRefused),
    /// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted),
    /// [`ConnectionReset`](io::ErrorKind::ConnectionReset)).
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, SocketAddr)>> + Send;

    /// The address that the listener is bound to; the unspecified one, `0.0.0.0:0`, if it
    /// has no IP address.
    ///
    /// # Errors
    ///
    /// If the operating system does not report it.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The runtime that serves the connection that [`accept`](Self::accept) returned last.
    /// Default: the one that runs the server.
    ///
    /// A connection, the handlers of its requests and what they spawn run in one runtime. If that
    /// is single-threaded, nothing of a connection moves from core to core, which saves a bridge
    /// much of its processor time; but no connection uses more than one core. The I/O object must
    /// belong to that runtime: [`TcpStream::from_std`] makes it belong to the one that was
    /// [entered](Handle::enter).
    fn runtime(&self) -> Option<Handle> {
        None
    }
}

impl Listener for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

/// Peers have the address `0.0.0.0:0`.
#[cfg(unix)]
impl Listener for UnixListener {
    type Io = UnixStream;

    async fn accept(&mut self) -> io::Result<(UnixStream, SocketAddr)> {
        let (stream, _) = Self::accept(self).await?;
        Ok((stream, NO_ADDRESS))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(NO_ADDRESS)
    }
}

impl Listener for MemoryListener {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        Ok(self.next().await)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(NO_ADDRESS)
    }
}

/// That of a server whose connections the caller accepts.
pub(super) struct NoListener;

impl Listener for NoListener {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        std::future::pending().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let reason = "this server has no listener";
        Err(io::Error::new(io::ErrorKind::Unsupported, reason))
    }
}

/// A listener of any type, whose connections are set up.
pub(super) struct BoxListener(Box<dyn Erased>);

impl BoxListener {
    pub(super) fn new(listener: impl Listener, tcp: TcpConfig) -> Self {
        Self(Box::new(Configured { listener, tcp }))
    }

    /// As [`Listener::accept`].
    pub(super) async fn accept(&mut self) -> io::Result<Accepted> {
        self.0.accept().await
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl fmt::Debug for BoxListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.local_addr().ok();
        f.debug_tuple("Listener").field(&address).finish()
    }
}

struct Configured<L> {
    listener: L,
    tcp: TcpConfig,
}

/// A connection.
pub(super) struct Accepted {
    pub(super) io: BoxIo,
    pub(super) peer: SocketAddr,
    /// As [`Listener::runtime`].
    pub(super) runtime: Option<Handle>,
}

type Accepting<'a> = Pin<Box<dyn Future<Output = io::Result<Accepted>> + Send + 'a>>;

trait Erased: Send {
    fn accept(&mut self) -> Accepting<'_>;
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

impl<L: Listener> Erased for Configured<L> {
    fn accept(&mut self) -> Accepting<'_> {
        Box::pin(async {
            let (io, peer) = self.listener.accept().await?;
            Ok(Accepted {
                io: self.tcp.boxed(io),
                peer,
                runtime: self.listener.runtime(),
            })
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
