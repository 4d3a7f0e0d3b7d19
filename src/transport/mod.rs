//! Byte streams to peers, whatever carries them.
//!
//! [`Stream`] is the type that all layers above work on. It is either a stream
//! of an HTTP/2 connection or an I/O object of its own: an upgraded HTTP/1.1
//! connection, or one that the application supplied.

mod buffer;
pub(crate) mod dial;
mod growing_read;
pub(crate) mod h1;
pub(crate) mod h2;
mod io;
pub(crate) mod linger;
pub(crate) mod memory;
mod net_stream;
pub(crate) mod prefix;
pub(crate) mod proxy;
mod stats;
mod stream;
mod tcp;
pub(crate) mod tls;

use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::buffer::Outgoing;
pub(crate) use self::growing_read::GrowingRead;
pub(crate) use self::io::{IoHandle, IoStream};
pub(crate) use self::net_stream::NetStream;
pub(crate) use self::stats::ConnectionId;
pub use self::stats::{ConnectionStats, Transport};
pub(crate) use self::stream::{Finish, Linger, Stream, StreamError};
pub use self::tcp::TcpConfig;

/// Maximum number of header fields in a request or response, over either
/// version of HTTP. The `cookie` fields of an HTTP/2 request count as one.
/// Their size in bytes has a limit of its own.
pub(crate) const MAX_HEADER_FIELDS: usize = 256;

/// Maximum number of interim responses (1xx) that a client skips before the
/// final response to one request (RFC 9110 §15.2). Those to plain HTTP requests over
/// HTTP/2 are not counted: hyper drops them unseen, and they take no memory.
pub(crate) const MAX_INTERIM: usize = 100;

/// The error text for more interim responses.
pub(crate) const TOO_MANY_INTERIM: &str = "the server sent too many interim responses";

/// An I/O object that a connection runs on.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A type-erased I/O object. One dynamic call is negligible beside the system
/// call it makes, and `h2` and `hyper` are compiled once instead of once per
/// transport.
pub(crate) type BoxIo = Box<dyn Io>;

/// Returns whether `error` is EMFILE: the process has reached its limit of open
/// files.
pub(crate) fn is_lack_of_files(error: &std::io::Error) -> bool {
    cfg!(unix) && error.raw_os_error() == Some(24)
}
