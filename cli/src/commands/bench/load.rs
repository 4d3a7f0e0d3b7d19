//! What the sockets of a load have in common.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use h2ws::Message;
use hdrhistogram::Histogram;

use super::pace::Pace;

pub(super) struct Load {
    pub(super) payload: Message,
    /// Unanswered messages of each socket, where no rate is given.
    pub(super) in_flight: u32,
    /// Messages of each socket.
    pub(super) messages: Option<u64>,
    pub(super) pace: Option<Arc<Pace>>,
    pub(super) stop: AtomicBool,
    pub(super) tally: Tally,
    /// Whether any message came back, counted or not.
    answered: AtomicBool,
    /// When counting began, and whether it goes on.
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

    /// A message came back.
    pub(super) fn answer(&self) {
        // Written once: all sockets look here.
        if !self.answered.load(Ordering::Relaxed) {
            self.answered.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    pub(super) fn count_from_now(&self) -> Instant {
        self.counted.1.store(true, Ordering::Relaxed);
        *self.counted.0.get_or_init(Instant::now)
    }

    pub(super) fn count_no_more(&self) {
        self.counted.1.store(false, Ordering::Relaxed);
    }

    /// Whether an answer that comes now counts. A closed loop counts what comes
    /// within the time. With a rate it is what was due within it, however late
    /// the answer: the slowest would be missing otherwise.
    pub(super) fn counts(&self, due: Instant) -> bool {
        match self.pace {
            Some(_) => self.counted.0.get().is_some_and(|from| due >= *from),
            None => self.counted.1.load(Ordering::Relaxed),
        }
    }
}

/// Latencies of all sockets: a histogram each would not fit a processor's
/// cache, so each socket keeps a few values and adds them here now and then.
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

    /// Microseconds from when a message was sent, or was due to be, to its
    /// echo.
    pub(super) fn latency(&self, percentile: f64) -> Duration {
        Duration::from_micros(self.lock().value_at_percentile(percentile))
    }

    pub(super) fn messages(&self) -> u64 {
        self.lock().len()
    }

    pub(super) fn add(&self, kept: &mut Vec<u32>) {
        let mut latency = self.lock();
        for micros in kept.drain(..) {
            // It grows by itself, so every value has a place.
            let _ = latency.record(micros.into());
        }
    }
}
