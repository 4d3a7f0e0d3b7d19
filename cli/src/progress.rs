//! A progress bar on stderr, at a terminal.
//!
//! A thread of its own draws it, so that a terminal that is paused stalls nothing. Whatever else is
//! written to the terminal meanwhile goes through [`beside`], which erases the bar and draws it again
//! below; so a line of the log never ends up within the bar.
//!
//! The row is shorter than the terminal is wide, by what the terminal echoes for Ctrl-C: otherwise that
//! would begin another row, and the bar would stay. (This is why it is our own: indicatif's row ends at
//! the right edge.)

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::terminal::grouped;

/// How often the bar is drawn.
const EVERY: Duration = Duration::from_millis(200);

/// How long to wait for the bar to be erased: a terminal may be paused.
const ERASED_WITHIN: Duration = Duration::from_secs(1);

/// Columns of the bar.
const BAR: u64 = 24;

/// Columns at the right that stay free, for the echo of Ctrl-C.
const FREE: usize = 3;

/// Columns of a terminal that does not say.
const COLUMNS: usize = 80;

const ERASE: &[u8] = b"\r\x1b[K";

/// The row on the screen, if there is one.
static SHOWN: Mutex<Option<String>> = Mutex::new(None);

fn shown() -> MutexGuard<'static, Option<String>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to the terminal while no bar is on it.
fn beside<T>(write: impl FnOnce(&mut io::StderrLock<'static>) -> T) -> T {
    let shown = shown();
    let mut out = io::stderr().lock();
    let Some(row) = &*shown else {
        return write(&mut out);
    };
    // There is nowhere to report that the terminal is gone.
    let _ = out.write_all(ERASE);
    let done = write(&mut out);
    let _ = out.write_all(row.as_bytes());
    done
}

/// Replaces the bar on the screen.
fn draw(row: Option<String>) {
    let mut shown = shown();
    let mut out = io::stderr().lock();
    if *shown != row {
        let _ = out.write_all(ERASE);
        let _ = out.write_all(row.as_deref().unwrap_or_default().as_bytes());
        *shown = row;
    }
}

#[cfg(unix)]
fn columns() -> usize {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => COLUMNS,
    }
}

#[cfg(not(unix))]
fn columns() -> usize {
    COLUMNS
}

/// Returns the row: the name, a bar, and the text, cut at the terminal's width.
fn row(name: &str, total: u64, now: &Now, columns: usize) -> String {
    let filled = now.position.min(total) * BAR / total.max(1);
    let bar: String = (0..BAR)
        .map(|column| if column < filled { '━' } else { '─' })
        .collect();
    let row = format!("{name} {bar} {}", now.text);
    row.chars().take(columns.saturating_sub(FREE)).collect()
}

/// Stderr, beside a progress bar.
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        beside(|out| out.write(bytes))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        beside(|out| out.write_all(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A bar; erased when dropped.
pub(crate) struct Progress {
    /// `None` if it is not shown.
    state: Option<Arc<State>>,
}

#[derive(Default)]
struct State {
    over: Mutex<Over>,
    changed: Condvar,
}

#[derive(Default)]
struct Over {
    asked: bool,
    erased: bool,
}

/// How far something is.
pub(crate) struct Now {
    /// Of the total.
    pub(crate) position: u64,
    /// What is written behind the bar.
    pub(crate) text: String,
}

impl Progress {
    /// Shows a bar with a name and a total if stderr is a terminal. `now` is called from a thread.
    pub(crate) fn start(
        is_wanted: bool,
        name: String,
        total: u64,
        mut now: impl FnMut() -> Now + Send + 'static,
    ) -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if !is_wanted || is_dumb || !io::stderr().is_terminal() {
            return Self { state: None };
        }
        let state = Arc::new(State::default());
        let drawn = state.clone();
        let run = move || {
            while !drawn.is_over_within(EVERY) {
                draw(Some(row(&name, total, &now(), columns())));
            }
            draw(None);
            drawn.lock().erased = true;
            drawn.changed.notify_all();
        };
        let started = thread::Builder::new().name("progress".into()).spawn(run);
        Self {
            state: started.is_ok().then_some(state),
        }
    }

    /// Shows how many of `total` are done, and how many per second since the start.
    pub(crate) fn count(is_wanted: bool, name: String, total: u64) -> (Self, Count) {
        let count = Count::default();
        (Self::follow(is_wanted, name, total, &count), count)
    }

    /// As [`count`](Self::count), of what is counted anyway.
    pub(crate) fn follow(is_wanted: bool, name: String, total: u64, count: &Count) -> Self {
        let (done, began) = (count.clone(), Instant::now());
        let now = move || {
            let position = done.get();
            let rate = position as f64 / began.elapsed().as_secs_f64().max(1e-9);
            let (done, total) = (grouped(position), grouped(total));
            let rate = grouped(rate as u64);
            let text = format!("{done} of {total}  {rate}/s");
            Now { position, text }
        };
        Self::start(is_wanted, name, total, now)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(state) = &self.state {
            let mut over = state.lock();
            over.asked = true;
            state.changed.notify_all();
            let left = |over: &mut Over| !over.erased;
            let waited = state.changed.wait_timeout_while(over, ERASED_WITHIN, left);
            drop(waited);
        }
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Over> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over_within(&self, limit: Duration) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), limit, |over| !over.asked);
        waited.unwrap_or_else(PoisonError::into_inner).0.asked
    }
}

/// A number that only grows; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicU64>);

impl Count {
    /// Adds 1 and returns the sum.
    pub(crate) fn increment(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_shows_the_part_and_leaves_room_for_an_echo() {
        let now = |position| Now {
            position,
            text: "text".to_owned(),
        };
        let filled = |position, total| {
            let row = row("name", total, &now(position), 80);
            assert!(row.starts_with("name ") && row.ends_with(" text"), "{row}");
            row.matches('━').count()
        };
        for (position, total, expected) in [(0, 10, 0), (5, 10, 12), (10, 10, 24), (11, 10, 24)] {
            assert_eq!(filled(position, total), expected);
        }
        assert_eq!(filled(0, 0), 0);
        for columns in [0, 2, 3, 4, 20, 34] {
            let row = row("name", 10, &now(5), columns);
            assert_eq!(row.chars().count(), columns.saturating_sub(FREE));
        }
    }
}
