//! The seam between a node and the message broker that connects the nodes.

use std::error::Error;
use std::fmt::Write;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

pub mod memory;
pub mod nats;
pub mod redis;

/// The error of an engine: any, because the reaction is always to connect again.
pub type EngineError = Box<dyn Error + Send + Sync>;

/// The future of an engine's methods.
pub type Pending<'a> = Pin<Box<dyn Future<Output = Result<(), EngineError>> + Send + 'a>>;

/// A topic, and bytes that are published to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The topic.
    pub topic: Arc<str>,
    /// The bytes.
    pub payload: Bytes,
}

/// Where an engine puts what it receives. It waits if the node does not keep up.
pub type Inbox = mpsc::Sender<Publication>;

/// A connection to a message broker. After an error it is not used again.
pub trait Engine: Send {
    /// Publishes in this order. Several at a time, so that they share one round trip.
    fn publish<'a>(&'a mut self, publications: &'a [Publication]) -> Pending<'a>;

    /// Begins to receive what is published to a topic.
    fn subscribe<'a>(&'a mut self, topic: &'a str) -> Pending<'a>;

    /// Ends a subscription.
    fn unsubscribe<'a>(&'a mut self, topic: &'a str) -> Pending<'a>;
}

/// A new connection to an engine.
pub struct Connection {
    /// The engine, without subscriptions.
    pub engine: Box<dyn Engine>,
    /// Puts what is received into the inbox, and completes when the connection is lost.
    pub receiving: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Where to find an engine.
#[derive(Clone, Debug)]
pub enum Address {
    /// Redis pub/sub.
    Redis(::redis::Client),
    /// NATS, by its URL.
    Nats(String),
    /// A broker in this process.
    Memory(memory::Broker),
}

impl Address {
    /// Parses a `redis://` or `nats://` URL.
    ///
    /// # Errors
    ///
    /// If it is another URL, or not valid.
    pub fn parse(url: &str) -> Result<Self, EngineError> {
        match url.split_once("://") {
            Some(("redis", _)) => Ok(Self::Redis(::redis::Client::open(url)?)),
            Some(("nats", _)) => Ok(Self::Nats(url.to_owned())),
            _ => Err(format!("engine {url:?}: expected redis://… or nats://…").into()),
        }
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// If the engine cannot be reached.
    pub async fn connect(&self, inbox: Inbox) -> Result<Connection, EngineError> {
        match self {
            Self::Redis(client) => redis::connect(client, inbox).await,
            Self::Nats(url) => nats::connect(url, inbox).await,
            Self::Memory(broker) => broker.connect(inbox),
        }
    }
}

const PREFIX: &str = "h2ws-";

/// Returns the engine's name for a topic. It has only letters, digits, `-`, `_` and `=`, because
/// others have a meaning in NATS: with `*` or `>` a client would subscribe to the topics of others.
fn channel(topic: &str) -> String {
    let mut channel = PREFIX.to_owned();
    for byte in topic.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            channel.push(byte.into());
        } else {
            // Writing to a string does not fail.
            let _ = write!(channel, "={byte:02x}");
        }
    }
    channel
}

/// Returns the topic of a [`channel`].
fn topic(channel: &str) -> Option<Arc<str>> {
    let mut rest = channel.strip_prefix(PREFIX)?.bytes();
    let mut topic = Vec::new();
    while let Some(byte) = rest.next() {
        topic.push(match byte {
            b'=' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    Some(String::from_utf8(topic).ok()?.into())
}

#[cfg(test)]
mod tests {
    use super::{channel, topic};

    #[test]
    fn a_topic_with_any_character_has_a_plain_channel() {
        for name in [
            "",
            "news",
            "a.b",
            "*",
            ">",
            "a b\r\n",
            "=3d",
            "Grüße/9",
            "\0",
        ] {
            let channel = channel(name);
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_=".contains(c);
            assert!(channel.chars().all(plain), "{channel}");
            assert_eq!(topic(&channel).as_deref(), Some(name));
        }
    }

    #[test]
    fn a_channel_of_another_program_has_no_topic() {
        for channel in ["", "news", "h2ws-=", "h2ws-=4", "h2ws-=zz", "h2ws-=ff"] {
            assert_eq!(topic(channel), None, "{channel}");
        }
    }
}
