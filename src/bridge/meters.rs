//! What observers are told of a splice: a socket to its client, and one to its
//! upstream.

use super::access::{Outcome, Side};
use crate::frame::CloseCode;
use crate::metrics::{SocketEnd, SocketMeter};

/// Null where nobody looks.
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

    /// Tells how many bytes have moved in all. Messages are not counted.
    pub(super) fn pause(&mut self, up: u64, down: u64) {
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

    pub(super) fn ends(&mut self, closed: Outcome) {
        let ends = |party| match closed {
            Outcome::By(_, CloseCode::ABNORMAL) => SocketEnd::Abnormal,
            Outcome::By(_, code) => SocketEnd::Closed(code),
            Outcome::Broken(broken) if broken == party => SocketEnd::ConnectionLost,
            Outcome::TimedOut(_) => SocketEnd::Timeout,
            Outcome::Broken(_) | Outcome::Answered | Outcome::Refused(_) | Outcome::Gone => {
                SocketEnd::Dropped
            }
        };
        if let Some(meter) = &mut self.client {
            meter.ends(ends(Side::Client));
        }
        if let Some(meter) = &mut self.upstream {
            meter.ends(ends(Side::Upstream));
        }
    }
}
