//! New sockets one after the other, until told to stop: what a restart of the peer does to them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::outcome::{Carried, Outcome};
use crate::sockets::Goal;

/// Opens a socket, echoes, closes it, every few milliseconds. Attempts overlap: a slow one does not
/// keep the next one from being made.
pub struct Churn {
    stop: Arc<Notify>,
    task: JoinHandle<Vec<Carried>>,
}

impl Churn {
    pub fn start(goal: Goal, pause: Duration) -> Self {
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut attempts = Vec::new();
            let mut stopped = std::pin::pin!(stopped.notified());
            loop {
                let goal = goal.clone();
                attempts.push(tokio::spawn(async move { goal.one().await }));
                tokio::select! {
                    () = &mut stopped => break,
                    () = tokio::time::sleep(pause) => {}
                }
            }
            // Every one of them is waited for, however it ends: none is lost in silence.
            let mut results = Vec::new();
            for attempt in attempts {
                results.push(attempt.await.unwrap_or_else(|panic| Err(panic.into())));
            }
            results
        });
        Self { stop, task }
    }

    /// Ends it; counts every attempt.
    pub async fn finish(self, outcome: &mut Outcome) -> Result<(), tokio::task::JoinError> {
        self.stop.notify_one();
        for result in self.task.await? {
            outcome.count(result);
        }
        Ok(())
    }
}
