//! [`SendBuf`]: bytes that `h2` holds, which notify their stream when `h2`
//! releases them.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::Shared;
use crate::transport::buffer::Payload;

/// The payload of one DATA frame, or of several if the peer's limits require
/// it.
///
/// `h2` drops it once the frame is in its write buffer or written; that is how
/// a stream learns that it may pack the next one.
pub(crate) struct SendBuf {
    bytes: Payload,
    sent: Option<Arc<Shared>>,
    /// The memory that it occupied when it was created, in bytes.
    held: u32,
    /// Number of bytes that are left: `h2` asks more often than for the bytes.
    left: u32,
}

impl SendBuf {
    /// Counts as queued on `stream` until it is dropped.
    pub(super) fn new(bytes: Payload, stream: Arc<Shared>) -> Self {
        Self {
            held: bytes.held() as u32,
            left: bytes.len() as u32,
            bytes,
            sent: Some(stream),
        }
    }

    /// Creates an empty payload, to carry an END_STREAM flag.
    pub(crate) fn empty() -> Self {
        Self::untracked(Bytes::new())
    }

    /// Creates a payload that belongs to no WebSocket.
    pub(crate) fn untracked(bytes: Bytes) -> Self {
        Self {
            held: bytes.len() as u32,
            left: bytes.len() as u32,
            bytes: Payload::Shared(bytes),
            sent: None,
        }
    }
}

impl Buf for SendBuf {
    fn remaining(&self) -> usize {
        self.left as usize
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, n: usize) {
        self.bytes.advance(n);
        self.left -= n as u32;
    }
}

/// Runs under the locks of `h2`, so it only updates counters and lists the
/// stream.
impl Drop for SendBuf {
    fn drop(&mut self) {
        if let Some(stream) = self.sent.take() {
            stream.piece_left(self.held as usize);
        }
    }
}
