//! What a node counts.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only grows, or a value that changes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Returns the value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// The metrics of a node.
#[derive(Debug, Default)]
pub struct Counters {
    /// 1 while the engine is connected and all topics are subscribed to, otherwise 0.
    pub engine_up: Counter,
    /// How often the engine was lost.
    pub engine_losses: Counter,
    /// Publications that wait for the engine.
    pub queued: Counter,
    /// Publications handed to the engine.
    pub published: Counter,
    /// Publications that the engine did not get: the queue was full, or publishing failed.
    pub dropped: Counter,
    /// Messages of other nodes.
    pub received: Counter,
    /// Messages of other nodes that did not arrive, by the numbers of those that did.
    pub missed: Counter,
    /// The node's own publications that came back, which are not delivered again.
    pub echoes: Counter,
    /// WebSockets.
    pub sockets: Counter,
    /// WebSockets that were closed because they did not keep up.
    pub too_slow: Counter,
}

impl Counters {
    /// Returns the metrics in Prometheus's text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        for (name, kind, counter) in [
            ("engine_up", "gauge", &self.engine_up),
            ("engine_losses_total", "counter", &self.engine_losses),
            ("queued", "gauge", &self.queued),
            ("published_total", "counter", &self.published),
            ("dropped_total", "counter", &self.dropped),
            ("received_total", "counter", &self.received),
            ("missed_total", "counter", &self.missed),
            ("echoes_total", "counter", &self.echoes),
            ("sockets", "gauge", &self.sockets),
            ("too_slow_total", "counter", &self.too_slow),
        ] {
            // Writing to a string does not fail.
            let _ = writeln!(out, "# TYPE cluster_{name} {kind}");
            let _ = writeln!(out, "cluster_{name} {}", counter.get());
        }
        out
    }
}
