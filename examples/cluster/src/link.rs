//! Keeps a node connected to its engine.
//!
//! The link sends what is in the node's queue, and subscribes to the topics that the node
//! wants. After any failure, or if the engine does not answer for [`ENGINE_TIMEOUT`], it connects
//! again, with backoff and jitter, and subscribes to all of them again.

use std::collections::HashSet;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep, timeout};

use crate::Counters;
use crate::engine::{Address, Connection, EngineError, Inbox, Publication};

/// An engine that takes longer for a step is treated as lost.
pub const ENGINE_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(5);
/// Publications that share one round trip, at most.
const BATCH: usize = 256;

/// The topics that a node has subscribers for.
#[derive(Default)]
pub struct Wanted {
    state: Mutex<WantedState>,
    changed: Notify,
}

#[derive(Default)]
struct WantedState {
    topics: HashSet<Arc<str>>,
    changed: HashSet<Arc<str>>,
}

impl Wanted {
    /// Adds or removes a topic.
    pub fn set(&self, topic: Arc<str>, wanted: bool) {
        let mut state = self.lock();
        if wanted {
            state.topics.insert(topic.clone());
        } else {
            state.topics.remove(&topic);
        }
        state.changed.insert(topic);
        drop(state);
        self.changed.notify_one();
    }

    /// Returns all topics. Changes up to now have then been seen.
    fn all(&self) -> Vec<Arc<str>> {
        let mut state = self.lock();
        state.changed.clear();
        state.topics.iter().cloned().collect()
    }

    /// Returns the topics that have changed, and whether they are wanted now.
    fn changes(&self) -> Vec<(Arc<str>, bool)> {
        let mut state = self.lock();
        let changed = std::mem::take(&mut state.changed);
        let changed = changed.into_iter();
        changed
            .map(|topic| (topic.clone(), state.topics.contains(&topic)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, WantedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The node's end of a link, for the task that runs it.
pub struct Link {
    /// Where the engine is.
    pub address: Address,
    /// What is to be published.
    pub queue: mpsc::Receiver<Publication>,
    /// What is to be subscribed to.
    pub wanted: Arc<Wanted>,
    /// Where received publications go.
    pub inbox: Inbox,
    /// Where losses are counted.
    pub counters: Arc<Counters>,
}

impl Link {
    /// Runs the link until the node has ended.
    pub async fn run(mut self) {
        let mut delay = FIRST_DELAY;
        loop {
            let connecting = self.address.connect(self.inbox.clone());
            let error = match within(connecting).await {
                Ok(connection) => {
                    let served = self.serve(connection, &mut delay).await;
                    self.counters.engine_up.set(0);
                    match served {
                        Ok(()) => return,
                        Err(error) => {
                            self.counters.engine_losses.add(1);
                            error
                        }
                    }
                }
                Err(error) => error,
            };
            eprintln!("engine: {error}; connecting again");
            // All nodes lose the engine at the same time. Jitter spreads their reconnects.
            sleep(delay.mul_f64(0.5 + random() / 2.0)).await;
            delay = MAX_DELAY.min(delay * 2);
        }
    }

    /// Uses a connection until it fails. Returns `Ok` if the node has ended.
    async fn serve(
        &mut self,
        connection: Connection,
        delay: &mut Duration,
    ) -> Result<(), EngineError> {
        let mut engine = connection.engine;
        // Separately, because the engine may make publishing wait until something is received.
        let mut receiving = AbortOnDrop(tokio::spawn(connection.receiving));
        for topic in self.wanted.all() {
            within(engine.subscribe(&topic)).await?;
        }
        *delay = FIRST_DELAY;
        self.counters.engine_up.set(1);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                // Before the queue, so that a node is subscribed before it asks others.
                biased;
                _ = &mut receiving.0 => return Err("the connection is lost".into()),
                () = self.wanted.changed.notified() => {
                    for (topic, wanted) in self.wanted.changes() {
                        if wanted {
                            within(engine.subscribe(&topic)).await?;
                        } else {
                            within(engine.unsubscribe(&topic)).await?;
                        }
                    }
                }
                count = self.queue.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return Ok(());
                    }
                    let published = within(engine.publish(&batch)).await;
                    let (counters, count) = (&self.counters, count as u64);
                    if published.is_ok() {
                        counters.published.add(count);
                    } else {
                        // Some may have arrived; at most these have not.
                        counters.dropped.add(count);
                    }
                    batch.clear();
                    published?;
                }
            }
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn within<T>(step: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
    match timeout(ENGINE_TIMEOUT, step).await {
        Ok(result) => result,
        Err(_) => Err("no answer in time".into()),
    }
}

/// Returns a random number from 0 to 1, good enough for a delay.
fn random() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}
