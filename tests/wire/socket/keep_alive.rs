//! Keep-alive and idle timeouts: peers that vanished are detected, unused
//! connections are closed, and live sockets are left open.

use std::time::Duration;

use futures_util::StreamExt;
use h2ws::WebSocket;
use h2ws::frame::Role;
use h2ws::server::ServerBuilder;
use h2ws::{Client, CloseCode, Error, Http2Config, Message, Server, Timeout, WebSocketConfig};

use crate::support::client::{ClientFixture, accept, echo, http2};
use crate::support::frames::{self, BINARY, PING, PONG};
use crate::support::h2peer::EchoServer;
use crate::support::raw::{ACK, GOAWAY, PING as H2_PING, Raw, Seen};
use crate::support::{server, until, within};

const SHORT: Duration = Duration::from_millis(10);
/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

fn keep_alive(interval: Duration, timeout: Duration) -> Http2Config {
    Http2Config::default()
        .keep_alive_interval(interval)
        .keep_alive_timeout(timeout)
}

fn client(interval: Duration, timeout: Duration) -> Client {
    http2()
        .http2(keep_alive(interval, timeout))
        .build()
        .unwrap()
}

/// Returns the payload of the next PING without ACK, and skips other frames.
async fn ping(peer: &mut Raw) -> Vec<u8> {
    loop {
        let frame = within(peer.read()).await.expect("a PING");
        if frame.kind == H2_PING && frame.flags & ACK == 0 {
            return frame.payload;
        }
    }
}

fn is_keep_alive(error: &Error) -> bool {
    matches!(error, Error::Timeout(Timeout::KeepAlive)) && error.is_abnormal_closure()
}

/// If the server is alive only as far as TCP knows, its sockets end with the
/// reason, and the next socket uses a new connection.
#[tokio::test]
async fn a_connection_to_a_server_that_answers_no_ping_is_closed() {
    let mut beside = ClientFixture::with(client(SHORT, SHORT)).await;
    let (client, url) = (&beside.client, &beside.url);
    // A request that waits for its answer fails for the same reason.
    let (asked, read) = tokio::join!(within(client.connect(url)), within(beside.sibling.next()));
    let error = read.expect("an error").unwrap_err();
    assert!(is_keep_alive(&error), "{error:?}");
    assert!(is_keep_alive(asked.as_ref().unwrap_err()), "{asked:?}");
    assert_eq!(beside.sibling.close_code(), Some(CloseCode::ABNORMAL));
    let sent = within(beside.sibling.send(Message::text("to nobody"))).await;
    assert!(sent.is_err());
    // The server was sent a PING before the connection was closed.
    ping(&mut beside.peer).await;
    let (next, _second) = tokio::join!(client.connect(url), async {
        let mut second = accept(&beside.listener, &[]).await;
        second.take(1).await;
        second
    });
    assert_ne!(next.unwrap().transport(), beside.sibling.transport());
}

/// RFC 9113 §6.7: the connection stays open as long as PINGs are answered.
#[tokio::test]
async fn a_server_that_answers_is_pinged_repeatedly() {
    let mut beside = ClientFixture::with(client(SHORT, LONG)).await;
    for _ in 0..5 {
        let payload = ping(&mut beside.peer).await;
        beside.peer.send(H2_PING, ACK, 0, &payload).await;
    }
    beside.unharmed().await;
}

/// A connection without open streams sends no PINGs: some servers count those as
/// abuse.
#[tokio::test]
async fn a_connection_without_sockets_sends_no_pings() {
    let mut beside = ClientFixture::with(client(SHORT, LONG)).await;
    let (closed, ()) = tokio::join!(beside.sibling.close(None), beside.peer.answer_close(1));
    closed.unwrap();
    // A PING may already have been sent.
    beside.peer.barrier().await;
    let quiet = async {
        loop {
            let frame = beside.peer.read().await.expect("open");
            assert_ne!(frame.kind, H2_PING, "a PING without open streams");
        }
    };
    let ended = tokio::time::timeout(20 * SHORT, quiet).await;
    assert!(ended.is_err(), "the connection was closed");
}

/// The sockets of a client that vanished do not stay open for ever.
#[tokio::test]
async fn a_connection_of_a_client_that_answers_no_ping_is_closed() {
    let mut server = server::echo(Server::builder().http2(keep_alive(SHORT, SHORT))).await;
    let mut peer = Raw::connect(server.addr).await;
    peer.open(1, "/gone").await;
    let ended = server.ended().await;
    assert!(ended.error.as_ref().is_some_and(is_keep_alive), "{ended:?}");
    assert_eq!(ended.code, Some(CloseCode::ABNORMAL));
}

/// RFC 9113 §6.7, with the PINGs sent by the server.
#[tokio::test]
async fn a_client_that_answers_is_pinged_repeatedly() {
    let builder = Server::builder().http2(keep_alive(SHORT, LONG));
    let mut beside = server::ServerFixture::with(builder).await;
    for _ in 0..5 {
        let payload = ping(&mut beside.peer).await;
        beside.peer.send(H2_PING, ACK, 0, &payload).await;
    }
    beside.unharmed().await;
}

/// An unused connection is closed with GOAWAY, and the next socket uses a new one.
#[tokio::test]
async fn an_idle_client_connection_is_closed() {
    let client = http2().idle_timeout(SHORT).build().unwrap();
    let mut beside = ClientFixture::with(client).await;
    let (closed, ()) = tokio::join!(beside.sibling.close(None), beside.peer.answer_close(1));
    closed.unwrap();
    let Some(goaway) = within(beside.peer.next()).await else {
        panic!("no GOAWAY");
    };
    assert_eq!((goaway.kind, goaway.stream), (GOAWAY, 0));
    assert_eq!(goaway.payload, [0; 8], "last stream 0 and NO_ERROR");
    assert!(within(beside.peer.next()).await.is_none());
    let (next, mut second) = tokio::join!(beside.client.connect(&beside.url), async {
        let mut second = accept(&beside.listener, &[]).await;
        second.take(1).await;
        second
    });
    let mut next = next.unwrap();
    tokio::join!(second.answer(1), echo(&mut next, "on the new one"));
}

/// Sockets are opened around the time at which the connection goes idle.
#[tokio::test]
async fn connecting_never_fails_when_a_connection_goes_idle() {
    let server = EchoServer::start(|_| {}).await;
    let client = http2()
        .idle_timeout(Duration::from_millis(4))
        .build()
        .unwrap();
    within(async {
        // Timers may be late on a busy machine, so the waits grow until enough
        // connections went idle.
        for unit in (500..).step_by(500).map(Duration::from_micros) {
            for wait in 0..40 {
                let mut ws = client.connect(&server.url("/")).await.unwrap();
                echo(&mut ws, "hello").await;
                ws.close(None).await.unwrap();
                tokio::time::sleep(unit * wait).await;
            }
            if server.connections() > 10 {
                return;
            }
        }
    })
    .await;
    until(|| client.connections().is_empty()).await;
}

/// The idle timeout, set on both ends here, applies to connections without
/// sockets and not to silent sockets.
#[tokio::test]
async fn a_silent_socket_outlives_the_idle_timeout() {
    let server = server::echo(Server::builder().idle_timeout(SHORT)).await;
    let client = http2().idle_timeout(SHORT).build().unwrap();
    let mut ws = client.connect(&server.url("/")).await.unwrap();
    tokio::time::sleep(30 * SHORT).await;
    echo(&mut ws, "still here").await;
    within(ws.close(None)).await.unwrap();
}

/// With both disabled, an unused connection is sent no PINGs and is not closed.
#[tokio::test]
async fn disabled_timeouts_never_close_a_connection() {
    let off = Http2Config::default().keep_alive_interval(None);
    let builder = Server::builder().http2(off).idle_timeout(None);
    let server = server::echo(builder).await;
    let mut peer = Raw::connect(server.addr).await;
    tokio::time::sleep(20 * SHORT).await;
    peer.open(1, "/").await;
    peer.echo(1, "late").await;
    peer.close(1).await;
}

/// RFC 9113 §6.8: a server closes an unused connection with GOAWAY, and only after
/// its last socket was closed.
#[tokio::test]
async fn an_idle_server_connection_is_closed() {
    let server = server::echo(Server::builder().idle_timeout(SHORT)).await;
    let mut peer = Raw::connect(server.addr).await;
    peer.open(1, "/").await;
    tokio::time::sleep(20 * SHORT).await;
    peer.echo(1, "not cut").await;
    peer.close(1).await;
    let goaway = within(peer.next()).await.expect("GOAWAY");
    assert_eq!(goaway.kind, GOAWAY);
    assert_eq!(goaway.payload[4..8], [0; 4], "NO_ERROR");
    while let Some(frame) = within(peer.next()).await {
        assert_eq!(frame.kind, GOAWAY, "{frame:?}");
    }
}

/// The client never sent a request, and does not react to GOAWAY.
#[tokio::test]
async fn a_connection_without_any_request_is_closed() {
    let builder: ServerBuilder = Server::builder().idle_timeout(SHORT);
    let server = server::echo(builder).await;
    let mut peer = Raw::connect(server.addr).await;
    while within(peer.read()).await.is_some() {}
}

/// RFC 6455 §5.5.2: Pongs that answer automatic Pings are not shown to the
/// application, but unsolicited ones are.
#[tokio::test]
async fn answers_to_automatic_pings_are_not_shown() {
    let config = WebSocketConfig::default()
        .ping_interval(SHORT)
        .ping_timeout(LONG)
        .control_messages(true);
    let client = http2().socket(config).build().unwrap();
    let mut beside = ClientFixture::with(client).await;
    let (read, ()) = tokio::join!(within(beside.sibling.next()), async {
        for _ in 0..3 {
            let Seen::Frame(got, false) = beside.peer.seen(1).await else {
                panic!("no Ping");
            };
            assert_eq!((got.opcode(), got.masked), (PING, true));
            let pong = frames::from_server(PONG, &got.payload);
            beside.peer.data(1, &pong).await;
        }
        let foreign = frames::from_server(PONG, b"unasked");
        beside.peer.data(1, &foreign).await;
    });
    let shown = read.expect("open").unwrap();
    assert_eq!(shown, Message::Pong("unasked".into()));
}

/// The socket ends with 1006, both over HTTP/2 and over a byte stream.
#[tokio::test]
async fn an_unanswered_ping_ends_the_socket() {
    let config = WebSocketConfig::default()
        .ping_interval(SHORT)
        .ping_timeout(SHORT);
    let client = http2().socket(config.clone()).build().unwrap();
    let mut beside = ClientFixture::with(client).await;
    let error = within(beside.sibling.next()).await.expect("an error");
    assert!(is_keep_alive(&error.unwrap_err()));
    assert_eq!(beside.sibling.close_code(), Some(CloseCode::ABNORMAL));
    assert!(beside.sibling.next().await.is_none());

    let (near, _far) = tokio::io::duplex(4096);
    let mut ws = WebSocket::from_stream(near, Role::Server, config);
    let error = within(ws.next()).await.expect("an error");
    assert!(is_keep_alive(&error.unwrap_err()));
}

/// Any received data counts as liveness, and a socket does not time out only
/// because the application has not read it for long.
#[tokio::test]
async fn received_messages_keep_a_socket_alive() {
    let config = WebSocketConfig::default()
        .ping_interval(SHORT)
        .ping_timeout(LONG);
    let client = http2().socket(config).build().unwrap();
    let mut beside = ClientFixture::with(client).await;
    for _ in 0..5 {
        let message = frames::from_server(BINARY, b"here");
        beside.peer.data(1, &message).await;
        tokio::time::sleep(3 * SHORT).await;
        let got = within(beside.sibling.next()).await.expect("open").unwrap();
        assert_eq!(got, Message::binary(&b"here"[..]));
    }
}
