//! State that all WebSockets under load share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use h2ws::Message;
use hdrhistogram::Histogram;

use super::pace::Pace;

pub(super) struct Load {
    pub(super) payload: Message,
    /// Unanswered messages per WebSocket, unless there is a rate.
    pub(super) in_flight: u32,
    /// Messages per WebSocket.
    pub(super) messages: Option<u64>,
    pub(super) pace: Option<Arc<Pace>>,
    pub(super) stop: AtomicBool,
    pub(super) tally: Tally,
    /// Whether any message was echoed, counted or not, since this was last read.
    answered: AtomicBool,
    /// When counting started, and whether it continues.
    counted: (OnceLock<Instant>, AtomicBool),
}

impl Load {
    pub(super) fn new(payload: Message, in_flight: u32) -> Self {
        Self {
            payload,
            in_flight,
            messages: None,
            pace: None,
            stop: AtomicBool::new(false),
            tally: Tally::new(),
            answered: AtomicBool::new(false),
            counted: (OnceLock::new(), AtomicBool::new(false)),
        }
    }

    /// Notes that a message was echoed.
    pub(super) fn answer(&self) {
        // Written rarely, because all threads read it.
        if !self.answered.load(Ordering::Relaxed) {
            self.answered.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a message was echoed since the last call.
    pub(super) fn was_answered(&self) -> bool {
        self.answered.swap(false, Ordering::Relaxed)
    }

    pub(super) fn start_counting(&self) -> Instant {
        self.counted.1.store(true, Ordering::Relaxed);
        *self.counted.0.get_or_init(Instant::now)
    }

    pub(super) fn stop_counting(&self) {
        self.counted.1.store(false, Ordering::Relaxed);
    }

    /// Whether an answer that arrives now counts. A closed loop counts the answers that arrive within
    /// the run. With a rate, the answers to messages that were due within it count, however late:
    /// otherwise the slowest would be missing.
    pub(super) fn counts(&self, due: Instant) -> bool {
        match self.pace {
            Some(_) => self.counted.0.get().is_some_and(|from| due >= *from),
            None => self.counted.1.load(Ordering::Relaxed),
        }
    }
}

/// Latencies of all WebSockets. One histogram per WebSocket would exceed a processor's cache, so each
/// collects a few values and adds them here.
pub(super) struct Tally {
    latency: Mutex<Histogram<u64>>,
}

impl Tally {
    fn new() -> Self {
        let mut latency = Histogram::new_with_bounds(1, 1000, 3)
            .unwrap_or_else(|_| unreachable!("bounds of a histogram"));
        latency.auto(true);
        Self {
            latency: Mutex::new(latency),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a percentile of the time from when a message was sent, or was due, to its echo.
    pub(super) fn latency(&self, percentile: f64) -> Duration {
        Duration::from_micros(self.lock().value_at_percentile(percentile))
    }

    pub(super) fn messages(&self) -> u64 {
        self.lock().len()
    }

    /// Returns all latencies so far, in microseconds.
    pub(super) fn histogram(&self) -> Histogram<u64> {
        self.lock().clone()
    }

    pub(super) fn add(&self, kept: &mut Vec<u32>) {
        let mut latency = self.lock();
        for micros in kept.drain(..) {
            // Cannot fail, because the histogram resizes itself.
            let _ = latency.record(micros.into());
        }
    }
}
