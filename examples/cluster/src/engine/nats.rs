//! NATS. Its client would reconnect by itself and keep what is published meanwhile, without a limit
//! of time and without a count. Here a lost connection is given up, and the
//! [link](crate::link) makes a new one, as with every other engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::{Connection, Engine, EngineError, Inbox, Pending, Publication, channel};

/// A server that does not answer two of these is lost.
const PING_INTERVAL: Duration = Duration::from_secs(5);

pub(super) async fn connect(url: &str, inbox: Inbox) -> Result<Connection, EngineError> {
    let lost = Arc::new(Notify::new());
    let disconnected = lost.clone();
    let options = ConnectOptions::new()
        .ping_interval(PING_INTERVAL)
        .max_reconnects(1)
        .event_callback(move |event| {
            if matches!(event, Event::Disconnected | Event::Closed) {
                disconnected.notify_one();
            }
            std::future::ready(())
        });
    let client = options.connect(url).await?;
    let engine = Box::new(Nats {
        client,
        inbox,
        subscriptions: HashMap::new(),
    });
    let receiving = Box::pin(async move { lost.notified().await });
    Ok(Connection { engine, receiving })
}

struct Nats {
    client: Client,
    inbox: Inbox,
    /// The task that receives each topic's messages.
    subscriptions: HashMap<String, AbortHandle>,
}

impl Engine for Nats {
    fn publish<'a>(&'a mut self, publications: &'a [Publication]) -> Pending<'a> {
        Box::pin(async move {
            for Publication { topic, payload } in publications {
                let published = self.client.publish(channel(topic), payload.clone());
                published.await?;
            }
            Ok(self.client.flush().await?)
        })
    }

    fn subscribe<'a>(&'a mut self, topic: &'a str) -> Pending<'a> {
        Box::pin(async move {
            let mut messages = self.client.subscribe(channel(topic)).await?;
            self.client.flush().await?;
            let (inbox, name) = (self.inbox.clone(), Arc::from(topic));
            let receiving = tokio::spawn(async move {
                while let Some(message) = messages.next().await {
                    let topic = Arc::clone(&name);
                    let payload = message.payload;
                    if inbox.send(Publication { topic, payload }).await.is_err() {
                        break;
                    }
                }
            });
            let topic = topic.to_owned();
            if let Some(earlier) = self.subscriptions.insert(topic, receiving.abort_handle()) {
                earlier.abort();
            }
            Ok(())
        })
    }

    fn unsubscribe<'a>(&'a mut self, topic: &'a str) -> Pending<'a> {
        Box::pin(async move {
            // Dropping the subscription, with its task, ends it.
            if let Some(receiving) = self.subscriptions.remove(topic) {
                receiving.abort();
            }
            Ok(())
        })
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        for receiving in self.subscriptions.values() {
            receiving.abort();
        }
    }
}
