//! Whose turn it is on a server's HTTP/1.1 connection, and how long that turn
//! may take.
//!
//! | turn | begins with | ends with | limit |
//! |---|---|---|---|
//! | first | the start of the connection | a complete head | [`Limits::head`], then the connection is cut |
//! | request | a complete head | the last byte of the response | – |
//! | idle | the last byte of the response | the next byte | [`Limits::idle`], then the connection is closed in order |
//! | head | the first byte of a head | a complete head | [`Limits::head`], then the connection is cut |
//!
//! hyper's own timer starts with the idle turn, so it could not allow a silent
//! client more time than one that sends its head byte by byte.
//!
//! During the first turn and the head turn only hyper writes, and it writes
//! nothing but its response to a request that it cannot parse, which has no
//! body. That response is held back here, and the connection's owner sends one
//! with an explanation instead.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// Time limits for a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Time for the head of a request.
    pub(crate) head: Duration,
    /// Time between a response and the next request; `None` is unlimited.
    pub(crate) idle: Option<Duration>,
}

const FIRST: u8 = 0;
const REQUEST: u8 = 1;
const IDLE: u8 = 2;
const HEAD: u8 = 3;

/// The state of a connection's turns, shared by the parts that observe it. They
/// all run in the connection's one task.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// [`FIRST`] at first.
    turn: AtomicU8,
    /// Number of turns so far.
    count: AtomicU32,
    /// Whether a response may still be on its way to the kernel.
    is_unwritten: AtomicBool,
    /// The status of hyper's error response; 0 if there was none.
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

    /// Notes that the head of a request is complete.
    pub(super) fn requested(&self) {
        self.0.is_unwritten.store(true, Ordering::Relaxed);
        self.begin(REQUEST);
    }

    /// Notes that bytes were received.
    pub(super) fn read(&self) {
        if self.turn() == IDLE {
            self.begin(HEAD);
        }
    }

    /// Notes that everything hyper had to write has been written.
    pub(super) fn flushed(&self) {
        if self.turn() != REQUEST {
            self.0.is_unwritten.store(false, Ordering::Relaxed);
        }
    }

    /// Holds back an error response that hyper writes by itself. Returns
    /// whether `written` is one.
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

    /// Returns the status of the error response that was held back.
    pub(super) fn refused(&self) -> Option<u16> {
        let refused = self.0.refused.load(Ordering::Relaxed);
        (refused != 0).then_some(refused)
    }
}

/// The body of a response. Dropping it begins the client's turn.
pub(super) struct TurnBody<B> {
    body: B,
    turns: Turns,
}

impl<B> TurnBody<B> {
    pub(super) fn new(body: B, turns: Turns) -> Self {
        Self { body, turns }
    }
}

impl<B> Drop for TurnBody<B> {
    fn drop(&mut self) {
        self.turns.begin(IDLE);
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for TurnBody<B> {
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

/// The limit that a client has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    Idle,
    Head,
}

/// Limits the duration of the client's turns.
pub(super) struct TurnTimer {
    turns: Turns,
    limits: Limits,
    /// The number of the turn that the timer is set for.
    count: Option<u32>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl TurnTimer {
    pub(super) fn new(turns: Turns, limits: Limits) -> Self {
        Self {
            turns,
            limits,
            count: None,
            sleep: None,
        }
    }

    /// Polls for an exceeded limit. To be called after the connection has been
    /// polled.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Exceeded> {
        let (limit, exceeded) = match self.turns.turn() {
            FIRST | HEAD => (Some(self.limits.head), Exceeded::Head),
            IDLE => (self.limits.idle, Exceeded::Idle),
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
        Poll::Ready(exceeded)
    }
}
