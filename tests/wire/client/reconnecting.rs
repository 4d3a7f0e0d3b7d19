//! WebSockets that reconnect, over both versions of HTTP. The servers are in memory, so that
//! tokio's paused clock shows each delay.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use h2ws::client::{
    AttemptFailed, DisconnectCause, Disconnected, ReconnectEvent, ReconnectingBuilder,
    ReconnectingWebSocket,
};
use h2ws::frame::SendError;
use h2ws::memory::{self, MemoryConnector};
use h2ws::server::WebSocketRequest;
use h2ws::{Client, CloseCode, CloseFrame, Error, Message, Server, Timeout, WebSocket};
use http::{Response, StatusCode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::support::client::{http1, http2};

const URL: &str = "ws://app.example/";
/// Longer than any delay. The clock is paused, so nothing waits for it in vain.
const LONG: Duration = Duration::from_secs(1_000_000);
const MIN: Duration = Duration::from_secs(1);

/// A server that can be stopped and started, and hands every request to the test.
struct Site {
    connector: Arc<Mutex<Option<MemoryConnector>>>,
    dials: Arc<Mutex<u32>>,
    requests: mpsc::UnboundedReceiver<WebSocketRequest>,
    sender: mpsc::UnboundedSender<WebSocketRequest>,
    server: Option<JoinHandle<()>>,
}

impl Site {
    fn new() -> Self {
        let (sender, requests) = mpsc::unbounded_channel();
        let mut site = Self {
            connector: Arc::default(),
            dials: Arc::default(),
            requests,
            sender,
            server: None,
        };
        site.start();
        site
    }

    fn start(&mut self) {
        let (listener, connector) = memory::pair();
        *self.connector.lock().unwrap() = Some(connector);
        let sender = self.sender.clone();
        let server = Server::builder().listener(listener).unwrap();
        let serving = server.serve(move |request| {
            let _: Result<_, _> = sender.send(request);
            std::future::ready(())
        });
        self.server = Some(tokio::spawn(async move {
            let _: Result<_, _> = serving.await;
        }));
    }

    /// Cuts all connections, and refuses others.
    fn stop(&mut self) {
        *self.connector.lock().unwrap() = None;
        self.server.take().unwrap().abort();
    }

    /// A client of each version.
    fn clients(&self) -> [Client; 2] {
        [http1(), http2()].map(|builder| {
            let (connector, dials) = (self.connector.clone(), self.dials.clone());
            let builder = builder.connector(move |_| {
                *dials.lock().unwrap() += 1;
                let connector = connector.lock().unwrap().clone();
                async move {
                    match connector {
                        Some(connector) => connector.connect().await,
                        None => Err(io::ErrorKind::ConnectionRefused.into()),
                    }
                }
            });
            builder.build().unwrap()
        })
    }

    async fn accept(&mut self) -> WebSocket {
        let request = within(self.requests.recv()).await.unwrap();
        within(request.accept()).await.unwrap()
    }

    async fn reject(&mut self, status: u16, retry_after: Option<&str>) {
        let mut response = Response::new("");
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        if let Some(value) = retry_after {
            let value = value.parse().unwrap();
            response.headers_mut().insert("retry-after", value);
        }
        within(self.requests.recv())
            .await
            .unwrap()
            .reject_with(response);
    }
}

#[track_caller]
fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        let done = tokio::time::timeout(LONG, future).await;
        done.unwrap_or_else(|_| panic!("hangs at {caller}"))
    }
}

fn builder(client: &Client) -> ReconnectingBuilder {
    client.request(URL).reconnecting()
}

/// Opens a WebSocket, and returns both ends.
async fn open(site: &mut Site, builder: ReconnectingBuilder) -> (ReconnectingWebSocket, WebSocket) {
    let (socket, peer) = tokio::join!(builder.connect(), site.accept());
    let mut socket = socket.unwrap();
    connected(&mut socket).await;
    (socket, peer)
}

async fn event(socket: &mut ReconnectingWebSocket) -> ReconnectEvent {
    within(socket.recv()).await.expect("not over").unwrap()
}

async fn connected(socket: &mut ReconnectingWebSocket) {
    let event = event(socket).await;
    assert!(matches!(event, ReconnectEvent::Connected), "{event:?}");
    assert!(socket.is_connected());
}

async fn disconnected(socket: &mut ReconnectingWebSocket) -> Disconnected {
    match event(socket).await {
        ReconnectEvent::Disconnected(lost) => lost,
        other => panic!("{other:?}"),
    }
}

async fn attempt_failed(socket: &mut ReconnectingWebSocket) -> AttemptFailed {
    match event(socket).await {
        ReconnectEvent::AttemptFailed(failed) => failed,
        other => panic!("{other:?}"),
    }
}

async fn receives(socket: &mut ReconnectingWebSocket, text: &str) {
    let message = event(socket).await.into_message();
    assert_eq!(message, Some(Message::text(text)));
}

/// Reconnects, with the server's part of it.
async fn reconnects(socket: &mut ReconnectingWebSocket, site: &mut Site) -> WebSocket {
    let ((), peer) = tokio::join!(connected(socket), site.accept());
    peer
}

#[tokio::test(start_paused = true)]
async fn a_restarted_server_is_found_again_and_delays_double() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        let (mut socket, mut peer) = open(&mut site, builder(client)).await;
        assert_eq!(socket.send("zero").await.unwrap(), 0);
        assert_eq!(socket.send("one").await.unwrap(), 1);
        within(peer.recv()).await.unwrap().unwrap();
        site.stop();
        drop(peer);

        let lost = disconnected(&mut socket).await;
        assert!(matches!(lost.cause, DisconnectCause::Error(_)), "{lost:?}");
        assert_eq!(lost.unconfirmed, 0..2);
        assert!(!socket.is_connected());
        let mut delay = lost.retry_in.unwrap();
        for attempts in 1..5 {
            let upper = MIN * 2_u32.pow(attempts);
            assert!((MIN..=upper).contains(&delay), "{attempts}: {delay:?}");
            let before = Instant::now();
            let failed = attempt_failed(&mut socket).await;
            assert!(before.elapsed() >= delay, "{:?}", before.elapsed());
            assert_eq!(failed.attempts, attempts);
            assert!(
                matches!(failed.cause, DisconnectCause::Error(Error::Connect(_))),
                "{failed:?}"
            );
            delay = failed.retry_in.unwrap();
        }
        site.start();
        let mut peer = reconnects(&mut socket, &mut site).await;

        // Nothing was repeated, and numbers go on.
        assert_eq!(socket.send("two").await.unwrap(), 2);
        assert_eq!(
            within(peer.recv()).await.unwrap().unwrap(),
            Message::text("two")
        );
        peer.send("hello").await.unwrap();
        receives(&mut socket, "hello").await;
        drop(peer);
        assert_eq!(disconnected(&mut socket).await.unconfirmed, 2..3);
    }
}

/// A WebSocket that was open for a while starts again with the shortest delay; one that was closed
/// at once does not.
#[tokio::test(start_paused = true)]
async fn only_a_stable_websocket_resets_the_delay() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        let builder = builder(client).max_attempts(3);
        let (mut socket, mut peer) = open(&mut site, builder).await;
        for _ in 0..3 {
            let restart = CloseCode::SERVICE_RESTART;
            let (lost, closed) = tokio::join!(disconnected(&mut socket), peer.close(restart));
            closed.unwrap();
            assert_eq!(lost.cause.close_code(), Some(restart));
            assert!(lost.retry_in.is_some());
            peer = reconnects(&mut socket, &mut site).await;
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        for attempt in 0..4 {
            let (lost, _) =
                tokio::join!(disconnected(&mut socket), peer.close(CloseCode::GOING_AWAY));
            assert_eq!(lost.retry_in.is_some(), attempt < 3, "{lost:?}");
            if attempt < 3 {
                peer = reconnects(&mut socket, &mut site).await;
            }
        }
        let error = socket.recv().await.unwrap().unwrap_err();
        let Error::GaveUp { attempts: 3, last } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(last.close_code(), Some(CloseCode::GOING_AWAY));
        assert_eq!(
            error.to_string(),
            "gave up after 3 attempts: the server closed the WebSocket with code 1001"
        );
        assert!(socket.recv().await.is_none());
        assert!(matches!(socket.send("x").await, Err(Error::GaveUp { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_code_decides_whether_another_websocket_follows() {
    for n in 0..2 {
        for (code, again) in [
            (Some(1000), false),
            (Some(1001), true),
            (Some(1002), false),
            (Some(1003), false),
            (None, false),
            (Some(1007), false),
            (Some(1008), false),
            (Some(1009), false),
            (Some(1011), true),
            (Some(1012), true),
            (Some(1013), true),
            (Some(1014), true),
            (Some(4000), false),
        ] {
            let mut site = Site::new();
            let client = &site.clients()[n];
            let (mut socket, mut peer) = open(&mut site, builder(client)).await;
            let frame = code.map(|code| CloseFrame::new(CloseCode::from(code), "why"));
            let (lost, closed) = tokio::join!(disconnected(&mut socket), peer.close(frame.clone()));
            closed.unwrap();
            assert_eq!(lost.retry_in.is_some(), again, "{code:?}");
            if again {
                reconnects(&mut socket, &mut site).await;
            } else {
                assert!(socket.recv().await.is_none());
                assert_eq!(socket.close_frame(), frame.as_ref());
                assert!(matches!(socket.send("x").await, Err(Error::Closed)));
            }
        }
    }
}

/// What the caller decides replaces the default.
#[tokio::test(start_paused = true)]
async fn the_caller_may_decide() {
    let mut site = Site::new();
    let [client, _] = site.clients();
    let decide = |cause: &DisconnectCause| cause.close_code() == Some(CloseCode::NORMAL);
    let (mut socket, mut peer) = open(&mut site, builder(&client).reconnect_if(decide)).await;
    let (lost, _) = tokio::join!(disconnected(&mut socket), peer.close(CloseCode::NORMAL));
    assert!(lost.retry_in.is_some());
    peer = reconnects(&mut socket, &mut site).await;
    let (lost, _) = tokio::join!(disconnected(&mut socket), peer.close(CloseCode::GOING_AWAY));
    assert!(lost.retry_in.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_rejection_that_stays_ends_it_and_another_is_repeated() {
    for n in 0..2 {
        for (status, again) in [
            (401, false),
            (403, false),
            (404, false),
            (429, true),
            (500, true),
        ] {
            let mut site = Site::new();
            let client = &site.clients()[n];
            let (mut socket, peer) = open(&mut site, builder(client)).await;
            drop(peer);
            disconnected(&mut socket).await;
            let (failed, ()) = tokio::join!(attempt_failed(&mut socket), site.reject(status, None));
            assert_eq!(failed.retry_in.is_some(), again, "{status}");
            if again {
                reconnects(&mut socket, &mut site).await;
                continue;
            }
            let error = socket.recv().await.unwrap().unwrap_err();
            let rejected = error.rejected_response().expect("the rejection");
            assert_eq!(rejected.status.as_u16(), status);
            assert!(socket.recv().await.is_none());
        }
        // The first attempt is the caller's to repeat, unless it is lazy.
        let mut site = Site::new();
        let client = &site.clients()[n];
        let (first, ()) = tokio::join!(builder(client).connect(), site.reject(503, None));
        assert!(first.unwrap_err().rejected_response().is_some());
        let mut lazy = builder(client).connect_lazy().unwrap();
        tokio::join!(attempt_failed(&mut lazy), site.reject(503, None));
        reconnects(&mut lazy, &mut site).await;
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        let most = Duration::from_secs(600);
        let builder = builder(client).max_retry_after(most);
        let (mut socket, peer) = open(&mut site, builder).await;
        drop(peer);
        disconnected(&mut socket).await;
        for (status, value, seconds) in [
            (503, "120", 120),
            (429, "300", 300),
            (503, "Fri, 31 Dec 1999 23:59:59 GMT", 0),
            (503, "99999999999", 600),
        ] {
            let rejected = site.reject(status, Some(value));
            let (failed, ()) = tokio::join!(attempt_failed(&mut socket), rejected);
            let delay = failed.retry_in.unwrap();
            let least = Duration::from_secs(seconds) + MIN;
            let upper = least + MIN * 2_u32.pow(failed.attempts + 1);
            assert!((least..=upper).contains(&delay), "{value}: {delay:?}");
        }
        let before = Instant::now();
        reconnects(&mut socket, &mut site).await;
        assert!(before.elapsed() >= most);
    }
}

/// The hook sees each WebSocket before the messages of `send`, also of one that waits.
#[tokio::test(start_paused = true)]
async fn the_hook_runs_before_messages_each_time() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        let builder = client.request(URL).early_message("early").reconnecting();
        let builder = builder
            .before_connect(|request| async { Ok(request.header("x-token", "fresh")) })
            .after_connect(|socket| {
                Box::pin(async move {
                    socket.send("subscribe").await?;
                    socket.recv().await.transpose()?;
                    Ok(())
                })
            });
        let mut socket = builder.connect_lazy().unwrap();
        for round in 0..3 {
            let serve = async {
                let request = within(site.requests.recv()).await.unwrap();
                let tokens: Vec<_> = request.headers().get_all("x-token").iter().collect();
                assert_eq!(tokens, ["fresh"]);
                let mut peer = within(request.accept()).await.unwrap();
                let mut received = Vec::new();
                for _ in 0..3 {
                    let message = within(peer.recv()).await.unwrap().unwrap();
                    received.push(message.into_data());
                    if received.len() == 2 {
                        peer.send("welcome").await.unwrap();
                    }
                }
                assert_eq!(received, ["early", "subscribe", "message"]);
                peer
            };
            let (number, mut peer) = tokio::join!(socket.send("message"), serve);
            assert_eq!(number.unwrap(), round);
            connected(&mut socket).await;
            peer.send("answer").await.unwrap();
            receives(&mut socket, "answer").await;
            drop(peer);
            assert_eq!(
                disconnected(&mut socket).await.unconfirmed,
                round..round + 1
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_fails_the_attempt() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        // The server closes it during the hook: its code decides.
        let hook = builder(client).after_connect(|socket| {
            Box::pin(async move {
                while let Some(message) = socket.recv().await {
                    message?;
                }
                socket.send("too late").await
            })
        });
        let mut socket = hook.connect_lazy().unwrap();
        for (code, again) in [(1013, true), (1008, false)] {
            let close = async {
                let mut peer = site.accept().await;
                peer.close(CloseCode::from(code)).await.unwrap();
            };
            let (failed, ()) = tokio::join!(attempt_failed(&mut socket), close);
            assert_eq!(failed.cause.close_code(), Some(CloseCode::from(code)));
            assert_eq!(failed.retry_in.is_some(), again);
        }
        assert!(socket.recv().await.is_none());

        // It never ends.
        let limit = Duration::from_secs(5);
        let forever = builder(client)
            .hook_timeout(limit)
            .after_connect(|_| Box::pin(std::future::pending::<Result<(), Error>>()));
        let (error, _peer) = tokio::join!(forever.connect(), site.accept());
        assert!(
            matches!(error, Err(Error::Timeout(Timeout::Hook))),
            "{error:?}"
        );
        let failing = builder(client).before_connect(|_| async { Err(Error::Closed) });
        assert!(matches!(failing.connect().await, Err(Error::Closed)));
    }
}

/// Messages that arrived before the end are received, also if `send` found the end, and whatever
/// futures are dropped.
#[tokio::test(start_paused = true)]
async fn dropped_futures_lose_nothing() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        let (mut socket, mut peer) = open(&mut site, builder(client)).await;
        for number in 0..20 {
            peer.send(number.to_string()).await.unwrap();
        }
        tokio::spawn(async move { peer.close(CloseCode::GOING_AWAY).await });
        let (mut events, mut peers) = (Vec::new(), Vec::new());
        let mut turns = 0;
        while !matches!(events.last(), Some(ReconnectEvent::Connected)) {
            turns += 1;
            assert!(turns < 10_000, "{events:?}");
            // Each future is polled once.
            let _: Option<_> = socket.send("once").now_or_never();
            if let Some(event) = socket.recv().now_or_never() {
                events.push(event.unwrap().unwrap());
            }
            if let Some(request) = site.requests.recv().now_or_never() {
                let request = request.unwrap();
                peers.push(tokio::spawn(async { request.accept().await }));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(peers.len(), 1, "one attempt, however often it was dropped");
        let mut events = events.into_iter();
        for number in 0..20 {
            let message = events.next().unwrap().into_message();
            assert_eq!(message, Some(Message::text(number.to_string())));
        }
        let lost = events.next().unwrap();
        let ReconnectEvent::Disconnected(lost) = lost else {
            panic!("{lost:?}");
        };
        assert_eq!(lost.cause.close_code(), Some(CloseCode::GOING_AWAY));
        assert_eq!(events.len(), 1);
    }
}

/// A program that sends and does not receive keeps what one WebSocket received, not what all did.
#[tokio::test(start_paused = true)]
async fn send_goes_on_after_one_unreported_end() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        let (mut socket, mut peer) = open(&mut site, builder(client)).await;
        peer.send("unread").await.unwrap();
        let close = |mut peer: WebSocket| {
            tokio::spawn(async move { peer.close(CloseCode::GOING_AWAY).await });
        };
        close(peer);
        let send = async {
            loop {
                socket.send("more").await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            () = send => {}
            second = site.accept() => close(second),
        }
        let mut turns = 0;
        while let Ok(number) = socket.send("more").await {
            turns += 1;
            assert!(turns < 10_000, "{number}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        receives(&mut socket, "unread").await;
        let first = disconnected(&mut socket).await;
        let event = event(&mut socket).await;
        assert!(matches!(event, ReconnectEvent::Connected), "{event:?}");
        let second = disconnected(&mut socket).await;
        assert_eq!(first.unconfirmed.start, 0);
        assert_eq!(first.unconfirmed.end, second.unconfirmed.start);
        assert_eq!(second.unconfirmed.end, socket.sent());
        reconnects(&mut socket, &mut site).await;
    }
}

#[tokio::test(start_paused = true)]
async fn close_ends_it_for_good() {
    for n in 0..2 {
        let mut site = Site::new();
        let client = &site.clients()[n];
        let (mut socket, mut peer) = open(&mut site, builder(client)).await;
        socket.send("last").await.unwrap();
        let serve = async {
            assert_eq!(
                within(peer.recv()).await.unwrap().unwrap(),
                Message::text("last")
            );
            assert!(within(peer.recv()).await.is_none());
        };
        let (closed, ()) = tokio::join!(socket.close(CloseCode::GOING_AWAY), serve);
        closed.unwrap();
        assert!(!socket.is_connected());
        let answer = socket.close_frame().map(|frame| frame.code);
        assert_eq!(answer, Some(CloseCode::GOING_AWAY));
        assert!(socket.recv().await.is_none());
        assert!(matches!(socket.send("x").await, Err(Error::Closed)));

        // A Close frame that cannot be sent closes nothing, and none is a message.
        let (mut socket, peer) = open(&mut site, builder(client)).await;
        let long = CloseFrame::new(CloseCode::NORMAL, "a".repeat(124));
        for frame in [CloseCode::ABNORMAL.into(), long] {
            let error = socket.close(frame).await.unwrap_err();
            assert!(matches!(error, Error::Send(_)), "{error:?}");
        }
        let error = socket.send(Message::Close(None)).await.unwrap_err();
        assert!(matches!(error, Error::Send(SendError::NotAMessage)));
        drop(peer);
        disconnected(&mut socket).await;

        // While it waits, there is nothing to close.
        socket.close(None).await.unwrap();
        assert!(socket.recv().await.is_none());
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(site.requests.recv().now_or_never().is_none());
    }
}

/// The WebSockets of one client lose their connection at once. They come back one by one, over one
/// new connection.
#[tokio::test(start_paused = true)]
async fn many_websockets_come_back_spread_over_one_connection() {
    const COUNT: usize = 50;
    let mut site = Site::new();
    let [_, client] = site.clients();
    let mut sockets = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..COUNT {
        let (socket, peer) = open(&mut site, builder(&client)).await;
        sockets.push(socket);
        peers.push(peer);
    }
    site.stop();
    drop(peers);
    site.start();
    *site.dials.lock().unwrap() = 0;
    let lost = Instant::now();
    let mut returning: Vec<_> = sockets
        .into_iter()
        .map(|mut socket| {
            tokio::spawn(async move {
                disconnected(&mut socket).await;
                connected(&mut socket).await;
                (lost.elapsed(), socket)
            })
        })
        .collect();
    let mut peers = Vec::new();
    for _ in 0..COUNT {
        peers.push(site.accept().await);
    }
    let mut times = Vec::new();
    let mut open = Vec::new();
    for returning in returning.drain(..) {
        let (time, socket) = within(returning).await.unwrap();
        times.push(time);
        open.push(socket);
    }
    assert_eq!(*site.dials.lock().unwrap(), 1);
    times.sort();
    assert!(times[0] >= MIN, "{times:?}");
    let spread = times[COUNT - 1] - times[0];
    assert!(spread >= MIN / 2, "all at once: {times:?}");
}

#[tokio::test(start_paused = true)]
async fn settings_out_of_range_are_errors() {
    let [client, _] = Site::new().clients();
    let zero = Duration::ZERO;
    for wrong in [
        builder(&client).min_delay(zero),
        builder(&client).max_delay(MIN / 2),
        builder(&client).max_delay(Duration::MAX),
        builder(&client).max_retry_after(Duration::MAX),
        builder(&client).hook_timeout(zero),
    ] {
        let error = wrong.clone().connect_lazy().unwrap_err();
        assert!(matches!(error, Error::Setting(_)), "{wrong:?}: {error}");
    }
    let error = builder(&client)
        .max_delay(MIN / 2)
        .connect()
        .await
        .unwrap_err();
    let Error::Setting(error) = error else {
        panic!("{error:?}");
    };
    assert_eq!(
        error.to_string(),
        "ReconnectingBuilder::max_delay is 500ms; it must be from 1s to 100 years"
    );
}
