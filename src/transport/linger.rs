//! The end of a connection, so that what was said last arrives.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// How long a peer is read from after what was said last.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// Bytes that are read from a client after what was said last, at most. More
/// than two kernels hold between them, so a client that stops when it sees that
/// gets it whole.
pub(super) const LINGER_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes that are read and dropped at a time.
pub(super) const CHUNK: usize = 16 * 1024;

/// Shuts the connection down, and reads until the peer ends its side, too: `most`
/// bytes, and for [`LINGER`].
///
/// A connection that is closed with unread bytes is reset, and the peer may
/// lose what it had not read by then (RFC 9112 §9.6).
pub(crate) async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin, most: u64) {
    // However it ends, there is nothing left to be told.
    let _ = timeout(LINGER, async {
        io.shutdown().await?;
        let mut rest = io.take(most);
        let mut space = vec![0; CHUNK];
        while rest.read(&mut space).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}
