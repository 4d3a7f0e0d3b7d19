//! The byte stream of a connection, and the protocols that ALPN selects for it.

use tokio::io::{AsyncRead, AsyncWrite};

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}
pub(super) type BoxIo = Box<dyn Io>;

/// ALPN protocol IDs (RFC 7301 §6, RFC 9113 §3.1).
pub(super) const H2: &str = "h2";
pub(super) const HTTP1: &str = "http/1.1";
