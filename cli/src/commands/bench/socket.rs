//! One socket under load.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use h2ws::{Message, WebSocket};

use super::load::Load;
use crate::Failure;

/// Values that a socket keeps before it adds them to the tally. Few, for they
/// would be taken for the socket's memory.
const KEPT: usize = 16;

/// Events that share one reading of the clock, and their bytes: reading it is a
/// good part of what a short message costs.
const TOGETHER: usize = 16;
const TOGETHER_BYTES: usize = 1024;

/// Moved about without leaving a socket's room behind in each place, which would
/// be taken for its memory too.
pub(super) type Socket = Box<WebSocket>;

/// Talks until the load is over, and gives the socket back.
///
/// Not an async function, which would hold its arguments twice: what a task
/// leaves behind would be taken for the socket's memory as well.
pub(super) struct Talk {
    load: Arc<Load>,
    /// `None` once it is given back.
    socket: Option<Socket>,
    number: usize,
    sent: u64,
    /// When what is unanswered was sent, or was due to be.
    due: VecDeque<Instant>,
    /// Microseconds.
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
            return Poll::Ready(Err("polled after its end".into()));
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

    /// Reads while it cannot write: a server that waits for that would
    /// otherwise wait for ever.
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
                    return Poll::Ready(Err("the server closed the socket".into()));
                }
                // What was written leaves now, for there is nothing to read.
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Writes what may be written; true when there will be no more.
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

    /// Whether a message may be sent now, and otherwise whether that is all.
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
                "the server does not echo: a message of {came} bytes came instead of {sent}"
            )
            .into());
        }
        let at = self.due.pop_front();
        let at = at.ok_or("the server does not echo: more messages came than were sent")?;
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

/// The time, read once for what a socket does together.
///
/// What shares a reading is few messages, short ones, within one poll of the
/// task. Messages that came in one chunk came at one time, which the first of
/// them tells better than the last. One that came just behind them is dated
/// early by at most the time that fifteen short messages take; only where the
/// thread loses its processor in between is it more, for these few. In a closed
/// loop what is sent is dated as early as what is received; with a rate it is
/// dated by schedule, and a latency comes out low by that time at most. As
/// readings only grow, nothing is answered before it was sent.
struct Clock {
    read: Instant,
    /// Events that may still share the reading.
    left: usize,
    /// Events that may share a reading.
    together: usize,
}

impl Clock {
    /// For messages of `size` bytes.
    fn new(size: usize) -> Self {
        Self {
            read: Instant::now(),
            left: 0,
            together: (TOGETHER_BYTES / size.max(1)).clamp(1, TOGETHER),
        }
    }

    /// The next reading is a new one.
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

/// At most 71 minutes.
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
        assert!(size <= 128, "{size} bytes, once per socket that talks");
    }

    #[test]
    fn short_messages_share_a_reading_and_long_ones_do_not() {
        let readings = |size| {
            let mut clock = Clock::new(size);
            let mut seen = Vec::new();
            for _ in 0..2 * TOGETHER {
                let now = clock.now();
                // A clock may show the same time twice; the next reading cannot be taken for it.
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
    fn a_task_that_slept_reads_the_clock_anew() {
        let mut clock = Clock::new(64);
        let first = clock.now();
        std::thread::sleep(Duration::from_nanos(1));
        clock.forget();
        assert!(clock.now() > first);
    }
}
