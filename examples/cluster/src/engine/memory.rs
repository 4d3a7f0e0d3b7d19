//! A broker in this process, for tests: it can be stopped and paused, and it counts.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Connection, Engine, EngineError, Inbox, Pending, Publication};

/// A broker. Clones share it.
#[derive(Clone, Debug)]
pub struct Broker {
    state: Arc<Mutex<State>>,
    /// Counts the stops. Connections end with one.
    stops: watch::Sender<u64>,
    paused: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    connections: u64,
    subscriptions: HashMap<Arc<str>, HashMap<u64, Inbox>>,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            stops: watch::Sender::new(0),
            paused: watch::Sender::new(false),
        }
    }
}

impl Broker {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends all connections and accepts no new ones, as a server that is killed.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.subscriptions.clear();
        self.stops.send_modify(|stops| *stops += 1);
    }

    /// Accepts connections again.
    pub fn start(&self) {
        self.state().stopped = false;
    }

    /// Lets everything that is published wait, or no longer.
    pub fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    /// Returns the number of subscriptions to a topic.
    #[must_use]
    pub fn subscriptions(&self, topic: &str) -> usize {
        self.state()
            .subscriptions
            .get(topic)
            .map_or(0, HashMap::len)
    }

    pub(super) fn connect(&self, inbox: Inbox) -> Result<Connection, EngineError> {
        let mut state = self.state();
        if state.stopped {
            return Err("the broker is stopped".into());
        }
        state.connections += 1;
        let engine = Box::new(Memory {
            id: state.connections,
            broker: self.clone(),
            topics: HashSet::new(),
            inbox,
        });
        let mut stops = self.stops.subscribe();
        let receiving = Box::pin(async move { drop(stops.changed().await) });
        Ok(Connection { engine, receiving })
    }
}

struct Memory {
    id: u64,
    broker: Broker,
    topics: HashSet<Arc<str>>,
    inbox: Inbox,
}

impl Engine for Memory {
    fn publish<'a>(&'a mut self, publications: &'a [Publication]) -> Pending<'a> {
        Box::pin(async move {
            // Fails only without a sender, and `broker` has one.
            let _ = self
                .broker
                .paused
                .subscribe()
                .wait_for(|paused| !paused)
                .await;
            for publication in publications {
                let receivers: Vec<_> = {
                    let state = self.broker.state();
                    if state.stopped {
                        return Err("the broker is stopped".into());
                    }
                    let receivers = state.subscriptions.get(&publication.topic);
                    receivers
                        .into_iter()
                        .flat_map(HashMap::values)
                        .cloned()
                        .collect()
                };
                for receiver in receivers {
                    // One that has ended unsubscribes.
                    let _ = receiver.send(publication.clone()).await;
                }
            }
            Ok(())
        })
    }

    fn subscribe<'a>(&'a mut self, topic: &'a str) -> Pending<'a> {
        Box::pin(async move {
            let topic: Arc<str> = topic.into();
            let mut state = self.broker.state();
            if state.stopped {
                return Err("the broker is stopped".into());
            }
            let subscribers = state.subscriptions.entry(topic.clone()).or_default();
            subscribers.insert(self.id, self.inbox.clone());
            self.topics.insert(topic);
            Ok(())
        })
    }

    fn unsubscribe<'a>(&'a mut self, topic: &'a str) -> Pending<'a> {
        Box::pin(async move {
            self.remove(topic);
            self.topics.remove(topic);
            Ok(())
        })
    }
}

impl Memory {
    fn remove(&self, topic: &str) {
        let mut state = self.broker.state();
        if let Some(subscribers) = state.subscriptions.get_mut(topic) {
            subscribers.remove(&self.id);
            if subscribers.is_empty() {
                state.subscriptions.remove(topic);
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for topic in &self.topics {
            self.remove(topic);
        }
    }
}
