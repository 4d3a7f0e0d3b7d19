//! Shared test support: peers that do not use the library (hand-written
//! RFC 6455 and HTTP/2 frames, the `h2` crate, hyper, HTTP/1.1 text over TCP),
//! and fixtures that put h2ws in between.
//!
//! # Fixtures
//!
//! An HTTP/2 connection carries many sockets, so a fault on one stream must
//! not affect the others. Three fixtures check this, each from one position:
//!
//! - [`server::ServerFixture`]: a hand-written client, and an h2ws server;
//! - [`client::ClientFixture`]: an h2ws client, and a hand-written server;
//! - [`bridge::BridgeFixture`]: a hand-written client and backend, and an h2ws
//!   bridge between them.
//!
//! Each opens a healthy *sibling* socket on stream 1 of the connection. The
//! test then misuses stream 3, asserts what happens to that stream, and ends
//! with `unharmed().await`, which asserts that the sibling still echoes and
//! closes cleanly, and that nothing is left of the other stream.

pub(crate) mod bridge;
pub(crate) mod client;
pub(crate) mod frames;
pub(crate) mod h2peer;
pub(crate) mod hyperpeer;
pub(crate) mod plain_http;
pub(crate) mod raw;
pub(crate) mod recorder;
pub(crate) mod server;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod tls;
pub(crate) mod ways;

use std::time::Duration;

/// Formats an error and its causes on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

/// Turns a hang into a failure. Long enough for a slow machine.
const HANG: Duration = Duration::from_secs(30);

/// Awaits `future`, and fails the test at the caller if it hangs.
#[track_caller]
pub(crate) fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(HANG, future).await {
            Ok(output) => output,
            Err(_) => panic!("timed out at {caller}"),
        }
    }
}

/// Polls `condition` until it holds, and fails the test at the caller if it
/// never does.
#[track_caller]
pub(crate) fn until(condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let mut condition = condition;
    within(async move {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
}

/// Number of tasks of this test's runtime that have not ended. Tests compare it
/// with an earlier value to detect leaked tasks.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}
