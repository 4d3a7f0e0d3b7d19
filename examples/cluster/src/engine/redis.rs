//! Redis pub/sub, on two connections: one that has subscribed can do nothing else in RESP2.

use bytes::Bytes;
use futures_util::StreamExt;
use redis::AsyncConnectionConfig;
use redis::aio::{MultiplexedConnection, PubSubSink};

use crate::link::ENGINE_TIMEOUT;

use super::{Connection, Engine, EngineError, Inbox, Pending, Publication, channel, topic};

pub(super) async fn connect(
    client: &redis::Client,
    inbox: Inbox,
) -> Result<Connection, EngineError> {
    let timeout = Some(ENGINE_TIMEOUT);
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(timeout)
        .set_response_timeout(timeout);
    let publisher = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let (subscriber, mut messages) = client.get_async_pubsub().await?.split();
    let receiving = Box::pin(async move {
        while let Some(message) = messages.next().await {
            let Some(topic) = topic(message.get_channel_name()) else {
                continue;
            };
            let payload = Bytes::copy_from_slice(message.get_payload_bytes());
            if inbox.send(Publication { topic, payload }).await.is_err() {
                break;
            }
        }
    });
    let engine = Box::new(Redis {
        publisher,
        subscriber,
    });
    Ok(Connection { engine, receiving })
}

struct Redis {
    publisher: MultiplexedConnection,
    subscriber: PubSubSink,
}

impl Engine for Redis {
    fn publish<'a>(&'a mut self, publications: &'a [Publication]) -> Pending<'a> {
        Box::pin(async move {
            let mut pipeline = redis::pipe();
            for Publication { topic, payload } in publications {
                let command = pipeline.cmd("PUBLISH").arg(channel(topic));
                command.arg(&payload[..]).ignore();
            }
            Ok(pipeline.query_async(&mut self.publisher).await?)
        })
    }

    fn subscribe<'a>(&'a mut self, topic: &'a str) -> Pending<'a> {
        Box::pin(async move { Ok(self.subscriber.subscribe(channel(topic)).await?) })
    }

    fn unsubscribe<'a>(&'a mut self, topic: &'a str) -> Pending<'a> {
        Box::pin(async move { Ok(self.subscriber.unsubscribe(channel(topic)).await?) })
    }
}
