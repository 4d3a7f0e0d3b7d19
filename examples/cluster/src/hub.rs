//! The task that owns a node's topics. It waits for neither a WebSocket nor the engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use h2ws::Message;
use h2ws::broadcast::{Delivery, LagPolicy, MemberId, TopicChange, Topics};
use h2ws::frame::PreparedMessage;
use h2ws::socket::WebSocketWriter;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use crate::engine::Publication;
use crate::link::Wanted;
use crate::presence::Presence;
use crate::{Content, Counters, Envelope, NodeId};

/// Changes of presence that come faster are announced together.
const PRESENCE_TICK: Duration = Duration::from_millis(100);
/// The numbers of at most so many nodes are kept for a topic.
const MAX_NODES: usize = 1024;

/// What a WebSocket's handler asks of the hub.
pub enum Command {
    /// Subscribes a WebSocket to a topic, under a name.
    Join {
        /// The topic.
        topic: Arc<str>,
        /// The name.
        name: String,
        /// The writing half.
        writer: WebSocketWriter,
        /// Receives the id.
        joined: oneshot::Sender<MemberId>,
    },
    /// Publishes a message to the WebSocket's topic.
    Publish(MemberId, Message),
    /// Sends the names of the topic's subscribers on all nodes to this WebSocket alone.
    WhoIsPresent(MemberId),
    /// Removes the WebSocket.
    Leave(MemberId),
}

/// The numbers of a topic's messages, for finding gaps.
#[derive(Default)]
struct Numbers {
    sent: u64,
    received: HashMap<NodeId, u64>,
}

/// A node's topics.
pub struct Hub {
    id: NodeId,
    topics: Topics,
    members: HashMap<MemberId, Arc<str>>,
    numbers: HashMap<Arc<str>, Numbers>,
    presence: Presence,
    queue: mpsc::Sender<Publication>,
    wanted: Arc<Wanted>,
    counters: Arc<Counters>,
}

impl Hub {
    /// Creates a hub without WebSockets.
    #[must_use]
    pub fn new(
        id: NodeId,
        presence_interval: Duration,
        queue: mpsc::Sender<Publication>,
        wanted: Arc<Wanted>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            id,
            topics: Topics::new(LagPolicy::Close),
            members: HashMap::new(),
            numbers: HashMap::new(),
            presence: Presence::new(presence_interval),
            queue,
            wanted,
            counters,
        }
    }

    /// Runs until all senders of commands are dropped.
    pub async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut inbox: mpsc::Receiver<Publication>,
    ) {
        let mut tick = interval(PRESENCE_TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                // The link has the sender, and ends with the hub.
                Some(publication) = inbox.recv() => self.received(publication).await,
                _ = tick.tick() => {
                    for (topic, content) in self.presence.due() {
                        self.enqueue(&topic, 0, content);
                    }
                }
            }
            self.subscribe();
            self.counters.sockets.set(self.topics.len() as u64);
            let queued = self.queue.max_capacity() - self.queue.capacity();
            self.counters.queued.set(queued as u64);
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Join {
                topic,
                name,
                writer,
                joined,
            } => {
                let member = self.topics.join(writer);
                self.topics.subscribe(member, topic.clone());
                self.presence.add(&topic, member, name);
                self.members.insert(member, topic);
                // The handler may have been dropped meanwhile.
                if joined.send(member).is_err() {
                    self.leave(member);
                }
            }
            Command::Publish(member, message) => {
                let Some(topic) = self.members.get(&member).cloned() else {
                    return;
                };
                self.deliver(&topic, message.clone()).await;
                let numbers = self.numbers.entry(topic.clone()).or_default();
                numbers.sent += 1;
                let number = numbers.sent;
                self.enqueue(&topic, number, Content::Message(message));
            }
            Command::WhoIsPresent(member) => {
                let Some(topic) = self.members.get(&member) else {
                    return;
                };
                let (count, names) = self.presence.names(topic);
                let text = format!("{count}: {}", names.join(" "));
                if let Some(writer) = self.topics.get_mut(member) {
                    // A full buffer must not delay the hub, and the client may ask again.
                    tokio::select! {
                        biased;
                        _ = writer.send(text) => {}
                        () = std::future::ready(()) => {}
                    }
                }
            }
            Command::Leave(member) => self.leave(member),
        }
    }

    async fn received(&mut self, Publication { topic, payload }: Publication) {
        let Some(envelope) = Envelope::decode(payload) else {
            return;
        };
        if envelope.node == self.id {
            self.counters.echoes.add(1);
            return;
        }
        match envelope.content {
            Content::Message(message) => {
                self.counters.received.add(1);
                let missed = self.gap(&topic, envelope.node, envelope.number);
                self.counters.missed.add(missed);
                self.deliver(&topic, message).await;
            }
            Content::Present(count, names) => {
                self.presence.announced(&topic, envelope.node, count, names);
            }
            Content::WhoIsPresent => self.presence.asked(&topic),
        }
    }

    /// Returns how many of a node's messages did not arrive before this one.
    fn gap(&mut self, topic: &Arc<str>, node: NodeId, number: u64) -> u64 {
        let Some(numbers) = self.numbers.get_mut(topic) else {
            return 0;
        };
        if numbers.received.len() >= MAX_NODES {
            numbers.received.clear();
        }
        // The numbers begin again when the node has lost its last subscriber meanwhile.
        let earlier = numbers.received.insert(node, number).unwrap_or(number);
        number.saturating_sub(earlier + 1)
    }

    /// Sends a message, prepared once, to the topic's subscribers on this node.
    async fn deliver(&mut self, topic: &Arc<str>, message: Message) {
        // Preparing fails only for a control frame that is too long.
        let Ok(message) = PreparedMessage::new(message) else {
            return;
        };
        let Delivery { left, .. } = self.topics.publish(topic, &message).await;
        for (member, error) in left {
            if error.is_none() {
                self.counters.too_slow.add(1);
            }
            self.leave(member);
        }
    }

    fn leave(&mut self, member: MemberId) {
        self.topics.leave(member);
        if let Some(topic) = self.members.remove(&member) {
            self.presence.remove(&topic, member);
        }
    }

    /// Puts a publication into the link's queue, or counts it if there is no room.
    fn enqueue(&mut self, topic: &Arc<str>, number: u64, content: Content) {
        let envelope = Envelope {
            node: self.id,
            number,
            content,
        };
        let publication = Publication {
            topic: topic.clone(),
            payload: envelope.encode(),
        };
        // The link ends after the hub.
        if let Err(TrySendError::Full(_)) = self.queue.try_send(publication) {
            self.counters.dropped.add(1);
        }
    }

    /// Passes on which topics have subscribers now.
    fn subscribe(&mut self) {
        for change in self.topics.changes() {
            match change {
                TopicChange::First(topic) => {
                    self.numbers.entry(topic.clone()).or_default();
                    self.wanted.set(topic.clone(), true);
                    self.enqueue(&topic, 0, Content::WhoIsPresent);
                }
                TopicChange::Last(topic) => {
                    self.numbers.remove(&topic);
                    self.wanted.set(topic, false);
                }
                _ => {}
            }
        }
    }
}
