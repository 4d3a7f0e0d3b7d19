//! SIGINT, SIGTERM and SIGHUP.

/// Done at the first signal. A second one ends the program at once.
pub(crate) async fn stop() {
    one().await;
    tokio::spawn(async {
        one().await;
        eprintln!("h2ws: stopped at once");
        std::process::exit(1);
    });
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

#[cfg(unix)]
async fn one() {
    use tokio::signal::unix::{SignalKind, signal};

    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn one() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
