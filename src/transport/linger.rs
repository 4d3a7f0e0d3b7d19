//! Closes a connection in such a way that the last bytes sent to the peer
//! arrive.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// How long this side keeps reading from the peer after it has sent its last
/// bytes.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// Maximum number of bytes read from the peer after the last bytes were sent.
/// More than the socket buffers of both kernels hold, so a peer that stops
/// sending once it sees those last bytes receives all of them.
pub(super) const LINGER_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes that are read and discarded at a time.
pub(super) const CHUNK: usize = 16 * 1024;

/// Shuts down the sending side, then reads and discards until the peer ends its
/// side, `most` bytes have come, or [`LINGER`] has passed.
///
/// Closing a connection with unread bytes resets it, and the peer may then lose
/// what it has not read yet (RFC 9112 §9.6).
pub(crate) async fn linger(mut io: impl AsyncRead + AsyncWrite + Unpin, most: u64) {
    // However this ends, nothing is left to report.
    let _ = timeout(LINGER, async {
        io.shutdown().await?;
        let mut rest = io.take(most);
        let mut space = vec![0; CHUNK];
        while rest.read(&mut space).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}
