//! How the end of a bridged socket is reported: when, with which outcome, and that
//! the socket no longer counts toward `max_sockets` by then. Most tests run for
//! every combination of HTTP versions of client and upstream.

use std::sync::Arc;
use std::time::Duration;

use h2ws::bridge::{AccessRecord, Bridge, Outcome, Side};
use h2ws::handshake::AllowedOrigins;
use h2ws::{CloseCode, HttpVersion, WebSocketConfig};
use tokio::net::TcpListener;

use crate::support::bridge::{Bridging, to};
use crate::support::client::{accept, listen};
use crate::support::frames::{CLOSE, TEXT, close, frame, from_client, from_server};
use crate::support::raw::{CANCEL, NO_ERROR, Raw, Seen};
use crate::support::recorder::{Event, Recorder};
use crate::support::table::{self, nobody};
use crate::support::text::{Over, Text};

const VERSIONS: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];

/// What is reported of an opening request at its end.
#[derive(Clone, Debug)]
struct Line {
    closed: Outcome,
    reason: String,
    origin: Option<String>,
    user_agent: Option<String>,
    client: String,
}

impl Line {
    fn of(event: Event, access: &AccessRecord) -> Option<Self> {
        (event == Event::WebSocketEnd).then(|| Self {
            closed: access.closed().unwrap(),
            reason: access.reason().unwrap().to_owned(),
            origin: access.origin().map(str::to_owned),
            user_agent: access.user_agent().map(str::to_owned),
            client: access.client().to_string(),
        })
    }
}

/// A peer over either HTTP version, whose bytes the test writes and reads.
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

    /// Sends END_STREAM or FIN.
    async fn end(&mut self) {
        match self {
            Self::Text(text) => text.end().await,
            Self::Raw(raw) => raw.end(1).await,
        }
    }

    /// Sends RST_STREAM or a TCP reset. Returns the HTTP/2 connection, which is still
    /// open.
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
                other => panic!("expected a Close frame without END_STREAM: {other:?}"),
            },
        };
        assert_eq!(frame.code(), Some(code));
    }

    /// Expects END_STREAM or FIN, and nothing before it.
    async fn ends(&mut self) {
        match self {
            Self::Text(text) => assert_eq!(text.seen().await, Err(Over::End)),
            Self::Raw(raw) => assert_eq!(raw.seen(1).await, Seen::End),
        }
    }
}

/// A bridge that allows one socket, with that socket open.
struct OpenSocket {
    recorder: Arc<Recorder<Line>>,
    bridge: Bridge,
    bridging: Bridging,
    listener: TcpListener,
    client: HandPeer,
    upstream: HandPeer,
    versions: [HttpVersion; 2],
}

/// A timeout that does not expire during a test.
const NEVER: Duration = Duration::from_secs(600);

impl OpenSocket {
    async fn open(
        versions: [HttpVersion; 2],
        config: WebSocketConfig,
        drain_timeout: Duration,
    ) -> Self {
        let (listener, addr) = listen().await;
        let builder = to("ws", addr, versions[1]).max_sockets(1);
        let bridge = builder.build().unwrap();
        let recorder = Recorder::of(&bridge, Line::of);
        let bridging = Bridging::with_grace(&bridge, config, drain_timeout).await;
        let (client, upstream) = tokio::join!(
            HandPeer::client(&bridging, versions[0]),
            HandPeer::upstream(&listener, versions[1])
        );
        Self {
            recorder,
            bridge,
            bridging,
            listener,
            client,
            upstream,
            versions,
        }
    }

    /// Expects the end to be reported with this outcome, and that another socket can
    /// be opened at once.
    async fn expect_outcome(&mut self, closed: Outcome) {
        let line = self.recorder.next().await;
        assert_eq!(line.closed, closed, "{:?} {line:?}", self.versions);
        assert!(!line.reason.is_empty());
        let client = async {
            let mut client = Raw::connect(self.bridging.addr).await;
            client.open(1, "/again").await;
            client
        };
        // An HTTP/2 upstream receives it as the next stream.
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

async fn for_all_versions(
    close: Duration,
    linger: Duration,
    mut each: impl AsyncFnMut(OpenSocket),
) {
    for client in VERSIONS {
        for upstream in VERSIONS {
            let config = WebSocketConfig::default()
                .close_timeout(close)
                .linger(linger);
            each(OpenSocket::open([client, upstream], config, NEVER).await).await;
        }
    }
}

fn by(side: Side, code: u16) -> Outcome {
    Outcome::By(side, CloseCode::from(code))
}

/// After the upstream's END_STREAM, Chromium neither ends nor resets its stream.
#[tokio::test]
async fn an_upstream_that_ends_frees_its_slot_without_action_by_the_client() {
    for_all_versions(NEVER, NEVER, async |mut socket| {
        socket.upstream.end().await;
        socket.client.ends().await;
        socket.expect_outcome(by(Side::Upstream, 1006)).await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_end_its_stream_is_reset_after_the_linger() {
    for_all_versions(NEVER, Duration::from_millis(50), async |mut socket| {
        socket.upstream.write(&from_server(TEXT, b"last")).await;
        socket.upstream.end().await;
        match &mut socket.client {
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

/// What the other side does afterwards does not change the outcome.
#[tokio::test]
async fn the_outcome_names_the_side_that_ended_first() {
    for_all_versions(NEVER, NEVER, async |mut socket| {
        socket.upstream.end().await;
        socket.client.ends().await;
        let left = socket.client.reset().await;
        let line = socket.recorder.next().await;
        assert_eq!(line.closed, by(Side::Upstream, 1006), "{line:?}");
        drop(left);
    })
    .await;
    for_all_versions(NEVER, NEVER, async |mut socket| {
        socket.client.end().await;
        socket.upstream.ends().await;
        socket.upstream.end().await;
        socket.expect_outcome(by(Side::Client, 1006)).await;
    })
    .await;
    for_all_versions(NEVER, NEVER, async |mut socket| {
        socket
            .client
            .write(&from_client(CLOSE, &close(3001, "")))
            .await;
        socket.upstream.closes(3001).await;
        let left = socket.upstream.reset().await;
        let line = socket.recorder.next().await;
        assert_eq!(line.closed, by(Side::Client, 3001), "{line:?}");
        drop(left);
    })
    .await;
}

/// When a user leaves a page, the browser sends a Close and does not wait for the
/// reply.
#[tokio::test]
async fn a_client_that_resets_after_its_close_frees_its_slot() {
    for_all_versions(NEVER, NEVER, async |mut socket| {
        socket
            .client
            .write(&from_client(CLOSE, &close(1001, "")))
            .await;
        socket.upstream.closes(1001).await;
        let left = std::mem::replace(
            &mut socket.client,
            HandPeer::Raw(Box::new(Raw::connect(socket.bridging.addr).await)),
        );
        let left = left.reset().await;
        socket.expect_outcome(by(Side::Client, 1001)).await;
        drop(left);
    })
    .await;
}

#[tokio::test]
async fn a_reset_is_attributed_to_the_side_that_sent_it() {
    for_all_versions(NEVER, NEVER, async |socket| {
        let left = socket.client.reset().await;
        assert_eq!(
            socket.recorder.next().await.closed,
            Outcome::Broken(Side::Client)
        );
        drop(left);
    })
    .await;
    for_all_versions(NEVER, NEVER, async |socket| {
        let left = socket.upstream.reset().await;
        assert_eq!(
            socket.recorder.next().await.closed,
            Outcome::Broken(Side::Upstream)
        );
        drop(left);
    })
    .await;
}

/// First bytes of frames that violate RFC 6455, as in Autobahn's cases 3.*, 4.* and
/// 5.1: a reserved bit, reserved opcodes, a fragmented Ping.
const INVALID_HEADS: [u8; 4] = [0xa1, 0x83, 0x8b, 0x09];

/// The upstream fails the connection (RFC 6455 §7.1.7) and ends. The client waits
/// for the server to close the connection.
#[tokio::test]
async fn an_upstream_that_fails_a_socket_and_ends_also_ends_the_client_at_once() {
    for head in INVALID_HEADS {
        for_all_versions(NEVER, NEVER, async |mut socket| {
            socket.client.write(&frame(head, true, b"x")).await;
            socket
                .upstream
                .write(&from_server(CLOSE, &close(1002, "")))
                .await;
            socket.upstream.end().await;
            socket.client.closes(1002).await;
            socket.client.ends().await;
            socket.expect_outcome(by(Side::Upstream, 1002)).await;
        })
        .await;
    }
}

/// The same with a client that replies with a Close, which the bridge can no longer
/// parse, and an upstream that waits for the reply before it ends.
#[tokio::test]
async fn a_failed_socket_whose_client_replies_ends_with_its_upstream() {
    for_all_versions(NEVER, NEVER, async |mut socket| {
        socket.client.write(&frame(0x83, true, b"x")).await;
        socket
            .upstream
            .write(&from_server(CLOSE, &close(1002, "")))
            .await;
        socket.client.closes(1002).await;
        socket
            .client
            .write(&from_client(CLOSE, &close(1002, "")))
            .await;
        socket.upstream.end().await;
        socket.client.ends().await;
        socket.expect_outcome(by(Side::Upstream, 1002)).await;
    })
    .await;
}

/// A client that is slow to reply has the linger time, counted from its last byte.
#[tokio::test]
async fn an_end_after_a_close_waits_for_a_slow_client() {
    for_all_versions(NEVER, NEVER, async |mut socket| {
        socket
            .upstream
            .write(&from_server(CLOSE, &close(3001, "")))
            .await;
        socket.upstream.end().await;
        socket.client.closes(3001).await;
        for _ in 0..20 {
            socket.client.write(&from_client(TEXT, b"more")).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        socket
            .client
            .write(&from_client(CLOSE, &close(3001, "")))
            .await;
        socket.client.ends().await;
        socket.expect_outcome(by(Side::Upstream, 3001)).await;
    })
    .await;
    // A silent client has the linger time and no more.
    for_all_versions(NEVER, Duration::from_millis(50), async |mut socket| {
        socket
            .upstream
            .write(&from_server(CLOSE, &close(3001, "")))
            .await;
        socket.upstream.end().await;
        socket.client.closes(3001).await;
        socket.client.ends().await;
        socket.expect_outcome(by(Side::Upstream, 3001)).await;
    })
    .await;
}

#[tokio::test]
async fn an_unanswered_close_is_a_timeout_of_its_sender() {
    let soon = Duration::from_millis(50);
    for_all_versions(soon, soon, async |mut socket| {
        socket
            .client
            .write(&from_client(CLOSE, &close(1000, "")))
            .await;
        socket.expect_outcome(Outcome::TimedOut(Side::Client)).await;
    })
    .await;
    for_all_versions(soon, soon, async |mut socket| {
        socket
            .upstream
            .write(&from_server(CLOSE, &close(1000, "")))
            .await;
        socket
            .expect_outcome(Outcome::TimedOut(Side::Upstream))
            .await;
    })
    .await;
}

/// Covers sockets whose client does not reply to the Close, and sockets in the
/// middle of a frame, where the bridge cannot send a Close.
#[tokio::test]
async fn a_socket_cut_by_the_drain_timeout_is_attributed_to_the_bridge() {
    for client in VERSIONS {
        for begun in [false, true] {
            let config = WebSocketConfig::default()
                .close_timeout(NEVER)
                .linger(NEVER);
            let drain_timeout = Duration::from_millis(100);
            let mut socket =
                OpenSocket::open([client, HttpVersion::Http1], config, drain_timeout).await;
            if begun {
                socket.upstream.write(&[0x82, 100, 1, 2, 3]).await;
            }
            socket.bridging.drain();
            assert_eq!(socket.bridging.drained().await.sockets_cut, 1);
            let line = socket.recorder.next().await;
            assert_eq!(line.closed, Outcome::Broken(Side::Bridge), "{line:?}");
            assert!(line.reason.contains("drain timeout"), "{line:?}");
            assert_eq!(line.closed.code(), Some(1006));
            drop(socket.bridge);
        }
    }
}

/// A rejection is reported with the side that rejected and the reason.
#[tokio::test]
async fn a_rejection_is_reported_with_its_side_and_reason() {
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
    let recorder = Recorder::of(&table.bridge, Line::of);
    for (path, status, side, reason) in [
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
            "this origin may not open a WebSocket here; allowed: ",
        ),
        ("/nobody", 502, Side::Upstream, "refused"),
        (
            "/full",
            503,
            Side::Bridge,
            "the route's max_sockets is reached",
        ),
        ("/none", 404, Side::Bridge, "no matching route"),
    ] {
        let fields = "Origin: https://evil.example\r\nUser-Agent: Nosy (1.0; \"quoted\")\r\n";
        let answer = table.ask(path, fields).await;
        assert_eq!(table::status(&answer), status, "{path}");
        let line = recorder.next().await;
        assert_eq!(line.closed, Outcome::Rejected(side), "{path} {line:?}");
        assert!(line.reason.contains(reason), "{path} {line:?}");
        assert_eq!(line.origin.as_deref(), Some("https://evil.example"));
        assert_eq!(line.user_agent.as_deref(), Some("Nosy (1.0; \"quoted\")"));
        assert_eq!(line.client, "127.0.0.1");
    }
    upstream.abort();
}

/// Behind a trusted proxy, the address of the client is reported, not the proxy's.
#[tokio::test]
async fn the_forwarded_client_address_is_reported_if_proxies_are_trusted() {
    let backend = table::backend("one").await;
    let routes = table::table([
        table::route("/trusted", &[backend]).trust_forwarded(true),
        table::route("/other", &[backend]),
    ]);
    let table = table::Table::start(routes).await;
    let recorder = Recorder::of(&table.bridge, Line::of);
    for (path, client) in [("/trusted", "192.0.2.7"), ("/other", "127.0.0.1")] {
        drop(table.ask(path, "X-Forwarded-For: 192.0.2.7\r\n").await);
        assert_eq!(recorder.next().await.client, client, "{path}");
    }
}
