//! A rate that is kept whatever comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

/// How soon the end of the run is seen where messages are rare.
const LOOKS_UP: Duration = Duration::from_millis(50);

/// Message `k` of the run is due `k / rate` seconds after its beginning, on
/// socket `k % sockets`.
pub(super) struct Pace {
    began: Instant,
    rate: f64,
    turns: Vec<Turn>,
    over: AtomicBool,
}

#[derive(Default)]
struct Turn {
    /// Messages that the socket should have sent by now.
    due: AtomicU64,
    waker: AtomicWaker,
}

impl Pace {
    pub(super) fn new(rate: u64, sockets: usize) -> Self {
        Self {
            began: Instant::now(),
            rate: rate as f64,
            turns: std::iter::repeat_with(Turn::default)
                .take(sockets)
                .collect(),
            over: AtomicBool::new(false),
        }
    }

    /// Begins on a thread of its own, for tokio's timers count milliseconds: too
    /// coarse for what is measured by them. It ends with `stop`, or when each
    /// socket has had `messages`.
    pub(super) fn start(
        self: &Arc<Self>,
        messages: Option<u64>,
        stop: impl Fn() -> bool + Send + 'static,
    ) -> std::io::Result<()> {
        let pace = self.clone();
        let sockets = self.turns.len() as u64;
        let total = messages.map_or(u64::MAX, |messages| messages.saturating_mul(sockets));
        let keep = move || {
            let mut sent = 0;
            while sent < total && !stop() {
                let early = pace.at(sent).saturating_duration_since(Instant::now());
                if early > Duration::ZERO {
                    thread::sleep(early.min(LOOKS_UP));
                    continue;
                }
                let turn = &pace.turns[(sent % sockets) as usize];
                turn.due.fetch_add(1, Ordering::Release);
                turn.waker.wake();
                sent += 1;
            }
            pace.over.store(true, Ordering::Release);
            for turn in &pace.turns {
                turn.waker.wake();
            }
        };
        thread::Builder::new().name("pace".into()).spawn(keep)?;
        Ok(())
    }

    fn at(&self, message: u64) -> Instant {
        self.began + Duration::from_secs_f64(message as f64 / self.rate)
    }

    /// When message `nth` of a socket is due.
    pub(super) fn due_at(&self, socket: usize, nth: u64) -> Instant {
        self.at(nth * self.turns.len() as u64 + socket as u64)
    }

    /// How many messages of a socket are due, and whether that is all. The task
    /// is woken when it changes.
    pub(super) fn due(&self, socket: usize, cx: &Context<'_>) -> (u64, bool) {
        let turn = &self.turns[socket];
        turn.waker.register(cx.waker());
        // In this order: nothing is added once it is over.
        let over = self.over.load(Ordering::Acquire);
        (turn.due.load(Ordering::Acquire), over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;

    #[tokio::test]
    async fn each_socket_has_its_turn_and_none_is_early() {
        let pace = Arc::new(Pace::new(1_000_000, 3));
        pace.start(Some(5), || false).expect("a thread");
        for socket in 0..3 {
            let due = poll_fn(|cx| match pace.due(socket, cx) {
                (due, true) => Poll::Ready(due),
                _ => Poll::Pending,
            });
            assert_eq!(due.await, 5);
            assert!(pace.due_at(socket, 4) <= Instant::now());
        }
        let first: Vec<_> = (0..3).map(|socket| pace.due_at(socket, 0)).collect();
        assert!(first.is_sorted() && first[2] < pace.due_at(0, 1));
    }

    #[tokio::test]
    async fn it_ends_when_it_is_told() {
        let pace = Arc::new(Pace::new(1, 1));
        pace.start(None, || true).expect("a thread");
        let over = poll_fn(|cx| match pace.due(0, cx) {
            (due, true) => Poll::Ready(due),
            _ => Poll::Pending,
        });
        assert_eq!(over.await, 0);
    }
}
