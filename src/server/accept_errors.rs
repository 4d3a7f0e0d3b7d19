//! Handles failures of `accept`.
//!
//! | `accept` fails | the loop | the log |
//! |---|---|---|
//! | because of the one connection (reset, aborted) | continues | nothing |
//! | because files or memory are exhausted | pauses, twice as long each time up to [`MAX_PAUSE`], and never stops | at most one warning per [`WARNING_INTERVAL`], which names the limit and counts the suppressed ones |
//!
//! The pause is stored here and not in the future that waits, because that future is
//! dropped whenever a connection ends. The end of a connection may have freed a file, so
//! it ends the pause, but not the time between two warnings.

use std::fmt;
use std::io;

use tokio::time::{Duration, Instant, sleep_until};

use crate::transport::is_lack_of_files;

/// The first pause. Another connection may have ended by then.
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause. Clients wait in the kernel's queue meanwhile.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Minimum time between two warnings.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct AcceptErrors {
    pause: Duration,
    until: Option<Instant>,
    /// When the next warning may be logged.
    next_warning: Option<Instant>,
    suppressed: u64,
    /// The process's limit of open files. Read at the start, because reading it takes a
    /// file.
    max_files: Option<u64>,
}

impl AcceptErrors {
    pub(super) fn new() -> Self {
        Self {
            pause: MIN_PAUSE,
            until: None,
            next_warning: None,
            suppressed: 0,
            max_files: max_files(),
        }
    }

    /// Waits until `accept` is worth another attempt.
    pub(super) async fn pause(&mut self) {
        if let Some(until) = self.until {
            sleep_until(until).await;
            self.until = None;
        }
    }

    /// Ends the pause: the connection may have freed a file.
    pub(super) fn connection_ended(&mut self) {
        self.until = None;
    }

    /// Resets the pause after a success.
    pub(super) fn accepted(&mut self) {
        self.pause = MIN_PAUSE;
    }

    pub(super) fn failed(&mut self, error: &io::Error) {
        if is_of_one_connection(error) {
            return;
        }
        let now = Instant::now();
        self.until = Some(now + self.pause);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        if let Some(suppressed) = self.warning(now) {
            let error = Exhausted(error, self.max_files);
            tracing::warn!(suppressed, "cannot accept connections: {error}");
        }
    }

    /// Returns the number of suppressed warnings if one may be logged now.
    fn warning(&mut self, now: Instant) -> Option<u64> {
        if self.next_warning.is_some_and(|next| now < next) {
            self.suppressed += 1;
            return None;
        }
        self.next_warning = Some(now + WARNING_INTERVAL);
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// Displays the error of `accept`, and what an operator can do about it.
struct Exhausted<'a>(&'a io::Error, Option<u64>);

impl fmt::Display for Exhausted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error, max_files) = self;
        write!(f, "{error}")?;
        if !is_lack_of_files(error) {
            return Ok(());
        }
        f.write_str("; this process may open ")?;
        match max_files {
            Some(files) => write!(f, "{files} files")?,
            None => f.write_str("no more files")?,
        }
        f.write_str(": raise its limit (ulimit -n, LimitNOFILE=) or lower max_connections")
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

#[cfg(target_os = "linux")]
fn max_files() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn max_files() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_outlives_the_future_that_waits() {
        let mut errors = AcceptErrors::new();
        let began = Instant::now();
        for _ in 0..100 {
            errors.failed(&io::Error::from_raw_os_error(24));
            // Dropped at once, as when a connection ends.
            let waited = tokio::time::timeout(Duration::ZERO, errors.pause()).await;
            assert!(waited.is_err(), "it waits again");
            errors.pause().await;
        }
        // 50 + 100 + … + 800 ms, and 95 s.
        assert_eq!(began.elapsed().as_secs(), 96);
        errors.accepted();
        errors.failed(&io::Error::from_raw_os_error(24));
        let began = Instant::now();
        errors.pause().await;
        assert!(began.elapsed() < 2 * MIN_PAUSE, "the first pause again");
    }

    #[tokio::test(start_paused = true)]
    async fn warnings_are_rate_limited_and_count_the_suppressed() {
        let mut errors = AcceptErrors::new();
        let mut logged = Vec::new();
        for _ in 0..30 {
            logged.extend(errors.warning(Instant::now()));
            tokio::time::advance(WARNING_INTERVAL / 10).await;
        }
        assert_eq!(logged, [0, 9, 9]);
    }

    #[test]
    fn a_failed_connection_does_not_delay_others() {
        let mut errors = AcceptErrors::new();
        errors.failed(&io::ErrorKind::ConnectionAborted.into());
        assert!(errors.until.is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_warning_names_the_limit() {
        let error = io::Error::from_raw_os_error(24);
        let text = Exhausted(&error, max_files()).to_string();
        let files = max_files().unwrap();
        assert!(text.contains(&format!("may open {files} files")), "{text}");
        assert!(text.contains("ulimit -n"), "{text}");
        let other = io::Error::from_raw_os_error(12);
        assert!(!Exhausted(&other, None).to_string().contains("ulimit"));
    }
}
