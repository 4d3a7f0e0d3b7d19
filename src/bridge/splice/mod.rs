//! Joins two byte streams: whatever is received from one is sent to the other.
//!
//! # How a WebSocket ends
//!
//! The rules are the same for every HTTP version on either side. A WebSocket is
//! over for its client as soon as nothing more can be sent to that client. Its
//! limits (permit and lease) are released just before the last bytes or the end
//! are handed to the client's stream, because a client that has received them
//! may open another WebSocket at once. The access line names the side that ended
//! it first, whatever followed.
//!
//! | event | effect on the other side | limits are released | access line |
//! |---|---|---|---|
//! | Close frame from one side | receives the Close; its stream stays open for the answer | when both have closed, or nothing was received for `close_timeout` | that side, `close` and its code; `timeout` if there was no answer |
//! | client ends its stream without a Close | end of stream (END_STREAM, FIN); the upstream may still send | when the upstream has ended, or nothing was received for `close_timeout` | client, `end`, 1006 |
//! | upstream ends its stream without a Close | end of stream, and a reset after `client_linger` at the latest | at once: for a client the socket is over, and browsers do not end their side | upstream, `end`, 1006 |
//! | upstream ends or resets its stream after its Close | the Close at once; the end when the client has closed or ended, or after `client_linger` without data; at once if the client's frames could not be followed, as its answer would go unnoticed | with that end | upstream, `close` and its code |
//! | client ends its stream after its Close | the end after the upstream's Close, as some servers lose their answer otherwise | when the upstream has closed or ended, or nothing was received for `close_timeout` | client, `close` and its code |
//! | client resets its stream after its Close | the end, in time for the upstream's Close | at once | client, `close` and its code |
//! | one side is reset | what it had sent, for `linger` at most, then a reset | at once | that side, `reset`, 1006 |
//! | the upstream breaks while the client reads nothing | a reset, unless the client reads what the upstream had sent before | when that was read; after `close_timeout` in which the client read nothing, whatever it sends | upstream, `reset`, 1006 |
//! | one side sends nothing after a Ping of the bridge, until the timeout | a reset | at once | that side, `reset`, 1006 |
//! | the bridge closes (drain, idle timeout, maximum lifetime) | as if the upstream had sent the Close; the client's answer closes the upstream | as above | bridge, `close`, 1001 |
//! | a WebSocket is open `close_timeout` after its maximum lifetime | a reset | at once | the side that had begun to end it, `timeout` |
//! | the server's drain timeout expires | a reset | at once | bridge, `reset`, 1006 |
//!
//! What a client still sends after its upstream has ended without a Close is
//! forwarded for `client_linger`: END_STREAM is a TCP FIN, which ends only one
//! direction (RFC 8441 §5). This counts against no limit.

mod flow;
mod pings;
mod reason;
mod times;

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use self::flow::{AfterClose, Broken, Flow, FlowState, Moved};
use self::pings::{BothPings, Dead};
use self::reason::EndReason;
pub(super) use self::times::Times;
use super::access::{AccessRecord, Outcome, Side};
use super::idle::IdleTimer;
use super::lifetime::{Expired, Lifetime};
use super::meters::Meters;
use super::{Admission, Pings};
use crate::frame::{CloseCode, Role};
use crate::transport::{Finish, Linger, Stream, StreamError};

/// A Close frame with code 1001 as a server sends it (RFC 6455 §5.5.1).
const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// Moves the bytes of one WebSocket until it is over.
///
/// What it buffers on either side counts on the client's connection
/// (`connection_buffer`), because many clients share that to the upstream.
///
/// One task moves both directions. Neither side is read while the other has no
/// room, so memory is bounded by one outgoing buffer and one receive window per
/// direction. An idle splice holds no buffer.
///
/// The ends of one side are passed on as the table of this module says. After a
/// Close frame the receiver's stream stays open for its own Close: some peers
/// lose theirs otherwise (Firefox, lighttpd), or all their WebSockets
/// (Hypercorn). Once both Close frames have been forwarded, each side is ended as
/// an endpoint of this library would end it.
pub(super) struct Splice {
    client: Stream,
    upstream: Stream,
    /// From the client to the upstream.
    up: Flow,
    /// From the upstream to the client.
    down: Flow,
    times: Times,
    idle: IdleTimer,
    lifetime: Lifetime,
    /// `None` unless the bridge sends Pings of its own.
    pings: Option<Box<BothPings>>,
    meters: Meters,
    own_close: OwnClose,
    first_to_end: Option<Side>,
    /// `None` once the WebSocket is over for its client.
    admission: Option<Admission>,
}

/// Whether the bridge itself asks the client to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OwnClose {
    No,
    /// As soon as the upstream's current frame ends.
    Pending,
    /// It was sent, or is not needed any more.
    Done,
}

impl Splice {
    pub(super) fn new(
        client: Stream,
        upstream: Stream,
        times: Times,
        lifetime: Lifetime,
        pings: Pings,
        meters: Meters,
        admission: Admission,
    ) -> Self {
        Self {
            client,
            upstream,
            up: Flow::new(Role::Client),
            down: Flow::new(Role::Server),
            times,
            idle: IdleTimer::default(),
            lifetime,
            pings: BothPings::new(pings),
            meters,
            own_close: OwnClose::No,
            first_to_end: None,
            admission: Some(admission),
        }
    }

    /// Moves bytes until the WebSocket is over for its client, then finishes both
    /// streams in the background.
    ///
    /// Boxed, as this is what every open WebSocket keeps in memory.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cuts both sides.
    pub(super) async fn run(mut self: Box<Self>, access: &mut AccessRecord) -> Outcome {
        let (outcome, reason) = std::future::poll_fn(|cx| {
            let over = self.poll_over(cx);
            self.client.held_elsewhere(self.upstream.counted());
            let (up, down) = (self.up.traffic(), self.down.traffic());
            let (more_up, more_down) = access.set_traffic(up, down);
            self.meters.report(more_up, more_down);
            over
        })
        .await;
        self.meters.end(outcome);
        if !matches!(reason, EndReason::Ended) {
            access.set_reason(reason);
        }
        self.admission = None;
        if self.client_may_send_more() {
            tokio::spawn(self.forward_remaining());
        } else {
            let linger = self.times.client_linger();
            self.finish(linger);
        }
        outcome
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<(Outcome, EndReason)> {
        loop {
            // The upstream is read first: what it sent before it broke explains
            // more than an error of writing to it.
            let down = self.poll_move_down(cx);
            self.note_end(Side::Upstream, |splice| &splice.down);
            self.send_own_close();
            if self.down.poll_after_close(&mut self.upstream, cx) {
                self.idle.restart();
            }
            // Here, because reading the client also sends what was moved.
            if self.is_over() {
                self.admission = None;
            }
            let up = self.poll_move_up(cx);
            self.note_end(Side::Client, |splice| &splice.up);
            self.up.poll_after_close(&mut self.client, cx);
            let moved_down = *down.as_ref().unwrap_or(&Moved::All);
            let moved_up = *up.as_ref().unwrap_or(&Moved::All);
            self.send_pings(cx);
            let down = down.and_then(|_| self.down.poll_out(&mut self.client, cx));
            let up = up.and_then(|moved| match self.poll_client_broken(moved, cx) {
                Some(broken) => Err(broken),
                None => self.up.poll_out(&mut self.upstream, cx),
            });
            if let Err(broken) = down {
                return Poll::Ready(self.broken(broken, Side::Upstream, Side::Client));
            }
            match up {
                // Writing to the upstream failed. It may have sent a Close and
                // expect no answer; or reading it will show how it broke.
                Err(Broken::Receiver(_))
                    if matches!(self.down.state, FlowState::Open | FlowState::Closed)
                        && !self.up.receiver_gone =>
                {
                    self.up.receiver_gone = true;
                    self.idle.restart();
                    continue;
                }
                Err(broken) => {
                    return Poll::Ready(self.broken(broken, Side::Client, Side::Upstream));
                }
                Ok(()) => {}
            }
            if self.poll_upstream_broken(moved_down, cx) {
                continue;
            }
            if self.is_over() {
                return Poll::Ready((self.outcome(), self.end_reason()));
            }
            // Checked only now, when the waker that reports a drain is registered.
            if self.own_close == OwnClose::No && self.client.is_draining() {
                self.own_close = OwnClose::Pending;
                self.idle.restart();
                continue;
            }
            match self.lifetime.poll(self.times.close(), cx) {
                Poll::Ready(Expired::Close) => {
                    if self.own_close == OwnClose::No {
                        self.own_close = OwnClose::Pending;
                    }
                    self.idle.restart();
                    continue;
                }
                Poll::Ready(Expired::Cut) => {
                    let side = self.first_to_end.unwrap_or(Side::Bridge);
                    return Poll::Ready((Outcome::TimedOut(side), EndReason::Outlived));
                }
                Poll::Pending => {}
            }
            match self.poll_pings(moved_up, moved_down, cx) {
                Poll::Pending => {}
                Poll::Ready(None) => continue,
                Poll::Ready(Some(Dead(side, timeout))) => {
                    return Poll::Ready((Outcome::Broken(side), EndReason::NoPong(timeout)));
                }
            }
            ready!(self.idle.poll(self.idle_limit(), cx));
            if self.down.after_close != AfterClose::NotYet {
                return Poll::Ready((self.outcome(), EndReason::Unanswered));
            }
            if self.up.receiver_gone && self.first_to_end.is_none() {
                let error = match self.upstream.poll_broken(cx) {
                    Poll::Ready(error) => error,
                    Poll::Pending => StreamError::Closed,
                };
                let broken = Broken::Sender(error);
                return Poll::Ready(self.broken(broken, Side::Upstream, Side::Client));
            }
            if self.is_ending() {
                let side = self.first_to_end.unwrap_or(Side::Bridge);
                return Poll::Ready((Outcome::TimedOut(side), EndReason::Unanswered));
            }
            self.own_close = OwnClose::Pending;
        }
    }

    fn poll_move_down(&mut self, cx: &mut Context<'_>) -> Result<Moved, Broken> {
        let pongs = pings::answers(&mut self.pings, Side::Upstream);
        let (from, to) = (&mut self.upstream, &mut self.client);
        self.down.poll_move(from, to, pongs, &mut self.idle, cx)
    }

    fn poll_move_up(&mut self, cx: &mut Context<'_>) -> Result<Moved, Broken> {
        let pongs = pings::answers(&mut self.pings, Side::Client);
        let (from, to) = (&mut self.client, &mut self.upstream);
        self.up.poll_move(from, to, pongs, &mut self.idle, cx)
    }

    /// Sends the Pings that are due, where that is possible now.
    fn send_pings(&mut self, cx: &mut Context<'_>) {
        if self.is_ending() || self.up.receiver_gone {
            return;
        }
        if let Some(pings) = &mut self.pings {
            pings.send(Side::Client, &mut self.down, &mut self.client, cx);
            pings.send(Side::Upstream, &mut self.up, &mut self.upstream, cx);
        }
    }

    /// Checks whether either side was silent for too long.
    fn poll_pings(&mut self, up: Moved, down: Moved, cx: &mut Context<'_>) -> Poll<Option<Dead>> {
        match &mut self.pings {
            Some(pings) if self.first_to_end.is_none() && !self.up.receiver_gone => {
                pings.poll((self.up.bytes, up), (self.down.bytes, down), cx)
            }
            _ => Poll::Pending,
        }
    }

    /// Detects that the client broke, or that its connection drains, while it is
    /// not read because the upstream has no room.
    fn poll_client_broken(&mut self, moved: Moved, cx: &mut Context<'_>) -> Option<Broken> {
        match moved {
            Moved::All => None,
            Moved::WaitsForRoom => match self.client.poll_broken(cx) {
                Poll::Ready(error) => Some(Broken::Sender(error)),
                Poll::Pending => None,
            },
        }
    }

    /// Detects that the upstream broke while it is not read because the client has no
    /// room. The client has `close_timeout` to read what the upstream had sent before;
    /// what the client sends has no receiver any more. Returns whether that was detected
    /// just now.
    fn poll_upstream_broken(&mut self, moved: Moved, cx: &mut Context<'_>) -> bool {
        let is_broken = moved == Moved::WaitsForRoom
            && !self.up.receiver_gone
            && self.upstream.poll_broken(cx).is_ready();
        if is_broken {
            self.up.receiver_gone = true;
            self.idle.restart();
        }
        is_broken
    }

    fn note_end(&mut self, side: Side, flow: impl Fn(&Self) -> &Flow) {
        if self.first_to_end.is_none() && flow(self).state != FlowState::Open {
            self.first_to_end = Some(side);
            self.idle.restart();
        }
    }

    /// Whether the WebSocket has begun to end.
    fn is_ending(&self) -> bool {
        self.first_to_end.is_some() || self.own_close != OwnClose::No
    }

    /// Whether nothing more can be sent to the client.
    fn is_over(&self) -> bool {
        let upstream_ended = self.down.after_close != AfterClose::NotYet;
        let cannot_see_answer = self.up.frames.is_lost() && upstream_ended;
        (self.up.is_over() && self.down.is_over())
            || self.upstream_ended_first()
            || self.up.after_close == AfterClose::Broken
            || cannot_see_answer
    }

    /// Whether the upstream was the first to end, without a Close frame.
    fn upstream_ended_first(&self) -> bool {
        self.first_to_end == Some(Side::Upstream)
            && matches!(self.down.state, FlowState::Ending | FlowState::Ended)
    }

    /// How long nothing may be received from either side.
    fn idle_limit(&self) -> Option<Duration> {
        if self.down.after_close != AfterClose::NotYet {
            Some(self.times.client_linger().peer)
        } else if self.is_ending() || self.up.receiver_gone {
            Some(self.times.close())
        } else {
            self.times.idle
        }
    }

    /// Sends the client a Close frame if one is pending and the upstream's last
    /// frame is complete. The client's answer is forwarded like everything else,
    /// and closes the upstream.
    fn send_own_close(&mut self) {
        if self.own_close != OwnClose::Pending {
            return;
        }
        // A client that has closed already waits for its upstream's answer.
        if self.down.state != FlowState::Open || self.up.state == FlowState::Closed {
            self.own_close = OwnClose::Done;
        } else if self.down.frames.is_between() {
            self.client
                .write(|out| out.buffer().extend_from_slice(&GOING_AWAY));
            self.down.needs_flush = true;
            self.down.frames.advance(&GOING_AWAY);
            self.down.state = FlowState::Closed;
            self.own_close = OwnClose::Done;
            self.first_to_end.get_or_insert(Side::Bridge);
            self.idle.restart();
        }
    }

    /// The outcome after a stream broke, which changes nothing if the WebSocket
    /// had begun to end.
    fn broken(&self, broken: Broken, sender: Side, receiver: Side) -> (Outcome, EndReason) {
        let (side, error) = match broken {
            Broken::Sender(error) => (sender, error),
            Broken::Receiver(error) => (receiver, error),
        };
        tracing::debug!(?side, ?error, "WebSocket broke");
        let is_cut =
            side == Side::Client && self.client.is_draining() && is_connection_dropped(&error);
        let outcome = match self.first_to_end {
            None | Some(Side::Bridge) if is_cut => Outcome::Broken(Side::Bridge),
            None => Outcome::Broken(side),
            Some(_) => return (self.outcome(), EndReason::Ended),
        };
        let reason = if is_cut {
            EndReason::Cut
        } else {
            EndReason::Broken(Box::new(error))
        };
        (outcome, reason)
    }

    /// Why the WebSocket was closed, besides its outcome.
    fn end_reason(&self) -> EndReason {
        match self.first_to_end {
            Some(Side::Bridge) if self.lifetime.has_expired => EndReason::Outlived,
            _ => EndReason::Ended,
        }
    }

    fn outcome(&self) -> Outcome {
        let side = self.first_to_end.unwrap_or(Side::Client);
        let code = match side {
            Side::Client => self.up.frames.code(),
            Side::Upstream | Side::Bridge => self.down.frames.code(),
        };
        Outcome::By(side, code.unwrap_or(CloseCode::ABNORMAL))
    }

    /// Whether the upstream has ended its side and the client has not.
    fn client_may_send_more(&self) -> bool {
        self.upstream_ended_first() && self.up.state == FlowState::Open && !self.up.receiver_gone
    }

    /// Forwards what the client still sends to an upstream that has ended its
    /// side, for `client_linger` at most.
    async fn forward_remaining(mut self: Box<Self>) {
        let linger = self.times.client_linger();
        let until = Instant::now() + linger.peer;
        let forwarded = std::future::poll_fn(|cx| self.poll_remaining(cx));
        // An error ends it as the end of the stream does.
        let _ = timeout_at(until, forwarded).await;
        self.finish(Linger {
            peer: until - Instant::now(),
            ..linger
        });
    }

    fn poll_remaining(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.down.poll_out(&mut self.client, cx)?;
        self.poll_move_up(cx)?;
        self.up.poll_out(&mut self.upstream, cx)?;
        if self.up.is_over() && self.down.is_over() {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// Finishes both streams in the background.
    fn finish(self, client_linger: Linger) {
        // Towards the client the bridge is the server, which ends its stream
        // first.
        self.client.finish(match self.down.state {
            FlowState::Open => Finish::Reset(client_linger),
            _ => Finish::End(client_linger),
        });
        let linger = self.times.upstream_linger();
        // Towards the upstream it is the client, which waits for the server to
        // end first after the closing handshake (RFC 6455 §7.1.1).
        self.upstream.finish(match self.up.state {
            FlowState::Open => Finish::Reset(linger),
            FlowState::Closed => Finish::Await { linger, end: true },
            FlowState::Ending | FlowState::Ended => Finish::End(linger),
        });
    }
}

/// Whether an error shows that the local server dropped the connection, as it
/// does when its drain timeout expires.
fn is_connection_dropped(error: &StreamError) -> bool {
    match error {
        StreamError::Closed => true,
        StreamError::Io(error) => error.kind() == io::ErrorKind::BrokenPipe,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
