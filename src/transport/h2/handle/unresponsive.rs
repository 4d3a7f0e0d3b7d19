//! Whether the peer may have vanished: a request got no response in time, and
//! nothing was received meanwhile.

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Suspicion that the peer is unresponsive. For clients.
#[derive(Default)]
pub(in crate::transport::h2) struct Unresponsive {
    is_suspected: AtomicBool,
    /// Bytes received when the suspicion arose.
    bytes: AtomicU64,
    /// A PING is still to be sent.
    ping: AtomicBool,
}

impl Unresponsive {
    /// Suspects a peer that has sent `bytes` so far. Returns whether it was not
    /// suspected before; then a PING is due.
    pub(super) fn suspect(&self, bytes: u64) -> bool {
        self.bytes.store(bytes, Ordering::Relaxed);
        let is_new = !self.is_suspected.swap(true, Ordering::AcqRel);
        if is_new {
            self.ping.store(true, Ordering::Release);
        }
        is_new
    }

    pub(in crate::transport::h2) fn is_suspected(&self) -> bool {
        self.is_suspected.load(Ordering::Acquire)
    }

    /// Ends the suspicion if the peer has sent more than before. Returns
    /// whether it did.
    pub(in crate::transport::h2) fn clear(&self, received: u64) -> bool {
        self.is_suspected()
            && self.bytes.load(Ordering::Relaxed) != received
            && self.is_suspected.swap(false, Ordering::AcqRel)
    }

    /// Returns whether a PING is due, once per suspicion.
    pub(in crate::transport::h2) fn take_ping(&self) -> bool {
        self.ping.load(Ordering::Relaxed) && self.ping.swap(false, Ordering::AcqRel)
    }
}
