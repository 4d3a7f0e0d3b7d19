//! Whose turn it is on a server's HTTP/1.1 connection, and how long it may take.
//!
//! | turn | from | to | limit |
//! |---|---|---|---|
//! | first | the connection's beginning | a whole head | [`Limits::head`] |
//! | request | a whole head | the response's last byte is written | none |
//! | idle | then | a byte | [`Limits::idle`]: the connection is closed in order |
//! | head | that byte | a whole head | [`Limits::head`]: it is cut |
//!
//! hyper's own timer begins with the idle turn, and could not be longer for a
//! client that is silent than for one whose head trickles in.
//!
//! In the first turn and in a head's nobody writes but hyper, and nothing but its
//! refusal of what it cannot parse, which has no words. It is held back here, for
//! the connection's owner to find better ones.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For the head of a request.
    pub(crate) head: Duration,
    /// Between a response and the next request.
    pub(crate) idle: Option<Duration>,
}

const FIRST: u8 = 0;
const REQUEST: u8 = 1;
const IDLE: u8 = 2;
const HEAD: u8 = 3;

/// What is known of a connection, by all who see a part of it. All of them are
/// in its one task.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// [`FIRST`] at first.
    turn: AtomicU8,
    /// Turns so far.
    count: AtomicU32,
    /// Whether a response may still be on its way to the kernel.
    is_unwritten: AtomicBool,
    /// The status of hyper's refusal; 0 for none.
    refused: AtomicU16,
}

impl Turns {
    fn turn(&self) -> u8 {
        self.0.turn.load(Ordering::Relaxed)
    }

    fn begin(&self, turn: u8) {
        self.0.turn.store(turn, Ordering::Relaxed);
        self.0.count.fetch_add(1, Ordering::Relaxed);
    }

    /// A request's head is there.
    pub(super) fn requested(&self) {
        self.0.is_unwritten.store(true, Ordering::Relaxed);
        self.begin(REQUEST);
    }

    /// Bytes came.
    pub(super) fn read(&self) {
        if self.turn() == IDLE {
            self.begin(HEAD);
        }
    }

    /// All that hyper has to write is written.
    pub(super) fn flushed(&self) {
        if self.turn() != REQUEST {
            self.0.is_unwritten.store(false, Ordering::Relaxed);
        }
    }

    /// Takes what hyper writes by itself; returns whether it did.
    pub(super) fn holds_back(&self, written: &[u8]) -> bool {
        if self.turn() == REQUEST || self.0.is_unwritten.load(Ordering::Relaxed) {
            return false;
        }
        let status = written
            .strip_prefix(b"HTTP/1.1 ")
            .or_else(|| written.strip_prefix(b"HTTP/1.0 "))
            .and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok());
        let Some(status) = status.filter(|status| (400..600).contains(status)) else {
            return false;
        };
        self.0.refused.store(status, Ordering::Relaxed);
        true
    }

    /// The status of the refusal that was held back.
    pub(super) fn refused(&self) -> Option<u16> {
        let refused = self.0.refused.load(Ordering::Relaxed);
        (refused != 0).then_some(refused)
    }
}

/// A response's body; the client's turn comes when it is gone.
pub(super) struct Answer<B> {
    body: B,
    turns: Turns,
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, turns: Turns) -> Self {
        Self { body, turns }
    }
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        self.turns.begin(IDLE);
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A limit that a client has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    Idle,
    Head,
}

/// Measures the client's turns.
pub(super) struct Pace {
    turns: Turns,
    limits: Limits,
    /// The turn that is measured.
    count: Option<u32>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new(turns: Turns, limits: Limits) -> Self {
        Self {
            turns,
            limits,
            count: None,
            sleep: None,
        }
    }

    /// To be polled behind the connection.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Late> {
        let (limit, late) = match self.turns.turn() {
            FIRST | HEAD => (Some(self.limits.head), Late::Head),
            IDLE => (self.limits.idle, Late::Idle),
            _ => return Poll::Pending,
        };
        let now = Instant::now();
        let Some(deadline) = limit.and_then(|limit| now.checked_add(limit)) else {
            return Poll::Pending;
        };
        let count = self.turns.0.count.load(Ordering::Relaxed);
        let is_new = self.count.replace(count) != Some(count);
        let sleep = match &mut self.sleep {
            Some(sleep) => sleep,
            none => none.insert(Box::pin(sleep_until(deadline))),
        };
        if is_new {
            sleep.as_mut().reset(deadline);
        }
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(late)
    }
}
