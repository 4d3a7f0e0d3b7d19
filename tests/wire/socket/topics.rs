//! Topics: subscriptions, private messages, and members that end, over both versions of HTTP.

use futures_util::FutureExt;
use h2ws::Server;
use h2ws::broadcast::{LagPolicy, MemberId, TopicChange, Topics};
use h2ws::frame::{PreparedMessage, Role};
use h2ws::{Message, WebSocket, WebSocketConfig};
use tokio::sync::mpsc;

use crate::support::client::{http1, http2};
use crate::support::{server, within};

/// A member of a topic: the client's end, and the reading half of the server's.
struct Member {
    id: MemberId,
    client: WebSocket,
    _reader: h2ws::socket::WebSocketReader,
}

/// Opens `count` WebSockets to one server, over both versions of HTTP in turn, and lets their
/// server ends join.
async fn join(topics: &mut Topics, count: usize) -> (server::Running, Vec<Member>) {
    let (sender, mut accepted) = mpsc::unbounded_channel();
    let server = server::serve(Server::builder(), move |request, _| {
        let sender = sender.clone();
        async move {
            let _: Result<_, _> = sender.send(request.accept().await.unwrap());
        }
    })
    .await;
    let clients = [http1().build().unwrap(), http2().build().unwrap()];
    let mut members = Vec::new();
    for number in 0..count {
        let client = &clients[number % 2];
        let client = within(client.connect(&server.url("/"))).await.unwrap();
        let (reader, writer) = within(accepted.recv()).await.unwrap().split();
        let id = topics.join(writer);
        members.push(Member {
            id,
            client,
            _reader: reader,
        });
    }
    (server, members)
}

fn message(text: &str) -> PreparedMessage {
    PreparedMessage::text(text)
}

async fn receives(member: &mut Member, text: &str) {
    let received = within(member.client.recv()).await.unwrap().unwrap();
    assert_eq!(received, Message::text(text));
}

#[tokio::test]
async fn a_message_reaches_the_subscribers_of_its_topic_alone() {
    let mut topics = Topics::new(LagPolicy::Wait);
    let (_server, mut members) = join(&mut topics, 4).await;
    for member in &members[..3] {
        assert!(topics.subscribe(member.id, "news"));
    }
    assert!(topics.subscribe(members[3].id, "sports"));
    assert!(!topics.subscribe(members[3].id, "sports"));
    assert_eq!(topics.subscribers("news"), 3);

    assert_eq!(topics.publish("news", &message("one")).await.sent, 3);
    assert_eq!(topics.publish("sports", &message("two")).await.sent, 1);
    assert_eq!(topics.publish("weather", &message("three")).await.sent, 0);
    for member in &mut members[..3] {
        receives(member, "one").await;
    }
    receives(&mut members[3], "two").await;

    // All but the one that it came from.
    let said = message("said");
    let others = topics.publish_except(members[0].id, "news", &said);
    assert_eq!(others.await.sent, 2);
    for member in &mut members[1..3] {
        receives(member, "said").await;
    }

    // A message to one of them is between two of its topic.
    let alone = topics.get_mut(members[1].id).unwrap();
    within(alone.send("for you")).await.unwrap();
    assert_eq!(topics.publish("news", &message("four")).await.sent, 3);
    receives(&mut members[0], "four").await;
    receives(&mut members[1], "for you").await;
    receives(&mut members[1], "four").await;
}

#[tokio::test]
async fn the_first_and_the_last_subscriber_are_reported() {
    let mut topics = Topics::new(LagPolicy::Skip);
    let (_server, members) = join(&mut topics, 2).await;
    let [one, other] = [members[0].id, members[1].id];
    topics.subscribe(one, "news");
    topics.subscribe(other, "news");
    topics.subscribe(other, "sports");
    let first = |topic: &str| TopicChange::First(topic.into());
    let last = |topic: &str| TopicChange::Last(topic.into());
    assert_eq!(topics.changes(), [first("news"), first("sports")]);
    assert_eq!(topics.changes(), []);

    assert!(topics.unsubscribe(one, "news"));
    assert!(!topics.unsubscribe(one, "news"));
    assert_eq!(topics.changes(), []);
    assert!(topics.leave(other).is_some());
    assert_eq!(topics.changes(), [last("news"), last("sports")]);
    assert_eq!(topics.topics(other).count(), 0);
    assert_eq!(topics.len(), 1);

    // What has come and gone since the last call is not reported, or it would pile up in a
    // program that never asks.
    topics.subscribe(one, "news");
    assert_eq!(topics.changes(), [first("news")]);
    for _ in 0..3 {
        topics.unsubscribe(one, "news");
        topics.subscribe(one, "weather");
        topics.unsubscribe(one, "weather");
        topics.subscribe(one, "news");
    }
    assert_eq!(topics.changes(), []);
}

#[tokio::test]
async fn a_member_that_ends_leaves_its_topics_and_its_name_is_not_reused() {
    let mut topics = Topics::new(LagPolicy::Skip);
    let (_server, mut members) = join(&mut topics, 2).await;
    let ended = members.remove(0);
    topics.subscribe(ended.id, "news");
    topics.subscribe(ended.id, "sports");
    drop(topics.changes());
    let Member {
        id,
        client,
        _reader,
    } = ended;
    drop((client, _reader));
    // The end is noticed by a message, once it has arrived.
    let mut left = Vec::new();
    while left.is_empty() {
        left = within(topics.publish("news", &message("gone?"))).await.left;
        tokio::task::yield_now().await;
    }
    assert_eq!(left[0].0, id);
    assert_eq!(topics.len(), 1);
    assert_eq!(topics.subscribers("sports"), 0);
    assert_eq!(topics.changes().len(), 2);

    // Another one takes the place, not the name.
    let writer = topics.leave(members[0].id).unwrap();
    let again = topics.join(writer);
    topics.subscribe(again, "news");
    assert!(!topics.subscribe(id, "news"));
    assert!(topics.get_mut(id).is_none());
    assert!(topics.leave(id).is_none());
    assert_eq!(topics.publish("news", &message("still here")).await.sent, 1);
    receives(&mut members[0], "still here").await;
}

/// Returns a server's and a client's end, with a buffer of 1000 bytes between them.
fn pair() -> (WebSocket, WebSocket) {
    let config = WebSocketConfig::default().write_buffer(2000);
    let (near, far) = tokio::io::duplex(1000);
    (
        WebSocket::from_stream(near, Role::Server, config.clone()),
        WebSocket::from_stream(far, Role::Client, config),
    )
}

/// The end of a member is found while another one keeps `publish` waiting, and the caller gives up.
/// Whichever topic is published to next, the ended member leaves all of its topics.
#[tokio::test]
async fn a_member_that_ended_in_a_dropped_call_leaves_its_topics() {
    for next in ["sports", "news"] {
        let mut topics = Topics::new(LagPolicy::Wait);
        let (full, _unread) = pair();
        let (_full_reader, full) = full.split();
        let full = topics.join(full);
        topics.subscribe(full, "news");
        let long = PreparedMessage::new(vec![7; 500]).unwrap();
        let mut sent = 0;
        while topics.publish("news", &long).now_or_never().is_some() {
            sent += 1;
            assert!(sent < 1000, "never full");
        }

        let (gone, peer) = pair();
        let (mut reader, gone) = gone.split();
        drop(peer);
        assert!(within(reader.recv()).await.is_none_or(|end| end.is_err()));
        let gone = topics.join(gone);
        for topic in ["news", "sports", "weather"] {
            topics.subscribe(gone, topic);
        }
        drop(topics.changes());

        let dropped = topics.publish("news", &message("one")).now_or_never();
        assert!(dropped.is_none(), "{dropped:?}");
        assert_eq!(topics.len(), 1, "the ended member has left the group");

        // The full member keeps a call for "news" waiting, which is dropped again.
        let _: Option<_> = topics.publish(next, &message("two")).now_or_never();
        let last = |topic: &str| TopicChange::Last(topic.into());
        assert_eq!(topics.changes(), [last("sports"), last("weather")]);
        assert_eq!(topics.topics(gone).count(), 0);
        assert_eq!(topics.subscribers("news"), 1);
    }
}
