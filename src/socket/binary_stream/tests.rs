use super::*;
use crate::frame::Role;
use crate::socket::WebSocketConfig;
use futures_util::StreamExt;
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn pair() -> (WebSocket, WebSocket) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let socket = |io, role| WebSocket::from_stream(io, role, WebSocketConfig::default());
    (socket(near, Role::Client), socket(far, Role::Server))
}

#[tokio::test]
async fn writes_are_binary_messages_below_64_kib() {
    let (client, mut server) = pair();
    let mut client = client.into_binary_stream();
    assert_eq!(client.write(b"").await.unwrap(), 0);
    assert_eq!(client.write(b"one").await.unwrap(), 3);
    assert_eq!(client.write(&[7; PIECE + 1]).await.unwrap(), PIECE);
    let next = server.next().await.unwrap().unwrap();
    assert_eq!(next, Message::binary(&b"one"[..]));
    let next = server.next().await.unwrap().unwrap();
    assert_eq!(next, Message::binary(vec![7; PIECE]));
}

#[tokio::test]
async fn bytes_are_written_as_far_as_one_message_holds_them() {
    let (client, mut server) = pair();
    let mut client = client.into_binary_stream();
    let sent: Vec<u8> = (0..2 * PIECE + 1).map(|n| (n / 3) as u8).collect();
    let mut bytes = Bytes::from(sent.clone());
    let mut left = Vec::new();
    while !bytes.is_empty() {
        poll_fn(|cx| client.poll_write_bytes(cx, &mut bytes))
            .await
            .unwrap();
        left.push(bytes.len());
    }
    assert_eq!(left, [PIECE + 1, 1, 0]);
    poll_fn(|cx| client.poll_write_bytes(cx, &mut bytes))
        .await
        .unwrap();
    for expected in sent.chunks(PIECE) {
        let next = server.next().await.unwrap().unwrap();
        assert_eq!(next.into_data(), expected);
    }
    client.shutdown().await.unwrap();
    let mut late = Bytes::from_static(b"late");
    let refused = poll_fn(|cx| client.poll_write_bytes(cx, &mut late)).await;
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

async fn write_from(stream: &mut BinaryStream, mut reader: impl AsyncRead + Unpin) -> Copied {
    poll_fn(|cx| stream.poll_write_from(cx, Pin::new(&mut reader))).await
}

type Copied = Result<usize, CopyError>;

#[tokio::test]
async fn what_a_reader_has_is_sent_in_messages_that_grow() {
    let (client, mut server) = pair();
    let mut client = client.into_binary_stream();
    let all: Vec<u8> = (0..4 * PIECE).map(|n| (n / 3) as u8).collect();
    let mut left = &all[..];
    let mut lens = Vec::new();
    loop {
        match write_from(&mut client, &mut left).await.unwrap() {
            0 => break,
            len => lens.push(len),
        }
    }
    let growing = [4096, 8192, 16_384, 32_768, PIECE, PIECE, PIECE];
    assert_eq!(lens[..7], growing);
    let mut sent = &all[..];
    for len in lens {
        let next = server.next().await.unwrap().unwrap().into_data();
        let (expected, rest) = sent.split_at(len);
        assert_eq!(next, expected);
        sent = rest;
    }
    assert!(sent.is_empty());
}

#[tokio::test]
async fn nothing_is_read_while_there_is_no_room() {
    let (near, far) = tokio::io::duplex(1000);
    let config = WebSocketConfig::default();
    let mut client = WebSocket::from_stream(near, Role::Client, config).into_binary_stream();
    let all = vec![7; 1 << 20];
    let mut left = &all[..];
    let mut sent = 0;
    while !left.is_empty() {
        let copy = poll_fn(|cx| Poll::Ready(client.poll_write_from(cx, Pin::new(&mut left))));
        match copy.await {
            Poll::Ready(copied) => sent += copied.unwrap(),
            Poll::Pending => break,
        }
    }
    assert_eq!(sent + left.len(), all.len());
    assert!(!left.is_empty());
    drop(far);
}

#[tokio::test]
async fn a_copy_names_the_side_that_failed() {
    let (client, server) = pair();
    let mut client = client.into_binary_stream();
    // Its peer is dropped.
    let cut = pair().0.into_binary_stream();
    let error = write_from(&mut client, cut).await.unwrap_err();
    assert!(matches!(error, CopyError::Read(why) if why.kind() == io::ErrorKind::UnexpectedEof));
    // The end of a reader needs no peer.
    drop(server);
    assert!(client.read_u8().await.is_err());
    assert_eq!(write_from(&mut client, &b""[..]).await.unwrap(), 0);
    let error = write_from(&mut client, &b"late"[..]).await.unwrap_err();
    assert!(matches!(error, CopyError::Write(_)), "{error:?}");
}

#[tokio::test]
async fn reads_do_not_see_where_messages_end() {
    let (mut client, server) = pair();
    let mut server = server.into_binary_stream();
    for payload in [&b"ab"[..], b"", b"cdef"] {
        client.send(Message::binary(payload)).await.unwrap();
    }
    let mut three = [0; 3];
    server.read_exact(&mut three).await.unwrap();
    assert_eq!(&three, b"abc");
    assert_eq!(server.fill_buf_now().await, b"def");
    let (socket, unread) = server.into_inner();
    assert_eq!((socket.close_code(), &unread[..]), (None, &b"def"[..]));
}

impl BinaryStream {
    async fn fill_buf_now(&mut self) -> Vec<u8> {
        tokio::io::AsyncBufReadExt::fill_buf(self)
            .await
            .unwrap()
            .to_vec()
    }
}

#[tokio::test]
async fn only_an_orderly_close_is_the_end_of_the_bytes() {
    for (close, kind) in [
        (Some(CloseCode::NORMAL.into()), None),
        (None, None),
        (
            Some(CloseFrame::from(CloseCode::GOING_AWAY)),
            Some(io::ErrorKind::ConnectionAborted),
        ),
        (
            Some(CloseFrame::from(CloseCode::INTERNAL_ERROR)),
            Some(io::ErrorKind::ConnectionAborted),
        ),
    ] {
        let (mut client, server) = pair();
        let mut server = server.into_binary_stream();
        client.send(Message::binary(&b"x"[..])).await.unwrap();
        let (_, read) = tokio::join!(client.close(close), async {
            let mut all = Vec::new();
            let read = server.read_to_end(&mut all).await;
            assert_eq!(all, b"x");
            read
        });
        assert_eq!(read.err().map(|error| error.kind()), kind);
    }
    let (mut client, server) = pair();
    client.send(Message::binary(&b"x"[..])).await.unwrap();
    drop(client);
    let cut = server
        .into_binary_stream()
        .read_to_end(&mut Vec::new())
        .await;
    assert_eq!(cut.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn text_is_rejected_with_1003() {
    let (mut client, server) = pair();
    let mut server = server.into_binary_stream();
    client.send(Message::text("x")).await.unwrap();
    let error = server.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(client.next().await.is_none());
    assert_eq!(client.close_code(), Some(CloseCode::UNSUPPORTED_DATA));
    let frame = client.close_frame().expect("a Close frame");
    assert_eq!(frame.reason, "binary messages only");
    let late = server.write(b"late").await.unwrap_err();
    assert_eq!(late.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn after_shutting_down_what_the_peer_sent_can_still_be_read() {
    let (client, mut server) = pair();
    let mut client = client.into_binary_stream();
    server.send(Message::binary(&b"tail"[..])).await.unwrap();
    client.shutdown().await.unwrap();
    assert!(server.next().await.is_none());
    assert_eq!(server.close_code(), Some(CloseCode::NORMAL));
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"tail");
}

/// A pair under [`HALF_CLOSE`], the second of which is driven by messages.
fn half_closing() -> (BinaryStream, WebSocket) {
    let (client, server) = pair();
    let mut client = client.into_binary_stream();
    client.half_close = true;
    (client, server)
}

#[tokio::test]
async fn an_empty_message_ends_one_direction() {
    for peer_first in [true, false] {
        let (mut client, mut server) = half_closing();
        if !peer_first {
            client.shutdown().await.unwrap();
            let end = server.next().await.unwrap().unwrap();
            assert_eq!(end, Message::binary(&b""[..]));
        }
        for payload in [&b"late"[..], b""] {
            server.send(Message::binary(payload)).await.unwrap();
        }
        let mut all = Vec::new();
        let peer = async {
            let mut got = Vec::new();
            while let Some(message) = server.next().await {
                got.extend(message.unwrap().into_data());
            }
            (got, server.close_code())
        };
        let (_, (got, code)) = tokio::join!(
            async {
                client.read_to_end(&mut all).await.unwrap();
                if peer_first {
                    client.write_all(b"later").await.unwrap();
                    client.shutdown().await.unwrap();
                }
            },
            peer
        );
        let expected = if peer_first { &b"later"[..] } else { b"" };
        assert_eq!((&all[..], &got[..]), (&b"late"[..], expected));
        assert_eq!(code, Some(CloseCode::NORMAL));
        let late = client.write(b"x").await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::BrokenPipe);
    }
}

#[tokio::test]
async fn under_half_close_a_close_without_1000_is_no_end() {
    for (code, whole) in [
        (Some(CloseCode::NORMAL), true),
        (Some(CloseCode::GOING_AWAY), false),
        (None, false),
    ] {
        let (mut client, mut server) = half_closing();
        let mut all = Vec::new();
        let (_, read) = tokio::join!(
            server.close(code.map(CloseFrame::from)),
            client.read_to_end(&mut all)
        );
        assert_eq!(read.is_ok(), whole, "{code:?}");
    }
}

#[tokio::test]
async fn data_after_its_end_is_an_error() {
    let (mut client, mut server) = half_closing();
    for payload in [&b""[..], b"more"] {
        server.send(Message::binary(payload)).await.unwrap();
    }
    assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);
    let error = client.shutdown().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
