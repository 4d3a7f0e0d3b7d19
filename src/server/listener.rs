//! What a server accepts connections from: [`Listener`].

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

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
    pub(super) async fn accept(&mut self) -> io::Result<(BoxIo, SocketAddr)> {
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

type Accepting<'a> = Pin<Box<dyn Future<Output = io::Result<(BoxIo, SocketAddr)>> + Send + 'a>>;

trait Erased: Send {
    fn accept(&mut self) -> Accepting<'_>;
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

impl<L: Listener> Erased for Configured<L> {
    fn accept(&mut self) -> Accepting<'_> {
        Box::pin(async {
            let (io, peer) = self.listener.accept().await?;
            Ok((self.tcp.boxed(io), peer))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
