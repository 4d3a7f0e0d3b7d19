//! One byte stream to one peer, whatever carries it.
//!
//! [`Stream`] is what everything above works on. Beneath it is either a stream
//! of an HTTP/2 connection or an I/O object of its own (an upgraded HTTP/1.1
//! connection, or what the user brought).

mod buffer;
pub(crate) mod dial;
pub(crate) mod h1;
pub(crate) mod h2;
mod io;
pub(crate) mod linger;
pub(crate) mod prefix;
pub(crate) mod proxy;
mod stats;
mod stream;
mod tcp;
pub(crate) mod tls;

use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::buffer::Outgoing;
pub(crate) use self::h2::later;
pub(crate) use self::io::{IoHandle, IoStream};
pub(crate) use self::stats::ConnectionId;
pub use self::stats::{ConnectionStats, Transport};
pub(crate) use self::stream::{Finish, Linger, Stream, StreamError};
pub use self::tcp::TcpConfig;

/// Header fields of a request or of an answer, over either version of HTTP;
/// over HTTP/2 the crumbs of a cookie are one. Their bytes have a limit of their
/// own.
pub(crate) const MAX_HEADER_FIELDS: usize = 256;

/// Interim answers (1xx) that a client passes over before the answer to its
/// opening request (RFC 9110 §15.2).
pub(crate) const MAX_INTERIM: usize = 100;

/// An I/O object that a connection runs on.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Type-erased: one call through a table per system call costs nothing beside
/// it, and `h2` and `hyper` are compiled once instead of once per transport.
pub(crate) type BoxIo = Box<dyn Io>;

/// EMFILE: the process may open no more files.
pub(crate) fn is_lack_of_files(error: &std::io::Error) -> bool {
    cfg!(unix) && error.raw_os_error() == Some(24)
}
