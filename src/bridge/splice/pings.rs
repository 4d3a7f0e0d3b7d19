//! The bridge's own Pings to one side of a splice.
//!
//! **The rule.** Twice per interval, the side gets a Ping if since the last time
//! nothing was received from it or nothing was sent to it: some load balancers watch
//! only one direction. So neither direction is silent for longer than the interval,
//! as long as the side answers.
//!
//! Counting what was moved is enough for that, so nothing is done per message.
//!
//! | the side | the Ping |
//! |---|---|
//! | is in the middle of a frame from the other side | waits for its end |
//! | has no room | waits for room; at most one waits |
//! | is not read, because the other side has no room | its silence proves nothing |
//! | or the other one has begun to end the WebSocket | is not sent any more |

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, Sleep, sleep};

use super::flow::{Flow, Moved};
use crate::bridge::Pings;
use crate::bridge::access::Side;
use crate::bridge::own_pongs::{OwnPongs, PAYLOAD};
use crate::clock::later;
use crate::frame::{Header, OpCode, Role};
use crate::socket::{mask_key, nonce};
use crate::transport::Stream;

/// The Pings to both sides.
pub(super) struct BothPings {
    client: Option<SidePings>,
    upstream: Option<SidePings>,
}

/// This side sent nothing for so long after a Ping.
pub(super) struct Dead(pub(super) Side, pub(super) Duration);

impl BothPings {
    /// Returns `None` if neither side gets any.
    pub(super) fn new(pings: Pings) -> Option<Box<Self>> {
        let of = |side, interval: Option<Duration>| {
            interval.map(|interval| SidePings::new(side, interval, pings.timeout))
        };
        let both = Self {
            client: of(Role::Client, pings.client),
            upstream: of(Role::Server, pings.upstream),
        };
        (both.client.is_some() || both.upstream.is_some()).then(|| Box::new(both))
    }

    fn of(&mut self, side: Side) -> Option<&mut SidePings> {
        match side {
            Side::Client => self.client.as_mut(),
            _ => self.upstream.as_mut(),
        }
    }

    /// Sends the side the Ping that is due, if that is possible now. `flow` is the one to
    /// the side, `stream` the side's.
    pub(super) fn send(
        &mut self,
        side: Side,
        flow: &mut Flow,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) {
        let Some(pings) = self.of(side).filter(|pings| pings.is_due) else {
            return;
        };
        // What breaks the stream is found when it is read or written next.
        if flow.frames.is_between() && matches!(stream.poll_room(cx), Poll::Ready(Ok(()))) {
            stream.write(|out| pings.write(out.buffer()));
            flow.needs_flush = true;
        }
    }

    /// Checks both sides whenever their timers expire. `up` and `down` are the total numbers of
    /// bytes moved, and whether all that was received was moved. Ready if a Ping has become due,
    /// or with a side that is dead.
    pub(super) fn poll(
        &mut self,
        (up, moved_up): (u64, Moved),
        (down, moved_down): (u64, Moved),
        cx: &mut Context<'_>,
    ) -> Poll<Option<Dead>> {
        let mut is_due = false;
        for (side, bytes, moved) in [
            (Side::Client, (up, down), moved_up),
            (Side::Upstream, (down, up), moved_down),
        ] {
            let Some(pings) = self.of(side) else {
                continue;
            };
            match pings.poll(bytes, moved == Moved::All, cx) {
                Check::Nothing => {}
                Check::Due => is_due = true,
                Check::Dead(timeout) => return Poll::Ready(Some(Dead(side, timeout))),
            }
        }
        if is_due {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}

/// What recognizes the side's answers.
pub(super) fn answers(pings: &mut Option<Box<BothPings>>, side: Side) -> Option<&mut OwnPongs> {
    let pings = pings.as_mut()?.of(side)?;
    Some(&mut pings.pongs)
}

/// The Pings to one side, and their answers.
struct SidePings {
    /// The role of the side as a sender of frames.
    side: Role,
    interval: Duration,
    timeout: Option<Duration>,
    pongs: OwnPongs,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Total numbers of bytes received from the side and sent to it at the last check.
    seen: (u64, u64),
    /// Whether a Ping was sent since the last check.
    has_pinged: bool,
    /// Whether a Ping is to be sent as soon as that is possible.
    is_due: bool,
    /// Until when the side has to send anything at all.
    deadline: Option<Instant>,
}

/// What the timer found.
enum Check {
    Nothing,
    /// A Ping has just become due.
    Due,
    /// Nothing was received for the timeout after a Ping.
    Dead(Duration),
}

impl SidePings {
    fn new(side: Role, interval: Duration, timeout: Option<Duration>) -> Self {
        let random = nonce();
        let payload = std::array::from_fn::<u8, PAYLOAD, _>(|at| random[at]);
        Self {
            side,
            interval,
            timeout,
            pongs: OwnPongs::new(side, payload),
            sleep: None,
            seen: (0, 0),
            has_pinged: false,
            is_due: false,
            deadline: None,
        }
    }

    /// Checks the side whenever the timer expires. `moved` are the total numbers of bytes
    /// received from the side and sent to it.
    fn poll(&mut self, moved: (u64, u64), is_read: bool, cx: &mut Context<'_>) -> Check {
        loop {
            let wait = self.wait();
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(wait)));
            if sleep.as_mut().poll(cx).is_pending() {
                return Check::Nothing;
            }
            self.sleep = None;
            let before = std::mem::replace(&mut self.seen, moved);
            let has_sent = self.pongs.take_answered() || moved.0 != before.0 || !is_read;
            if has_sent {
                self.deadline = None;
            } else if self.deadline.is_some_and(|at| at <= Instant::now()) {
                return Check::Dead(self.timeout.unwrap_or_default());
            }
            let was_sent_to = std::mem::take(&mut self.has_pinged) || moved.1 != before.1;
            let was_due = self.is_due;
            self.is_due |= !has_sent || !was_sent_to;
            if self.is_due && !was_due {
                return Check::Due;
            }
        }
    }

    /// The time until the next check.
    fn wait(&self) -> Duration {
        // Not zero, which would spin.
        let half = (self.interval / 2).max(Duration::from_millis(1));
        match self.deadline {
            Some(at) => half.min((at - Instant::now()).max(Duration::from_millis(1))),
            None => half,
        }
    }

    /// Appends the Ping that is due.
    fn write(&mut self, out: &mut BytesMut) {
        self.is_due = false;
        self.has_pinged = true;
        // Towards a server the bridge is a client, which masks what it sends.
        let mask = (self.side == Role::Server).then(mask_key);
        let header = Header {
            fin: true,
            rsv1: false,
            opcode: OpCode::Ping,
            mask,
            payload_len: PAYLOAD as u64,
        };
        header.encode(out);
        let key = mask.unwrap_or_default();
        let payload = self.pongs.payload().iter().zip(key.iter().cycle());
        out.extend(payload.map(|(byte, key)| byte ^ key));
        if let Some(timeout) = self.timeout {
            let deadline = later(Instant::now(), timeout);
            self.deadline.get_or_insert(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    /// What the next checks find, each with the time since the last one, for a side that has
    /// moved the given bytes before each.
    async fn checks(pings: &mut SidePings, moved: &[(u64, u64)], is_read: bool) -> String {
        let mut found = String::new();
        for moved in moved {
            let began = Instant::now();
            let half = INTERVAL / 2;
            let end = tokio::time::sleep(half + Duration::from_millis(5));
            tokio::pin!(end);
            let check = poll_fn(|cx| match pings.poll(*moved, is_read, cx) {
                Check::Nothing => end.as_mut().poll(cx).map(|()| "-"),
                Check::Due => Poll::Ready("due"),
                Check::Dead(_) => Poll::Ready("dead"),
            });
            let check = check.await;
            if check == "due" {
                pings.write(&mut BytesMut::new());
            }
            let took = began.elapsed().as_secs_f64().round();
            found.push_str(&format!("{check}@{took} "));
        }
        found
    }

    #[tokio::test(start_paused = true)]
    async fn no_direction_is_silent_for_longer_than_the_interval() {
        let new = || SidePings::new(Role::Client, INTERVAL, None);
        let silent = [(1, 1); 5];
        let mut pings = new();
        // The first bytes are those of the opening.
        let found = checks(&mut pings, &silent, true).await;
        assert_eq!(found, "-@15 due@15 due@15 due@15 due@15 ");
        // Only one direction: it counts just as well.
        let found = checks(&mut new(), &[(1, 0), (2, 0), (3, 0)], true).await;
        assert_eq!(found, "due@15 -@15 due@15 ");
        let found = checks(&mut new(), &[(1, 1), (2, 2), (3, 3)], true).await;
        assert_eq!(found, "-@15 -@15 -@15 ");
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_is_dead_only_if_it_was_read_and_sent_nothing() {
        let new = || SidePings::new(Role::Client, INTERVAL, Some(Duration::from_secs(20)));
        let silent = [(0, 0); 3];
        let found = checks(&mut new(), &silent, true).await;
        assert_eq!(found, "due@15 due@15 dead@5 ");
        let found = checks(&mut new(), &[(0, 0), (0, 0), (1, 0), (1, 0)], true).await;
        assert_eq!(found, "due@15 due@15 -@15 due@5 ");
        let found = checks(&mut new(), &[(0, 0); 6], false).await;
        assert!(!found.contains("dead"), "{found}");
    }

    #[test]
    fn without_settings_there_is_nothing() {
        assert!(BothPings::new(Pings::default()).is_none());
        let timeout = Pings::default().timeout(INTERVAL);
        assert!(BothPings::new(timeout).is_none());
    }
}
