//! Sockets that wait for room: whatever makes some is noticed, and what makes
//! none costs the server few connections (RFC 9113 §5.1.2, §6.8).

use std::time::Duration;

use h2ws::client::ClientBuilder;
use h2ws::{Client, Error, WebSocket};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::client::{accept, echo, http2, listen};
use crate::support::raw::{MAX_CONCURRENT_STREAMS, NO_ERROR, Raw};
use crate::support::{until, within};

/// A server by hand whose connections take one stream each, and a client that
/// has so many of them, with a socket on each.
struct Full {
    client: Client,
    listener: TcpListener,
    url: String,
    open: Vec<(WebSocket, Raw)>,
}

impl Full {
    async fn with(connections: usize) -> Self {
        Self::of(http2(), connections).await
    }

    async fn of(builder: ClientBuilder, connections: usize) -> Self {
        let (listener, addr) = listen().await;
        let client = builder.max_connections(connections).build().unwrap();
        let mut full = Self {
            client,
            listener,
            url: format!("ws://{addr}/"),
            open: Vec::new(),
        };
        for _ in 0..connections {
            let (socket, peer) = tokio::join!(full.client.connect(&full.url), async {
                let mut peer = accept(&full.listener, &[(MAX_CONCURRENT_STREAMS, 1)]).await;
                peer.take(1).await;
                peer
            });
            full.open.push((socket.unwrap(), peer));
        }
        full
    }

    /// Begins to open one more, which has to wait.
    async fn open(&mut self) -> JoinHandle<Result<WebSocket, Error>> {
        let (client, url) = (self.client.clone(), self.url.clone());
        let waiting = tokio::spawn(async move { client.connect(&url).await });
        for (socket, peer) in &mut self.open {
            tokio::join!(peer.answer(1), echo(socket, "meanwhile"));
        }
        assert!(!waiting.is_finished());
        waiting
    }
}

/// A server may raise its limit at any time (RFC 9113 §6.5.3).
#[tokio::test]
async fn a_raised_limit_lets_in_who_waits() {
    let mut full = Full::with(1).await;
    let waiting = [full.open().await, full.open().await];
    let peer = &mut full.open[0].1;
    peer.send_settings(&[(MAX_CONCURRENT_STREAMS, 3)]).await;
    peer.take(3).await;
    peer.take(5).await;
    for waiting in waiting {
        within(waiting).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_ends_on_any_connection_lets_in_who_waits() {
    for freed in [0, 1, 2] {
        let mut full = Full::with(3).await;
        let waiting = full.open().await;
        let (socket, mut peer) = full.open.swap_remove(freed);
        drop(socket);
        peer.take(3).await;
        within(waiting).await.unwrap().unwrap();
    }
}

/// RFC 9113 §6.8: it takes no more streams, so it is not waited for.
#[tokio::test]
async fn a_connection_that_goes_away_makes_room_for_another() {
    let mut full = Full::with(1).await;
    let waiting = full.open().await;
    full.open[0].1.goaway(1, NO_ERROR).await;
    let mut next = accept(&full.listener, &[]).await;
    next.take(1).await;
    within(waiting).await.unwrap().unwrap();
    let (socket, peer) = &mut full.open[0];
    tokio::join!(peer.answer(1), echo(socket, "on the old one"));
}

/// Whoever was let in and gave up leaves the room to the next.
#[tokio::test]
async fn room_is_not_lost_on_who_waits_no_more() {
    let mut full = Full::with(1).await;
    let waiting = [full.open().await, full.open().await];
    waiting[0].abort();
    let (socket, mut peer) = full.open.remove(0);
    drop(socket);
    peer.take(3).await;
    let [_, second] = waiting;
    within(second).await.unwrap().unwrap();
}

/// A server that takes no streams at present (RFC 9113 §6.5.2) takes none on a
/// second connection either.
#[tokio::test]
async fn a_server_that_takes_no_streams_is_waited_for_on_one_connection() {
    let (listener, addr) = listen().await;
    let client = http2().build().unwrap();
    let url = format!("ws://{addr}/");
    let opens = (0..10).map(|_| client.connect(&url));
    let (opened, _peer) = tokio::join!(within(futures_util::future::join_all(opens)), async {
        let mut peer = accept(&listener, &[(MAX_CONCURRENT_STREAMS, 0)]).await;
        peer.barrier().await;
        until(|| client.connections().len() == 1).await;
        peer.send_settings(&[(MAX_CONCURRENT_STREAMS, 10)]).await;
        for stream in (1..21).step_by(2) {
            peer.take(stream).await;
        }
        peer
    });
    assert!(opened.iter().all(Result::is_ok), "{opened:?}");
    assert_eq!(client.connections().len(), 1);
}

/// A server that shuts down may say so on each new connection at once.
#[tokio::test]
async fn a_server_that_only_goes_away_is_not_connected_to_for_ever() {
    let (listener, addr) = listen().await;
    let client = http2().build().unwrap();
    let url = format!("ws://{addr}/");
    let server = tokio::spawn(async move {
        for connections in 1.. {
            let mut peer = accept(&listener, &[]).await;
            assert!(connections <= 4, "one connection after the other");
            peer.goaway(0, NO_ERROR).await;
            tokio::spawn(async move { peer.rest().await });
        }
    });
    let failed = within(client.connect(&url)).await;
    assert!(matches!(failed, Err(Error::GoAway { .. })), "{failed:?}");
    assert!(!server.is_finished());
}

/// It begins once, however often there are news that bring no room.
#[tokio::test]
async fn the_wait_for_room_has_an_end() {
    let patience = Duration::from_millis(100);
    let mut full = Full::of(http2().connect_timeout(patience), 1).await;
    let waiting = full.open().await;
    let peer = &mut full.open[0].1;
    within(async {
        for limit in [0, 1].into_iter().cycle() {
            peer.send_settings(&[(MAX_CONCURRENT_STREAMS, limit)]).await;
            peer.barrier().await;
            if waiting.is_finished() {
                break;
            }
        }
    })
    .await;
    let failed = waiting.await.unwrap();
    assert!(matches!(failed, Err(Error::Timeout(_))), "{failed:?}");
}
