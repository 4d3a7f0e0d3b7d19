//! How long a connection lives: peers that are gone without a word are found,
//! connections without use end, and nothing that is alive is cut.

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
/// Never over in a test.
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

/// The next PING that is no answer; whatever comes before is skipped.
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

/// A peer that is there for TCP only: its sockets say why they end, and the
/// next one has another connection.
#[tokio::test]
async fn a_server_that_answers_no_ping_is_given_up() {
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
    // It was asked before it was given up.
    ping(&mut beside.peer).await;
    let (next, _second) = tokio::join!(client.connect(url), async {
        let mut second = accept(&beside.listener, &[]).await;
        second.take(1).await;
        second
    });
    assert_ne!(next.unwrap().transport(), beside.sibling.transport());
}

/// RFC 9113 §6.7: as long as the answers come, nothing ends.
#[tokio::test]
async fn a_server_that_answers_is_asked_again_and_again() {
    let mut beside = ClientFixture::with(client(SHORT, LONG)).await;
    for _ in 0..5 {
        let payload = ping(&mut beside.peer).await;
        beside.peer.send(H2_PING, ACK, 0, &payload).await;
    }
    beside.unharmed().await;
}

/// A connection that carries nothing asks nothing: some servers count PINGs
/// without streams as abuse.
#[tokio::test]
async fn without_sockets_nothing_is_asked() {
    let mut beside = ClientFixture::with(client(SHORT, LONG)).await;
    let (closed, ()) = tokio::join!(beside.sibling.close(None), beside.peer.answer_close(1));
    closed.unwrap();
    // One may have been on its way.
    beside.peer.barrier().await;
    let quiet = async {
        loop {
            let frame = beside.peer.read().await.expect("open");
            assert_ne!(frame.kind, H2_PING, "asked for nothing");
        }
    };
    let looked = tokio::time::timeout(20 * SHORT, quiet).await;
    assert!(looked.is_err(), "the connection is kept");
}

/// A client that is gone without a word does not keep its sockets for ever.
#[tokio::test]
async fn a_client_that_answers_no_ping_is_given_up() {
    let mut server = server::echo(Server::builder().http2(keep_alive(SHORT, SHORT))).await;
    let mut peer = Raw::connect(server.addr).await;
    peer.open(1, "/gone").await;
    let ended = server.ended().await;
    assert!(ended.error.as_ref().is_some_and(is_keep_alive), "{ended:?}");
    assert_eq!(ended.code, Some(CloseCode::ABNORMAL));
}

/// RFC 9113 §6.7, seen from the client.
#[tokio::test]
async fn a_client_that_answers_is_asked_again_and_again() {
    let builder = Server::builder().http2(keep_alive(SHORT, LONG));
    let mut beside = server::ServerFixture::with(builder).await;
    for _ in 0..5 {
        let payload = ping(&mut beside.peer).await;
        beside.peer.send(H2_PING, ACK, 0, &payload).await;
    }
    beside.unharmed().await;
}

/// An unused connection goes away by itself, in good order, and the next
/// socket has a new one.
#[tokio::test]
async fn an_idle_client_connection_ends() {
    let client = http2().idle_timeout(SHORT).build().unwrap();
    let mut beside = ClientFixture::with(client).await;
    let (closed, ()) = tokio::join!(beside.sibling.close(None), beside.peer.answer_close(1));
    closed.unwrap();
    let Some(goaway) = within(beside.peer.next()).await else {
        panic!("no GOAWAY");
    };
    assert_eq!((goaway.kind, goaway.stream), (GOAWAY, 0));
    assert_eq!(
        goaway.payload, [0; 8],
        "no stream of the server's, no error"
    );
    assert!(within(beside.peer.next()).await.is_none());
    let (next, mut second) = tokio::join!(beside.client.connect(&beside.url), async {
        let mut second = accept(&beside.listener, &[]).await;
        second.take(1).await;
        second
    });
    let mut next = next.unwrap();
    tokio::join!(second.answer(1), echo(&mut next, "on the new one"));
}

/// Sockets that come and go around the idle time: none fails.
#[tokio::test]
async fn connecting_never_meets_a_connection_that_goes_idle() {
    let server = EchoServer::start(|_| {}).await;
    let client = http2()
        .idle_timeout(Duration::from_millis(4))
        .build()
        .unwrap();
    within(async {
        // Busy machines look at the time late: waits grow until enough of the
        // connections did go idle.
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

/// Idle time is for connections, not for sockets: one that says nothing is
/// alive (at both ends here).
#[tokio::test]
async fn a_silent_socket_is_never_cut() {
    let server = server::echo(Server::builder().idle_timeout(SHORT)).await;
    let client = http2().idle_timeout(SHORT).build().unwrap();
    let mut ws = client.connect(&server.url("/")).await.unwrap();
    tokio::time::sleep(30 * SHORT).await;
    echo(&mut ws, "still here").await;
    within(ws.close(None)).await.unwrap();
}

/// Off is off: nothing is asked and nothing ends, without any use.
#[tokio::test]
async fn off_is_off() {
    let off = Http2Config::default().keep_alive_interval(None);
    let builder = Server::builder().http2(off).idle_timeout(None);
    let server = server::echo(builder).await;
    let mut peer = Raw::connect(server.addr).await;
    tokio::time::sleep(20 * SHORT).await;
    peer.open(1, "/").await;
    peer.echo(1, "late").await;
    peer.close(1).await;
}

/// RFC 9113 §6.8: an unused server connection is ended by GOAWAY, and not
/// before its socket is closed.
#[tokio::test]
async fn an_idle_server_connection_ends() {
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

/// One that never asked for anything, and does not answer the farewell.
#[tokio::test]
async fn a_connection_without_any_use_ends() {
    let builder: ServerBuilder = Server::builder().idle_timeout(SHORT);
    let server = server::echo(builder).await;
    let mut peer = Raw::connect(server.addr).await;
    while within(peer.read()).await.is_some() {}
}

/// RFC 6455 §5.5.2: our Pings are answered, which the application need not
/// see; its own are its business.
#[tokio::test]
async fn pings_are_sent_and_their_answers_not_shown() {
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

/// A Ping without an answer: 1006, over HTTP/2 and on a stream of its own.
#[tokio::test]
async fn an_unanswered_ping_is_the_end() {
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

/// Whatever comes is a sign of life, and a socket that was not read for long
/// is not dead by that.
#[tokio::test]
async fn messages_are_signs_of_life() {
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
