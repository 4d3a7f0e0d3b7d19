//! Cancelled futures, input split at every byte, and sockets used as two halves.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use h2ws::Limits;
use h2ws::frame::Role;
use h2ws::{Client, CloseCode, CloseFrame, Error, Message, Server, WebSocket, WebSocketConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::client::{ClientFixture, echo, http1, http2};
use crate::support::frames::{
    BINARY, CLOSE, CONTINUATION, PING, PONG, Parser, TEXT, close, frame, from_server,
};
use crate::support::raw::INITIAL_WINDOW_SIZE;
use crate::support::{client, server, within};

/// Returns a socket in `role`, and the other end of its byte stream.
fn on_duplex(role: Role, config: WebSocketConfig, buffer: usize) -> (WebSocket, DuplexStream) {
    let (near, far) = tokio::io::duplex(buffer);
    (WebSocket::from_stream(near, role, config), far)
}

/// Returns frames of every kind, as the peer of `role` sends them, and the messages
/// they carry.
fn conversation(role: Role) -> (Vec<u8>, Vec<Message>) {
    let masked = role == Role::Server;
    let mut bytes = Vec::new();
    bytes.extend(frame(TEXT, masked, "h\u{e9}".as_bytes()));
    bytes.extend(frame(0x80 | PING, masked, b"in between"));
    bytes.extend(frame(
        0x80 | CONTINUATION,
        masked,
        "llo \u{1f600}".as_bytes(),
    ));
    bytes.extend(frame(0x80 | BINARY, masked, &[9; 300]));
    bytes.extend(frame(0x80 | BINARY, masked, b""));
    bytes.extend(frame(0x80 | PONG, masked, b"unasked"));
    bytes.extend(frame(0x80 | CLOSE, masked, &close(3000, "g\u{f6}d bye")));
    let messages = vec![
        Message::text("h\u{e9}llo \u{1f600}"),
        Message::binary(vec![9; 300]),
        Message::binary(""),
    ];
    (bytes, messages)
}

fn expect_closed(ws: &WebSocket) {
    assert_eq!(ws.close_code().map(u16::from), Some(3000));
    assert_eq!(ws.close_frame().unwrap().reason, "g\u{f6}d bye");
}

/// RFC 6455 §5: input may stop after any byte, and the future that waits for more
/// may be dropped there.
#[tokio::test]
async fn receiving_may_be_cancelled_at_every_byte() {
    for role in [Role::Client, Role::Server] {
        let (bytes, expected) = conversation(role);
        let (mut ws, mut far) = on_duplex(role, WebSocketConfig::default(), 4096);
        let mut got = Vec::new();
        let mut ended = false;
        for byte in bytes {
            far.write_all(&[byte]).await.unwrap();
            while let Some(next) = ws.next().now_or_never() {
                match next {
                    Some(message) => got.push(message.unwrap()),
                    None => {
                        ended = true;
                        break;
                    }
                }
            }
        }
        assert!(ended);
        assert_eq!(got, expected);
        expect_closed(&ws);
    }
}

/// The same over an HTTP/2 stream, with one DATA frame per byte.
#[tokio::test]
async fn receiving_over_http2_may_be_cancelled_at_every_byte() {
    let mut beside = ClientFixture::new().await;
    let (ws, ()) = tokio::join!(beside.client.connect(&beside.url), beside.peer.take(3));
    let mut ws = ws.unwrap();
    let (bytes, expected) = conversation(Role::Client);
    let mut got = Vec::new();
    let last = bytes.len() - 1;
    for byte in &bytes[..last] {
        beside.peer.data(3, &[*byte]).await;
        beside.peer.barrier().await;
        while let Some(next) = ws.next().now_or_never() {
            got.push(next.unwrap().unwrap());
        }
    }
    beside.peer.data(3, &bytes[last..]).await;
    assert!(within(ws.next()).await.is_none());
    assert_eq!(got, expected);
    expect_closed(&ws);
    beside.peer.end(3).await;
    drop(ws);
}

/// The input arrives in two parts, split at every byte, without cancellation.
#[tokio::test]
async fn input_may_be_split_at_every_byte() {
    for role in [Role::Client, Role::Server] {
        let (bytes, expected) = conversation(role);
        for cut in 0..=bytes.len() {
            let (ws, mut far) = on_duplex(role, WebSocketConfig::default(), 4096);
            let (one, two) = bytes.split_at(cut);
            let receive = tokio::spawn(async move {
                let mut ws = ws;
                let mut got = Vec::new();
                while let Some(message) = ws.next().await {
                    got.push(message.unwrap());
                }
                (got, ws)
            });
            far.write_all(one).await.unwrap();
            tokio::task::yield_now().await;
            far.write_all(two).await.unwrap();
            let (got, ws) = within(receive).await.unwrap();
            assert_eq!(got, expected, "split at {cut}");
            expect_closed(&ws);
        }
    }
}

/// Polls `send` of a long message at most `polls` times, drops the future and sends another
/// message. Returns the messages that were sent.
async fn cancelled_send(role: Role, polls: usize) -> Vec<Vec<u8>> {
    let limits = Limits::default().fragment_size(20);
    let config = WebSocketConfig::default().limits(limits).write_buffer(50);
    let (mut ws, mut far) = on_duplex(role, config, 16);
    let reader = tokio::spawn(async move {
        let mut parser = Parser::default();
        let mut messages = Vec::new();
        let mut bytes = [0; 7];
        loop {
            let n = far.read(&mut bytes).await.unwrap();
            parser.push(&bytes[..n]);
            while let Some(got) = parser.pop() {
                assert_eq!(got.masked, role == Role::Client);
                match got.opcode() {
                    CLOSE => {
                        let back = frame(0x80 | CLOSE, role == Role::Server, &got.payload);
                        far.write_all(&back).await.unwrap();
                        return messages;
                    }
                    CONTINUATION => {
                        let begun: &mut Vec<u8> = messages.last_mut().unwrap();
                        begun.extend(got.payload);
                    }
                    _ => messages.push(got.payload),
                }
            }
        }
    });
    {
        let mut send = std::pin::pin!(ws.send(Message::binary(vec![1; 200])));
        for _ in 0..polls {
            if (&mut send).now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    within(ws.send(Message::binary(vec![2; 30]))).await.unwrap();
    within(ws.close(CloseFrame::from(CloseCode::NORMAL)))
        .await
        .unwrap();
    within(reader).await.unwrap()
}

/// A cancelled `send` has sent the whole message or nothing.
#[tokio::test]
async fn a_cancelled_send_never_sends_part_of_a_message() {
    for role in [Role::Client, Role::Server] {
        let mut outcomes = std::collections::HashSet::new();
        for polls in 0..40 {
            let messages = cancelled_send(role, polls).await;
            outcomes.insert(messages.len());
            let (last, first) = messages.split_last().unwrap();
            assert_eq!(last, &vec![2; 30]);
            assert!(first.is_empty() || first == [vec![1; 200]]);
        }
        assert!(outcomes.contains(&1) && outcomes.contains(&2));
    }
}

/// The same over HTTP/2, where the send is blocked by the peer's window.
#[tokio::test]
async fn a_cancelled_send_over_http2_never_sends_part_of_a_message() {
    let (listener, addr) = client::listen().await;
    let h2ws = http2()
        .http2(h2ws::Http2Config::default().write_buffer(1000))
        .socket(WebSocketConfig::default().limits(Limits::default().fragment_size(400)))
        .build()
        .unwrap();
    let url = format!("ws://{addr}/");
    let (ws, mut peer) = tokio::join!(h2ws.connect(&url), async {
        let mut peer = client::accept(&listener, &[(INITIAL_WINDOW_SIZE, 100)]).await;
        peer.take(1).await;
        peer
    });
    let mut ws = ws.unwrap();
    let dropped = ws.send(Message::binary(vec![1; 3000])).now_or_never();
    assert!(dropped.is_none(), "the whole message fitted");
    let rest = async {
        peer.window(1, 100_000).await;
        let mut got = Vec::new();
        loop {
            let frame = peer.frame(1).await;
            got.push((frame.opcode(), frame.payload));
            if got.last().unwrap().0 == TEXT {
                return got;
            }
        }
    };
    let (sent, got) = tokio::join!(within(ws.send(Message::text("next"))), rest);
    sent.unwrap();
    let (next, first) = got.split_last().unwrap();
    assert_eq!(next.1, b"next");
    let bytes: usize = first.iter().map(|(_, payload)| payload.len()).sum();
    assert_eq!(bytes, 3000);
    assert_eq!(first[0].0, BINARY);
    assert!(first[1..].iter().all(|(opcode, _)| *opcode == CONTINUATION));
}

/// RFC 6455 §5.4, §5.5.2: a ping is answered between the frames of a long
/// message that is being written.
#[tokio::test]
async fn a_ping_is_answered_within_a_long_message() {
    let mut beside = ClientFixture::new().await;
    beside.peer.window(0, 1 << 24).await;
    let (ws, ()) = tokio::join!(beside.client.connect(&beside.url), beside.peer.take(3));
    let (mut reader, mut writer) = ws.unwrap().split();
    let send = tokio::spawn(async move {
        writer
            .send(Message::binary(vec![0; 1 << 20]))
            .await
            .unwrap();
        writer
    });
    let read = tokio::spawn(async move {
        while let Some(message) = reader.next().await {
            message.unwrap();
        }
        reader
    });
    // The window is exhausted by now, so the Ping arrives while most of the
    // message is unsent.
    beside.peer.barrier().await;
    beside
        .peer
        .data(3, &from_server(PING, b"still there?"))
        .await;
    beside.peer.barrier().await;
    beside.peer.window(3, 1 << 24).await;
    let mut ponged = false;
    let mut bytes = 0;
    loop {
        let got = beside.peer.frame(3).await;
        if got.opcode() == PONG {
            assert_eq!(got.payload, b"still there?");
            ponged = true;
            continue;
        }
        bytes += got.payload.len();
        if got.head & 0x80 != 0 {
            break;
        }
    }
    assert_eq!(bytes, 1 << 20);
    assert!(ponged, "the pong waited for the end of the message");
    let mut writer = within(send).await.unwrap();
    writer
        .close(CloseFrame::from(CloseCode::NORMAL))
        .await
        .unwrap();
    beside.peer.answer_close(3).await;
    let reader = within(read).await.unwrap();
    assert_eq!(reader.close_code(), Some(CloseCode::NORMAL));
    beside.unharmed().await;
}

/// Uses the halves in two tasks, and reunites them.
async fn halves(client: Client) {
    const MESSAGES: usize = 2000;
    let server = server::echo(Server::builder()).await;
    let ws = within(client.connect(&server.url("/"))).await.unwrap();
    let (mut reader, mut writer) = ws.split();
    let write = tokio::spawn(async move {
        for n in 0..MESSAGES {
            let size = if n % 100 == 0 { 70_000 } else { 10 };
            writer.send(Message::binary(vec![n as u8; size])).await?;
        }
        Ok::<_, Error>(writer)
    });
    let read = tokio::spawn(async move {
        for n in 0..MESSAGES {
            let message = reader.next().await.expect("open")?;
            assert!(message.as_bytes().iter().all(|byte| *byte == n as u8));
        }
        Ok::<_, Error>(reader)
    });
    let writer = within(write).await.unwrap().unwrap();
    let reader = within(read).await.unwrap().unwrap();
    let mut ws = reader.reunite(writer).unwrap();
    echo(&mut ws, "in one piece").await;
    within(ws.close(None)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_work_from_two_tasks_over_http2() {
    halves(http2().build().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_work_from_two_tasks_over_http1() {
    halves(http1().build().unwrap()).await;
}

/// `reunite` returns halves of different sockets in its error.
#[tokio::test]
async fn halves_of_different_sockets_are_not_reunited() {
    let (one, _far_one) = on_duplex(Role::Client, WebSocketConfig::default(), 64);
    let (two, _far_two) = on_duplex(Role::Client, WebSocketConfig::default(), 64);
    let (reader_one, writer_one) = one.split();
    let (reader_two, writer_two) = two.split();
    let error = reader_one.reunite(writer_two).unwrap_err();
    let h2ws::socket::ReuniteError(reader_one, writer_two) = *error;
    reader_one.reunite(writer_one).unwrap();
    reader_two.reunite(writer_two).unwrap();
}

/// A socket stays open until both halves are dropped.
#[tokio::test]
async fn a_writer_sends_after_its_reader_is_dropped() {
    let (ws, mut far) = on_duplex(Role::Server, WebSocketConfig::default(), 64);
    let (reader, mut writer) = ws.split();
    drop(reader);
    writer.send(Message::text("alone")).await.unwrap();
    let mut bytes = [0; 7];
    far.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, from_server(TEXT, b"alone")[..]);
    drop(writer);
    assert_eq!(within(far.read(&mut bytes)).await.unwrap(), 0);
}

/// The reader receives the answer to the writer's Close frame.
#[tokio::test]
async fn a_reader_ends_after_its_writer_closes() {
    let server = server::echo(Server::builder()).await;
    let client = http2().build().unwrap();
    let ws = within(client.connect(&server.url("/"))).await.unwrap();
    let (mut reader, mut writer) = ws.split();
    writer.send(Message::text("last")).await.unwrap();
    writer
        .close(CloseFrame::new(CloseCode::NORMAL, "done"))
        .await
        .unwrap();
    assert!(writer.send(Message::text("late")).await.is_err());
    let last = within(reader.next()).await.unwrap().unwrap();
    assert_eq!(last, Message::text("last"));
    assert!(within(reader.next()).await.is_none());
    assert_eq!(reader.close_code(), Some(CloseCode::NORMAL));
}

/// RFC 6455 §7.1.1, with a paused clock: the time to wait for the peer's Close
/// frame is the configured one.
#[tokio::test(start_paused = true)]
async fn the_close_timeout_is_as_configured() {
    let timeout = Duration::from_secs(3600);
    let config = WebSocketConfig::default().close_timeout(timeout);
    let (mut ws, mut far) = on_duplex(Role::Client, config, 64);
    let begun = tokio::time::Instant::now();
    let closed = ws.close(CloseFrame::from(CloseCode::NORMAL)).await;
    assert!(
        matches!(closed, Err(Error::Timeout(h2ws::Timeout::Close))),
        "{closed:?}"
    );
    let took = begun.elapsed();
    assert!(took >= timeout && took < timeout + Duration::from_secs(1));
    let mut bytes = [0; 8];
    far.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes[..2], [0x88, 0x82]);
}
