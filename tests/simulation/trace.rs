//! What happened in a run: a hash of every event, and the broken invariants.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Whether events are printed.
static PRINTS: LazyLock<bool> = LazyLock::new(|| std::env::var_os("SIMULATION_TRACE").is_some());

#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<Seen>>);

struct Seen {
    began: Instant,
    hash: u64,
    events: u64,
    violations: Vec<String>,
    /// Ends of connections that exist.
    ends: isize,
    /// Whether the network has harmed a connection.
    harmed: bool,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Seen {
            began: Instant::now(),
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            violations: Vec::new(),
            ends: 0,
            harmed: false,
        })))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event and its time to the hash.
    pub(crate) fn note(&self, event: &[u64]) {
        let mut seen = self.seen();
        let time = seen.began.elapsed().as_micros() as u64;
        for number in event.iter().copied().chain([time]) {
            seen.hash = (seen.hash ^ number).wrapping_mul(0x0100_0000_01b3);
        }
        seen.events += 1;
        if *PRINTS {
            eprintln!("{time:>8} us {event:?}");
        }
    }

    pub(crate) fn violation(&self, what: String) {
        self.seen().violations.push(what);
    }

    pub(crate) fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.seen().violations)
    }

    pub(crate) fn ends(&self, more: isize) {
        self.seen().ends += more;
    }

    pub(crate) fn open_ends(&self) -> isize {
        self.seen().ends
    }

    pub(crate) fn harmed(&self) {
        self.seen().harmed = true;
    }

    pub(crate) fn is_harmed(&self) -> bool {
        self.seen().harmed
    }

    /// Returns the hash and the number of events.
    pub(crate) fn hash(&self) -> (u64, u64) {
        let seen = self.seen();
        (seen.hash, seen.events)
    }
}
