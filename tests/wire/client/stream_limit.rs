//! Attempts that wait for a free stream: every event that frees one is noticed, and
//! events that free none cost the server few connections (RFC 9113 §5.1.2, §6.8).

use std::time::Duration;

use h2ws::client::ClientBuilder;
use h2ws::{Client, Error, WebSocket};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::client::{accept, echo, http2, listen};
use crate::support::raw::{MAX_CONCURRENT_STREAMS, NO_ERROR, Raw};
use crate::support::{until, within};

/// A hand-written server that allows one stream per connection, and a client with the
/// given number of connections and a socket on each.
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

    /// Starts one more attempt, which has to wait.
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
async fn a_raised_limit_admits_waiting_attempts() {
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
async fn a_stream_that_ends_on_any_connection_admits_a_waiting_attempt() {
    for freed in [0, 1, 2] {
        let mut full = Full::with(3).await;
        let waiting = full.open().await;
        let (socket, mut peer) = full.open.swap_remove(freed);
        drop(socket);
        peer.take(3).await;
        within(waiting).await.unwrap().unwrap();
    }
}

/// RFC 9113 §6.8: the connection accepts no more streams, so the client does not wait for
/// it.
#[tokio::test]
async fn a_connection_that_received_goaway_is_replaced() {
    let mut full = Full::with(1).await;
    let waiting = full.open().await;
    full.open[0].1.goaway(1, NO_ERROR).await;
    let mut next = accept(&full.listener, &[]).await;
    next.take(1).await;
    within(waiting).await.unwrap().unwrap();
    let (socket, peer) = &mut full.open[0];
    tokio::join!(peer.answer(1), echo(socket, "on the old one"));
}

/// An attempt that was admitted and then cancelled leaves the stream to the next one.
#[tokio::test]
async fn a_free_stream_is_not_lost_to_a_cancelled_attempt() {
    let mut full = Full::with(1).await;
    let waiting = [full.open().await, full.open().await];
    waiting[0].abort();
    let (socket, mut peer) = full.open.remove(0);
    drop(socket);
    peer.take(3).await;
    let [_, second] = waiting;
    within(second).await.unwrap().unwrap();
}

/// A server that allows no streams at present (RFC 9113 §6.5.2) allows none on a second
/// connection either.
#[tokio::test]
async fn a_server_that_allows_no_streams_gets_one_connection() {
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

/// A server that shuts down may send GOAWAY on each new connection at once.
#[tokio::test]
async fn repeated_goaways_do_not_make_the_client_reconnect_for_ever() {
    let (listener, addr) = listen().await;
    let client = http2().build().unwrap();
    let url = format!("ws://{addr}/");
    let server = tokio::spawn(async move {
        for connections in 1.. {
            let mut peer = accept(&listener, &[]).await;
            assert!(connections <= 4, "the client keeps reconnecting");
            peer.goaway(0, NO_ERROR).await;
            tokio::spawn(async move { peer.rest().await });
        }
    });
    let failed = within(client.connect(&url)).await;
    assert!(matches!(failed, Err(Error::GoAway { .. })), "{failed:?}");
    assert!(!server.is_finished());
}

/// The time limit starts once, however many SETTINGS arrive that free no stream.
#[tokio::test]
async fn the_wait_for_a_free_stream_times_out() {
    let time_limit = Duration::from_millis(100);
    let mut full = Full::of(http2().connect_timeout(time_limit), 1).await;
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
