//! Peers that were not written with the library: RFC 6455 frames and HTTP/2
//! frames by hand, the `h2` crate as it comes, text over TCP.

pub(crate) mod bridge;
pub(crate) mod client;
pub(crate) mod frames;
pub(crate) mod h2peer;
pub(crate) mod hyperpeer;
pub(crate) mod plain_http;
pub(crate) mod raw;
pub(crate) mod server;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod tls;

use std::time::Duration;

/// An error and its causes on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

/// Long enough for any machine: it only turns a hang into a failure.
const HANG: Duration = Duration::from_secs(30);

/// Awaits what must happen; fails where it does not.
#[track_caller]
pub(crate) fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(HANG, future).await {
            Ok(output) => output,
            Err(_) => panic!("hangs at {caller}"),
        }
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn until(condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let mut condition = condition;
    within(async move {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
}

/// The tasks of this test's runtime that have not ended.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}
