//! Metrics of a splice: of its WebSocket to the client, and of the one to the
//! upstream.

use super::access::{Outcome, Side};
use crate::frame::CloseCode;
use crate::metrics::{SocketEnd, SocketMeter};

/// `None` without an observer.
type Meter = Option<Box<SocketMeter>>;

pub(super) struct Meters {
    client: Meter,
    upstream: Meter,
    up: u64,
    down: u64,
}

impl Meters {
    pub(super) fn new(client: Meter, upstream: Meter) -> Self {
        Self {
            client,
            upstream,
            up: 0,
            down: 0,
        }
    }

    /// Reports the total number of bytes moved so far. Messages are not counted.
    pub(super) fn report(&mut self, up: u64, down: u64) {
        let (more_up, more_down) = ((up - self.up) as usize, (down - self.down) as usize);
        (self.up, self.down) = (up, down);
        for (meter, received, sent) in [
            (&mut self.client, more_up, more_down),
            (&mut self.upstream, more_down, more_up),
        ] {
            if let Some(meter) = meter {
                meter.received(0, received);
                meter.sent(0, sent);
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
