//! [`Topics`]: named groups of WebSockets.
//!
//! What is kept grows with the WebSockets, the topics that have subscribers, and those that had some
//! at the last call of [`Topics::changes`]; not with what happened since, so that a program which
//! never asks for changes keeps none that are over.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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
/// A WebSocket joins once, with its writing half. The reading half stays with its handler, which
/// reads until the end and then calls [`leave`](Self::leave). A WebSocket that has ended without
/// that, or is too slow ([`LagPolicy::Close`]), leaves all its topics with the next message to one
/// of them. A message to one WebSocket alone goes through [`get_mut`](Self::get_mut).
///
/// A client may see its WebSocket open before the handler has it join, and misses what is published
/// in between.
///
/// Handlers can share topics by a `tokio::sync::Mutex`: [`publish`](Self::publish) never waits for
/// a peer, except with [`LagPolicy::Wait`].
///
/// On several nodes, [`changes`](Self::changes) reports which topics to subscribe to at the
/// message broker that connects them: one subscription per topic and node, however many
/// WebSockets there are.
///
/// # Example
///
/// A server of rooms, each under its path:
///
/// ```
/// use std::sync::Arc;
///
/// use h2ws::broadcast::{LagPolicy, Topics};
/// use h2ws::frame::PreparedMessage;
/// use h2ws::server::WebSocketRequest;
/// use h2ws::{Error, Server};
/// use tokio::sync::Mutex;
///
/// type Rooms = Arc<Mutex<Topics>>;
///
/// async fn enter(request: WebSocketRequest, rooms: Rooms) -> Result<(), Error> {
///     let room = request.path().to_owned();
///     let (mut reader, writer) = request.accept().await?.split();
///     let member = {
///         let mut rooms = rooms.lock().await;
///         let member = rooms.join(writer);
///         rooms.subscribe(member, room.as_str());
///         member
///     };
///     let ended = loop {
///         match reader.recv().await {
///             Some(Ok(message)) => {
///                 // Framed once, however many there are in the room.
///                 let message = PreparedMessage::new(message)?;
///                 rooms.lock().await.publish(&room, &message).await;
///             }
///             Some(Err(error)) => break Err(error),
///             None => break Ok(()),
///         }
///     };
///     let mut rooms = rooms.lock().await;
///     rooms.leave(member);
///     rooms.publish(&room, &PreparedMessage::text("somebody left")).await;
///     ended
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rooms: Rooms = Arc::new(Mutex::new(Topics::new(LagPolicy::Close)));
/// let server = Server::builder().bind("127.0.0.1:0").await?;
/// # let url = format!("ws://{}/lobby", server.local_addr()?);
/// # let serving = async {
/// server.serve(move |request: WebSocketRequest| enter(request, rooms.clone())).await?;
/// # Ok::<_, std::io::Error>(())
/// # };
/// # let client = async {
/// #     let mut socket = h2ws::Client::new().connect(&url).await?;
/// #     socket.send("hello").await?;
/// #     assert_eq!(socket.recv().await.expect("open")?.as_text(), Some("hello"));
/// #     socket.close(None).await
/// # };
/// # tokio::select! {
/// #     served = serving => served?,
/// #     ended = client => ended?,
/// # }
/// # Ok(())
/// # }
/// ```
pub struct Topics {
    members: Broadcast,
    subscriptions: HashMap<MemberId, BTreeSet<Arc<str>>>,
    subscribers: HashMap<Arc<str>, BTreeSet<MemberId>>,
    /// What has changed on the whole since the last call of `changes`, per topic.
    changes: BTreeMap<Arc<str>, TopicChange>,
}

impl Topics {
    /// Creates topics without WebSockets. `slow` decides what happens to those that do not keep up.
    #[must_use]
    pub fn new(slow: LagPolicy) -> Self {
        Self {
            members: Broadcast::new(slow),
            subscriptions: HashMap::new(),
            subscribers: HashMap::new(),
            changes: BTreeMap::new(),
        }
    }

    /// Adds a WebSocket, without a topic.
    pub fn join(&mut self, writer: WebSocketWriter) -> MemberId {
        let member = self.members.join(writer);
        self.subscriptions.insert(member, BTreeSet::new());
        member
    }

    /// Removes a WebSocket from all its topics and returns its writing half, if it has not left.
    /// Dropping that half does not close the WebSocket while the reading half exists.
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
        subscribers.insert(member);
        if subscribers.len() == 1 {
            self.changed(topic, TopicChange::First);
        }
        true
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

    /// Sends a message to the subscribers of a topic and flushes it, as [`Broadcast::send`] does to a
    /// whole group: the failure of one is reported in the [`Delivery`] and does not affect the
    /// others. Subscribers that have ended leave all topics. A topic without subscribers is not an
    /// error.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, some subscribers have been sent the message
    /// and others have not, but none was sent a part of it. A WebSocket that ended meanwhile
    /// leaves its topics with the next message to one of them.
    pub async fn publish(&mut self, topic: &str, message: &PreparedMessage) -> Delivery {
        let subscribers = self.subscribers.get(topic).into_iter().flatten();
        let subscribers = subscribers.copied().collect();
        self.publish_to(subscribers, message).await
    }

    /// [`publish`](Self::publish) to all subscribers but one, such as the one that the message came
    /// from.
    ///
    /// # Cancel safety
    ///
    /// As [`publish`](Self::publish).
    pub async fn publish_except(
        &mut self,
        except: MemberId,
        topic: &str,
        message: &PreparedMessage,
    ) -> Delivery {
        let subscribers = self.subscribers.get(topic).into_iter().flatten();
        let others = subscribers.filter(|member| **member != except);
        let others = others.copied().collect();
        self.publish_to(others, message).await
    }

    async fn publish_to(
        &mut self,
        subscribers: Vec<MemberId>,
        message: &PreparedMessage,
    ) -> Delivery {
        // A call that was dropped may have removed members but not their subscriptions.
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

    /// Returns the topics that have subscribers now and had none at the last call, or the reverse,
    /// in the order of their names. What has come and gone in between is not reported.
    pub fn changes(&mut self) -> Vec<TopicChange> {
        std::mem::take(&mut self.changes).into_values().collect()
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

    /// Notes that a topic has gained its first subscriber or lost its last one, unless that undoes
    /// what has not been reported yet.
    fn changed(&mut self, topic: Arc<str>, change: fn(Arc<str>) -> TopicChange) {
        if self.changes.remove(&topic).is_none() {
            self.changes.insert(topic.clone(), change(topic));
        }
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
                self.changed(topic, TopicChange::Last);
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
