//! SIGINT, SIGTERM and SIGHUP.
//!
//! | exit status of | SIGINT (Ctrl-C) | SIGTERM | a second signal |
//! |---|---|---|---|
//! | `serve` and `bridge`, which drain first | 0 | 0 | 1, at once |
//! | all other commands | 130 | 143 | the same, at once |
//!
//! `connect` at a terminal exits with 129 when the terminal goes away (SIGHUP).

use std::sync::atomic::{AtomicU8, Ordering};

#[cfg(unix)]
const SIGHUP: u8 = 1;
const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

/// The first signal that arrived; 0 before.
static FIRST: AtomicU8 = AtomicU8::new(0);

/// Returns the exit status for the signal that arrived, if any: 128 plus its number.
pub(crate) fn status() -> Option<u8> {
    match FIRST.load(Ordering::Relaxed) {
        0 => None,
        signal => Some(128 + signal),
    }
}

/// Makes the exit status that of SIGHUP, after the terminal has gone away.
#[cfg(unix)]
pub(crate) fn hung_up() {
    FIRST.store(SIGHUP, Ordering::Relaxed);
}

/// Waits for a signal that arrives after this call. A second one then exits the program at once,
/// with the status of the first.
pub(crate) fn stop() -> impl Future<Output = ()> + Send {
    stop_or(status)
}

/// As [`stop`], but a second signal exits with status 1: for servers, whose orderly end is the first.
pub(crate) fn drain() -> impl Future<Output = ()> + Send {
    stop_or(|| None)
}

fn stop_or(status: fn() -> Option<u8>) -> impl Future<Output = ()> + Send {
    let first = next_signal();
    async move {
        FIRST.store(first.await, Ordering::Relaxed);
        let second = next_signal();
        tokio::spawn(async move {
            second.await;
            crate::log::notice("second signal: stopped at once");
            crate::log::exit(status().unwrap_or(1));
        });
    }
}

/// Calls `then` at each SIGHUP. Without a call of this, SIGHUP ends the program, as usual.
#[cfg(unix)]
pub(crate) fn on_hangup(then: impl Fn() + Send + 'static) {
    use tokio::signal::unix::{SignalKind, signal};

    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return;
    };
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            then();
        }
    });
}

/// Other systems have no such signal.
#[cfg(not(unix))]
pub(crate) fn on_hangup(_: impl Fn() + Send + 'static) {}

/// Waits for one signal that arrives after this call.
#[cfg(unix)]
fn next_signal() -> impl Future<Output = u8> + Send {
    use tokio::signal::unix::{SignalKind, signal};

    let interrupt = signal(SignalKind::interrupt());
    let terminate = signal(SignalKind::terminate());
    async {
        let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => SIGINT,
            _ = terminate.recv() => SIGTERM,
        }
    }
}

#[cfg(not(unix))]
async fn next_signal() -> u8 {
    if tokio::signal::ctrl_c().await.is_err() {
        return std::future::pending().await;
    }
    SIGINT
}

/// A stream of SIGHUPs.
#[cfg(unix)]
pub(crate) struct Reloads(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Reloads {
    /// Installs the handler: from now on, SIGHUP does not end the program.
    pub(crate) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next SIGHUP. Returns false if there can be no more.
    pub(crate) async fn next(&mut self) -> bool {
        self.0.recv().await.is_some()
    }
}

/// Other systems have no such signal.
#[cfg(not(unix))]
pub(crate) struct Reloads;

#[cfg(not(unix))]
impl Reloads {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn next(&mut self) -> bool {
        false
    }
}
