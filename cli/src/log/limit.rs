//! Limits how often lines of one kind repeat, so that a flood of refusals does not fill a disk.
//!
//! **The rule.** Of each kind at most `--log-limit` lines are written in [`WINDOW`]; one further line
//! has the number of those left out.
//!
//! | line | kind |
//! |---|---|
//! | a warning or an error | the place in the source where it is logged |
//! | an access line with `closed=rejected` | `closed_by` and `status` |
//! | any other | not limited |
//!
//! No kind is chosen by a client, so there are few of them.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::access;

/// The time in which lines are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// Default of `--log-limit`.
pub(crate) const DEFAULT: u32 = 100;

/// How often the counts of lines that were left out are looked at.
const TICK: Duration = Duration::from_millis(500);

/// The target of lines with such a count, which are not limited.
const TARGET: &str = "h2ws::log";

static LIMIT: AtomicU32 = AtomicU32::new(DEFAULT);

static COUNTS: LazyLock<Mutex<Counts>> = LazyLock::new(Mutex::default);

/// Sets the maximum number of lines of a kind in [`WINDOW`].
pub(crate) fn set_limit(lines: u32) {
    LIMIT.store(lines, Ordering::Relaxed);
}

fn counts() -> MutexGuard<'static, Counts> {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drops the lines that exceed the limit.
pub(super) struct Limit;

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let Some(line) = Line::of(event) else {
            return true;
        };
        let mut counts = counts();
        let admitted = counts.admit(line, LIMIT.load(Ordering::Relaxed), Instant::now());
        if !admitted && !std::mem::replace(&mut counts.is_watched, true) {
            let watcher = thread::Builder::new().name("log limit".into());
            counts.is_watched = watcher.spawn(watch).is_ok();
        }
        admitted
    }
}

/// Logs the number of lines left out whenever a window is over, and returns once all are reported.
fn watch() {
    loop {
        thread::sleep(TICK);
        let mut counts = counts();
        let due = counts.due(Instant::now());
        counts.is_watched = counts.kinds.values().any(|kind| kind.left_out > 0);
        let is_watched = counts.is_watched;
        drop(counts);
        report(due);
        if !is_watched {
            return;
        }
    }
}

/// Logs how many lines were left out so far, because the program ends.
pub(super) fn finish() {
    let left = counts().due(Instant::now() + WINDOW);
    report(left);
}

fn report(left_out: Vec<(String, u64)>) {
    for (kind, lines) in left_out {
        let text = grouped(lines);
        let seconds = WINDOW.as_secs();
        tracing::warn!(target: TARGET, lines, "{text} more in the last {seconds} s: {kind}");
    }
}

/// Returns a number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[derive(Default)]
struct Counts {
    kinds: HashMap<String, Kind>,
    is_watched: bool,
}

struct Kind {
    /// What the count of lines that were left out calls it.
    name: String,
    began: Instant,
    lines: u32,
    left_out: u64,
}

impl Counts {
    fn admit(&mut self, line: Line, limit: u32, now: Instant) -> bool {
        let new = Kind {
            name: line.name,
            began: now,
            lines: 0,
            left_out: 0,
        };
        let kind = self.kinds.entry(line.key).or_insert(new);
        if kind.left_out == 0 && now.duration_since(kind.began) >= WINDOW {
            (kind.began, kind.lines) = (now, 0);
        }
        if kind.lines < limit {
            kind.lines += 1;
            return true;
        }
        kind.left_out += 1;
        false
    }

    /// Returns what was left out of windows that are over, and begins new ones.
    fn due(&mut self, now: Instant) -> Vec<(String, u64)> {
        let mut due = Vec::new();
        for kind in self.kinds.values_mut() {
            if kind.left_out > 0 && now.duration_since(kind.began) >= WINDOW {
                due.push((kind.name.clone(), std::mem::take(&mut kind.left_out)));
                (kind.began, kind.lines) = (now, 0);
            }
        }
        due
    }
}

/// A line that is limited.
struct Line {
    /// What identifies its kind.
    key: String,
    name: String,
}

impl Line {
    fn of(event: &Event<'_>) -> Option<Self> {
        let metadata = event.metadata();
        let mut seen = Seen::default();
        match metadata.target() {
            TARGET => None,
            access::TARGET => {
                event.record(&mut seen);
                let key = format!("rejected by {}, status {}", seen.closed_by, seen.status);
                let name = key.clone();
                seen.is_rejected.then_some(Self { key, name })
            }
            _ if *metadata.level() > Level::WARN => None,
            _ => {
                event.record(&mut seen);
                Some(Self {
                    key: metadata.name().to_owned(),
                    name: seen.message,
                })
            }
        }
    }
}

/// What lines are counted by.
#[derive(Default)]
struct Seen {
    message: String,
    is_rejected: bool,
    closed_by: String,
    status: u64,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "closed_by" => self.closed_by = format!("{value:?}"),
            "message" => self.message = format!("{value:?}"),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "closed" => self.is_rejected = value == "rejected",
            "closed_by" => self.closed_by = value.to_owned(),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "status" {
            self.status = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_counted_by_kind_until_the_window_ends() {
        let mut counts = Counts::default();
        let began = Instant::now();
        let admitted = |counts: &mut Counts, kind: &str, lines, after| {
            let now = began + Duration::from_secs(after);
            (0..lines)
                .filter(|_| {
                    let (key, name) = (format!("key of {kind}"), kind.to_owned());
                    counts.admit(Line { key, name }, 3, now)
                })
                .count()
        };
        let due = |counts: &mut Counts, after| counts.due(began + Duration::from_secs(after));
        assert_eq!(admitted(&mut counts, "a", 10, 0), 3);
        assert_eq!(admitted(&mut counts, "b", 2, 0), 2);
        assert_eq!(due(&mut counts, 9), []);
        // Nothing comes between the lines left out and their count.
        assert_eq!(admitted(&mut counts, "a", 1, 11), 0);
        assert_eq!(due(&mut counts, 11), [("a".to_owned(), 8)]);
        assert_eq!(admitted(&mut counts, "a", 4, 12), 3);
        assert_eq!(due(&mut counts, 21), [("a".to_owned(), 1)]);
        // A window without any left out ends by itself.
        assert_eq!(admitted(&mut counts, "b", 3, 12), 3);
        assert_eq!(due(&mut counts, 40), []);
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1234, "1,234"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
