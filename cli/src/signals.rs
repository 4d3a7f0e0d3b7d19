//! SIGINT, SIGTERM and SIGHUP.
//!
//! | | SIGINT (Ctrl-C) | SIGTERM | a second one |
//! |---|---|---|---|
//! | a server drains, and ends with | 0 | 0 | 1, at once |
//! | everything else was not done, and ends with | 130 | 143 | the same, at once |

use std::sync::atomic::{AtomicU8, Ordering};

const SIGINT: u8 = 2;
const SIGTERM: u8 = 15;

/// The first signal that came; 0 before.
static CAME: AtomicU8 = AtomicU8::new(0);

/// The status of a program that was stopped, as shells count it.
pub(crate) fn status() -> Option<u8> {
    match CAME.load(Ordering::Relaxed) {
        0 => None,
        signal => Some(128 + signal),
    }
}

/// Done at the first signal since this was called. A second one ends the
/// program at once.
pub(crate) fn stop() -> impl Future<Output = ()> + Send {
    stop_or(status)
}

/// As [`stop`], for a server, of which the signal is the orderly end.
pub(crate) fn drain() -> impl Future<Output = ()> + Send {
    stop_or(|| None)
}

fn stop_or(status: fn() -> Option<u8>) -> impl Future<Output = ()> + Send {
    let first = one();
    async move {
        CAME.store(first.await, Ordering::Relaxed);
        let second = one();
        tokio::spawn(async move {
            second.await;
            crate::log::tell("stopped at once");
            crate::log::exit(status().unwrap_or(1));
        });
    }
}

/// Calls `then` at each SIGHUP. Where this is not called, SIGHUP ends the
/// program, as usual.
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

/// There is no such signal.
#[cfg(not(unix))]
pub(crate) fn on_hangup(_: impl Fn() + Send + 'static) {}

/// One signal that comes after this was called.
#[cfg(unix)]
fn one() -> impl Future<Output = u8> + Send {
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
async fn one() -> u8 {
    if tokio::signal::ctrl_c().await.is_err() {
        return std::future::pending().await;
    }
    SIGINT
}

/// SIGHUP, as often as it comes.
#[cfg(unix)]
pub(crate) struct Reloads(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Reloads {
    /// From now on, it is not the end of the program.
    pub(crate) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next; false if there is none any more.
    pub(crate) async fn next(&mut self) -> bool {
        self.0.recv().await.is_some()
    }
}

/// There is no such signal.
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
