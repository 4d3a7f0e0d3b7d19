//! SIGINT, SIGTERM and SIGHUP.

/// Done at the first signal since this was called. A second one ends the
/// program at once.
pub(crate) fn stop() -> impl Future<Output = ()> + Send {
    let first = one();
    async {
        first.await;
        let second = one();
        tokio::spawn(async {
            second.await;
            crate::log::tell("stopped at once");
            std::process::exit(1);
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
fn one() -> impl Future<Output = ()> + Send {
    use tokio::signal::unix::{SignalKind, signal};

    let interrupt = signal(SignalKind::interrupt());
    let terminate = signal(SignalKind::terminate());
    async {
        let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
async fn one() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
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
