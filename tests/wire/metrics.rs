//! What a `Metrics` implementation receives, compared with what hand-written peers did.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use h2ws::bridge::Bridge;
use h2ws::frame::Role;
use h2ws::metrics::{
    ConnectionEnd, ConnectionInfo, ConnectionTraffic, Handshake, Metrics, SocketEnd, SocketTraffic,
};
use h2ws::{Client, CloseCode, HttpVersion, Message, Server};
use http::{StatusCode, Version};

use crate::support::bridge::Bridging;
use crate::support::client::{ClientFixture, accept, echo, http1, http2, listen};
use crate::support::frames::{self, TEXT};
use crate::support::raw::{CANCEL, ENHANCE_YOUR_CALM, Fields, REFUSED_STREAM, Raw};
use crate::support::{server, tls, until, within};

const SHORT: Duration = Duration::from_millis(20);

/// Records everything that is reported.
#[derive(Debug, Default)]
struct Record(Mutex<Reports>);

#[derive(Clone, Debug, Default)]
struct Reports {
    opened: Vec<ConnectionInfo>,
    closed: Vec<(u64, ConnectionEnd)>,
    frames: ConnectionTraffic,
    round_trips: Vec<Duration>,
    handshakes: Vec<(Role, Option<Version>, Handshake)>,
    sockets: Vec<u64>,
    ends: Vec<SocketEnd>,
    messages: SocketTraffic,
}

impl Record {
    fn reports(&self) -> Reports {
        self.0.lock().unwrap().clone()
    }

    /// Waits until `condition` holds.
    async fn until(&self, condition: impl Fn(&Reports) -> bool) -> Reports {
        until(|| condition(&self.0.lock().unwrap())).await;
        self.reports()
    }
}

impl Metrics for Record {
    fn connection_opened(&self, on: &ConnectionInfo) {
        self.0.lock().unwrap().opened.push(*on);
    }

    fn connection_closed(&self, on: &ConnectionInfo, end: ConnectionEnd) {
        self.0.lock().unwrap().closed.push((on.id, end));
    }

    fn connection_traffic(&self, _: &ConnectionInfo, traffic: &ConnectionTraffic) {
        let sum = &mut self.0.lock().unwrap().frames;
        sum.bytes_sent += traffic.bytes_sent;
        sum.bytes_received += traffic.bytes_received;
        sum.data_frames_sent += traffic.data_frames_sent;
        sum.data_frames_received += traffic.data_frames_received;
        sum.resets_sent += traffic.resets_sent;
        sum.resets_received += traffic.resets_received;
        sum.goaways_sent += traffic.goaways_sent;
        sum.goaways_received += traffic.goaways_received;
    }

    fn round_trip(&self, _: &ConnectionInfo, time: Duration) {
        self.0.lock().unwrap().round_trips.push(time);
    }

    fn handshake(&self, role: Role, version: Option<Version>, result: Handshake) {
        let reports = &mut self.0.lock().unwrap();
        reports.handshakes.push((role, version, result));
    }

    fn socket_opened(&self, on: &ConnectionInfo) {
        self.0.lock().unwrap().sockets.push(on.id);
    }

    fn socket_closed(&self, _: &ConnectionInfo, end: SocketEnd) {
        self.0.lock().unwrap().ends.push(end);
    }

    fn socket_traffic(&self, _: &ConnectionInfo, traffic: &SocketTraffic) {
        let sum = &mut self.0.lock().unwrap().messages;
        sum.messages_sent += traffic.messages_sent;
        sum.messages_received += traffic.messages_received;
        sum.bytes_sent += traffic.bytes_sent;
        sum.bytes_received += traffic.bytes_received;
    }
}

/// Every way in which a client can end a socket, and then the end of the connection.
#[tokio::test]
async fn a_server_reports_how_sockets_end() {
    let record = Arc::new(Record::default());
    let server = server::echo(Server::builder().metrics(record.clone())).await;
    let mut peer = Raw::connect(server.addr).await;
    for stream in [1, 3, 5, 7] {
        peer.open(stream, "/").await;
    }
    peer.echo(1, "hello").await;
    peer.echo(1, "you").await;
    peer.close(1).await;
    record.until(|reports| reports.ends.len() == 1).await;
    peer.reset(3, CANCEL).await;
    record.until(|reports| reports.ends.len() == 2).await;
    peer.end(5).await;
    record.until(|reports| reports.ends.len() == 3).await;
    // Unmasked, which a client must not send (RFC 6455 §5.1).
    peer.data(7, &frames::from_server(TEXT, b"bare")).await;
    let reports = record.until(|reports| reports.ends.len() == 4).await;
    let reset = SocketEnd::Reset {
        code: CANCEL,
        by_peer: true,
    };
    let expected = [
        SocketEnd::Closed(CloseCode::NORMAL),
        reset,
        SocketEnd::Abnormal,
        SocketEnd::Failed(CloseCode::PROTOCOL_ERROR),
    ];
    assert_eq!(reports.ends, expected);
    assert_eq!(reports.messages.messages_received, 2, "{reports:?}");
    assert_eq!(reports.messages.bytes_received, 8);
    assert_eq!(reports.messages.messages_sent, 2);
    assert_eq!(reports.messages.bytes_sent, 8);
    assert_eq!(reports.opened.len(), 1);
    let connection = reports.opened[0];
    assert_eq!(
        (connection.role, connection.version),
        (Role::Server, Version::HTTP_2)
    );
    assert_eq!(reports.sockets, [connection.id; 4]);
    assert!(reports.closed.is_empty());
    peer.end(7).await;
    // Closing with unread bytes would reset the TCP connection.
    peer.barrier().await;
    drop(peer);
    let reports = record.until(|reports| !reports.closed.is_empty()).await;
    assert_eq!(reports.closed, [(connection.id, ConnectionEnd::Clean)]);
    assert_eq!(reports.frames.resets_received, 1);
    assert!(reports.frames.data_frames_received >= 6, "{reports:?}");
}

/// Statuses from the server's own checks and from its handler, and a request that is
/// dropped unanswered.
#[tokio::test]
async fn a_server_reports_how_handshakes_end() {
    let record = Arc::new(Record::default());
    let builder = Server::builder().metrics(record.clone());
    let server = server::serve(builder, |upgrade, _| async move {
        match upgrade.path() {
            "/no" => upgrade.reject(StatusCode::FORBIDDEN),
            "/yes" => drop(upgrade.accept().await),
            _ => drop(upgrade),
        }
    })
    .await;
    let mut peer = Raw::connect(server.addr).await;
    for (stream, path, version) in [(1, "/no", "13"), (3, "/yes", "13"), (5, "/", "8")] {
        let fields = Fields::websocket(path).with("sec-websocket-version", version);
        peer.headers(stream, &fields, 0).await;
        record
            .until(|reports| reports.handshakes.len() as u32 == stream.div_ceil(2))
            .await;
    }
    peer.headers(7, &Fields::websocket("/drop"), 0).await;
    let reports = record.until(|reports| reports.handshakes.len() == 4).await;
    let results: Vec<_> = reports
        .handshakes
        .iter()
        .map(|(_, _, result)| *result)
        .collect();
    let expected = [
        Handshake::Refused(StatusCode::FORBIDDEN),
        Handshake::Accepted,
        Handshake::Refused(StatusCode::UPGRADE_REQUIRED),
        Handshake::Dropped,
    ];
    // 426 does not apply to HTTP/2, so the status is left open.
    assert_eq!(results[0..2], expected[0..2]);
    assert!(matches!(results[2], Handshake::Refused(_)), "{reports:?}");
    assert_eq!(results[3], expected[3]);
    assert!(
        reports
            .handshakes
            .iter()
            .all(|h| h.0 == Role::Server && h.1 == Some(Version::HTTP_2))
    );
    let reports = record.until(|reports| !reports.ends.is_empty()).await;
    assert_eq!(reports.ends, [SocketEnd::Dropped]);
}

/// A hand-written server rejects in every way. GOAWAY and PING are reported as well.
#[tokio::test]
async fn a_client_reports_how_servers_answer() {
    let record = Arc::new(Record::default());
    let config = h2ws::Http2Config::default().keep_alive_interval(SHORT);
    let builder = http2().metrics(record.clone()).http2(config);
    let client = builder.build().unwrap();
    let mut fixture = ClientFixture::with(client).await;
    let (peer, url) = (&mut fixture.peer, &fixture.url);
    let reject = async |peer: &mut Raw| {
        peer.request(3).await;
        peer.headers(3, &Fields::status("403"), 1).await;
        // Not processed, and therefore retried.
        peer.request(5).await;
        peer.reset(5, REFUSED_STREAM).await;
        peer.request(7).await;
        peer.reset(7, CANCEL).await;
    };
    let attempts = async {
        for _ in 0..2 {
            assert!(fixture.client.connect(url).await.is_err());
        }
    };
    within(async { tokio::join!(attempts, reject(peer)) }).await;
    let reports = record.reports();
    let results: Vec<_> = reports.handshakes.iter().map(|h| h.2).collect();
    let expected = [
        Handshake::Accepted,
        Handshake::Refused(StatusCode::FORBIDDEN),
        Handshake::Unprocessed,
        Handshake::Failed,
    ];
    assert_eq!(results, expected);
    assert_eq!(
        reports.handshakes[0],
        (Role::Client, Some(Version::HTTP_2), Handshake::Accepted)
    );
    // The peer answers PINGs while it reads.
    let reports = tokio::select! {
        reports = record.until(|reports| !reports.round_trips.is_empty()) => reports,
        frame = peer.on(99) => panic!("{frame:?}"),
    };
    assert!(reports.round_trips[0] < Duration::from_secs(30));
    peer.goaway(u32::MAX >> 1, ENHANCE_YOUR_CALM).await;
    drop(fixture.peer);
    let ended = within(fixture.sibling.next()).await.expect("an error");
    assert!(ended.is_err());
    let reports = record.until(|reports| !reports.closed.is_empty()).await;
    assert_eq!(reports.ends, [SocketEnd::ConnectionLost]);
    assert_eq!(reports.frames.goaways_received, 1);
    assert_eq!(reports.frames.resets_received, 2);
    let id = reports.opened[0].id;
    let by_peer = true;
    let code = ENHANCE_YOUR_CALM;
    assert_eq!(
        reports.closed,
        [(id, ConnectionEnd::GoAway { code, by_peer })]
    );
}

/// The server does not answer at all.
#[tokio::test]
async fn a_client_reports_a_handshake_timeout() {
    let record = Arc::new(Record::default());
    let builder = http2().metrics(record.clone());
    let client = builder.handshake_timeout(SHORT).build().unwrap();
    let (listener, addr) = listen().await;
    let url = format!("ws://{addr}/");
    let (opened, mut peer) = tokio::join!(client.connect(&url), accept(&listener, &[]));
    assert!(opened.is_err());
    peer.request(1).await;
    assert_eq!(peer.reset_code(1).await, CANCEL);
    drop(peer);
    let reports = record.until(|reports| !reports.closed.is_empty()).await;
    let timeout = (Role::Client, Some(Version::HTTP_2), Handshake::Timeout);
    assert_eq!(reports.handshakes, [timeout]);
    assert_eq!(reports.frames.resets_sent, 1);
}

/// Over HTTP/1.1 the connection carries one socket and ends with it.
#[tokio::test]
async fn both_ends_report_an_upgraded_connection() {
    let (client_record, server_record) = (Arc::new(Record::default()), Arc::new(Record::default()));
    let server = server::echo(Server::builder().metrics(server_record.clone())).await;
    let client = http1().metrics(client_record.clone()).build().unwrap();
    let mut ws = client.connect(&server.url("/")).await.unwrap();
    echo(&mut ws, "hello").await;
    assert!(client_record.reports().closed.is_empty() && server_record.reports().closed.is_empty());
    within(ws.close(None)).await.unwrap();
    drop(ws);
    for (record, code) in [
        (client_record, CloseCode::NO_STATUS_RECEIVED),
        (server_record, CloseCode::NO_STATUS_RECEIVED),
    ] {
        let reports = record.until(|reports| reports.closed.len() == 1).await;
        assert_eq!(reports.opened.len(), 1);
        assert_eq!(reports.opened[0].version, Version::HTTP_11);
        assert_eq!(
            reports.closed,
            [(reports.opened[0].id, ConnectionEnd::Clean)]
        );
        assert_eq!(reports.sockets, [reports.opened[0].id]);
        assert_eq!(reports.ends, [SocketEnd::Closed(code)]);
        assert_eq!(reports.messages.messages_sent, 1);
        assert_eq!(reports.messages.messages_received, 1);
        let (_, version, result) = reports.handshakes[0];
        assert_eq!(
            (version, result),
            (Some(Version::HTTP_11), Handshake::Accepted)
        );
    }
}

/// The messages are those of both its WebSockets, whatever carries each.
#[tokio::test]
async fn a_bridge_reports_the_messages_that_it_forwards() {
    let versions = [HttpVersion::Http1, HttpVersion::Http2];
    for (version, upstream_version) in versions
        .into_iter()
        .flat_map(|one| versions.map(|other| (one, other)))
    {
        let (front, back) = (Arc::new(Record::default()), Arc::new(Record::default()));
        let server = server::echo(Server::builder()).await;
        let client = Client::builder().tls(tls::none()).metrics(back.clone());
        let bridge = Bridge::to(&format!("ws://{}", server.addr))
            .client(client.build().unwrap())
            .upstream_version(upstream_version)
            .build()
            .unwrap();
        let observed = Server::builder().metrics(front.clone());
        let bridging = Bridging::behind(observed, &bridge, Duration::from_secs(600)).await;
        let client = Client::builder().tls(tls::none()).version(version);
        let mut ws = within(client.build().unwrap().connect(&bridging.url()))
            .await
            .unwrap();
        for text in ["one", "two", "three"] {
            echo(&mut ws, text).await;
        }
        within(ws.close(None)).await.unwrap();
        for record in [front, back] {
            let reports = record.until(|reports| reports.ends.len() == 1).await;
            let messages = &reports.messages;
            assert_eq!(
                messages.messages_received, 3,
                "{version:?} {upstream_version:?} {reports:?}"
            );
            assert_eq!(
                messages.messages_sent, 3,
                "{version:?} {upstream_version:?} {reports:?}"
            );
        }
    }
}

/// The server lacks RFC 8441, or nothing listens at the address.
#[tokio::test]
async fn a_client_reports_fallbacks_and_failed_connections() {
    let record = Arc::new(Record::default());
    let (server_tls, client_tls) = tls::pair();
    let builder = Server::builder().tls(server_tls).extended_connect(false);
    let server = server::echo(builder).await;
    let client = Client::builder().tls(client_tls).metrics(record.clone());
    let client = client.version(HttpVersion::Auto).build().unwrap();
    let port = server.addr.port();
    let url = format!("wss://localhost:{port}/");
    drop(within(client.connect(&url)).await.unwrap());
    let (listener, addr) = listen().await;
    drop(listener);
    assert!(
        within(client.connect(&format!("ws://{addr}/")))
            .await
            .is_err()
    );
    let reports: Vec<_> = record
        .reports()
        .handshakes
        .iter()
        .map(|h| (h.1, h.2))
        .collect();
    let expected = [
        (Some(Version::HTTP_2), Handshake::Fallback),
        (Some(Version::HTTP_11), Handshake::Accepted),
        (None, Handshake::Failed),
    ];
    assert_eq!(reports, expected);
}

/// The traffic of a long-lived socket is reported before the socket ends.
#[tokio::test]
async fn traffic_is_reported_while_a_socket_is_open() {
    let record = Arc::new(Record::default());
    let (listener, addr) = listen().await;
    let client = http2().metrics(record.clone()).build().unwrap();
    let url = format!("ws://{addr}/");
    let (ws, mut peer) = tokio::join!(client.connect(&url), async {
        let mut peer = accept(&listener, &[]).await;
        peer.take(1).await;
        peer.window(0, 1 << 30).await;
        peer.window(1, 1 << 30).await;
        peer
    });
    let mut ws = ws.unwrap();
    let reports = within(async {
        loop {
            ws.send(Message::text("again")).await.unwrap();
            peer.frame(1).await;
            let reports = record.reports();
            if reports.messages.messages_sent > 0 {
                return reports;
            }
        }
    })
    .await;
    assert!(reports.ends.is_empty());
    assert_eq!(
        reports.messages.bytes_sent,
        5 * reports.messages.messages_sent
    );
}
