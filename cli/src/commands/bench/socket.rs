//! One socket under load.

use std::collections::VecDeque;
use std::future::poll_fn;
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

/// Moved about without leaving a socket's room behind in each place, which would
/// be taken for its memory too.
pub(super) type Socket = Box<WebSocket>;

/// Talks until the load is over.
pub(super) async fn talk(
    load: &Load,
    mut socket: Socket,
    number: usize,
) -> Result<Socket, Failure> {
    let mut talk = Talk {
        load,
        socket: &mut socket,
        number,
        sent: 0,
        due: VecDeque::with_capacity(load.in_flight as usize),
        kept: Vec::new(),
    };
    poll_fn(|cx| talk.poll(cx)).await?;
    drop(talk);
    Ok(socket)
}

struct Talk<'a> {
    load: &'a Load,
    socket: &'a mut WebSocket,
    number: usize,
    sent: u64,
    /// When what is unanswered was sent, or was due to be.
    due: VecDeque<Instant>,
    kept: Vec<u64>,
}

impl Drop for Talk<'_> {
    fn drop(&mut self) {
        self.load.tally.add(&mut self.kept);
    }
}

impl Talk<'_> {
    /// Reads while it cannot write: a server that waits for that would
    /// otherwise wait for ever.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            let over = self.write(cx)?;
            if over && self.due.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match self.socket.poll_next_unpin(cx) {
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
    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, Failure> {
        loop {
            let (may, over) = self.may_send(cx);
            if !may {
                return Ok(over);
            }
            match self.socket.poll_ready_unpin(cx)? {
                Poll::Ready(()) => {
                    self.due.push_back(match &self.load.pace {
                        Some(pace) => pace.due_at(self.number, self.sent),
                        None => Instant::now(),
                    });
                    self.socket.start_send_unpin(self.load.payload.clone())?;
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
            return Err("the server does not echo".into());
        }
        let at = self.due.pop_front().ok_or("the server does not echo")?;
        if self.load.counts(at) {
            self.kept.push(micros(at.elapsed()));
            if self.kept.len() >= KEPT {
                self.load.tally.add(&mut self.kept);
            }
        }
        Ok(())
    }
}

fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros())
        .unwrap_or(u64::MAX)
        .max(1)
}
