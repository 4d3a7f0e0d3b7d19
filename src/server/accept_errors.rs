//! What a server does when the operating system gives it no connection.
//!
//! | `accept` fails | the loop | the log |
//! |---|---|---|
//! | by a fault of the one connection (reset, aborted) | goes on | nothing |
//! | by a lack (files, memory) | pauses, twice as long each time up to [`LONGEST`], and never stops | at most one warning per [`EVERY`], which names the limit and counts those left out |
//!
//! The pause is kept here, not in the future that waits: that one is dropped
//! each time a connection ends. The end of a connection ends the pause, for it
//! may have left a file, but not the time between two warnings.

use std::fmt;
use std::io;

use tokio::time::{Duration, Instant, sleep_until};

use crate::transport::is_lack_of_files;

/// The first pause: the end of another connection may have mended it by then.
const SHORTEST: Duration = Duration::from_millis(50);

/// The longest pause. Clients wait in the kernel's queue meanwhile.
const LONGEST: Duration = Duration::from_secs(1);

/// Time between two warnings.
const EVERY: Duration = Duration::from_secs(1);

pub(super) struct AcceptErrors {
    pause: Duration,
    until: Option<Instant>,
    /// When the next warning may be logged.
    next_warning: Option<Instant>,
    left_out: u64,
    /// The process's limit of open files, looked up while there is a file left
    /// to look it up by.
    max_files: Option<u64>,
}

impl AcceptErrors {
    pub(super) fn new() -> Self {
        Self {
            pause: SHORTEST,
            until: None,
            next_warning: None,
            left_out: 0,
            max_files: max_files(),
        }
    }

    /// Waits until it is worth trying again.
    pub(super) async fn pause(&mut self) {
        if let Some(until) = self.until {
            sleep_until(until).await;
            self.until = None;
        }
    }

    /// A connection ended, and may have left a file for the next.
    pub(super) fn relieved(&mut self) {
        self.until = None;
    }

    /// A connection came.
    pub(super) fn over(&mut self) {
        self.pause = SHORTEST;
    }

    pub(super) fn met(&mut self, error: &io::Error) {
        if is_of_one_connection(error) {
            return;
        }
        let now = Instant::now();
        self.until = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST);
        if let Some(left_out) = self.warning(now) {
            let lack = Lack(error, self.max_files);
            tracing::warn!(left_out, "cannot accept connections: {lack}");
        }
    }

    /// Whether to log one now, and how many were not since the last.
    fn warning(&mut self, now: Instant) -> Option<u64> {
        if self.next_warning.is_some_and(|next| now < next) {
            self.left_out += 1;
            return None;
        }
        self.next_warning = Some(now + EVERY);
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Why there is no connection, and what an operator can do.
struct Lack<'a>(&'a io::Error, Option<u64>);

impl fmt::Display for Lack<'_> {
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
        let mut trouble = AcceptErrors::new();
        let began = Instant::now();
        for _ in 0..100 {
            trouble.met(&io::Error::from_raw_os_error(24));
            // Dropped at once, as when a connection ends.
            let waited = tokio::time::timeout(Duration::ZERO, trouble.pause()).await;
            assert!(waited.is_err(), "no pause");
            trouble.pause().await;
        }
        // 50 + 100 + … + 800 ms, and 95 s.
        assert_eq!(began.elapsed().as_secs(), 96);
        trouble.over();
        trouble.met(&io::Error::from_raw_os_error(24));
        let began = Instant::now();
        trouble.pause().await;
        assert!(began.elapsed() < 2 * SHORTEST, "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn one_warning_in_a_while_counts_the_others() {
        let mut trouble = AcceptErrors::new();
        let mut logged = Vec::new();
        for _ in 0..30 {
            logged.extend(trouble.warning(Instant::now()));
            tokio::time::advance(EVERY / 10).await;
        }
        assert_eq!(logged, [0, 9, 9]);
    }

    #[test]
    fn faults_of_one_connection_hold_up_no_other() {
        let mut trouble = AcceptErrors::new();
        trouble.met(&io::ErrorKind::ConnectionAborted.into());
        assert!(trouble.until.is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_limit_is_named() {
        let error = io::Error::from_raw_os_error(24);
        let text = Lack(&error, max_files()).to_string();
        let files = max_files().unwrap();
        assert!(text.contains(&format!("may open {files} files")), "{text}");
        assert!(text.contains("ulimit -n"), "{text}");
        let other = io::Error::from_raw_os_error(12);
        assert!(!Lack(&other, None).to_string().contains("ulimit"));
    }
}
