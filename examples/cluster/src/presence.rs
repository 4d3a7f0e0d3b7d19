//! The names of a topic's subscribers on all nodes.
//!
//! Each node announces its own: soon after they have changed, and every so often. What a node
//! announced expires if it is not heard of for three times as long, because it was killed or cut
//! off. All of this takes the engine's pub/sub alone, and no second store beside it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use h2ws::broadcast::MemberId;
use tokio::time::Instant;

use crate::{Content, NodeId};

/// An announcement has at most this many names.
const MAX_NAMES: usize = 1000;

/// The subscribers of one topic.
#[derive(Default)]
struct Topic {
    here: BTreeMap<MemberId, String>,
    elsewhere: HashMap<NodeId, Announced>,
}

struct Announced {
    count: u32,
    names: Vec<String>,
    expires: Instant,
}

/// The subscribers of the node's topics.
pub struct Presence {
    topics: HashMap<Arc<str>, Topic>,
    changed: HashSet<Arc<str>>,
    every: Duration,
    next: Instant,
}

impl Presence {
    /// Creates presence that is announced at least every `every`.
    #[must_use]
    pub fn new(every: Duration) -> Self {
        Self {
            topics: HashMap::new(),
            changed: HashSet::new(),
            every,
            next: Instant::now() + every,
        }
    }

    /// Adds a subscriber of this node.
    pub fn add(&mut self, topic: &Arc<str>, member: MemberId, name: String) {
        let subscribers = self.topics.entry(topic.clone()).or_default();
        subscribers.here.insert(member, name);
        self.changed.insert(topic.clone());
    }

    /// Removes a subscriber of this node. Other nodes are forgotten with the last one.
    pub fn remove(&mut self, topic: &Arc<str>, member: MemberId) {
        if let Some(subscribers) = self.topics.get_mut(topic) {
            subscribers.here.remove(&member);
            if subscribers.here.is_empty() {
                self.topics.remove(topic);
            }
            self.changed.insert(topic.clone());
        }
    }

    /// Notes what another node has announced.
    pub fn announced(&mut self, topic: &str, node: NodeId, count: u32, names: Vec<String>) {
        let Some(subscribers) = self.topics.get_mut(topic) else {
            return;
        };
        if count == 0 {
            subscribers.elsewhere.remove(&node);
            return;
        }
        let announced = Announced {
            count,
            names,
            expires: Instant::now() + self.every * 3,
        };
        subscribers.elsewhere.insert(node, announced);
    }

    /// Announces a topic again, because another node has asked.
    pub fn asked(&mut self, topic: &Arc<str>) {
        self.changed.insert(topic.clone());
    }

    /// Returns what is to be announced now.
    pub fn due(&mut self) -> Vec<(Arc<str>, Content)> {
        let now = Instant::now();
        let mut due = std::mem::take(&mut self.changed);
        if now >= self.next {
            self.next = now + self.every;
            due.extend(self.topics.keys().cloned());
            for subscribers in self.topics.values_mut() {
                subscribers.elsewhere.retain(|_, node| node.expires > now);
            }
        }
        let content = |topic: &Arc<str>| {
            let here = self.topics.get(topic).map(|subscribers| &subscribers.here);
            let count = u32::try_from(here.map_or(0, BTreeMap::len)).unwrap_or(u32::MAX);
            let names = here.into_iter().flat_map(BTreeMap::values).take(MAX_NAMES);
            Content::Present(count, names.cloned().collect())
        };
        due.into_iter()
            .map(|topic| (topic.clone(), content(&topic)))
            .collect()
    }

    /// Returns how many subscribers a topic has on all nodes, and their names in order.
    #[must_use]
    pub fn names(&self, topic: &str) -> (u64, Vec<&str>) {
        let Some(subscribers) = self.topics.get(topic) else {
            return (0, Vec::new());
        };
        let now = Instant::now();
        let elsewhere = || {
            subscribers
                .elsewhere
                .values()
                .filter(|node| node.expires > now)
        };
        let count = elsewhere().map(|node| u64::from(node.count)).sum::<u64>();
        let mut names: Vec<_> = subscribers.here.values().map(String::as_str).collect();
        names.extend(elsewhere().flat_map(|node| &node.names).map(String::as_str));
        names.sort_unstable();
        (count + subscribers.here.len() as u64, names)
    }
}
