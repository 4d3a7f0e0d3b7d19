//! Opens new sockets until it is stopped, to show how a restart of the peer affects them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::outcome::{Outcome, SocketResult};
use crate::sockets::Target;

/// A task that opens a socket, echoes and closes it, at a fixed interval. Attempts overlap, so a
/// slow one does not delay the next.
pub struct Churn {
    stop: Arc<Notify>,
    task: JoinHandle<Vec<SocketResult>>,
}

impl Churn {
    pub fn start(target: Target, pause: Duration) -> Self {
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut attempts = Vec::new();
            let mut stopped = std::pin::pin!(stopped.notified());
            loop {
                let target = target.clone();
                attempts.push(tokio::spawn(async move { target.one().await }));
                tokio::select! {
                    () = &mut stopped => break,
                    () = tokio::time::sleep(pause) => {}
                }
            }
            // Waits for every attempt, so that no failure is lost.
            let mut results = Vec::new();
            for attempt in attempts {
                results.push(attempt.await.unwrap_or_else(|panic| Err(panic.into())));
            }
            results
        });
        Self { stop, task }
    }

    /// Stops opening sockets, and counts the result of every attempt.
    pub async fn finish(self, outcome: &mut Outcome) -> Result<(), tokio::task::JoinError> {
        self.stop.notify_one();
        for result in self.task.await? {
            outcome.count(result);
        }
        Ok(())
    }
}
