//! WebSocket Pings of the bridge's own (RFC 6455 §5.5.2), on routes that enable them.

use std::sync::Arc;
use std::time::Duration;

use h2ws::bridge::{AccessRecord, Pings};
use h2ws::server::WebSocketRequest;
use h2ws::socket::RawStream;
use h2ws::{HttpVersion, Server, WebSocketConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::support::bridge::{Bridging, to};
use crate::support::client::{http1, http2, listen};
use crate::support::frames::{
    BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, Parser, TEXT, close, frame,
};
use crate::support::recorder::{Event, Recorder};
use crate::support::within;

const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(600);

/// One end of a WebSocket, as bytes.
struct End {
    io: RawStream,
    parser: Parser,
    is_client: bool,
}

impl End {
    fn new(io: RawStream, is_client: bool) -> Self {
        let parser = Parser::default();
        Self {
            io,
            parser,
            is_client,
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        within(self.io.write_all(bytes)).await.unwrap();
        within(self.io.flush()).await.unwrap();
    }

    fn encode(&self, head: u8, payload: &[u8]) -> Vec<u8> {
        frame(head, self.is_client, payload)
    }

    async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let bytes = self.encode(0x80 | opcode, payload);
        self.write(&bytes).await;
    }

    /// The next frame, or `None` at the end of the stream or a reset.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.parser.pop() {
                assert_eq!(frame.masked, !self.is_client, "{frame:?}");
                return Some(frame);
            }
            let mut bytes = [0; 1024];
            match within(self.io.read(&mut bytes)).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.parser.push(&bytes[..read]),
            }
        }
    }

    /// The next frame that is not a Ping.
    async fn next_other(&mut self) -> Frame {
        loop {
            let frame = self.next().await.expect("open");
            if frame.opcode() != PING {
                return frame;
            }
        }
    }

    /// Waits for a Ping, and returns its payload.
    async fn ping(&mut self) -> Vec<u8> {
        let frame = self.next().await.expect("open");
        assert_eq!(frame.head, 0x80 | PING, "{frame:?}");
        assert_eq!(frame.payload.len(), 12);
        frame.payload
    }
}

/// A bridge with both ends of a WebSocket through it.
struct Fixture {
    client: End,
    upstream: End,
    seen: Arc<Recorder<String>>,
    _bridging: Bridging,
}

fn reason(event: Event, access: &AccessRecord) -> Option<String> {
    if event != Event::WebSocketEnd {
        return None;
    }
    let (end, reason) = (access.closed().unwrap(), access.reason());
    Some(format!(
        "{} {}: {}",
        end.by(),
        end.how(),
        reason.unwrap_or_default()
    ))
}

impl Fixture {
    async fn open(
        (client, upstream): (HttpVersion, HttpVersion),
        pings: Pings,
        idle: Option<Duration>,
    ) -> Self {
        let (opened, mut sockets) = mpsc::unbounded_channel();
        let server = Server::builder().bind("127.0.0.1:0").await.unwrap();
        let addr = server.local_addr().unwrap();
        let serve = server.serve(move |request: WebSocketRequest| {
            let opened = opened.clone();
            async move {
                let _ = opened.send(request.accept_raw().await.unwrap());
            }
        });
        tokio::spawn(serve.into_future());
        let bridge = to("ws", addr, upstream).pings(pings).idle_timeout(idle);
        let bridge = bridge.build().unwrap();
        let seen = Recorder::of(&bridge, reason);
        let config = WebSocketConfig::default()
            .close_timeout(Duration::from_millis(200))
            .linger(Duration::from_millis(50));
        let bridging = Bridging::of(&bridge, config).await;
        let builder = match client {
            HttpVersion::Http1 => http1(),
            _ => http2(),
        };
        let client = builder.build().unwrap();
        let raw = within(client.request(bridging.url()).connect_raw())
            .await
            .unwrap();
        let upstream = within(sockets.recv()).await.unwrap();
        Self {
            client: End::new(raw, true),
            upstream: End::new(upstream, false),
            seen,
            _bridging: bridging,
        }
    }

    async fn ends_with(&mut self, expected: &str) {
        assert_eq!(self.seen.next().await, expected);
        assert_eq!(self.seen.len(), 0);
    }
}

fn versions() -> [(HttpVersion, HttpVersion); 4] {
    use HttpVersion::{Http1, Http2};
    [
        (Http1, Http1),
        (Http1, Http2),
        (Http2, Http1),
        (Http2, Http2),
    ]
}

fn both(interval: Duration) -> Pings {
    Pings::default().client(interval).upstream(interval)
}

/// Both sides get Pings that differ, and answer in pieces, among frames of their own.
#[tokio::test]
async fn answers_to_the_bridges_pings_are_kept_from_the_other_side() {
    for versions in versions() {
        let mut fixture = Fixture::open(versions, both(SHORT), None).await;
        let of_client = fixture.client.ping().await;
        let of_upstream = fixture.upstream.ping().await;
        assert_ne!(of_client, of_upstream);
        for is_client in [true, false] {
            let Fixture {
                client, upstream, ..
            } = &mut fixture;
            let (from, to, ping) = match is_client {
                true => (client, upstream, &of_client),
                false => (upstream, client, &of_upstream),
            };
            let answer = from.encode(0x80 | PONG, ping);
            // Three answers: within a message, in two pieces, and together with others.
            let first = [from.encode(TEXT, b"frag"), answer.clone()].concat();
            from.write(&first).await;
            let (start, end) = answer.split_at(5);
            from.write(start).await;
            from.write(end).await;
            let own = from.encode(0x80 | PONG, b"mine");
            let rest = [
                own,
                answer,
                from.encode(0x80 | CONTINUATION, b"ment"),
                from.encode(0x80 | PING, ping),
                from.encode(0x80 | BINARY, &[7; 70_000]),
            ];
            from.write(&rest.concat()).await;
            let mut heads = Vec::new();
            while heads.last() != Some(&(0x80 | BINARY)) {
                let frame = to.next().await.expect("open");
                // The bridge's own have another payload.
                if frame.opcode() != PING || frame.payload == *ping {
                    heads.push(frame.head);
                }
                assert!(frame.opcode() != PONG || frame.payload == b"mine");
            }
            let expected = [
                TEXT,
                0x80 | PONG,
                0x80 | CONTINUATION,
                0x80 | PING,
                0x80 | BINARY,
            ];
            assert_eq!(heads, expected, "{versions:?} from the client: {is_client}");
        }
        fixture.client.send(CLOSE, &close(1000, "")).await;
        assert_eq!(fixture.upstream.next_other().await.code(), Some(1000));
    }
}

/// The Ping that has become due in the middle of a frame follows it; fragments of a
/// message do not delay it.
#[tokio::test]
async fn a_ping_comes_between_two_frames() {
    for versions in versions() {
        let mut fixture = Fixture::open(versions, both(SHORT), None).await;
        fixture.client.ping().await;
        let large = fixture.upstream.encode(BINARY, &[0x89; 1000]);
        fixture.upstream.write(&large[..500]).await;
        for _ in 0..4 {
            // The other side's timer shows that the client's has expired as well.
            fixture.upstream.ping().await;
        }
        fixture.upstream.write(&large[500..]).await;
        let frame = fixture.client.next_other().await;
        assert_eq!((frame.head, frame.payload.len()), (BINARY, 1000));
        fixture.client.ping().await;
        fixture.upstream.send(CONTINUATION, b"end").await;
        assert_eq!(fixture.client.next_other().await.payload, b"end");
    }
}

/// The access line contains the side and the reason.
#[tokio::test]
async fn a_side_that_answers_no_ping_is_let_go() {
    for versions in versions() {
        for is_client in [true, false] {
            let timeout = Duration::from_millis(100);
            let pings = match is_client {
                true => Pings::default().client(SHORT),
                false => Pings::default().upstream(SHORT),
            };
            let mut fixture = Fixture::open(versions, pings.timeout(timeout), None).await;
            let (dead, other, name) = match is_client {
                true => (&mut fixture.client, &mut fixture.upstream, "client"),
                false => (&mut fixture.upstream, &mut fixture.client, "upstream"),
            };
            let ping = dead.ping().await;
            dead.send(PONG, &ping).await;
            dead.send(TEXT, b"alive").await;
            assert_eq!(other.next_other().await.payload, b"alive");
            assert_eq!(other.next().await, None, "{versions:?} {name}");
            let reason = format!("{name} reset: no answer to a Ping within 100ms");
            fixture.ends_with(&reason).await;
        }
    }
}

/// What the bridge sends of its own does not count as use of the WebSocket.
#[tokio::test]
async fn pings_and_their_answers_do_not_defer_the_idle_timeout() {
    for versions in versions() {
        let idle = Duration::from_millis(300);
        let mut fixture = Fixture::open(versions, both(SHORT), Some(idle)).await;
        let code = loop {
            let frame = fixture.client.next().await.expect("a Close frame");
            match frame.opcode() {
                PING => fixture.client.send(PONG, &frame.payload).await,
                _ => break frame.code(),
            }
        };
        assert_eq!(code, Some(1001));
    }
}

/// The client of a TCP server gets them too.
#[tokio::test]
async fn clients_of_a_tcp_upstream_get_pings() {
    let (listener, addr) = listen().await;
    let bridge = h2ws::bridge::Bridge::to(&format!("tcp://{addr}"))
        .allowed_origins(h2ws::handshake::AllowedOrigins::any())
        .pings(Pings::default().client(SHORT))
        .build()
        .unwrap();
    let bridging = Bridging::of(&bridge, WebSocketConfig::default()).await;
    let client = http2().build().unwrap();
    let raw = within(client.request(bridging.url()).connect_raw());
    let mut client = End::new(raw.await.unwrap(), true);
    let (mut target, _) = within(listener.accept()).await.unwrap();
    for _ in 0..3 {
        let ping = client.next().await.expect("open");
        assert_eq!(ping.opcode(), PING);
        client.send(PONG, &ping.payload).await;
    }
    client.send(BINARY, b"still open").await;
    let mut read = [0; 10];
    within(target.read_exact(&mut read)).await.unwrap();
    assert_eq!(&read, b"still open");
}

/// A long interval shows that only what is enabled is sent.
#[tokio::test]
async fn each_side_has_an_interval_of_its_own() {
    for versions in versions() {
        let pings = Pings::default().client(SHORT).upstream(LONG);
        let mut fixture = Fixture::open(versions, pings, None).await;
        for _ in 0..3 {
            fixture.client.ping().await;
        }
        fixture.client.send(TEXT, b"first").await;
        assert_eq!(fixture.upstream.next().await.unwrap().payload, b"first");
    }
}
