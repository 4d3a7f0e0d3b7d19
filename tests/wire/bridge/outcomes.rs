//! When a socket of a bridge is over, whose fault that is, and that its place is
//! free by then: one table for clients of both versions, before upstreams of
//! both.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use h2ws::bridge::{AccessRecord, Bridge, BridgeObserver, Outcome, Side};
use h2ws::handshake::AllowedOrigins;
use h2ws::{CloseCode, HttpVersion, WebSocketConfig};
use tokio::net::TcpListener;

use crate::support::bridge::{Bridging, to};
use crate::support::client::{accept, listen};
use crate::support::frames::{CLOSE, TEXT, close, frame, from_client, from_server};
use crate::support::raw::{CANCEL, NO_ERROR, Raw, Seen};
use crate::support::table::{self, nobody};
use crate::support::text::{Over, Text};
use crate::support::until;

const VERSIONS: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];

/// What was told of each request at its end: how, why, and from where.
#[derive(Default)]
struct Told(Mutex<Vec<Line>>);

#[derive(Clone, Debug)]
struct Line {
    closed: Outcome,
    reason: String,
    origin: Option<String>,
    user_agent: Option<String>,
    client: String,
}

impl BridgeObserver for Told {
    fn on_websocket_end(&self, access: &AccessRecord) {
        self.0.lock().unwrap().push(Line {
            closed: access.closed().unwrap(),
            reason: access.reason().unwrap().to_owned(),
            origin: access.origin().map(str::to_owned),
            user_agent: access.user_agent().map(str::to_owned),
            client: access.client().to_string(),
        });
    }
}

impl Told {
    async fn next(&self) -> Line {
        until(|| !self.0.lock().unwrap().is_empty()).await;
        self.0.lock().unwrap().remove(0)
    }
}

/// A peer by hand, of either version.
enum HandPeer {
    Text(Text),
    Raw(Box<Raw>),
}

impl HandPeer {
    async fn client(bridging: &Bridging, version: HttpVersion) -> Self {
        if version == HttpVersion::Http1 {
            return Self::Text(Text::open(bridging.addr, "/").await);
        }
        let mut raw = Raw::connect(bridging.addr).await;
        raw.open(1, "/").await;
        Self::Raw(Box::new(raw))
    }

    async fn upstream(listener: &TcpListener, version: HttpVersion) -> Self {
        if version == HttpVersion::Http1 {
            return Self::Text(Text::accept(listener).await);
        }
        let mut raw = accept(listener, &[]).await;
        raw.take(1).await;
        Self::Raw(Box::new(raw))
    }

    async fn write(&mut self, bytes: &[u8]) {
        match self {
            Self::Text(text) => text.write(bytes).await,
            Self::Raw(raw) => raw.data(1, bytes).await,
        }
    }

    /// END_STREAM, FIN.
    async fn end(&mut self) {
        match self {
            Self::Text(text) => text.end().await,
            Self::Raw(raw) => raw.end(1).await,
        }
    }

    /// RST_STREAM, RST. What is left is the connection of HTTP/2.
    async fn reset(self) -> Option<Box<Raw>> {
        match self {
            Self::Text(text) => {
                text.reset();
                None
            }
            Self::Raw(mut raw) => {
                raw.reset(1, CANCEL).await;
                Some(raw)
            }
        }
    }

    async fn closes(&mut self, code: u16) {
        let frame = match self {
            Self::Text(text) => text.frame().await,
            Self::Raw(raw) => match raw.seen(1).await {
                Seen::Frame(frame, false) => frame,
                other => panic!("no Close frame by itself: {other:?}"),
            },
        };
        assert_eq!(frame.code(), Some(code));
    }

    /// What comes next is the orderly end.
    async fn ends(&mut self) {
        match self {
            Self::Text(text) => assert_eq!(text.seen().await, Err(Over::End)),
            Self::Raw(raw) => assert_eq!(raw.seen(1).await, Seen::End),
        }
    }
}

/// A bridge with a place for one socket, and a socket in it.
struct One {
    told: Arc<Told>,
    bridge: Bridge,
    bridging: Bridging,
    listener: TcpListener,
    client: HandPeer,
    upstream: HandPeer,
    versions: [HttpVersion; 2],
}

/// Far longer than a test takes: what waits for it hangs.
const NEVER: Duration = Duration::from_secs(600);

impl One {
    async fn open(versions: [HttpVersion; 2], config: WebSocketConfig, grace: Duration) -> Self {
        let (listener, addr) = listen().await;
        let builder = to("ws", addr, versions[1]).max_sockets(1);
        let bridge = builder.build().unwrap();
        let told = Arc::new(Told::default());
        bridge.observe(told.clone());
        let bridging = Bridging::with_grace(&bridge, config, grace).await;
        let (client, upstream) = tokio::join!(
            HandPeer::client(&bridging, versions[0]),
            HandPeer::upstream(&listener, versions[1])
        );
        Self {
            told,
            bridge,
            bridging,
            listener,
            client,
            upstream,
            versions,
        }
    }

    /// It is told so, and another socket has its place at once.
    async fn over(&mut self, closed: Outcome) {
        let line = self.told.next().await;
        assert_eq!(line.closed, closed, "{:?} {line:?}", self.versions);
        assert!(!line.reason.is_empty());
        let client = async {
            let mut client = Raw::connect(self.bridging.addr).await;
            client.open(1, "/again").await;
            client
        };
        // To an upstream of HTTP/2 it is the next stream.
        match &mut self.upstream {
            HandPeer::Raw(raw) => {
                tokio::join!(client, raw.take(3));
            }
            HandPeer::Text(_) => {
                tokio::join!(client, Text::accept(&self.listener));
            }
        }
    }
}

async fn with(close: Duration, linger: Duration, mut each: impl AsyncFnMut(One)) {
    for client in VERSIONS {
        for upstream in VERSIONS {
            let config = WebSocketConfig::default()
                .close_timeout(close)
                .linger(linger);
            each(One::open([client, upstream], config, NEVER).await).await;
        }
    }
}

fn by(party: Side, code: u16) -> Outcome {
    Outcome::By(party, CloseCode::from(code))
}

/// Chromium takes the end for the end, and neither ends nor resets its stream.
#[tokio::test]
async fn an_upstream_that_dies_leaves_its_place_though_the_client_does_nothing() {
    with(NEVER, NEVER, async |mut one| {
        one.upstream.end().await;
        one.client.ends().await;
        one.over(by(Side::Upstream, 1006)).await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_nothing_behind_the_end_is_reset_in_time() {
    with(NEVER, Duration::from_millis(50), async |mut one| {
        one.upstream.write(&from_server(TEXT, b"last")).await;
        one.upstream.end().await;
        match &mut one.client {
            HandPeer::Raw(raw) => {
                assert_eq!(raw.frame(1).await.payload, b"last");
                assert_eq!(raw.seen(1).await, Seen::End);
                assert_eq!(raw.seen(1).await, Seen::Reset(NO_ERROR));
            }
            HandPeer::Text(text) => {
                assert_eq!(text.frame().await.payload, b"last");
                assert_eq!(text.seen().await, Err(Over::End));
            }
        }
    })
    .await;
}

/// Whatever the client does then: it did not end the socket.
#[tokio::test]
async fn the_first_to_end_is_told_whatever_follows() {
    with(NEVER, NEVER, async |mut one| {
        one.upstream.end().await;
        one.client.ends().await;
        let left = one.client.reset().await;
        let line = one.told.next().await;
        assert_eq!(line.closed, by(Side::Upstream, 1006), "{line:?}");
        drop(left);
    })
    .await;
    with(NEVER, NEVER, async |mut one| {
        one.client.end().await;
        one.upstream.ends().await;
        one.upstream.end().await;
        one.over(by(Side::Client, 1006)).await;
    })
    .await;
    with(NEVER, NEVER, async |mut one| {
        one.client
            .write(&from_client(CLOSE, &close(3001, "")))
            .await;
        one.upstream.closes(3001).await;
        let left = one.upstream.reset().await;
        let line = one.told.next().await;
        assert_eq!(line.closed, by(Side::Client, 3001), "{line:?}");
        drop(left);
    })
    .await;
}

/// A page that is left: its Close, and then nobody waits for the answer.
#[tokio::test]
async fn a_client_that_resets_behind_its_close_leaves_its_place() {
    with(NEVER, NEVER, async |mut one| {
        one.client
            .write(&from_client(CLOSE, &close(1001, "")))
            .await;
        one.upstream.closes(1001).await;
        let left = std::mem::replace(
            &mut one.client,
            HandPeer::Raw(Box::new(Raw::connect(one.bridging.addr).await)),
        );
        let left = left.reset().await;
        one.over(by(Side::Client, 1001)).await;
        drop(left);
    })
    .await;
}

#[tokio::test]
async fn resets_are_of_the_side_that_did_it() {
    with(NEVER, NEVER, async |one| {
        let left = one.client.reset().await;
        assert_eq!(one.told.next().await.closed, Outcome::Broken(Side::Client));
        drop(left);
    })
    .await;
    with(NEVER, NEVER, async |one| {
        let left = one.upstream.reset().await;
        assert_eq!(
            one.told.next().await.closed,
            Outcome::Broken(Side::Upstream)
        );
        drop(left);
    })
    .await;
}

/// Frames that break RFC 6455, as Autobahn's 3.*, 4.* and 5.1 send them: a
/// reserved bit, a reserved opcode, a fragmented Ping.
const BROKEN: [u8; 4] = [0xa1, 0x83, 0x8b, 0x09];

/// The upstream fails the socket, and is done. The client waits for the end of
/// its connection, as a server owes it.
#[tokio::test]
async fn an_end_behind_the_close_of_a_failed_socket_ends_the_client_at_once() {
    for head in BROKEN {
        with(NEVER, NEVER, async |mut one| {
            one.client.write(&frame(head, true, b"x")).await;
            one.upstream
                .write(&from_server(CLOSE, &close(1002, "")))
                .await;
            one.upstream.end().await;
            one.client.closes(1002).await;
            one.client.ends().await;
            one.over(by(Side::Upstream, 1002)).await;
        })
        .await;
    }
}

/// The same where the client answers by a Close, which cannot be seen, and the
/// upstream waited for that.
#[tokio::test]
async fn a_failed_socket_whose_client_answers_ends_when_its_upstream_does() {
    with(NEVER, NEVER, async |mut one| {
        one.client.write(&frame(0x83, true, b"x")).await;
        one.upstream
            .write(&from_server(CLOSE, &close(1002, "")))
            .await;
        one.client.closes(1002).await;
        one.client
            .write(&from_client(CLOSE, &close(1002, "")))
            .await;
        one.upstream.end().await;
        one.client.ends().await;
        one.over(by(Side::Upstream, 1002)).await;
    })
    .await;
}

/// A client that is slow to answer has the time of a linger, from its last byte.
#[tokio::test]
async fn an_end_behind_a_close_waits_for_a_slow_client() {
    with(NEVER, NEVER, async |mut one| {
        one.upstream
            .write(&from_server(CLOSE, &close(3001, "")))
            .await;
        one.upstream.end().await;
        one.client.closes(3001).await;
        for _ in 0..20 {
            one.client.write(&from_client(TEXT, b"more")).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        one.client
            .write(&from_client(CLOSE, &close(3001, "")))
            .await;
        one.client.ends().await;
        one.over(by(Side::Upstream, 3001)).await;
    })
    .await;
    // And no more.
    with(NEVER, Duration::from_millis(50), async |mut one| {
        one.upstream
            .write(&from_server(CLOSE, &close(3001, "")))
            .await;
        one.upstream.end().await;
        one.client.closes(3001).await;
        one.client.ends().await;
        one.over(by(Side::Upstream, 3001)).await;
    })
    .await;
}

#[tokio::test]
async fn a_close_that_is_not_answered_is_a_silence_of_who_sent_it() {
    let soon = Duration::from_millis(50);
    with(soon, soon, async |mut one| {
        one.client
            .write(&from_client(CLOSE, &close(1000, "")))
            .await;
        one.over(Outcome::TimedOut(Side::Client)).await;
    })
    .await;
    with(soon, soon, async |mut one| {
        one.upstream
            .write(&from_server(CLOSE, &close(1000, "")))
            .await;
        one.over(Outcome::TimedOut(Side::Upstream)).await;
    })
    .await;
}

/// What the end of the grace cuts, the bridge has cut: sockets whose client
/// answers nothing, and those that cannot be asked, in the middle of a frame.
#[tokio::test]
async fn a_socket_that_is_cut_at_the_end_of_the_grace_was_cut_by_the_bridge() {
    for client in VERSIONS {
        for begun in [false, true] {
            let config = WebSocketConfig::default()
                .close_timeout(NEVER)
                .linger(NEVER);
            let grace = Duration::from_millis(100);
            let mut one = One::open([client, HttpVersion::Http1], config, grace).await;
            if begun {
                one.upstream.write(&[0x82, 100, 1, 2, 3]).await;
            }
            one.bridging.drain();
            assert_eq!(one.bridging.drained().await.sockets_cut, 1);
            let line = one.told.next().await;
            assert_eq!(line.closed, Outcome::Broken(Side::Bridge), "{line:?}");
            assert!(line.reason.contains("drain timeout"), "{line:?}");
            assert_eq!(line.closed.code(), Some(1006));
            drop(one.bridge);
        }
    }
}

/// Who refused, and why.
#[tokio::test]
async fn a_refusal_is_told_with_its_reason_by_the_party_that_refused() {
    let (listener, addr) = listen().await;
    let upstream = tokio::spawn(async move {
        loop {
            let mut asked = Text::asked(&listener).await;
            asked
                .write("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await;
        }
    });
    let allowed = AllowedOrigins::parse(["https://ok.example"]).unwrap();

    let routes = table::table([
        table::route("/404", &[addr]),
        table::route("/origin", &[addr]).allowed_origins(allowed),
        table::route("/nobody", &[nobody().await]),
        table::route("/full", &[addr]).max_sockets(0),
    ]);
    let table = table::Table::start(routes).await;
    let told = Arc::new(Told::default());
    table.bridge.observe(told.clone());
    for (path, status, party, reason) in [
        (
            "/404",
            404,
            Side::Upstream,
            "the server answered 404 Not Found",
        ),
        (
            "/origin",
            403,
            Side::Bridge,
            "this origin may not open a WebSocket here",
        ),
        ("/nobody", 502, Side::Upstream, "refused"),
        (
            "/full",
            503,
            Side::Bridge,
            "connection limit of this route reached",
        ),
        ("/none", 404, Side::Bridge, "no matching route"),
    ] {
        let fields = "Origin: https://evil.example\r\nUser-Agent: Nosy (1.0; \"quoted\")\r\n";
        let answer = table.ask(path, fields).await;
        assert_eq!(table::status(&answer), status, "{path}");
        let line = told.next().await;
        assert_eq!(line.closed, Outcome::Refused(party), "{path} {line:?}");
        assert!(line.reason.contains(reason), "{path} {line:?}");
        assert_eq!(line.origin.as_deref(), Some("https://evil.example"));
        assert_eq!(line.user_agent.as_deref(), Some("Nosy (1.0; \"quoted\")"));
        assert_eq!(line.client, "127.0.0.1");
    }
    upstream.abort();
}

/// Behind proxies that are trusted, the line has the client, not the proxy.
#[tokio::test]
async fn the_real_client_is_told_where_proxies_are_trusted() {
    let backend = table::backend("one").await;
    let routes = table::table([
        table::route("/trusted", &[backend]).trust_forwarded(true),
        table::route("/other", &[backend]),
    ]);
    let table = table::Table::start(routes).await;
    let told = Arc::new(Told::default());
    table.bridge.observe(told.clone());
    for (path, client) in [("/trusted", "192.0.2.7"), ("/other", "127.0.0.1")] {
        drop(table.ask(path, "X-Forwarded-For: 192.0.2.7\r\n").await);
        assert_eq!(told.next().await.client, client, "{path}");
    }
}
