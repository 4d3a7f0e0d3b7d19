//! A bounded queue of lines for stderr, and the thread that writes them.
//!
//! A reader of stderr that has stopped reading (a full pipe, a paused terminal) blocks this thread
//! and nothing else.
//!
//! | the reader | the lines |
//! |---|---|
//! | reads | arrive in order |
//! | does not read | wait, up to [`CAPACITY`] bytes; further ones are dropped and counted |
//! | reads again | the count of dropped lines arrives, then new lines |
//! | is gone | are dropped |
//! | does not read when the program exits | are waited for, at most [`FLUSH_LIMIT`] |

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Maximum number of bytes waiting to be written.
pub(super) const CAPACITY: usize = 4 * 1024 * 1024;

/// Bytes written at a time. Small, so that a reader that resumes soon learns of dropped lines.
const CHUNK: usize = 64 * 1024;

/// How long the program waits for its last lines before it exits.
pub(super) const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// A handle to write lines with; clones share the queue.
#[derive(Clone)]
pub(super) struct Queue {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Notified when there is something to write.
    filled: Condvar,
    /// Notified when everything has been written.
    drained: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    lost: u64,
    /// Whether the thread is writing a chunk, which is no longer part of `waiting`.
    writing: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Starts the thread, which writes to `out`. Calls `lost` with the number of dropped lines as
    /// soon as there is room again; `lost` may itself write a line.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        lost: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
        });
        let for_thread = shared.clone();
        thread::Builder::new()
            .name("log".into())
            .spawn(move || write(&for_thread, out, lost))?;
        Ok(Self { shared })
    }

    /// Queues a whole line, or counts it as dropped.
    fn push(&self, line: &[u8]) {
        let mut state = self.shared.state();
        // No line may come between the dropped ones and the line that counts them.
        if state.lost > 0 || state.waiting.len() + line.len() > CAPACITY {
            state.lost += 1;
            return;
        }
        state.waiting.extend_from_slice(line);
        if !state.writing {
            self.shared.filled.notify_one();
        }
    }

    /// Waits until everything is written, at most for `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let state = self.shared.state();
        let left = |state: &mut State| state.writing || !state.waiting.is_empty();
        let waited = self.shared.drained.wait_timeout_while(state, limit, left);
        drop(waited);
    }
}

fn write(shared: &Shared, mut out: impl Write, lost: impl Fn(u64)) {
    let mut chunk = Vec::new();
    loop {
        let mut state = shared.state();
        state.writing = false;
        while state.waiting.is_empty() {
            let count = std::mem::take(&mut state.lost);
            if count > 0 {
                drop(state);
                lost(count);
                state = shared.state();
                continue;
            }
            shared.drained.notify_all();
            state = shared
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let len = state.waiting.len().min(CHUNK);
        chunk.clear();
        chunk.extend(state.waiting.drain(..len));
        if state.waiting.is_empty() && state.waiting.capacity() > 2 * CHUNK {
            state.waiting = Vec::new();
        }
        state.writing = true;
        drop(state);
        // There is nowhere to report that stderr is closed.
        let _ = out.write_all(&chunk).and_then(|()| out.flush());
    }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A pipe whose reader takes one write per permit.
    struct Slow {
        permits: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.permits.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Slow, Sender<()>, Receiver<Vec<u8>>) {
        let (allow, permits) = channel();
        let (written, read) = channel();
        (Slow { permits, written }, allow, read)
    }

    #[test]
    fn dropped_lines_are_counted_and_the_count_is_written_when_there_is_room() {
        let (out, allow, read) = slow();
        let slot: Arc<Mutex<Option<Queue>>> = Arc::default();
        let mine = slot.clone();
        let queue = Queue::start(out, move |lost| {
            let queue = mine.lock().unwrap().clone().unwrap();
            queue.push(format!("lost {lost}\n").as_bytes());
        })
        .unwrap();
        *slot.lock().unwrap() = Some(queue.clone());
        let line = [b'x'; 1024];
        let more = 100;
        // The thread may hold a chunk in addition.
        let fits = (CAPACITY + CHUNK) / line.len();
        let mut put = 0;
        while queue.shared.state().lost < more {
            queue.push(&line);
            put += 1;
            assert!(put <= fits as u64 + more + 1, "the queue is unbounded");
        }
        let kept = (put - more) as usize * line.len();
        for _ in 0..2 * CAPACITY / CHUNK {
            allow.send(()).unwrap();
        }
        queue.flush(Duration::from_secs(60));
        let all: Vec<u8> = read.try_iter().flatten().collect();
        let (lines, last) = all.split_at(kept);
        assert!(lines.iter().all(|byte| *byte == b'x'));
        assert_eq!(String::from_utf8_lossy(last), "lost 100\n");
    }

    #[test]
    fn a_closed_pipe_does_not_block_writers() {
        let (out, allow, _read) = slow();
        drop(allow);
        let queue = Queue::start(out, |_| {}).unwrap();
        for _ in 0..10 {
            queue.push(b"line\n");
            queue.flush(Duration::from_secs(60));
        }
        assert_eq!(queue.shared.state().lost, 0);
    }

    #[test]
    fn flush_returns_after_its_limit() {
        let (out, _allow, _read) = slow();
        let queue = Queue::start(out, |_| {}).unwrap();
        queue.push(b"line\n");
        queue.flush(Duration::from_millis(1));
        assert!(queue.shared.state().writing || !queue.shared.state().waiting.is_empty());
    }
}
