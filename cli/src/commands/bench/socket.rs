//! One WebSocket under load.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use h2ws::{Message, WebSocket};

use super::load::Load;
use crate::error::Failure;

/// Number of values that a task collects before it adds them to the tally. Small, because they would
/// count as the WebSocket's memory.
const KEPT: usize = 16;

/// Maximum number of events that share one reading of the clock, and of their bytes: reading it is a
/// large part of the cost of a short message.
const TOGETHER: usize = 16;
const TOGETHER_BYTES: usize = 1024;

/// Boxed, so that moving it does not leave unused space behind, which would count as the WebSocket's
/// memory.
pub(super) type Socket = Box<WebSocket>;

/// Sends and receives until the load is over, then returns the WebSocket.
///
/// This is not an async function, because the future of one stores its arguments twice, and that
/// would count as the WebSocket's memory.
pub(super) struct Talk {
    load: Arc<Load>,
    /// `None` once it has been returned.
    socket: Option<Socket>,
    number: usize,
    sent: u64,
    /// When the unanswered messages were sent, or were due.
    due: VecDeque<Instant>,
    /// Latencies that are not in the tally yet, in microseconds.
    kept: Vec<u32>,
    clock: Clock,
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.load.tally.add(&mut self.kept);
    }
}

impl Future for Talk {
    type Output = Result<Socket, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let talk = &mut *self;
        let Some(mut socket) = talk.socket.take() else {
            return Poll::Ready(Err("polled after completion".into()));
        };
        let talked = talk.poll_talk(&mut socket, cx);
        if talked.is_pending() {
            talk.socket = Some(socket);
            return Poll::Pending;
        }
        talked.map_ok(|()| socket)
    }
}

impl Talk {
    pub(super) fn new(load: Arc<Load>, socket: Socket, number: usize) -> Self {
        Self {
            socket: Some(socket),
            number,
            sent: 0,
            due: VecDeque::with_capacity(load.in_flight as usize),
            kept: Vec::new(),
            clock: Clock::new(load.payload.len()),
            load,
        }
    }

    /// Reads while it cannot write: otherwise a server that waits for its echoes to be read would
    /// deadlock.
    fn poll_talk(
        &mut self,
        socket: &mut WebSocket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        self.clock.forget();
        loop {
            let over = self.write(socket, cx)?;
            if over && self.due.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match socket.poll_next_unpin(cx) {
                Poll::Ready(Some(message)) => self.count(&message?)?,
                Poll::Ready(None) => {
                    return Poll::Ready(Err("the server closed the WebSocket".into()));
                }
                // Pending after a read flushes what was written.
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Writes the messages that may be sent now. Returns true when there will be no more.
    fn write(&mut self, socket: &mut WebSocket, cx: &mut Context<'_>) -> Result<bool, Failure> {
        loop {
            let (may, over) = self.may_send(cx);
            if !may {
                return Ok(over);
            }
            match socket.poll_ready_unpin(cx)? {
                Poll::Ready(()) => {
                    self.due.push_back(match &self.load.pace {
                        Some(pace) => pace.due_at(self.number, self.sent),
                        None => self.clock.now(),
                    });
                    socket.start_send_unpin(self.load.payload.clone())?;
                    self.sent += 1;
                }
                Poll::Pending => return Ok(false),
            }
        }
    }

    /// Returns whether a message may be sent now, and whether there will be no more.
    fn may_send(&self, cx: &Context<'_>) -> (bool, bool) {
        if let Some(pace) = &self.load.pace {
            let (due, over) = pace.due(self.number, cx);
            return (self.sent < due, over);
        }
        let over = self.sent >= self.load.messages.unwrap_or(u64::MAX)
            || self.load.stop.load(Ordering::Relaxed);
        (!over && self.due.len() < self.load.in_flight as usize, over)
    }

    fn count(&mut self, message: &Message) -> Result<(), Failure> {
        if matches!(message, Message::Pong(_)) {
            return Ok(());
        }
        if message.len() != self.load.payload.len() {
            let (sent, came) = (self.load.payload.len(), message.len());
            return Err(format!(
                "the server does not echo: received {came} bytes for a message of {sent} bytes"
            )
            .into());
        }
        let at = self.due.pop_front();
        let at = at.ok_or("the server does not echo: received more messages than were sent")?;
        self.load.answer();
        if self.load.counts(at) {
            let latency = self.clock.now().saturating_duration_since(at);
            self.kept.push(micros(latency));
            if self.kept.len() >= KEPT {
                self.load.tally.add(&mut self.kept);
            }
        }
        Ok(())
    }
}

/// A clock that a WebSocket reads once for several events.
///
/// Only a few short messages within one poll of the task share a reading. Messages that were
/// received in one chunk arrived at the same time anyway. A later one may be dated too early, at most
/// by the time that fifteen short messages take (longer only if the thread is preempted in between).
/// In a closed loop sent messages are dated equally early; with a rate they are dated by the
/// schedule, so that a latency may be too low by that time at most. Readings never decrease, so no
/// latency is negative.
struct Clock {
    read: Instant,
    /// Number of events that may still share the current reading.
    left: usize,
    /// Number of events that may share a reading.
    together: usize,
}

impl Clock {
    /// Returns a clock for messages of `size` bytes.
    fn new(size: usize) -> Self {
        Self {
            read: Instant::now(),
            left: 0,
            together: (TOGETHER_BYTES / size.max(1)).clamp(1, TOGETHER),
        }
    }

    /// Makes the next call of `now` read the clock.
    fn forget(&mut self) {
        self.left = 0;
    }

    fn now(&mut self) -> Instant {
        if self.left == 0 {
            self.read = Instant::now();
            self.left = self.together;
        }
        self.left -= 1;
        self.read
    }
}

/// Converts to microseconds, at most 71 minutes.
fn micros(latency: Duration) -> u32 {
    u32::try_from(latency.as_micros())
        .unwrap_or(u32::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_small() {
        let size = size_of::<Talk>();
        assert!(size <= 128, "{size} bytes per WebSocket");
    }

    #[test]
    fn short_messages_share_a_reading_and_long_ones_do_not() {
        let readings = |size| {
            let mut clock = Clock::new(size);
            let mut seen = Vec::new();
            for _ in 0..2 * TOGETHER {
                let now = clock.now();
                // Makes sure that the next reading differs.
                std::thread::sleep(Duration::from_nanos(1));
                if seen.last() != Some(&now) {
                    seen.push(now);
                }
            }
            assert!(seen.is_sorted());
            seen.len()
        };
        assert_eq!(readings(0), 2);
        assert_eq!(readings(64), 2);
        assert_eq!(readings(512), TOGETHER);
        assert_eq!(readings(1 << 20), 2 * TOGETHER);
    }

    #[test]
    fn each_poll_reads_the_clock_again() {
        let mut clock = Clock::new(64);
        let first = clock.now();
        std::thread::sleep(Duration::from_nanos(1));
        clock.forget();
        assert!(clock.now() > first);
    }
}
