//! Dialling: attempts at silent servers, at names with one dead backend and over frozen
//! connections, and dials that are shared or cancelled.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use h2ws::{Client, CloseCode, Error, Http2Config, HttpVersion, Timeout, WebSocket};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::support::client::{ClientFixture, accept, echo, http2, listen};
use crate::support::h2peer::EchoServer;
use crate::support::raw::{ENABLE_CONNECT_PROTOCOL, Raw};
use crate::support::{tls, until, within};

/// A server that accepts TCP connections and never sends anything.
struct SilentServer {
    addr: SocketAddr,
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl SilentServer {
    async fn start() -> Self {
        let (listener, addr) = listen().await;
        let open = Arc::new(AtomicUsize::new(0));
        let count = open.clone();
        let task = tokio::spawn(async move {
            loop {
                let (io, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let count = count.clone();
                tokio::spawn(async move {
                    read_to_end(&io).await;
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { addr, open, task }
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Drop for SilentServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read_to_end(io: &TcpStream) {
    let mut bytes = [0; 1024];
    while io.readable().await.is_ok() {
        match io.try_read(&mut bytes) {
            Ok(0) => return,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

fn spawn(client: &Client, url: &str) -> JoinHandle<Result<WebSocket, Error>> {
    let (client, url) = (client.clone(), url.to_owned());
    tokio::spawn(async move { client.connect(&url).await })
}

/// Each attempt waits for its own time limit, not for the sum of those before it. The
/// clock is tokio's paused test clock.
#[tokio::test(start_paused = true)]
async fn a_hundred_attempts_at_a_silent_server_time_out_together() {
    let limit = Duration::from_secs(20);
    for (scheme, version) in [
        ("ws", HttpVersion::Http1),
        ("ws", HttpVersion::Http2),
        ("wss", HttpVersion::Auto),
        ("wss", HttpVersion::Http2),
    ] {
        let server = SilentServer::start().await;
        let client = Client::builder().tls(tls::none()).version(version);
        let client = client.build().unwrap();
        let url = format!("{scheme}://{}/", server.addr);
        let began = Instant::now();
        let failed = join_all((0..100).map(|_| client.connect(&url))).await;
        assert!(began.elapsed() < limit * 3 / 2, "{:?}", began.elapsed());
        for failed in failed {
            assert!(matches!(failed, Err(Error::Timeout(_))), "{failed:?}");
        }
        until(|| server.open() == 0).await;
    }
}

/// The first of a name's backends never responds. Attempts that joined the dial to it do
/// not wait for it, and once another connection is open no attempt does.
#[tokio::test]
async fn a_dead_backend_does_not_block_the_others() {
    let server = EchoServer::start(|_| {}).await;
    let (listener, addr) = listen().await;
    let backends = tokio::spawn(async move {
        let (_unanswered, _) = listener.accept().await.unwrap();
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(server.addr).await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let client = http2().connect_timeout(Duration::from_secs(4));
    let client = client.build().unwrap();
    let url = format!("ws://{addr}/");
    let all = within(join_all((0..20).map(|_| client.connect(&url)))).await;
    for socket in all {
        echo(&mut socket.unwrap(), "on another one").await;
    }
    assert_eq!(client.connections().len(), 1);
    backends.abort();
}

/// A dial does not belong to the attempt that began it: the other attempts still share it
/// after that one is cancelled.
#[tokio::test]
async fn a_dial_outlives_the_attempt_that_began_it() {
    let (listener, addr) = listen().await;
    let client = http2().build().unwrap();
    let url = format!("ws://{addr}/");
    let first = spawn(&client, &url);
    let mut peer = Raw::accept(within(listener.accept()).await.unwrap().0).await;
    let others: Vec<_> = (0..5).map(|_| spawn(&client, &url)).collect();
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    peer.send_settings(&[(ENABLE_CONNECT_PROTOCOL, 1)]).await;
    for stream in (1..11).step_by(2) {
        peer.take(stream).await;
    }
    for other in others {
        within(other).await.unwrap().unwrap();
    }
    assert_eq!(client.connections().len(), 1);
}

/// A dial ends with the last attempt that waits for it.
#[tokio::test]
async fn a_dial_without_waiting_attempts_is_cancelled() {
    let server = SilentServer::start().await;
    let client = http2().build().unwrap();
    let url = format!("ws://{}/", server.addr);
    let waiting: Vec<_> = (0..5).map(|_| spawn(&client, &url)).collect();
    until(|| server.open() == 1).await;
    for waiting in waiting {
        waiting.abort();
    }
    until(|| server.open() == 0).await;
}

/// A failure is shared, and the attempts that joined while the dial was under way share
/// one more dial.
#[tokio::test]
async fn a_thousand_attempts_make_few_dials_to_a_failing_server() {
    let (listener, addr) = listen().await;
    let dials = Arc::new(AtomicUsize::new(0));
    let count = dials.clone();
    let server = tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let client = http2().build().unwrap();
    let url = format!("ws://{addr}/");
    let all = within(join_all((0..1_000).map(|_| client.connect(&url)))).await;
    assert!(all.iter().all(Result::is_err));
    let dials = dials.load(Ordering::SeqCst);
    assert!(dials <= 3, "{dials} dials for a thousand attempts");
    server.abort();
}

/// A TCP relay to a server, which can be frozen: connections that are open then pass no
/// more bytes and get no FIN, while new ones work.
struct Relay {
    addr: SocketAddr,
    frozen: watch::Sender<usize>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Relay {
    async fn to(server: SocketAddr) -> Self {
        let (listener, addr) = listen().await;
        let (frozen, is_frozen) = watch::channel(0);
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let task = tokio::spawn(relay(listener, server, is_frozen, count));
        Self {
            addr,
            frozen,
            connections,
            task,
        }
    }

    fn url(&self) -> String {
        format!("ws://{}/", self.addr)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Freezes all connections that are open now.
    fn freeze(&self) {
        self.frozen.send_replace(self.connections());
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(
    listener: TcpListener,
    server: SocketAddr,
    frozen: watch::Receiver<usize>,
    count: Arc<AtomicUsize>,
) {
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(server).await.unwrap();
        let (mut frozen, number) = (frozen.clone(), count.fetch_add(1, Ordering::SeqCst));
        tokio::spawn(async move {
            let freezes = async {
                let _ = frozen.wait_for(|frozen| *frozen > number).await;
            };
            let ended = tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => true,
                () = freezes => false,
            };
            if !ended {
                std::future::pending::<()>().await;
            }
            drop((near, far));
        });
    }
}

/// One attempt fails, and the next one uses another connection. The socket that was
/// already open ends with a keep-alive timeout.
#[tokio::test]
async fn after_a_silent_timeout_the_next_socket_uses_another_connection() {
    let server = EchoServer::start(|_| {}).await;
    let relay = Relay::to(server.addr).await;
    let soon = Duration::from_millis(300);
    let config = Http2Config::default().keep_alive_timeout(soon);
    let client = http2().http2(config).handshake_timeout(soon);
    let client = client.build().unwrap();
    let url = relay.url();
    let mut first = within(client.connect(&url)).await.unwrap();
    echo(&mut first, "before").await;
    relay.freeze();
    let failed = within(client.connect(&url)).await;
    assert!(
        matches!(failed, Err(Error::Timeout(Timeout::Handshake))),
        "{failed:?}"
    );
    let mut second = within(client.connect(&url)).await.unwrap();
    echo(&mut second, "after").await;
    assert_ne!(first.transport(), second.transport());
    assert_eq!(relay.connections(), 2);
    let ended = within(first.next()).await.unwrap();
    assert!(
        matches!(ended, Err(Error::Timeout(Timeout::KeepAlive))),
        "{ended:?}"
    );
    assert_eq!(first.close_code(), Some(CloseCode::ABNORMAL));
    until(|| client.connections().len() == 1).await;
}

/// Callers with a shorter time limit than the client's do not stay with a frozen
/// connection either.
#[tokio::test]
async fn attempts_cancelled_by_their_callers_count_as_failed() {
    let server = EchoServer::start(|_| {}).await;
    let relay = Relay::to(server.addr).await;
    let client = http2().handshake_timeout(Duration::from_millis(500));
    let client = client.build().unwrap();
    let url = relay.url();
    let _first = within(client.connect(&url)).await.unwrap();
    relay.freeze();
    let opened = within(async {
        loop {
            let attempt = timeout(Duration::from_millis(100), client.connect(&url));
            if let Ok(opened) = attempt.await {
                return opened;
            }
        }
    });
    echo(&mut opened.await.unwrap(), "after").await;
    assert_eq!(relay.connections(), 2);
}

/// Every connection that the limit allows is frozen, and new ones are opened all the
/// same.
#[tokio::test]
async fn frozen_connections_do_not_use_up_the_limit() {
    let server = EchoServer::start(|builder| {
        builder.max_concurrent_streams(2);
    })
    .await;
    let relay = Relay::to(server.addr).await;
    let client = http2().max_connections(2);
    let client = client.handshake_timeout(Duration::from_millis(300));
    let client = client.build().unwrap();
    let url = relay.url();
    let opened = within(join_all((0..4).map(|_| client.connect(&url)))).await;
    let mut opened: Vec<_> = opened.into_iter().map(Result::unwrap).collect();
    assert_eq!(relay.connections(), 2);
    let by_connection = |socket: &WebSocket| socket.transport().to_string();
    opened.sort_by_key(by_connection);
    // One stream is free on each.
    drop((opened.pop(), opened.remove(0)));
    until(|| client.connections().iter().all(|c| c.streams_open == 1)).await;
    relay.freeze();
    let failed = within(join_all([client.connect(&url), client.connect(&url)])).await;
    assert!(failed.iter().all(Result::is_err), "{failed:?}");
    let opened = within(join_all((0..4).map(|_| client.connect(&url)))).await;
    for opened in opened {
        echo(&mut opened.unwrap(), "after").await;
    }
    assert_eq!(relay.connections(), 4);
}

/// Advances the paused clock in small steps, with time for I/O after each. By itself the
/// clock would run ahead of the sockets.
async fn advance_clock() {
    loop {
        for _ in 0..3 {
            for _ in 0..70 {
                tokio::task::yield_now().await;
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        tokio::time::advance(Duration::from_millis(250)).await;
    }
}

/// With default settings, and attempts at several intervals and time limits.
#[tokio::test(start_paused = true)]
async fn a_socket_opens_again_within_a_minute_of_a_freeze() {
    // While a blocking task runs, the paused clock does not advance by itself.
    let (_holds, held) = std::sync::mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || held.recv());
    let minute = Duration::from_secs(60);
    for (pause, time_limit) in [(10, 600), (30, 600), (10, 5), (1, 1)] {
        let server = EchoServer::start(|_| {}).await;
        let relay = Relay::to(server.addr).await;
        let client = http2().build().unwrap();
        let url = relay.url();
        drop(within(client.connect(&url)).await.unwrap());
        relay.freeze();
        let frozen = Instant::now();
        let attempts = async {
            loop {
                let next = Instant::now() + Duration::from_secs(pause);
                let attempt = timeout(Duration::from_secs(time_limit), client.connect(&url));
                if let Ok(Ok(opened)) = attempt.await {
                    return opened;
                }
                tokio::time::sleep_until(next).await;
            }
        };
        tokio::select! {
            opened = timeout(minute, attempts) => assert!(opened.is_ok(), "every {pause} s"),
            () = advance_clock() => {}
        }
        assert!(
            frozen.elapsed() < minute,
            "every {pause} s, with a limit of {time_limit} s"
        );
    }
}

/// A server that is slow to answer but sends anything else is alive.
#[tokio::test]
async fn a_slow_answer_is_not_silence() {
    let client = http2().handshake_timeout(Duration::from_millis(200));
    let mut fixture = ClientFixture::with(client.build().unwrap()).await;
    let peer = &mut fixture.peer;
    let (failed, ()) = tokio::join!(fixture.client.connect(&fixture.url), async {
        peer.request(3).await;
        peer.barrier().await;
    });
    assert!(
        matches!(failed, Err(Error::Timeout(Timeout::Handshake))),
        "{failed:?}"
    );
    let (next, ()) = tokio::join!(fixture.client.connect(&fixture.url), peer.take(5));
    drop(next.unwrap());
    fixture.unharmed().await;
}

/// The server sends nothing until the next request. Its connection is used again and not
/// abandoned.
#[tokio::test]
async fn a_connection_whose_server_answers_the_next_request_is_kept() {
    let client = http2().handshake_timeout(Duration::from_millis(50));
    let mut fixture = ClientFixture::with(client.build().unwrap()).await;
    let peer = &mut fixture.peer;
    for stream in [3, 7, 11] {
        let (failed, ()) = tokio::join!(fixture.client.connect(&fixture.url), async {
            peer.request(stream).await;
        });
        assert!(failed.is_err());
        let next = spawn(&fixture.client, &fixture.url);
        peer.take(stream + 2).await;
        drop(within(next).await.unwrap().unwrap());
    }
    // The dials that were begun meanwhile have led to no connection.
    fixture.unharmed().await;
}

/// After GOAWAY, the attempts that wait for a free stream continue on another connection.
#[tokio::test]
async fn goaway_ends_the_wait_for_a_stream() {
    let (listener, addr) = listen().await;
    let client = http2().max_connections(1).build().unwrap();
    let url = format!("ws://{addr}/");
    let one = [(crate::support::raw::MAX_CONCURRENT_STREAMS, 1)];
    let (first, mut peer) = tokio::join!(client.connect(&url), async {
        let mut peer = accept(&listener, &one).await;
        peer.take(1).await;
        peer
    });
    let _first = first.unwrap();
    let waiting: Vec<_> = (0..3).map(|_| spawn(&client, &url)).collect();
    sleep(Duration::from_millis(10)).await;
    peer.goaway(1, 0).await;
    let mut next = accept(&listener, &[]).await;
    for stream in [1, 3, 5] {
        next.take(stream).await;
    }
    for waiting in waiting {
        within(waiting).await.unwrap().unwrap();
    }
}

/// The client remembers that one of several backends lacks RFC 8441, and applies it only
/// while there is no open connection that supports it.
#[tokio::test]
async fn an_open_http2_connection_is_used_although_another_backend_lacks_rfc_8441() {
    let (config, trusting) = tls::pair();
    let http2 = crate::support::server::echo(h2ws::Server::builder().tls(config.clone())).await;
    let without = h2ws::Server::builder().tls(config).extended_connect(false);
    let without = crate::support::server::echo(without).await;
    let (listener, addr) = listen().await;
    let (turn, mut which) = watch::channel(http2.addr);
    let balancer = tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let addr = *which.borrow_and_update();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(addr).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let client = Client::builder().tls(trusting).build().unwrap();
    let url = format!("wss://localhost:{}/", addr.port());
    // The backend without RFC 8441 comes first, and the client remembers that. A request
    // that insists on HTTP/2 then opens a connection to the other backend, and the next
    // socket uses it.
    turn.send_replace(without.addr);
    let plain = within(client.connect(&url)).await.unwrap();
    assert!(!plain.transport().is_http2());
    let plain = within(client.connect(&url)).await.unwrap();
    assert!(!plain.transport().is_http2(), "remembered");
    turn.send_replace(http2.addr);
    let insists = client.request(&url).version(HttpVersion::Http2);
    let insists = within(insists.connect()).await.unwrap();
    let next = within(client.connect(&url)).await.unwrap();
    assert!(next.transport().is_http2());
    drop(insists);
    balancer.abort();
}
