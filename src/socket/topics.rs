//! [`Topics`]: named groups of WebSockets.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use super::WebSocketWriter;
use super::broadcast::{Broadcast, Delivery, LagPolicy, MemberId};
use crate::frame::PreparedMessage;

/// A topic that gained its first subscriber or lost its last one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicChange {
    /// The topic has its first subscriber.
    First(Arc<str>),
    /// The topic has lost its last subscriber.
    Last(Arc<str>),
}

/// Named groups of WebSockets: each subscribes to any number of topics, and a message is
/// published to the subscribers of one.
///
/// A WebSocket joins once, with its writing half, and leaves all its topics when it ends or is
/// too slow ([`LagPolicy::Close`]). A message to one WebSocket alone goes through
/// [`get_mut`](Self::get_mut).
///
/// On several nodes, [`changes`](Self::changes) reports which topics to subscribe to at the
/// message broker that connects them: one subscription per topic and node, however many
/// WebSockets there are.
///
/// # Example
///
/// ```
/// use h2ws::broadcast::{LagPolicy, TopicChange, Topics};
/// use h2ws::frame::{PreparedMessage, Role};
/// use h2ws::{WebSocket, WebSocketConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), h2ws::Error> {
/// # let (near, far) = tokio::io::duplex(4096);
/// # let mut client = WebSocket::from_stream(far, Role::Client, WebSocketConfig::default());
/// # let socket = WebSocket::from_stream(near, Role::Server, WebSocketConfig::default());
/// let (_reader, writer) = socket.split();
///
/// let mut topics = Topics::new(LagPolicy::Skip);
/// let member = topics.join(writer);
/// topics.subscribe(member, "news");
/// assert_eq!(topics.changes(), [TopicChange::First("news".into())]);
///
/// let message = PreparedMessage::new("hello")?;
/// assert_eq!(topics.publish("news", &message).await.sent, 1);
/// assert_eq!(topics.publish("sports", &message).await.sent, 0);
/// assert_eq!(client.recv().await.expect("open")?.as_text(), Some("hello"));
/// # Ok(())
/// # }
/// ```
pub struct Topics {
    members: Broadcast,
    subscriptions: HashMap<MemberId, BTreeSet<Arc<str>>>,
    subscribers: HashMap<Arc<str>, BTreeSet<MemberId>>,
    changes: Vec<TopicChange>,
}

impl Topics {
    /// Creates topics without WebSockets.
    #[must_use]
    pub fn new(slow: LagPolicy) -> Self {
        Self {
            members: Broadcast::new(slow),
            subscriptions: HashMap::new(),
            subscribers: HashMap::new(),
            changes: Vec::new(),
        }
    }

    /// Adds a WebSocket, without a topic.
    pub fn join(&mut self, writer: WebSocketWriter) -> MemberId {
        let member = self.members.join(writer);
        self.subscriptions.insert(member, BTreeSet::new());
        member
    }

    /// Removes a WebSocket from all its topics and returns it, if it has not left.
    pub fn leave(&mut self, member: MemberId) -> Option<WebSocketWriter> {
        self.forget(member);
        self.members.leave(member)
    }

    /// Subscribes a WebSocket to a topic. Returns false if it was subscribed before or has left.
    pub fn subscribe(&mut self, member: MemberId, topic: impl Into<Arc<str>>) -> bool {
        let Some(topics) = self.subscriptions.get_mut(&member) else {
            return false;
        };
        let topic = topic.into();
        if !topics.insert(topic.clone()) {
            return false;
        }
        let subscribers = self.subscribers.entry(topic.clone()).or_default();
        if subscribers.is_empty() {
            self.changes.push(TopicChange::First(topic));
        }
        subscribers.insert(member)
    }

    /// Ends a subscription. Returns false if there was none.
    pub fn unsubscribe(&mut self, member: MemberId, topic: &str) -> bool {
        let Some(topics) = self.subscriptions.get_mut(&member) else {
            return false;
        };
        let Some(topic) = topics.take(topic) else {
            return false;
        };
        self.remove(member, topic);
        true
    }

    /// Sends a message to the subscribers of a topic and flushes it, as
    /// [`Broadcast::send`] does to a whole group. WebSockets that have ended leave all topics.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, some subscribers have been sent the message
    /// and others have not, but none was sent a part of it. A WebSocket that ended meanwhile
    /// leaves its topics with the next message to one of them.
    pub async fn publish(&mut self, topic: &str, message: &PreparedMessage) -> Delivery {
        let subscribers = self.subscribers.get(topic).into_iter().flatten();
        let subscribers: Vec<_> = subscribers.copied().collect();
        // One that ended in a call that was dropped is no member any more.
        for member in &subscribers {
            if self.members.get_mut(*member).is_none() {
                self.forget(*member);
            }
        }
        let delivery = self.members.send_to(subscribers, message).await;
        for (member, _) in &delivery.left {
            self.forget(*member);
        }
        delivery
    }

    /// Returns the writing half of a WebSocket, if it has not left, for a message to it alone.
    pub fn get_mut(&mut self, member: MemberId) -> Option<&mut WebSocketWriter> {
        self.members.get_mut(member)
    }

    /// Returns the topics that gained their first subscriber or lost their last one since the
    /// last call, in order.
    pub fn changes(&mut self) -> Vec<TopicChange> {
        std::mem::take(&mut self.changes)
    }

    /// Returns the number of a topic's subscribers.
    #[must_use]
    pub fn subscribers(&self, topic: &str) -> usize {
        self.subscribers.get(topic).map_or(0, BTreeSet::len)
    }

    /// Returns the topics of a WebSocket.
    pub fn topics(&self, member: MemberId) -> impl Iterator<Item = &str> {
        let topics = self.subscriptions.get(&member).into_iter().flatten();
        topics.map(|topic| &**topic)
    }

    /// Returns the number of WebSockets that have joined and not left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns whether there are no WebSockets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn forget(&mut self, member: MemberId) {
        for topic in self.subscriptions.remove(&member).into_iter().flatten() {
            self.remove(member, topic);
        }
    }

    fn remove(&mut self, member: MemberId, topic: Arc<str>) {
        if let Some(subscribers) = self.subscribers.get_mut(&topic) {
            subscribers.remove(&member);
            if subscribers.is_empty() {
                self.subscribers.remove(&topic);
                self.changes.push(TopicChange::Last(topic));
            }
        }
    }
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics")
            .field("members", &self.members)
            .field("topics", &self.subscribers.len())
            .finish_non_exhaustive()
    }
}
