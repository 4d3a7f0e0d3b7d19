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
            eprintln!("h2ws: stopped at once");
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
