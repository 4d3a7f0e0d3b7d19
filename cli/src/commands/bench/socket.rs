//! One socket under load.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use h2ws::{CloseCode, CloseFrame, Message, WebSocket};
use hdrhistogram::Histogram;

use crate::Failure;

/// What all sockets of a run have in common.
pub(super) struct Load {
    pub(super) payload: Message,
    pub(super) in_flight: u32,
    /// Messages of each socket.
    pub(super) messages: Option<u64>,
    /// Between two messages of a socket, where the rate is given.
    pub(super) interval: Option<Duration>,
    pub(super) counting: AtomicBool,
    pub(super) stop: AtomicBool,
    pub(super) tally: Tally,
}

/// The values that one socket keeps.
struct Counter<'a> {
    load: &'a Load,
    kept: Vec<u64>,
}

impl Counter<'_> {
    fn count(&mut self, message: &Message, latency: Duration) -> Result<(), Failure> {
        if message.len() != self.load.payload.len() {
            return Err("the server does not echo".into());
        }
        if self.load.counting.load(Ordering::Relaxed) {
            let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            self.kept.push(micros.max(1));
            if self.kept.len() >= KEPT {
                self.load.tally.add(&mut self.kept);
            }
        }
        Ok(())
    }
}

impl Drop for Counter<'_> {
    fn drop(&mut self) {
        self.load.tally.add(&mut self.kept);
    }
}

/// Latencies of all sockets: a histogram each would not fit a processor's
/// cache, so each socket keeps a few values and adds them here now and then.
pub(super) struct Tally {
    latency: Mutex<Histogram<u64>>,
}

/// Values that a socket keeps.
const KEPT: usize = 64;

impl Tally {
    pub(super) fn new() -> Self {
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

    fn add(&self, kept: &mut Vec<u64>) {
        let mut latency = self.lock();
        for micros in kept.drain(..) {
            // It grows by itself, so every value has a place.
            let _ = latency.record(micros);
        }
    }
}

/// Talks until the run is over, then closes.
pub(super) async fn run(load: Arc<Load>, mut socket: WebSocket, share: f64) -> Result<(), Failure> {
    let counter = Counter {
        load: &load,
        kept: Vec::new(),
    };
    match load.interval {
        Some(interval) => paced(counter, &mut socket, interval, share).await?,
        None => closed_loop(counter, &mut socket).await?,
    }
    socket.close(CloseFrame::from(CloseCode::NORMAL)).await?;
    Ok(())
}

/// Answers each echo with the next message.
async fn closed_loop(mut counter: Counter<'_>, socket: &mut WebSocket) -> Result<(), Failure> {
    let load = counter.load;
    let limit = load.messages.unwrap_or(u64::MAX);
    let mut sent_at = VecDeque::with_capacity(load.in_flight as usize);
    let mut sent = 0;
    while sent < u64::from(load.in_flight).min(limit) {
        sent_at.push_back(Instant::now());
        socket.feed(load.payload.clone()).await?;
        sent += 1;
    }
    socket.flush().await?;
    while let Some(at) = sent_at.pop_front() {
        let Some(message) = socket.next().await else {
            return Err("the server closed the socket".into());
        };
        counter.count(&message?, at.elapsed())?;
        if sent < limit && !load.stop.load(Ordering::Relaxed) {
            sent_at.push_back(Instant::now());
            // Leaves when there is no further echo to read.
            socket.feed(load.payload.clone()).await?;
            sent += 1;
        }
    }
    Ok(())
}

/// Sends on time, whatever comes back: a server that stalls is charged for
/// every message that was due meanwhile.
async fn paced(
    mut counter: Counter<'_>,
    socket: &mut WebSocket,
    interval: Duration,
    share: f64,
) -> Result<(), Failure> {
    let load = counter.load;
    let limit = load.messages.unwrap_or(u64::MAX);
    let mut due = Instant::now() + interval.mul_f64(share);
    let mut due_at: VecDeque<Instant> = VecDeque::new();
    let mut sent = 0;
    loop {
        let over = sent >= limit || load.stop.load(Ordering::Relaxed);
        if over && due_at.is_empty() {
            return Ok(());
        }
        tokio::select! {
            message = socket.next() => {
                let message = message.ok_or("the server closed the socket")??;
                if let Some(at) = due_at.pop_front() {
                    counter.count(&message, at.elapsed())?;
                }
            }
            () = tokio::time::sleep_until(due.into()), if !over => {
                due_at.push_back(due);
                due += interval;
                sent += 1;
                socket.send(load.payload.clone()).await?;
            }
        }
    }
}
