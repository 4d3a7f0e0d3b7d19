//! Paces messages at a fixed rate, whether or not answers arrive.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use super::timer::Timer;

/// How often the end of the run is checked while no message is due.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// Maximum number of messages that become due before other tasks run again. At a rate that cannot be
/// followed, the WebSockets could never send otherwise.
const AT_A_TIME: u64 = 1_000;

/// The schedule: message `k` of the run is due `k / rate` seconds after the start, on WebSocket
/// `k % sockets`.
pub(super) struct Pace {
    began: Instant,
    rate: f64,
    schedules: Vec<Schedule>,
    over: AtomicBool,
}

#[derive(Default)]
struct Schedule {
    /// Number of messages that the WebSocket should have sent by now.
    due: AtomicU64,
    waker: AtomicWaker,
}

impl Pace {
    pub(super) fn new(rate: u64, sockets: usize) -> Self {
        Self {
            began: Instant::now(),
            rate: rate as f64,
            schedules: std::iter::repeat_with(Schedule::default)
                .take(sockets)
                .collect(),
            over: AtomicBool::new(false),
        }
    }

    /// Follows the schedule until `stop` returns true, or for `messages` per WebSocket.
    pub(super) async fn run(
        &self,
        messages: Option<u64>,
        stop: impl Fn() -> bool,
    ) -> std::io::Result<()> {
        let timer = Timer::new()?;
        let sockets = self.schedules.len() as u64;
        let total = messages.map_or(u64::MAX, |messages| messages.saturating_mul(sockets));
        let mut sent = 0;
        while sent < total && !stop() {
            let wait = self.at(sent).saturating_duration_since(Instant::now());
            if wait > Duration::ZERO {
                timer.sleep(wait.min(STOP_CHECK)).await?;
                continue;
            }
            let schedule = &self.schedules[(sent % sockets) as usize];
            schedule.due.fetch_add(1, Ordering::Release);
            schedule.waker.wake();
            sent += 1;
            if sent.is_multiple_of(AT_A_TIME) {
                tokio::task::yield_now().await;
            }
        }
        self.over.store(true, Ordering::Release);
        for schedule in &self.schedules {
            schedule.waker.wake();
        }
        Ok(())
    }

    fn at(&self, message: u64) -> Instant {
        self.began + Duration::from_secs_f64(message as f64 / self.rate)
    }

    /// Returns when message `nth` of a WebSocket is due.
    pub(super) fn due_at(&self, socket: usize, nth: u64) -> Instant {
        self.at(nth * self.schedules.len() as u64 + socket as u64)
    }

    /// Returns the number of messages of a WebSocket that are due so far, and whether there will be no
    /// more. The task is woken when this changes.
    pub(super) fn due(&self, socket: usize, cx: &Context<'_>) -> (u64, bool) {
        let schedule = &self.schedules[socket];
        schedule.waker.register(cx.waker());
        // In this order, because nothing is added once `over` is set.
        let over = self.over.load(Ordering::Acquire);
        (schedule.due.load(Ordering::Acquire), over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;

    #[tokio::test]
    async fn messages_are_spread_over_the_sockets_and_none_is_early() {
        let pace = Pace::new(1_000_000, 3);
        pace.run(Some(5), || false).await.expect("a timer");
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
    async fn pacing_ends_when_stop_returns_true() {
        let pace = Pace::new(1, 1);
        pace.run(None, || true).await.expect("a timer");
        let over = poll_fn(|cx| match pace.due(0, cx) {
            (due, true) => Poll::Ready(due),
            _ => Poll::Pending,
        });
        assert_eq!(over.await, 0);
    }
}
