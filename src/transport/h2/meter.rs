//! Reports a connection's traffic and its end to the metrics.

use std::sync::Arc;
use std::time::Duration;

use super::end::Error;
use super::frame_counter::FrameCounts;
use super::handle::ConnectionHandle;
use crate::metrics::{ConnectionEnd, ConnectionTraffic};

pub(super) struct Meter {
    handle: Arc<ConnectionHandle>,
    reported: ConnectionTraffic,
    end: ConnectionEnd,
}

impl Meter {
    /// Creates a meter; `None` if metrics are off.
    pub(super) fn new(handle: &Arc<ConnectionHandle>) -> Option<Self> {
        let observed = handle.observed();
        observed
            .observer
            .report(|m| m.connection_opened(&observed.info));
        observed.observer.is_on().then(|| Self {
            handle: handle.clone(),
            reported: ConnectionTraffic::default(),
            end: ConnectionEnd::Cut,
        })
    }

    pub(super) fn round_trip(&self, time: Duration) {
        let observed = self.handle.observed();
        observed
            .observer
            .report(|m| m.round_trip(&observed.info, time));
    }

    /// Reports the traffic since the last report.
    pub(super) fn report(&mut self, received: &FrameCounts, sent: &FrameCounts) {
        let now = ConnectionTraffic {
            bytes_sent: sent.bytes,
            bytes_received: received.bytes,
            data_frames_sent: sent.data,
            data_frames_received: received.data,
            resets_sent: sent.resets,
            resets_received: received.resets,
            goaways_sent: sent.goaways,
            goaways_received: received.goaways,
        };
        if now != self.reported {
            let traffic = now.since(&self.reported);
            self.reported = now;
            let observed = self.handle.observed();
            observed
                .observer
                .report(|m| m.connection_traffic(&observed.info, &traffic));
        }
    }

    /// Notes how the driver ended; reported by [`close`](Self::close).
    pub(super) fn ends(&mut self, result: Result<(), &Error>) {
        self.end = result.map_or_else(Error::connection_end, |()| ConnectionEnd::Clean);
    }

    pub(super) fn close(mut self, received: &FrameCounts, sent: &FrameCounts) {
        self.report(received, sent);
        let observed = self.handle.observed();
        observed
            .observer
            .report(|m| m.connection_closed(&observed.info, self.end));
    }
}
