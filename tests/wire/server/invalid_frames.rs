//! Invalid RFC 6455 frames on one stream of an HTTP/2 connection: the socket is
//! closed with the specified close code, and other streams are not affected.
//! Valid control frames and fragments are answered as specified.

use h2ws::Limits;
use h2ws::frame::ProtocolError;
use h2ws::{CloseCode, Error, Server, WebSocketConfig};

use crate::support::frames::{
    BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close, frame, from_client,
};
use crate::support::server::ServerFixture;

const FIN: u8 = 0x80;

/// Sends `bytes` on stream 3 and asserts that the server answers with a Close frame
/// with `code`, ends the stream, and leaves the sibling unharmed. Returns the error
/// that the handler got.
async fn fails(bytes: &[u8], code: CloseCode) -> ProtocolError {
    let limits = Limits::default().max_message_size(1000).max_fragments(10);
    let socket = WebSocketConfig::default().limits(limits);
    let mut fixture = ServerFixture::with(Server::builder().socket(socket)).await;
    fixture.peer.open(3, "/bad").await;
    fixture.peer.echo(3, "good so far").await;
    fixture.peer.data(3, bytes).await;
    let got = fixture.peer.close_then_end(3).await;
    assert_eq!(got, Some(u16::from(code)));
    fixture.peer.end(3).await;
    let ended = fixture.server.ended().await;
    assert_eq!(ended.path, "/bad");
    fixture.unharmed().await;
    match ended.error {
        Some(Error::Protocol(error)) => {
            assert_eq!(error.close_code(), code);
            error
        }
        other => panic!("{other:?}"),
    }
}

/// As [`fails`], with 1002.
async fn breaks_the_protocol(bytes: &[u8]) -> ProtocolError {
    fails(bytes, CloseCode::PROTOCOL_ERROR).await
}

/// RFC 6455 §5.1: a server closes the connection on an unmasked frame.
#[tokio::test]
async fn an_unmasked_frame_is_1002() {
    let error = breaks_the_protocol(&frame(FIN | TEXT, false, b"bare")).await;
    assert_eq!(error, ProtocolError::UnmaskedFrame);
}

/// RFC 6455 §5.2: reserved bits must be zero unless an extension defines them.
#[tokio::test]
async fn a_reserved_bit_is_1002() {
    for bit in [0x40, 0x20, 0x10] {
        let error = breaks_the_protocol(&frame(FIN | bit | TEXT, true, b"")).await;
        assert_eq!(error, ProtocolError::ReservedBit);
    }
}

/// RFC 6455 §5.2: opcodes 3-7 and 11-15 are reserved.
#[tokio::test]
async fn a_reserved_opcode_is_1002() {
    for opcode in [0x3, 0x7, 0xb, 0xf] {
        let error = breaks_the_protocol(&frame(FIN | opcode, true, b"")).await;
        assert_eq!(error, ProtocolError::ReservedOpCode(opcode));
    }
}

/// RFC 6455 §5.5: control frames must not be fragmented.
#[tokio::test]
async fn a_fragmented_control_frame_is_1002() {
    for opcode in [PING, PONG, CLOSE] {
        let error = breaks_the_protocol(&frame(opcode, true, b"")).await;
        assert_eq!(error, ProtocolError::FragmentedControl);
    }
}

/// RFC 6455 §5.5: control frames have at most 125 bytes.
#[tokio::test]
async fn a_long_control_frame_is_1002() {
    for opcode in [PING, PONG, CLOSE] {
        let error = breaks_the_protocol(&from_client(opcode, &[b'x'; 126])).await;
        assert_eq!(error, ProtocolError::ControlTooLong);
    }
}

/// RFC 6455 §5.2: lengths use the shortest encoding and are below 2^63.
#[tokio::test]
async fn an_invalid_length_is_1002() {
    let short = [FIN | BINARY, 0x80 | 126, 0, 125, 0, 0, 0, 0];
    let error = breaks_the_protocol(&short).await;
    assert_eq!(error, ProtocolError::NonMinimalLength);
    let long = [FIN | BINARY, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    let error = breaks_the_protocol(&long).await;
    assert_eq!(error, ProtocolError::NonMinimalLength);
    let huge = [FIN | BINARY, 0x80 | 127, 0x80, 0, 0, 0, 0, 1, 0, 0];
    let error = breaks_the_protocol(&huge).await;
    assert_eq!(error, ProtocolError::LengthTopBit);
}

/// RFC 6455 §5.4: a continuation frame needs an unfinished message.
#[tokio::test]
async fn an_unexpected_continuation_is_1002() {
    let error = breaks_the_protocol(&from_client(CONTINUATION, b"")).await;
    assert_eq!(error, ProtocolError::UnexpectedContinuation);
}

/// RFC 6455 §5.4: fragments of different messages must not be interleaved.
#[tokio::test]
async fn a_message_inside_another_is_1002() {
    let mut bytes = frame(TEXT, true, b"begun");
    bytes.extend(from_client(TEXT, b"begun too"));
    let error = breaks_the_protocol(&bytes).await;
    assert_eq!(error, ProtocolError::InterleavedMessage);
}

/// RFC 6455 §7.4: close codes that must not be sent.
#[tokio::test]
async fn a_forbidden_close_code_is_1002() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        let error = breaks_the_protocol(&from_client(CLOSE, &close(code, ""))).await;
        assert_eq!(error, ProtocolError::InvalidCloseCode(code));
    }
}

/// RFC 6455 §5.5.1: a Close payload is empty or begins with a two-byte code.
#[tokio::test]
async fn a_one_byte_close_payload_is_1002() {
    let error = breaks_the_protocol(&from_client(CLOSE, &[3])).await;
    assert_eq!(error, ProtocolError::TruncatedCloseCode);
}

/// RFC 6455 §8.1: text must be UTF-8. Invalid bytes are detected before the message
/// is complete.
#[tokio::test]
async fn text_that_is_not_utf8_is_1007() {
    let invalid = CloseCode::INVALID_PAYLOAD;
    for text in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"cut \xe2\x82"] {
        let error = fails(&from_client(TEXT, text), invalid).await;
        assert_eq!(error, ProtocolError::InvalidUtf8);
    }
    let begun = frame(TEXT, true, b"more is to follow \xff");
    let error = fails(&begun, invalid).await;
    assert_eq!(error, ProtocolError::InvalidUtf8);
}

/// RFC 6455 §5.5.1: the reason in a Close frame must be UTF-8.
#[tokio::test]
async fn a_close_reason_that_is_not_utf8_is_1007() {
    let mut payload = close(1000, "");
    payload.push(0xff);
    let error = fails(&from_client(CLOSE, &payload), CloseCode::INVALID_PAYLOAD).await;
    assert_eq!(error, ProtocolError::InvalidCloseReason);
}

/// RFC 6455 §7.4.1: a message that is too big is 1009. The header that announces
/// its length is enough.
#[tokio::test]
async fn a_message_above_the_limit_is_1009() {
    let header = &from_client(BINARY, &[0; 1001])[..8];
    let error = fails(header, CloseCode::MESSAGE_TOO_BIG).await;
    assert!(matches!(
        error,
        ProtocolError::MessageTooLarge { limit: 1000, .. }
    ));
    let mut bytes = frame(BINARY, true, &[0; 600]);
    bytes.extend(frame(FIN, true, &[0; 600]));
    let error = fails(&bytes, CloseCode::MESSAGE_TOO_BIG).await;
    assert!(matches!(
        error,
        ProtocolError::MessageTooLarge { limit: 1000, .. }
    ));
}

/// RFC 6455 §10.4: implementations set their own limits. Empty fragments count too,
/// because they also cost memory.
#[tokio::test]
async fn too_many_fragments_are_1009() {
    let mut bytes = frame(BINARY, true, b"");
    for _ in 0..10 {
        bytes.extend(frame(CONTINUATION, true, b""));
    }
    let error = fails(&bytes, CloseCode::MESSAGE_TOO_BIG).await;
    assert_eq!(error, ProtocolError::TooManyFragments { limit: 10 });
}

/// RFC 6455 §5.4, §5.5: a control frame between fragments is answered at once, and
/// the message is still assembled.
#[tokio::test]
async fn a_ping_between_fragments_is_answered_at_once() {
    let mut fixture = ServerFixture::new().await;
    fixture.peer.open(3, "/").await;
    fixture.peer.data(3, &frame(TEXT, true, b"frag")).await;
    fixture.peer.data(3, &from_client(PING, b"now")).await;
    let pong = fixture.peer.frame(3).await;
    assert_eq!((pong.head, &pong.payload[..]), (FIN | PONG, &b"now"[..]));
    fixture.peer.data(3, &frame(FIN, true, b"ment")).await;
    let back = fixture.peer.frame(3).await;
    assert_eq!(
        (back.head, &back.payload[..]),
        (FIN | TEXT, &b"fragment"[..])
    );
    fixture.peer.close(3).await;
    fixture.unharmed().await;
}

/// RFC 6455 §5.5.1: a Close frame is answered with the same code, and an empty one
/// with an empty one.
#[tokio::test]
async fn a_close_frame_is_answered_with_its_code() {
    for code in [1000, 1001, 1003, 1007, 1014, 3000, 4999] {
        let mut fixture = ServerFixture::new().await;
        fixture.peer.open(3, "/").await;
        let bytes = from_client(CLOSE, &close(code, "bye"));
        fixture.peer.data(3, &bytes).await;
        assert_eq!(fixture.peer.close_then_end(3).await, Some(code));
        fixture.peer.end(3).await;
        let ended = fixture.server.ended().await;
        assert_eq!(ended.code.map(u16::from), Some(code));
        assert!(ended.error.is_none());
        fixture.unharmed().await;
    }
    let mut fixture = ServerFixture::new().await;
    fixture.peer.open(3, "/").await;
    fixture.peer.data(3, &from_client(CLOSE, b"")).await;
    assert_eq!(fixture.peer.close_then_end(3).await, None);
    fixture.peer.end(3).await;
    assert_eq!(
        fixture.server.ended().await.code,
        Some(CloseCode::NO_STATUS_RECEIVED)
    );
    fixture.unharmed().await;
}

/// RFC 8441 §5: a stream is a byte stream, so DATA frame boundaries have no
/// meaning.
#[tokio::test]
async fn a_message_split_at_any_byte_arrives() {
    let mut fixture = ServerFixture::new().await;
    fixture.peer.open(3, "/").await;
    let mut bytes = frame(TEXT, true, "h\u{e9}llo ".as_bytes());
    bytes.extend(from_client(PING, b"?"));
    bytes.extend(frame(FIN, true, "w\u{f6}rld \u{1f600}".as_bytes()));
    for split in 1..bytes.len() {
        let (one, two) = bytes.split_at(split);
        fixture.peer.data(3, one).await;
        fixture.peer.data(3, two).await;
        assert_eq!(fixture.peer.frame(3).await.head, FIN | PONG);
        let back = fixture.peer.frame(3).await;
        assert_eq!(back.payload, "h\u{e9}llo w\u{f6}rld \u{1f600}".as_bytes());
    }
    for byte in &bytes {
        fixture.peer.data(3, std::slice::from_ref(byte)).await;
    }
    assert_eq!(fixture.peer.frame(3).await.head, FIN | PONG);
    assert_eq!(fixture.peer.frame(3).await.head, FIN | TEXT);
    fixture.peer.close(3).await;
    fixture.unharmed().await;
}
