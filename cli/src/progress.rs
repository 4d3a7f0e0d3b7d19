//! A progress bar on stderr, at a terminal.
//!
//! A thread of its own draws it, so that a terminal that is paused stalls nothing. Whatever else is
//! written to the terminal meanwhile goes through [`Stderr`], which erases the bar and draws it again
//! below; so a line of the log never ends up within the bar.
//!
//! A terminal that becomes narrower breaks the row into several, and the program learns the new width
//! later than it happens. So the cursor waits at the row's beginning, which it keeps, and everything
//! behind it is erased; and a row that is drawn for the old width is cut, not wrapped.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::terminal::grouped;

/// How often the bar is drawn.
const EVERY: Duration = Duration::from_millis(200);

/// How long to wait for the bar to be erased: a terminal may be paused.
const ERASED_WITHIN: Duration = Duration::from_secs(1);

/// Columns of a terminal that does not say.
const COLUMNS: u16 = 80;

/// In fewer columns there is only text.
const NARROW: u16 = 45;

/// The bar on the screen, if there is one.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn show(bar: Option<ProgressBar>) {
    *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// Writes to the terminal while no bar is on it.
fn beside<T>(write: impl FnOnce(&mut io::StderrLock<'static>) -> T) -> T {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let write = || write(&mut io::stderr().lock());
    match shown {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// A terminal of one row, in which the bar is drawn.
#[derive(Debug, Default)]
struct Row {
    /// What the next flush writes at once, so that the row does not flicker.
    pending: Mutex<String>,
}

/// What erases the row and those below. The row is erased by itself, because tmux keeps a screen that is
/// erased as a whole as history, and shows it again in a larger window.
const ERASE: &str = "\r\x1b[K\x1b7\x1b[B\x1b[J\x1b8";

/// Turns off wrapping at the right margin.
const CUT: &str = "\x1b[?7l";

/// Turns it on again, with the cursor at the beginning.
const WRAP: &str = "\r\x1b[?7h";

impl Row {
    fn push(&self, text: &str) -> io::Result<()> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.push_str(text);
        Ok(())
    }
}

// indicatif moves the cursor only between several rows.
impl TermLike for Row {
    fn width(&self) -> u16 {
        columns()
    }

    fn move_cursor_up(&self, _rows: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _rows: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _columns: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _columns: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.push(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.push(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.push(ERASE)
    }

    fn flush(&self) -> io::Result<()> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let row = format!("{CUT}{}{WRAP}", std::mem::take(&mut *pending));
        io::stderr().write_all(row.as_bytes())
    }
}

#[cfg(unix)]
fn columns() -> u16 {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col,
        _ => COLUMNS,
    }
}

#[cfg(not(unix))]
fn columns() -> u16 {
    COLUMNS
}

fn bar(name: String, total: u64) -> ProgressBar {
    let target = ProgressDrawTarget::term_like(Box::new(Row::default()));
    ProgressBar::with_draw_target(Some(total), target).with_prefix(name)
}

fn style(columns: u16) -> ProgressStyle {
    let template = if columns < NARROW {
        "{wide_msg}"
    } else {
        "{prefix} {bar:24} {wide_msg}"
    };
    let style = ProgressStyle::with_template(template);
    style
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━━─")
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
            let bar = bar(name, total);
            show(Some(bar.clone()));
            while !drawn.is_over_within(EVERY) {
                let now = now();
                bar.set_style(style(columns()));
                bar.set_position(now.position);
                bar.set_message(now.text);
                bar.tick();
            }
            bar.finish_and_clear();
            show(None);
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
