//! Broadcasts: one message to many sockets, some of which do not keep up.

use futures_util::StreamExt;
use h2ws::broadcast::Broadcast;
use h2ws::broadcast::LagPolicy;
use h2ws::frame::{PreparedMessage, Role};
use h2ws::{CloseCode, Error, Http2Config, Message, WebSocketConfig};
use h2ws::{Server, Timeout, WebSocket};
use tokio::sync::mpsc;

use crate::support::client::http2;
use crate::support::{server, within};

/// Starts a server whose handlers send their sockets to the returned receiver.
async fn sockets(config: Http2Config) -> (server::Running, mpsc::UnboundedReceiver<WebSocket>) {
    let (sender, accepted) = mpsc::unbounded_channel();
    let builder = Server::builder().http2(config);
    let server = server::serve(builder, move |upgrade, _| {
        let sender = sender.clone();
        async move {
            let _: Result<_, _> = sender.send(upgrade.accept().await.unwrap());
        }
    })
    .await;
    (server, accepted)
}

/// Returns a server's and a client's end, with a buffer of 1000 bytes between them.
fn pair(config: WebSocketConfig) -> (WebSocket, WebSocket) {
    let (near, far) = tokio::io::duplex(1000);
    (
        WebSocket::from_stream(near, Role::Server, config),
        WebSocket::from_stream(far, Role::Client, WebSocketConfig::default()),
    )
}

/// Sends to a socket whose peer does not read, until a message is not delivered.
async fn fill(group: &mut Broadcast, message: &PreparedMessage) -> h2ws::broadcast::Delivery {
    for _ in 0..1000 {
        let delivery = within(group.send(message)).await;
        if delivery.sent == 0 {
            return delivery;
        }
    }
    panic!("never full");
}

/// Short, packed and long messages reach every socket unchanged over HTTP/2.
#[tokio::test]
async fn every_socket_receives_the_same_messages() {
    let (server, mut accepted) = sockets(Http2Config::default()).await;
    let client = http2().build().unwrap();
    let mut group = Broadcast::new(LagPolicy::Wait);
    let (mut clients, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..50 {
        clients.push(client.connect(&server.url("/")).await.unwrap());
        let (reader, writer) = within(accepted.recv()).await.unwrap().split();
        group.join(writer);
        readers.push(reader);
    }
    let messages = [0, 1, 125, 126, 16_383, 16_384, 70_000, 300_000].map(|len| {
        let bytes: Vec<u8> = (0..len as u32).map(|n| n as u8).collect();
        Message::binary(bytes)
    });
    let expected = messages.clone();
    let send = async {
        for message in messages {
            let message = PreparedMessage::new(message).unwrap();
            let delivery = within(group.send(&message)).await;
            assert_eq!(delivery.sent, 50, "{delivery:?}");
        }
    };
    let read = async {
        let all = clients.iter_mut().map(async |ws| {
            for expected in &expected {
                let got = within(ws.next()).await.expect("open").unwrap();
                assert!(got == *expected, "received a different message");
            }
        });
        futures_util::future::join_all(all).await;
    };
    let serve = futures_util::future::join_all(readers.iter_mut().map(StreamExt::next));
    tokio::select! {
        ((), ()) = async { tokio::join!(send, read) } => {}
        _ = serve => panic!("a socket ended"),
    }
}

#[tokio::test]
async fn a_message_to_all_but_one() {
    let mut group = Broadcast::new(LagPolicy::Skip);
    let (mut clients, mut readers) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (server, client) = pair(WebSocketConfig::default());
        let (reader, writer) = server.split();
        readers.push(reader);
        clients.push((group.join(writer), client));
    }
    for (from, _) in &clients {
        let message = PreparedMessage::binary(format!("{from:?}"));
        assert_eq!(within(group.send_except(*from, &message)).await.sent, 2);
    }
    let members: Vec<_> = clients.iter().map(|(member, _)| *member).collect();
    for (member, client) in &mut clients {
        for from in members.iter().filter(|from| *from != member) {
            let got = within(client.next()).await.expect("open").unwrap();
            assert_eq!(got, Message::binary(format!("{from:?}")));
        }
    }
}

/// A socket that does not keep up misses messages, and the others miss none.
#[tokio::test]
async fn a_slow_socket_is_skipped() {
    let mut group = Broadcast::new(LagPolicy::Skip);
    let config = WebSocketConfig::default().write_buffer(2000);
    let (slow, _unread) = pair(config.clone());
    let (fast, mut client) = pair(config);
    let ((mut slow_reader, slow), (mut reader, fast)) = (slow.split(), fast.split());
    // The readers drive the writes that could not complete at once.
    let _reading = tokio::spawn(async move { reader.next().await });
    let _slow_reading = tokio::spawn(async move { slow_reader.next().await });
    group.join(slow);
    group.join(fast);
    let message = PreparedMessage::new(vec![7; 500]).unwrap();
    let mut skipped = 0;
    for _ in 0..50 {
        let delivery = within(group.send(&message)).await;
        skipped += delivery.skipped;
        let got = within(client.next()).await.expect("open").unwrap();
        assert_eq!(got.len(), 500);
    }
    assert!((30..50).contains(&skipped), "{skipped}");
    assert_eq!(group.len(), 2);
}

/// A socket that does not keep up is closed after the messages sent to it.
#[tokio::test]
async fn a_slow_socket_is_closed() {
    let mut group = Broadcast::new(LagPolicy::Close);
    let (slow, mut client) = pair(WebSocketConfig::default().write_buffer(2000));
    let (mut reader, writer) = slow.split();
    let member = group.join(writer);
    let message = PreparedMessage::new(vec![7; 500]).unwrap();
    let delivery = fill(&mut group, &message).await;
    assert!(matches!(&delivery.left[..], [(left, None)] if *left == member));
    assert!(group.is_empty());
    let (read, closed) = tokio::join!(within(reader.next()), async {
        while let Some(message) = within(client.next()).await {
            assert_eq!(message.unwrap().len(), 500);
        }
        client.close_code()
    });
    assert!(read.is_none(), "{read:?}");
    assert_eq!(closed, Some(CloseCode::TRY_AGAIN_LATER));
}

/// If the peer never reads again, the reader, which is already waiting, stops
/// waiting for the Close frame after the close timeout.
#[tokio::test]
async fn a_closed_socket_whose_peer_is_silent_ends() {
    let mut group = Broadcast::new(LagPolicy::Close);
    let config = WebSocketConfig::default()
        .write_buffer(2000)
        .close_timeout(std::time::Duration::from_millis(10));
    let (slow, _unread) = pair(config);
    let (mut reader, writer) = slow.split();
    group.join(writer);
    let read = tokio::spawn(async move { reader.next().await });
    tokio::task::yield_now().await;
    let message = PreparedMessage::new(vec![7; 300_000]).unwrap();
    fill(&mut group, &message).await;
    let ended = within(read).await.unwrap().expect("an error");
    assert!(
        matches!(ended, Err(Error::Timeout(Timeout::Close))),
        "{ended:?}"
    );
}

/// A socket that has ended is removed from the group, and the others are not
/// affected.
#[tokio::test]
async fn an_ended_socket_leaves_the_group() {
    let mut group = Broadcast::new(LagPolicy::Skip);
    let (gone, client) = pair(WebSocketConfig::default());
    let (stays, mut other) = pair(WebSocketConfig::default());
    let (mut gone_reader, gone) = gone.split();
    let (_reader, stays) = stays.split();
    let gone = group.join(gone);
    let stays = group.join(stays);
    drop(client);
    assert!(within(gone_reader.next()).await.expect("an error").is_err());
    let message = PreparedMessage::new("news").unwrap();
    let delivery = within(group.send(&message)).await;
    assert_eq!((delivery.sent, delivery.left.len()), (1, 1));
    assert!(matches!(delivery.left[0], (left, Some(_)) if left == gone));
    let got = within(other.next()).await.expect("open").unwrap();
    assert_eq!(got.as_text(), Some("news"));
    assert!(group.leave(stays).is_some());
    assert!(group.leave(stays).is_none());
}

/// RFC 6455 §5.1: a client masks prepared messages as well.
#[tokio::test]
async fn a_client_masks_prepared_messages() {
    let (mut server, mut client) = pair(WebSocketConfig::default());
    let message = PreparedMessage::new("from a client").unwrap();
    within(client.send_prepared(&message)).await.unwrap();
    let got = within(server.next()).await.expect("open").unwrap();
    assert_eq!(got.as_text(), Some("from a client"));
}

/// A message is compressed for the sockets that negotiated compression and plain
/// for the others. A message sent to a single socket does not disturb its window.
#[cfg(feature = "deflate")]
#[tokio::test]
async fn each_socket_receives_its_negotiated_form() {
    use h2ws::handshake::DeflateConfig;

    let (sender, mut accepted) = mpsc::unbounded_channel();
    let builder = Server::builder().deflate(DeflateConfig::default());
    let server = server::serve(builder, move |upgrade, _| {
        let sender = sender.clone();
        async move {
            let _: Result<_, _> = sender.send(upgrade.accept().await.unwrap());
        }
    })
    .await;
    let text = "news of the world, ".repeat(500);
    let news = PreparedMessage::new(text.clone()).unwrap();
    let mut group = Broadcast::new(LagPolicy::Wait);
    let mut clients = Vec::new();
    for deflate in [None, Some(DeflateConfig::default())] {
        let client = http2().deflate(deflate).build().unwrap();
        let ws = client.connect(&server.url("/")).await.unwrap();
        assert_eq!(ws.deflate().is_some(), deflate.is_some());
        let (reader, mut writer) = within(accepted.recv()).await.unwrap().split();
        let own = Message::text(text.clone() + "for you");
        futures_util::SinkExt::send(&mut writer, own).await.unwrap();
        group.join(writer);
        clients.push((client, ws, reader));
    }
    for _ in 0..10 {
        assert_eq!(within(group.send(&news)).await.sent, 2);
    }
    let mut bytes = Vec::new();
    for (client, ws, _reader) in &mut clients {
        let own = within(ws.next()).await.expect("open").unwrap();
        assert!(own.as_text().is_some_and(|own| own.ends_with("for you")));
        for _ in 0..10 {
            let got = within(ws.next()).await.expect("open").unwrap();
            assert_eq!(got.as_text(), Some(&*text));
        }
        bytes.push(client.connections()[0].bytes_received as usize);
    }
    assert!(
        bytes[0] > 11 * text.len() && bytes[1] < text.len(),
        "{bytes:?}"
    );
}
