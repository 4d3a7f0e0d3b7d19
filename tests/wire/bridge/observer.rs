//! What a bridge reports to its observer, while sockets are open and when they
//! end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use h2ws::bridge::{AccessRecord, BridgeObserver};
use h2ws::handshake::DeflateConfig;
use h2ws::server::WebSocketRequest;
use h2ws::{Client, HttpVersion, Message, Server, WebSocketConfig};

use crate::support::bridge::{Bridging, to};
use crate::support::client::{http1, http2};
use crate::support::recorder::{Event, Recorder};
use crate::support::table::{Table, backend, route, table};
use crate::support::{tls, until, within};

fn line(event: Event, access: &AccessRecord) -> Option<String> {
    let what = match event {
        Event::Handshake => {
            assert_eq!(access.closed(), None);
            "answered"
        }
        Event::WebSocketEnd => access.closed().unwrap().how(),
        Event::RequestEnd => return None,
    };
    let status = access.status().map(|status| status.as_u16());
    Some(format!("{what} {:?} {status:?}", access.route()))
}

#[tokio::test]
async fn an_observer_is_notified_of_every_opening_request() {
    let one = backend("one").await;
    let table = Table::start(table([route("/a", &[one])])).await;
    let recorder = Recorder::of(&table.bridge, line);
    drop(table.ask("/a", "").await);
    until(|| recorder.len() == 2).await;
    table.ask("/b", "").await;
    until(|| recorder.len() == 4).await;
    let expected = [
        "answered Some(\"*/a\") Some(101)",
        "end Some(\"*/a\") Some(101)",
        "answered None Some(404)",
        "rejected None Some(404)",
    ];
    assert_eq!(recorder.take(), expected);
}

/// Counts the bytes that are reported while a socket is open, and keeps the totals
/// that are reported at its end.
#[derive(Default)]
struct Bytes {
    up: AtomicU64,
    down: AtomicU64,
    total: Mutex<Option<(u64, u64)>>,
}

impl BridgeObserver for Bytes {
    fn on_bytes(&self, access: &AccessRecord, up: u64, down: u64) {
        assert!(up + down > 0 && access.bytes_up() >= up);
        self.up.fetch_add(up, Ordering::Relaxed);
        self.down.fetch_add(down, Ordering::Relaxed);
    }

    fn on_websocket_end(&self, access: &AccessRecord) {
        let bytes = (access.bytes_up(), access.bytes_down());
        *self.total.lock().unwrap() = Some(bytes);
    }
}

#[tokio::test]
async fn bytes_are_reported_once_while_a_socket_is_open() {
    let one = backend("one").await;
    let table = Table::start(table([route("/*", &[one])])).await;
    let bytes = Arc::new(Bytes::default());
    table.bridge.observe(bytes.clone());
    let client = Client::builder().tls(tls::none()).build().unwrap();
    let url = format!("ws://{}/", table.addr);
    let mut socket = client.connect(&url).await.unwrap();
    let bytes_up_so_far = || bytes.up.load(Ordering::Relaxed);
    within(async {
        while bytes_up_so_far() == 0 {
            let message = Message::binary(vec![0; 100]);
            socket.send(message).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert_eq!(
        *bytes.total.lock().unwrap(),
        None,
        "reported the end of an open socket"
    );
    assert_eq!(table.bridge.idle().now_or_never(), None);
    socket.close(None).await.unwrap();
    within(table.bridge.idle()).await;
    let sums = (bytes_up_so_far(), bytes.down.load(Ordering::Relaxed));
    assert_eq!(*bytes.total.lock().unwrap(), Some(sums));
    assert!(sums.0 > 0 && sums.1 > 0, "{sums:?}");
}

/// Returns what is known of a socket at its end.
fn known(event: Event, access: &AccessRecord) -> Option<String> {
    if event != Event::WebSocketEnd {
        return None;
    }
    let times = (access.answered_after(), access.first_byte_after());
    assert!(times.0.is_some() && times.0 <= times.1, "{times:?}");
    assert!(access.elapsed() >= times.1.unwrap());
    Some(format!(
        "{:?} {:?} {} {}",
        access.subprotocol(),
        access.extensions(),
        access.messages_up(),
        access.messages_down(),
    ))
}

/// Fragments and control frames are not messages; what is compressed is counted as well.
#[tokio::test]
async fn what_was_agreed_and_the_number_of_messages_are_known_at_the_end() {
    for upstream_version in [HttpVersion::Http1, HttpVersion::Http2] {
        let server = Server::builder().deflate(DeflateConfig::default());
        let server = server.bind("127.0.0.1:0").await.unwrap();
        let addr = server.local_addr().unwrap();
        let serve = server.serve(|mut request: WebSocketRequest| async move {
            request.select_subprotocol("two").unwrap();
            let mut socket = request.accept().await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                socket.send(message.clone()).await.unwrap();
                socket.send(message).await.unwrap();
            }
        });
        tokio::spawn(serve.into_future());
        let bridge = to("ws", addr, upstream_version).build().unwrap();
        let ends = Recorder::of(&bridge, known);
        let bridging = Bridging::of(&bridge, WebSocketConfig::default()).await;
        for client in [http1(), http2()] {
            let client = client.build().unwrap();
            let request = client
                .request(bridging.url())
                .subprotocol("one")
                .subprotocol("two");
            let request = request.deflate(DeflateConfig::default());
            let mut socket = within(request.connect()).await.unwrap();
            // Longer than a fragment.
            for text in ["a".repeat(300_000), "b".into(), "c".into()] {
                within(socket.send(Message::text(text))).await.unwrap();
                within(socket.next()).await.unwrap().unwrap();
                within(socket.next()).await.unwrap().unwrap();
            }
            within(socket.send(Message::Ping("x".into())))
                .await
                .unwrap();
            within(socket.close(None)).await.unwrap();
        }
        for _ in 0..2 {
            let line = ends.next().await;
            let expected = "Some(\"two\") Some(\"permessage-deflate";
            assert!(
                line.starts_with(expected) && line.ends_with(" 3 6"),
                "{line}"
            );
        }
    }
}
