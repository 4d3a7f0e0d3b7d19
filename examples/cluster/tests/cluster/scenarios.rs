//! What holds with every engine.

use std::time::Duration;

use crate::support::{Running, converse, eventually, within};

pub(crate) const TOPIC: &str = "news";

/// Every message arrives at every subscriber of both nodes, once and in its sender's order. After
/// one node was killed, the other one goes on, and the killed one's subscribers leave.
pub(crate) async fn two_nodes_of_which_one_is_killed(a: &Running, b: Running, sockets: usize) {
    a.until("engine_up", 1).await;
    b.until("engine_up", 1).await;
    let mut here = a.join(TOPIC, "a", sockets).await;
    let mut there = b.join(TOPIC, "b", sockets).await;
    let all = format!("{}: ", sockets * 2);
    within(async { while !here[0].who().await.starts_with(&all) {} }).await;
    within(async { while !there[0].who().await.starts_with(&all) {} }).await;

    let (senders, each) = (4.min(sockets), 5);
    converse(&mut [&mut here, &mut there], senders, each).await;
    for node in [a, &b] {
        let sent = senders as u64 * each;
        node.until("received_total", sent).await;
        assert!(node.metric("echoes_total").await >= sent);
        assert_eq!(node.metric("missed_total").await, 0);
        assert_eq!(node.metric("dropped_total").await, 0);
        assert_eq!(node.metric("too_slow_total").await, 0);
    }

    drop((b, there));
    converse(&mut [&mut here], senders, each).await;
    let left = format!("{sockets}: ");
    within(async {
        while !here[0].who().await.starts_with(&left) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// While the engine is lost or slow, the subscribers of each node go on among themselves.
/// Afterwards the other node receives again, and has counted exactly what it has missed.
pub(crate) async fn an_engine_that_fails_for_a_while(
    a: &Running,
    b: &Running,
    messages: u64,
    stop: impl AsyncFnOnce(),
    start: impl AsyncFnOnce(),
) {
    let mut here = a.join(TOPIC, "a", 3).await;
    let mut there = b.join(TOPIC, "b", 3).await;
    let all = "6: a0 a1 a2 b0 b1 b2";
    within(async { while here[0].who().await != all {} }).await;
    within(async { while there[0].who().await != all {} }).await;
    converse(&mut [&mut here, &mut there], 1, 3).await;

    stop().await;
    converse(&mut [&mut here], 1, messages).await;
    converse(&mut [&mut there], 1, 1).await;
    eventually(async || a.metric("dropped_total").await > 0).await;

    start().await;
    a.until("engine_up", 1).await;
    b.until("engine_up", 1).await;
    // What the queue held is sent first. Other nodes may not have been back then, so that they
    // miss it; they do not miss this one.
    a.until("queued", 0).await;
    here[0].send().await;
    let last = here[0].sent;
    for member in &mut here {
        while member.next.get("a0") != Some(&last) {
            let left_out = within(member.receive()).await;
            assert!(left_out == 0 || member.next["b0"] > 3, "of its own node");
        }
    }
    let mut missed = Vec::new();
    for member in &mut there {
        let mut left_out = 0;
        while member.next.get("a0") != Some(&last) {
            left_out += within(member.receive()).await;
        }
        missed.push(left_out);
    }
    assert!(missed[0] > 0);
    assert!(missed.iter().all(|&missed_too| missed_too == missed[0]));
    assert_eq!(b.metric("missed_total").await, missed[0]);
    within(async { while here[0].who().await != all {} }).await;
}
