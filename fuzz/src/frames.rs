//! Frames from a peer (RFC 6455 §5): the result does not depend on how they are cut into pieces,
//! messages keep the limits, and tungstenite gets the same messages and refuses the same frames for
//! the same kind of reason.

use std::io::{Cursor, Read, Write};

use bytes::{Bytes, BytesMut};
use h2ws::frame::{Deflate, Event, Protocol, ProtocolError, Role};
use h2ws::{CloseCode, CloseFrame, Limits, Message};
use tokio_tungstenite::tungstenite;
use tungstenite::error::{CapacityError, ProtocolError as Violation};

use super::input::Input;

const MAX_FRAME: usize = 1 << 12;
const MAX_MESSAGE: usize = 1 << 13;

const LIMITS: Limits = Limits::UNLIMITED
    .max_frame_size(MAX_FRAME)
    .max_message_size(MAX_MESSAGE);

pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let role = input.choice(&[Role::Client, Role::Server]);
    let deflated = input.boolean();
    let few_fragments = input.boolean();
    let size = usize::from(input.byte()).max(1);
    let bytes = Bytes::copy_from_slice(input.rest());

    let limits = if few_fragments {
        LIMITS.max_fragments(8)
    } else {
        LIMITS
    };
    let protocol = || match deflated {
        true => Protocol::with_deflate(role, limits, Deflate::default()),
        false => Protocol::new(role, limits),
    };
    let whole = receive(protocol(), std::iter::once(bytes.clone()));
    let pieces = bytes.chunks(size).map(|piece| bytes.slice_ref(piece));
    let in_pieces = receive(protocol(), pieces);
    assert_eq!(in_pieces.0, whole.0, "in pieces of {size}");
    // A message may violate the protocol twice, and either violation may be found first.
    let code = |error: &Option<ProtocolError>| error.as_ref().map(ProtocolError::close_code);
    assert_eq!(code(&in_pieces.1), code(&whole.1), "in pieces of {size}");
    if !deflated && !few_fragments {
        compare(&whole, &tungstenite(role, &bytes));
    }
}

fn receive(
    mut protocol: Protocol,
    chunks: impl Iterator<Item = Bytes>,
) -> (Vec<Event>, Option<ProtocolError>) {
    let mut events = Vec::new();
    let mut out = BytesMut::new();
    for mut chunk in chunks {
        loop {
            let received = protocol.receive(&mut chunk);
            while protocol.write(|| [1, 2, 3, 4], &mut out) {}
            assert!(!protocol.has_pending_control());
            out.clear();
            match received {
                Ok(Some(event)) => {
                    if let Event::Message(message) = &event {
                        assert!(message.len() <= MAX_MESSAGE);
                    }
                    events.push(event);
                }
                Ok(None) => break assert!(chunk.is_empty(), "bytes were left"),
                Err(error) => {
                    assert!(!protocol.is_open());
                    return (events, Some(error));
                }
            }
        }
    }
    (events, None)
}

/// A peer that has sent everything, and reads what it is sent.
struct Sent(Cursor<Bytes>);

impl Read for Sent {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Sent {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns what tungstenite receives, and how that ends.
fn tungstenite(role: Role, bytes: &Bytes) -> (Vec<tungstenite::Message>, tungstenite::Error) {
    let role = match role {
        Role::Client => tungstenite::protocol::Role::Client,
        Role::Server => tungstenite::protocol::Role::Server,
    };
    let config = tungstenite::protocol::WebSocketConfig::default()
        .read_buffer_size(1 << 10)
        .max_frame_size(Some(MAX_FRAME))
        .max_message_size(Some(MAX_MESSAGE));
    let sent = Sent(Cursor::new(bytes.clone()));
    let mut socket = tungstenite::WebSocket::from_raw_socket(sent, role, Some(config));
    let mut messages = Vec::new();
    loop {
        match socket.read() {
            Ok(message) => {
                let is_last = message.is_close();
                messages.push(message);
                if is_last {
                    return (messages, tungstenite::Error::ConnectionClosed);
                }
            }
            Err(error) => return (messages, error),
        }
    }
}

fn compare(
    (ours, our_end): &(Vec<Event>, Option<ProtocolError>),
    (theirs, their_end): &(Vec<tungstenite::Message>, tungstenite::Error),
) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!(is_same(ours, theirs), "{ours:?} and {theirs:?}");
    }
    if let Some(more) = ours.get(theirs.len()) {
        panic!("{more:?} and {their_end:?}");
    }
    match (our_end, theirs.get(ours.len())) {
        (None, None) => assert!(
            matches!(
                their_end,
                tungstenite::Error::ConnectionClosed
                    | tungstenite::Error::Protocol(Violation::ResetWithoutClosingHandshake)
            ),
            "only tungstenite refuses: {their_end:?}"
        ),
        (Some(error), None) => assert!(
            is_same_reason(error, their_end),
            "{error:?} and {their_end:?}"
        ),
        // Tungstenite answers with 1002 in place of such a code, but does not fail. It does not know
        // 1014 (RFC 6455 §11.7), and so does not accept it.
        (
            Some(ProtocolError::InvalidCloseCode(_)),
            Some(tungstenite::Message::Close(Some(close))),
        ) => {
            assert_eq!(u16::from(close.code), 1002);
        }
        // Tungstenite accepts lengths that are longer than necessary (RFC 6455 §5.2 does not), so also
        // a short control frame whose length has the form of a long one.
        (Some(ProtocolError::NonMinimalLength | ProtocolError::ControlTooLong), Some(_)) => {}
        (end, Some(more)) => panic!("only tungstenite accepts {more:?}: {end:?}"),
    }
}

fn is_same(ours: &Event, theirs: &tungstenite::Message) -> bool {
    use tungstenite::Message as Theirs;
    match (ours, theirs) {
        (Event::Message(Message::Text(ours)), Theirs::Text(theirs)) => {
            ours.as_str() == theirs.as_str()
        }
        (Event::Message(Message::Binary(ours)), Theirs::Binary(theirs))
        | (Event::Ping(ours), Theirs::Ping(theirs))
        | (Event::Pong(ours), Theirs::Pong(theirs)) => ours == theirs,
        (Event::Close(None), Theirs::Close(None)) => true,
        (Event::Close(Some(CloseFrame { code, reason, .. })), Theirs::Close(Some(theirs))) => {
            let is_unknown = *code == CloseCode::BAD_GATEWAY;
            is_unknown
                || u16::from(*code) == u16::from(theirs.code)
                    && reason.as_str() == theirs.reason.as_str()
        }
        _ => false,
    }
}

/// Whether tungstenite, which looks at whole frames only, refuses a frame for the same reason or
/// waits for more of it.
fn is_same_reason(ours: &ProtocolError, theirs: &tungstenite::Error) -> bool {
    use tungstenite::Error;
    let theirs = match theirs {
        Error::Protocol(Violation::ResetWithoutClosingHandshake) => return true,
        Error::Protocol(_) => CloseCode::PROTOCOL_ERROR,
        Error::Utf8(_) => CloseCode::INVALID_PAYLOAD,
        // The announced length is checked first there, and last here.
        Error::Capacity(CapacityError::MessageTooLong { .. }) => {
            let may_be_large = ours.close_code() == CloseCode::PROTOCOL_ERROR;
            return may_be_large || ours.close_code() == CloseCode::MESSAGE_TOO_BIG;
        }
        _ => return false,
    };
    let may_be_second = match ours {
        // What follows a length that is longer than necessary is looked at there.
        ProtocolError::NonMinimalLength | ProtocolError::ControlTooLong => true,
        // A reason is looked at there before the code in front of it.
        ProtocolError::InvalidCloseCode(_) => theirs == CloseCode::INVALID_PAYLOAD,
        _ => false,
    };
    may_be_second || ours.close_code() == theirs
}
