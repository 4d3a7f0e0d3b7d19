//! Counts the memory that the streams of a connection, and the connections of a
//! process, hold.
//!
//! A stream holds what was received and not read, an incomplete message, and
//! what was written and not accepted by the peer. Each is limited: by the
//! stream's window, the maximum message size and the write buffer. But that
//! times the number of streams is more than one peer should be able to use, and
//! times the number of connections more than there is. So there is one sum per
//! connection and one for all of them. When either is too large, the stream
//! that holds the most is closed: on this connection, or on the connection that
//! holds the most.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Accuracy of a stream's share, in bytes. WebSockets with little to read are
/// not counted at all, which would cost them two atomic operations per message.
pub(super) const STEP: usize = 16 * 1024;

/// How long the reader of a selected stream has to close it before it is reset.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// A memory limit that HTTP/2 connections share, for unread and unsent bytes
/// and incomplete messages; see
/// [`Http2Config::process_buffer`](crate::Http2Config::process_buffer). Clones
/// share the limit.
#[derive(Clone, Debug)]
pub struct ProcessBuffer(Arc<Pool>);

/// A connection that counts for a [`ProcessBuffer`].
pub(super) trait Holder: Send + Sync {
    /// Returns what the connection's streams hold.
    fn held(&self) -> &Held;

    /// Makes the connection's driver compare that with the limits.
    fn check(&self);
}

#[derive(Debug)]
struct Pool {
    bytes: AtomicUsize,
    limit: AtomicUsize,
    connections: Mutex<Vec<Weak<dyn Holder>>>,
}

/// Number of connections from which on those that have ended are removed.
const MANY: usize = 64;

impl ProcessBuffer {
    /// Creates a limit, in bytes, for all connections that are given a clone of
    /// it.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Pool {
            bytes: AtomicUsize::new(0),
            limit: AtomicUsize::new(bytes),
            connections: Mutex::default(),
        }))
    }

    /// Changes the limit, in bytes, for all connections that share it.
    pub fn set_limit(&self, bytes: usize) {
        self.0.limit.store(bytes, Ordering::Relaxed);
    }

    /// Returns the limit, in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// Returns how many bytes are held now, counted to within 16 KiB per
    /// stream.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Adds a connection.
    pub(super) fn join(&self, connection: &Arc<impl Holder + 'static>) {
        let connection = Arc::downgrade(connection);
        let mut connections = self
            .0
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if connections.len() >= MANY && connections.len() == connections.capacity() {
            connections.retain(|connection| connection.strong_count() > 0);
        }
        connections.push(connection);
    }

    fn is_over(&self) -> bool {
        self.held() > self.limit()
    }

    /// Returns the connection that holds the most.
    pub(super) fn largest(&self) -> Option<Arc<dyn Holder>> {
        let connections = self
            .0
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let alive = connections.iter().filter_map(Weak::upgrade);
        alive.max_by_key(|connection| connection.held().bytes())
    }
}

/// The limit of 2 GiB that all connections of the process share by default.
impl Default for ProcessBuffer {
    fn default() -> Self {
        static PROCESS: LazyLock<ProcessBuffer> = LazyLock::new(|| ProcessBuffer::new(2 << 30));
        PROCESS.clone()
    }
}

/// Two values are equal if they share one limit.
impl PartialEq for ProcessBuffer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ProcessBuffer {}

/// The sum of a connection's shares, in bytes.
pub(super) struct Held {
    bytes: AtomicUsize,
    /// Bytes that are held elsewhere for streams of this connection: by a
    /// bridge, for the other side of a WebSocket. They also count for the other
    /// connection, and through that one for the process.
    elsewhere: AtomicUsize,
    limit: usize,
    process: ProcessBuffer,
}

impl Held {
    pub(super) fn new(limit: usize, process: ProcessBuffer) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            elsewhere: AtomicUsize::new(0),
            limit,
            process,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns whether this connection holds too much.
    pub(super) fn is_over(&self) -> bool {
        self.bytes() + self.elsewhere.load(Ordering::Relaxed) > self.limit
    }

    /// Returns the shared limit if all connections together exceed it.
    pub(super) fn process_if_over(&self) -> Option<&ProcessBuffer> {
        self.process.is_over().then_some(&self.process)
    }

    /// Returns whether this connection or all connections together hold too
    /// much.
    pub(super) fn is_too_much(&self) -> bool {
        self.is_over() || self.process.is_over()
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.process.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sub(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.process.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A connection's bytes leave the shared sum with it, whatever became of its
/// streams.
impl Drop for Held {
    fn drop(&mut self) {
        self.sub(self.bytes());
    }
}

/// The bytes of a stream that are included in its connection's sum. They can be read
/// without the lock of the stream, and change only under it.
#[derive(Default)]
pub(super) struct Counted(AtomicU32);

impl Counted {
    pub(super) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, now: u32, held: &Held) {
        let before = self.get();
        if now > before {
            held.add((now - before) as usize);
        } else if now < before {
            held.sub((before - now) as usize);
        }
        self.0.store(now, Ordering::Relaxed);
    }
}

/// What else is known of a stream's share, in bytes.
#[derive(Default)]
pub(super) struct Share {
    /// Bytes received and not taken by the application; a window at most.
    unread: u32,
    /// KiB of incomplete messages, received and being sent.
    parts: u32,
    /// The bytes held elsewhere that are included in the connection's sum.
    elsewhere: u32,
    /// The stream was selected for closing or is over, so it no longer counts.
    excepted: bool,
}

impl Share {
    /// Returns the bytes that closing this stream frees, here and elsewhere.
    pub(super) fn with_elsewhere(&self, counted: &Counted) -> usize {
        counted.get() as usize + self.elsewhere as usize
    }

    /// Sets how many bytes are held elsewhere for this stream.
    pub(super) fn elsewhere(&mut self, held: &Held, bytes: usize) {
        let before = self.elsewhere;
        let now = match self.excepted {
            true => 0,
            false => bytes.try_into().unwrap_or(u32::MAX),
        };
        if now > before {
            let more = (now - before) as usize;
            held.elsewhere.fetch_add(more, Ordering::Relaxed);
        } else if now < before {
            let less = (before - now) as usize;
            held.elsewhere.fetch_sub(less, Ordering::Relaxed);
        }
        self.elsewhere = now;
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.unread += bytes as u32;
    }

    pub(super) fn taken(&mut self, bytes: usize) {
        self.unread -= bytes as u32;
    }

    pub(super) fn parts(&mut self, bytes: usize) {
        self.parts = (bytes / 1024).try_into().unwrap_or(u32::MAX);
    }

    /// Updates what is counted. `more` is the memory of unsent bytes plus the unused
    /// capacity of receive buffers.
    pub(super) fn settle(&self, counted: &Counted, held: &Held, more: usize) {
        let now = self.unread as usize + self.parts as usize * 1024 + more;
        let before = counted.get() as usize;
        if now == before || self.excepted || (now.abs_diff(before) < STEP && now != 0) {
            return;
        }
        counted.set(now.try_into().unwrap_or(u32::MAX), held);
    }

    /// Removes the stream from the sum for good.
    pub(super) fn except(&mut self, counted: &Counted, held: &Held) {
        self.excepted = true;
        counted.set(0, held);
        self.elsewhere(held, 0);
    }
}

/// Returns whether a change of the bytes held for messages has to be reported.
pub(super) fn is_notable(before: usize, now: usize) -> bool {
    before.abs_diff(now) >= STEP || (now == 0 && before != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_to_within_a_step() {
        let process = ProcessBuffer::new(usize::MAX);
        let held = Held::new(100_000, process.clone());
        let sum = || held.bytes.load(Ordering::Relaxed);
        let (mut one, mut other) = (Share::default(), Share::default());
        let (first, second) = (Counted::default(), Counted::default());
        one.received(STEP - 1);
        one.settle(&first, &held, 0);
        assert_eq!(sum(), 0);
        one.received(1);
        one.settle(&first, &held, 0);
        assert_eq!(sum(), STEP);
        other.parts(90 * 1024);
        other.settle(&second, &held, 0);
        assert_eq!((sum(), held.is_over()), (STEP + 90 * 1024, true));
        other.except(&second, &held);
        other.parts(95 * 1024);
        other.settle(&second, &held, 0);
        assert_eq!((sum(), held.is_over()), (STEP, false));
        one.taken(STEP);
        one.settle(&first, &held, 0);
        assert_eq!(sum(), 0, "all bytes were read");
        other = Share::default();
        other.settle(&second, &held, 2 * STEP);
        assert_eq!((sum(), process.held()), (2 * STEP, 2 * STEP), "unsent");
        other.elsewhere(&held, 80_000);
        assert!(held.is_over(), "including what is held elsewhere");
        assert_eq!(
            (sum(), process.held()),
            (2 * STEP, 2 * STEP),
            "counted by the other connection"
        );
        assert_eq!(other.with_elsewhere(&second), 2 * STEP + 80_000);
        other.except(&second, &held);
        assert_eq!((held.is_over(), other.with_elsewhere(&second)), (false, 0));
        other.elsewhere(&held, 200_000);
        assert!(!held.is_over(), "the stream is over");
        one.settle(&first, &held, STEP);
        drop(held);
        assert_eq!(process.held(), 0, "the connection is gone");
    }
}
