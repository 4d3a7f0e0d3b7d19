//! With the engine in this process.

use std::time::Duration;

use h2ws_example_cluster::Config;
use h2ws_example_cluster::engine::Address;
use h2ws_example_cluster::engine::memory::Broker;

use crate::scenarios::{TOPIC, an_engine_that_fails_for_a_while, two_nodes_of_which_one_is_killed};
use crate::support::{Running, converse, eventually};

fn config() -> Config {
    Config {
        presence_interval: Duration::from_millis(300),
        ..Config::default()
    }
}

async fn start(broker: &Broker, config: Config) -> Running {
    Running::here(Address::Memory(broker.clone()), config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_once_and_in_order_and_a_killed_node_leaves() {
    let broker = Broker::default();
    let a = start(&broker, config()).await;
    let b = start(&broker, config()).await;
    two_nodes_of_which_one_is_killed(&a, b, 100).await;
}

#[tokio::test]
async fn a_lost_engine_harms_no_local_subscriber_and_comes_back() {
    let broker = Broker::default();
    let config = Config {
        queue: 8,
        ..config()
    };
    let a = start(&broker, config.clone()).await;
    let b = start(&broker, config).await;
    let stop = async || {
        broker.stop();
        a.until("engine_up", 0).await;
        b.until("engine_up", 0).await;
    };
    an_engine_that_fails_for_a_while(&a, &b, 50, stop, async || broker.start()).await;
    assert_eq!(a.metric("engine_losses_total").await, 1);
}

#[tokio::test]
async fn a_slow_engine_harms_no_local_subscriber() {
    let broker = Broker::default();
    let config = Config {
        queue: 8,
        ..config()
    };
    let a = start(&broker, config.clone()).await;
    let b = start(&broker, config).await;
    let pause = async || broker.pause(true);
    an_engine_that_fails_for_a_while(&a, &b, 50, pause, async || broker.pause(false)).await;
}

/// However many subscribers there are; and none after the last one has left.
#[tokio::test]
async fn a_node_has_one_subscription_for_each_topic() {
    let broker = Broker::default();
    let a = start(&broker, config()).await;
    let b = start(&broker, config()).await;
    let mut here = a.join(TOPIC, "a", 5).await;
    let there = b.join(TOPIC, "b", 5).await;
    eventually(async || broker.subscriptions(TOPIC) == 2).await;
    drop(there);
    eventually(async || broker.subscriptions(TOPIC) == 1).await;
    converse(&mut [&mut here], 2, 2).await;
    drop(here);
    eventually(async || broker.subscriptions(TOPIC) == 0).await;
}

/// A node starts without its engine, and its subscribers reach each other.
#[tokio::test]
async fn a_node_works_before_its_engine_is_reachable() {
    let broker = Broker::default();
    broker.stop();
    let a = start(&broker, config()).await;
    let mut here = a.join(TOPIC, "a", 3).await;
    converse(&mut [&mut here], 2, 2).await;
    broker.start();
    let b = start(&broker, config()).await;
    a.until("engine_up", 1).await;
    let mut there = b.join(TOPIC, "b", 3).await;
    eventually(async || broker.subscriptions(TOPIC) == 2).await;
    // The earlier messages may be in the queue and still arrive, so these have other senders.
    here.rotate_left(1);
    here.truncate(2);
    drop(here.remove(0));
    converse(&mut [&mut there], 1, 1).await;
    assert_eq!(here[0].receive().await, 0);
}
