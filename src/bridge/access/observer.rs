//! What receives the records of a bridge besides the log.

use super::AccessRecord;

/// Receives events of every request, such as for metrics; see
/// [`Bridge::observe`](crate::bridge::Bridge::observe).
///
/// The methods are called by the tasks that move bytes, so they should return
/// quickly, such as after updating an atomic counter.
pub trait BridgeObserver: Send + Sync + 'static {
    /// A WebSocket request was answered: both sides are open, or it was rejected,
    /// as the [status](AccessRecord::status) shows.
    fn on_handshake(&self, access: &AccessRecord) {
        let _ = access;
    }

    /// Bytes were forwarded since the last call: `up` from the client to the
    /// upstream, `down` from the upstream to the client. Called about once per
    /// second while bytes move, and once before the
    /// [end](Self::on_websocket_end).
    fn on_bytes(&self, access: &AccessRecord, up: u64, down: u64) {
        let _ = (access, up, down);
    }

    /// A WebSocket request is over, as [`AccessRecord::closed`] describes. Called
    /// for rejected requests as well.
    fn on_websocket_end(&self, access: &AccessRecord) {
        let _ = access;
    }

    /// A plain HTTP request is over, as [`AccessRecord::closed`] describes.
    fn on_request_end(&self, access: &AccessRecord) {
        let _ = access;
    }
}
