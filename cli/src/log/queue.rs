//! Lines for stderr, written by a thread of their own.
//!
//! A reader that has stopped to read (a full pipe, a paused terminal) must hold
//! up nobody but that thread: what is logged goes into a queue of so many bytes.
//!
//! | the reader | lines | the program |
//! |---|---|---|
//! | reads | arrive in order | goes on |
//! | does not read | wait, up to [`MOST`] bytes; further ones are lost and counted | goes on |
//! | reads again | the count of those lost, then what is logged from then on | goes on |
//! | is gone | are dropped | goes on |
//! | does not read when the program ends | are waited for, [`LAST`] at most | ends |

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes of lines that wait to be written, at most.
pub(super) const MOST: usize = 4 * 1024 * 1024;

/// Bytes that are written at a time: a reader that reads again hears of lost
/// lines soon.
const TURN: usize = 64 * 1024;

/// How long the end of the program waits for its last lines.
pub(super) const LAST: Duration = Duration::from_secs(1);

/// To be cloned for each that writes.
#[derive(Clone)]
pub(super) struct Queue {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    filled: Condvar,
    /// All has been written.
    drained: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    lost: u64,
    /// Whether the thread has something in hand.
    writing: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Starts a thread that writes to `out`. Tells `lost` how many lines were
    /// not written, once there is room again; it may write a line.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        lost: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
        });
        let theirs = shared.clone();
        thread::Builder::new()
            .name("log".into())
            .spawn(move || write(&theirs, out, lost))?;
        Ok(Self { shared })
    }

    /// Takes a whole line, or counts it as lost.
    fn put(&self, line: &[u8]) {
        let mut state = self.shared.state();
        // Nothing is between what was lost and the word of it.
        if state.lost > 0 || state.waiting.len() + line.len() > MOST {
            state.lost += 1;
            return;
        }
        state.waiting.extend_from_slice(line);
        if !state.writing {
            self.shared.filled.notify_one();
        }
    }

    /// Waits until all has been written, but not for long.
    pub(super) fn flush(&self, limit: Duration) {
        let state = self.shared.state();
        let left = |state: &mut State| state.writing || !state.waiting.is_empty();
        let waited = self.shared.drained.wait_timeout_while(state, limit, left);
        drop(waited);
    }
}

fn write(shared: &Shared, mut out: impl Write, lost: impl Fn(u64)) {
    let mut turn = Vec::new();
    loop {
        let mut state = shared.state();
        state.writing = false;
        while state.waiting.is_empty() {
            let gone = std::mem::take(&mut state.lost);
            if gone > 0 {
                drop(state);
                lost(gone);
                state = shared.state();
                continue;
            }
            shared.drained.notify_all();
            state = shared
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let much = state.waiting.len().min(TURN);
        turn.clear();
        turn.extend(state.waiting.drain(..much));
        if state.waiting.is_empty() && state.waiting.capacity() > 2 * TURN {
            state.waiting = Vec::new();
        }
        state.writing = true;
        drop(state);
        // Nobody can be told that nobody can be told.
        let _ = out.write_all(&turn).and_then(|()| out.flush());
    }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line);
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

    /// A pipe whose reader takes what it is allowed to.
    struct Slow {
        may: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.may.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Slow, Sender<()>, Receiver<Vec<u8>>) {
        let (allow, may) = channel();
        let (written, read) = channel();
        (Slow { may, written }, allow, read)
    }

    #[test]
    fn lines_that_find_no_room_are_counted_and_told_when_there_is() {
        let (out, allow, read) = slow();
        let slot: Arc<Mutex<Option<Queue>>> = Arc::default();
        let mine = slot.clone();
        let queue = Queue::start(out, move |lost| {
            let queue = mine.lock().unwrap().clone().unwrap();
            queue.put(format!("lost {lost}\n").as_bytes());
        })
        .unwrap();
        *slot.lock().unwrap() = Some(queue.clone());
        let line = [b'x'; 1024];
        let more = 100;
        // What the thread has in hand is beside what waits.
        let fits = (MOST + TURN) / line.len();
        let mut put = 0;
        while queue.shared.state().lost < more {
            queue.put(&line);
            put += 1;
            assert!(put <= fits as u64 + more + 1, "no bound");
        }
        let kept = (put - more) as usize * line.len();
        for _ in 0..2 * MOST / TURN {
            allow.send(()).unwrap();
        }
        queue.flush(Duration::from_secs(60));
        let all: Vec<u8> = read.try_iter().flatten().collect();
        let (lines, last) = all.split_at(kept);
        assert!(lines.iter().all(|byte| *byte == b'x'));
        assert_eq!(String::from_utf8_lossy(last), "lost 100\n");
    }

    #[test]
    fn a_reader_that_is_gone_stops_nobody() {
        let (out, allow, _read) = slow();
        drop(allow);
        let queue = Queue::start(out, |_| {}).unwrap();
        for _ in 0..10 {
            queue.put(b"line\n");
            queue.flush(Duration::from_secs(60));
        }
        assert_eq!(queue.shared.state().lost, 0);
    }

    #[test]
    fn the_end_waits_no_longer_than_it_may() {
        let (out, _allow, _read) = slow();
        let queue = Queue::start(out, |_| {}).unwrap();
        queue.put(b"line\n");
        // Nobody reads; it returns.
        queue.flush(Duration::from_millis(1));
        assert!(queue.shared.state().writing || !queue.shared.state().waiting.is_empty());
    }
}
