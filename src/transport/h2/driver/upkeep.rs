//! The part of a driver's turn that does not move data: timers, memory limits
//! and the state of the peer.

use std::cmp::Reverse;
use std::future::Future;
use std::sync::Arc;
use std::task::Context;

use tokio::time::Instant;

use super::{Connection, Driver};
use crate::transport::StreamError;
use crate::transport::h2::end::{Error, Fault};
use crate::transport::h2::frame_counter::FrameCounts;
use crate::transport::h2::handle::stream::Shared;
use crate::transport::h2::keep_alive::Verdict;
use crate::transport::h2::recv_memory;

/// A time limit of a stream.
pub(super) struct Timer {
    pub(super) at: Instant,
    pub(super) stream: Arc<Shared>,
    pub(super) purpose: Purpose,
}

/// The purpose of a timer.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// The stream was released and must be over.
    Finish,
    /// The stream holds too much and must have been closed.
    Overload,
}

impl<C: Connection> Driver<C> {
    /// Resets the streams whose time is up.
    pub(super) fn expire(&mut self) {
        while let Some(Reverse(timer)) = self.timers.peek() {
            let now = Instant::now();
            if timer.at > now {
                return;
            }
            if let Some(Reverse(timer)) = self.timers.pop() {
                match timer.purpose {
                    Purpose::Finish => timer.stream.expire(now),
                    Purpose::Overload => timer.stream.expire_overloaded(),
                }
            }
        }
    }

    /// Closes the streams that hold the most until the limits are met.
    pub(super) fn enforce_memory_limits(&mut self) {
        while self.handle.held.is_too_much() {
            if !self.handle.held.is_over()
                && let Some(process) = self.handle.held.process_if_over()
                && let Some(largest) = process.largest()
                && !std::ptr::eq(largest.held(), &raw const self.handle.held)
            {
                largest.check();
                return;
            }
            let Some(stream) = self.handle.largest_holder() else {
                return;
            };
            stream.overload();
            self.timers.push(Reverse(Timer {
                at: Instant::now() + recv_memory::GRACE,
                stream,
                purpose: Purpose::Overload,
            }));
        }
    }

    /// Sets the timer for the next deadline. Last in a turn, because streams
    /// get theirs within it.
    pub(super) fn set_timer(&mut self, cx: &mut Context<'_>) {
        let timer = self.timers.peek().map(|Reverse(timer)| timer.at);
        let budget = self.budget.deadline(&self.pings);
        let liveness = self.liveness.deadline();
        let deadlines = self.deadlines.deadline();
        let abandoned = self.connection.as_ref().and_then(C::deadline);
        let times = [timer, budget, liveness, deadlines, abandoned];
        let Some(at) = times.into_iter().flatten().min() else {
            self.sleep = None;
            return;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        if sleep.as_mut().poll(cx).is_ready() {
            self.timer_expired = true;
            cx.waker().wake_by_ref();
        }
    }

    /// Checks, after everything received was read, whether the peer is still
    /// there and whether the connection is still used.
    pub(super) fn check_life(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let (received, sent) = self.wire.counts();
        if let Some(meter) = &mut self.meter {
            meter.report(&received, &sent);
        }
        let now = Instant::now();
        match self.liveness.check(now, &received, connection.is_used()) {
            Verdict::Continue => {}
            Verdict::SendPing => {
                self.pings.request(cx, now);
            }
            Verdict::Dead => {
                self.handle.ends_by(StreamError::KeepAlive);
                return Err(Error::KeepAlive);
            }
            // The peer had the idle time once more to receive the GOAWAY.
            Verdict::Idle if self.retiring => return Err(Error::Ended),
            Verdict::Idle => {
                self.retiring = connection.retire();
                cx.waker().wake_by_ref();
            }
        }
        Ok(())
    }

    /// Ends the connection of a peer that floods, or that does not complete
    /// what it began.
    pub(super) fn check_peer(
        &mut self,
        received: &FrameCounts,
        sent: &FrameCounts,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        if self.given_up.is_some() {
            return Ok(());
        }
        let handle = &self.handle;
        let fault = if self.flood.charge(received, sent, || handle.open_streams()) {
            Fault::Flood
        } else if let Some(awaited) = self.deadlines.late(received) {
            Fault::Late(awaited)
        } else {
            return Ok(());
        };
        self.given_up = Some(fault);
        self.handle.ends_by(fault.into());
        let reason = fault.reason();
        if self
            .connection
            .as_mut()
            .is_some_and(|connection| connection.go_away(reason))
        {
            cx.waker().wake_by_ref();
            return Ok(());
        }
        self.wire.go_away(reason, cx);
        Err(Error::Peer(fault))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Timer {}
