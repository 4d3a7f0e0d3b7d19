//! Metrics of a splice: of its WebSocket to the client, and of the one to the
//! upstream.

use super::access::{Outcome, Side, Traffic};
use crate::frame::CloseCode;
use crate::metrics::{SocketEnd, SocketMeter};

/// `None` without an observer.
type Meter = Option<Box<SocketMeter>>;

pub(super) struct Meters {
    client: Meter,
    upstream: Meter,
}

impl Meters {
    pub(super) fn new(client: Meter, upstream: Meter) -> Self {
        Self { client, upstream }
    }

    /// Reports what was moved since the last call.
    pub(super) fn report(&mut self, up: Traffic, down: Traffic) {
        for (meter, received, sent) in
            [(&mut self.client, up, down), (&mut self.upstream, down, up)]
        {
            if let Some(meter) = meter {
                meter.received(received.messages, received.bytes as usize);
                meter.sent(sent.messages, sent.bytes as usize);
                meter.pause();
            }
        }
    }

    /// Reports how both WebSockets ended.
    pub(super) fn end(&mut self, outcome: Outcome) {
        let end_of = |side| match outcome {
            Outcome::By(_, CloseCode::ABNORMAL) => SocketEnd::Abnormal,
            Outcome::By(_, code) => SocketEnd::Closed(code),
            Outcome::Broken(broken) if broken == side => SocketEnd::ConnectionLost,
            Outcome::TimedOut(_) => SocketEnd::Timeout,
            Outcome::Broken(_) | Outcome::Answered | Outcome::Rejected(_) | Outcome::Gone => {
                SocketEnd::Dropped
            }
        };
        if let Some(meter) = &mut self.client {
            meter.ends(end_of(Side::Client));
        }
        if let Some(meter) = &mut self.upstream {
            meter.ends(end_of(Side::Upstream));
        }
    }
}
