//! A message that is encoded once and sent many times.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};

use super::deflate::Compressor;
use super::encoder::{Frame, LARGE, Output};
use super::error::SendError;
use super::header::{Header, MAX_CONTROL, OpCode};
use super::text::Text;
use super::{Message, Role};

/// The window sizes of compressors, from 9 to 15 bits (RFC 7692 §7.1.2).
const WINDOWS: std::ops::RangeInclusive<u8> = 9..=15;

/// A message for many WebSockets, which is checked, framed and compressed once. Clones share it.
///
/// A server sends the frame unchanged: a short one is copied into the WebSocket's outgoing buffer,
/// where it is packed with others; of one of 16 KiB or more only the header is copied. A client has
/// to mask with a fresh key each time (RFC 6455 §5.3), so it shares only the payload.
///
/// WebSockets with permessage-deflate (RFC 7692) are sent it compressed, if it is at least as long
/// as their [`threshold`](super::Deflate::threshold) and becomes shorter. It is compressed without
/// reference to earlier messages, so that one result fits all WebSockets with the same window size,
/// of which there are at most seven. The first WebSocket that needs a result computes it, with its
/// own [`level`](super::Deflate::level). Later messages on the WebSocket cannot refer to messages
/// before this one, so they compress less well if the two kinds alternate.
#[derive(Clone)]
pub struct PreparedMessage {
    plain: Form,
    /// The compressed form for each of the [`WINDOWS`], once it was needed; `None` if the message
    /// does not become shorter.
    deflated: Arc<[OnceLock<Option<Form>>; 7]>,
}

/// A whole frame, unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    opcode: OpCode,
    rsv1: bool,
    frame: Bytes,
    header_len: usize,
}

impl Form {
    fn new(opcode: OpCode, rsv1: bool, payload: Bytes) -> Self {
        let len = payload.len();
        let mut bytes = BytesMut::with_capacity(Header::MAX_LEN + len);
        let frame = Frame {
            rsv1,
            ..Frame::whole(opcode, payload)
        };
        // A server does not mask.
        frame.write(Role::Server, &mut || [0; 4], &mut bytes);
        Self {
            opcode,
            rsv1,
            header_len: bytes.len() - len,
            frame: bytes.freeze(),
        }
    }

    fn payload(&self) -> Bytes {
        self.frame.slice(self.header_len..)
    }

    pub(super) fn write(
        &self,
        role: Role,
        key: &mut impl FnMut() -> [u8; 4],
        out: &mut impl Output,
    ) {
        if role == Role::Server && self.frame.len() - self.header_len < LARGE {
            out.buffer().extend_from_slice(&self.frame);
            return;
        }
        let frame = Frame {
            rsv1: self.rsv1,
            ..Frame::whole(self.opcode, self.payload())
        };
        frame.write(role, key, out);
    }
}

impl PreparedMessage {
    /// Prepares a text message.
    pub fn text(text: impl Into<Text>) -> Self {
        Self::of(OpCode::Text, text.into().into())
    }

    /// Prepares a binary message.
    pub fn binary(payload: impl Into<Bytes>) -> Self {
        Self::of(OpCode::Binary, payload.into())
    }

    /// Prepares a message of any kind.
    ///
    /// # Errors
    /// [`SendError::ControlTooLong`] for a Ping or Pong of more than 125 bytes (RFC 6455 §5.5), and
    /// [`SendError::NotAMessage`] for a Close frame.
    pub fn new(message: impl Into<Message>) -> Result<Self, SendError> {
        let message = message.into();
        let opcode = message.opcode();
        let payload = message.into_data();
        if opcode == OpCode::Close {
            return Err(SendError::NotAMessage);
        }
        if opcode.is_control() && payload.len() > MAX_CONTROL {
            return Err(SendError::ControlTooLong);
        }
        Ok(Self::of(opcode, payload))
    }

    fn of(opcode: OpCode, payload: Bytes) -> Self {
        Self {
            plain: Form::new(opcode, false, payload),
            deflated: Arc::default(),
        }
    }

    pub(super) const fn opcode(&self) -> OpCode {
        self.plain.opcode
    }

    /// Returns the form for a WebSocket with this compressor, if it has one.
    pub(super) fn form(&self, compressor: Option<&mut Compressor>) -> &Form {
        let compressed = compressor.and_then(|compressor| {
            let form = self.deflated(compressor)?;
            compressor.restart();
            Some(form)
        });
        compressed.unwrap_or(&self.plain)
    }

    fn deflated(&self, compressor: &Compressor) -> Option<&Form> {
        let opcode = self.opcode();
        if opcode.is_control() || !compressor.wants(self.len()) {
            return None;
        }
        let window = compressor.window_for(self.len());
        let form = self
            .deflated
            .get(usize::from(window.checked_sub(*WINDOWS.start())?))?;
        form.get_or_init(|| {
            let payload = compressor.compress_alone(&self.plain.payload())?;
            Some(Form::new(opcode, true, payload))
        })
        .as_ref()
    }

    /// Returns the length of the payload in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.plain.frame.len() - self.plain.header_len
    }

    /// Returns whether the payload is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PartialEq for PreparedMessage {
    fn eq(&self, other: &Self) -> bool {
        self.plain == other.plain
    }
}

impl Eq for PreparedMessage {}

impl fmt::Debug for PreparedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedMessage")
            .field("opcode", &self.plain.opcode)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Limits, Protocol};
    use proptest::prelude::*;

    fn key() -> [u8; 4] {
        [1, 2, 3, 4]
    }

    proptest! {
        /// A prepared message has the same bytes as any other, but is never fragmented.
        #[test]
        fn is_sent_as_any_message(
            len in prop_oneof![0..300usize, 16_000..17_000usize, 65_000..66_000usize],
            text: bool,
            client: bool,
            fragment_size in prop_oneof![Just(10_000usize), Just(1 << 20)],
        ) {
            let message = match text {
                true => Message::text("x".repeat(len)),
                false => Message::binary(vec![7; len]),
            };
            let role = if client { Role::Client } else { Role::Server };
            let limits = Limits::default().fragment_size(usize::MAX);
            let (mut plain, mut shared) = (BytesMut::new(), BytesMut::new());
            let mut protocol = Protocol::new(role, limits);
            protocol.send(message.clone(), key, &mut plain).unwrap();
            let prepared = PreparedMessage::new(message).unwrap();
            prop_assert_eq!(prepared.len(), len);
            let mut protocol = Protocol::new(role, limits.fragment_size(fragment_size));
            protocol.send_prepared(&prepared, key, &mut shared).unwrap();
            prop_assert!(!protocol.has_pending());
            prop_assert_eq!(plain, shared);
        }
    }

    #[test]
    fn control_frames_are_short() {
        assert!(PreparedMessage::new(Message::ping(vec![0; 125])).is_ok());
        let long = PreparedMessage::new(Message::ping(vec![0; 126]));
        assert_eq!(long, Err(SendError::ControlTooLong));
        let close = PreparedMessage::new(Message::Close(None)).map(|_| ());
        assert_eq!(close, Err(SendError::NotAMessage));
    }

    #[test]
    fn nothing_is_sent_after_close_or_into_another_message() {
        let prepared = PreparedMessage::new("hello").unwrap();
        let limits = Limits::default().fragment_size(1000);
        let mut protocol = Protocol::new(Role::Server, limits);
        let mut out = BytesMut::new();
        protocol
            .send(Message::binary(vec![0; 3000]), key, &mut out)
            .unwrap();
        let before = out.len();
        let busy = protocol.send_prepared(&prepared, key, &mut out);
        assert_eq!(busy, Err(SendError::Busy));
        let ping = PreparedMessage::new(Message::ping("between")).unwrap();
        protocol.send_prepared(&ping, key, &mut out).unwrap();
        assert_eq!(out.len() - before, 9);
        protocol.abandon();
        protocol.close(None, key, &mut out).unwrap();
        assert!(protocol.close_sent());
        let closed = protocol.send_prepared(&prepared, key, &mut out);
        assert_eq!(closed, Err(SendError::Closed));
    }
}

#[cfg(all(test, feature = "deflate"))]
mod deflate_tests {
    use super::*;
    use crate::frame::{Deflate, Event, Limits, Protocol};
    use miniz_oxide::inflate::stream::{InflateState, inflate};
    use miniz_oxide::{DataFormat, MZFlush};
    use proptest::prelude::*;

    fn no_key() -> [u8; 4] {
        panic!("a server does not mask")
    }

    /// Another implementation's decompressor, with one window for all messages.
    struct Other(Box<InflateState>);

    impl Other {
        fn new() -> Self {
            Self(InflateState::new_boxed(DataFormat::Raw))
        }

        /// The payload of the one compressed, unmasked frame in `wire`.
        fn message(&mut self, wire: &[u8]) -> Vec<u8> {
            let (head, len) = (wire[0], wire[1]);
            assert_eq!(head & 0xf0, 0xc0, "FIN and RSV1");
            let start = match len {
                126 => 4,
                127 => 10,
                _ => 2,
            };
            let mut input = wire[start..].to_vec();
            input.extend([0, 0, 0xff, 0xff]);
            let mut rest = &input[..];
            let mut message = Vec::new();
            loop {
                let mut step = [0; 1000];
                let result = inflate(&mut self.0, rest, &mut step, MZFlush::Sync);
                result.status.expect("DEFLATE");
                rest = &rest[result.bytes_consumed..];
                message.extend(&step[..result.bytes_written]);
                if rest.is_empty() && result.bytes_written < step.len() {
                    return message;
                }
            }
        }
    }

    fn text(words: usize) -> Message {
        let words = (0..words).map(|n| format!("word {} ", n % 17));
        Message::text(words.collect::<String>())
    }

    fn slots(message: &PreparedMessage) -> usize {
        let slots = message.deflated.iter();
        slots.filter(|slot| slot.get().is_some()).count()
    }

    #[test]
    fn is_compressed_once_for_each_window() {
        let long = PreparedMessage::new(text(1000)).unwrap();
        let short = PreparedMessage::new(text(20)).unwrap();
        let mut sent = Vec::new();
        for (bits, takeover) in [(15, true), (15, false), (10, true), (10, false), (15, true)] {
            let deflate = Deflate::default().send(bits, takeover);
            let mut server = Protocol::with_deflate(Role::Server, Limits::default(), deflate);
            let mut out = BytesMut::new();
            server.send_prepared(&long, no_key, &mut out).unwrap();
            server.send_prepared(&short, no_key, &mut out).unwrap();
            sent.push(out);
        }
        assert_eq!((slots(&long), slots(&short)), (2, 1));
        assert_eq!(slots(&long.clone()), 2, "clones share it");
        assert!(sent[0] == sent[1] && sent[0] == sent[4]);
        assert!(sent[2] == sent[3] && sent[0] != sent[2]);
        assert!(sent[0].len() < long.len() / 4);
    }

    #[test]
    fn goes_as_it_is_where_that_is_better() {
        let deflate = Deflate::default().threshold(100);
        let noise: Vec<u8> = (0..300u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let never = Deflate::default().send(8, true);
        for (deflate, message) in [
            (deflate, Message::text("a".repeat(99))),
            (deflate, Message::ping("a".repeat(100))),
            (deflate, Message::binary(noise)),
            (never, Message::text("a".repeat(1000))),
        ] {
            let prepared = PreparedMessage::new(message.clone()).unwrap();
            let (mut plain, mut shared) = (BytesMut::new(), BytesMut::new());
            let mut protocol = Protocol::new(Role::Server, Limits::default());
            protocol.send(message, no_key, &mut plain).unwrap();
            let mut protocol = Protocol::with_deflate(Role::Server, Limits::default(), deflate);
            protocol
                .send_prepared(&prepared, no_key, &mut shared)
                .unwrap();
            assert_eq!(plain, shared);
        }
    }

    /// A message must not refer to earlier ones across a prepared message, because the distances
    /// would be wrong.
    #[test]
    fn the_windows_stay_in_step() {
        let mut server =
            Protocol::with_deflate(Role::Server, Limits::default(), Deflate::default());
        let mut other = Other::new();
        let own = Message::text("only for you, only for you, and only once more for you".repeat(3));
        let news = PreparedMessage::new(text(50)).unwrap();
        let mut out = BytesMut::new();
        for _ in 0..3 {
            server.send(own.clone(), no_key, &mut out).unwrap();
            assert_eq!(other.message(&out.split()), own.clone().into_data());
            for _ in 0..2 {
                server.send_prepared(&news, no_key, &mut out).unwrap();
                assert_eq!(other.message(&out.split()), text(50).into_data());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        /// In any order, with any window and in either role, the peer reads the same, and so does
        /// another implementation.
        #[test]
        fn is_read_among_other_messages(
            order in prop::collection::vec((any::<bool>(), 0..4usize), 1..12),
            bits in 9..=15u8,
            takeover: bool,
            client: bool,
        ) {
            let messages = [20, 100, 3000, 9_000].map(text);
            let prepared = messages.clone().map(|m| PreparedMessage::new(m).unwrap());
            let (role, peer) = match client {
                true => (Role::Client, Role::Server),
                false => (Role::Server, Role::Client),
            };
            let limits = Limits::default().fragment_size(usize::MAX);
            let deflate = Deflate::default().send(bits, takeover).threshold(0);
            let mut near = Protocol::with_deflate(role, limits, deflate);
            let theirs = Deflate::default().receive(bits, takeover);
            let mut far = Protocol::with_deflate(peer, limits, theirs);
            let mut other = Other::new();
            for (is_prepared, n) in order {
                let mut out = BytesMut::new();
                let key = || [1, 2, 3, 4];
                match is_prepared {
                    true => near.send_prepared(&prepared[n], key, &mut out).unwrap(),
                    false => near.send(messages[n].clone(), key, &mut out).unwrap(),
                }
                if role == Role::Server {
                    let payload = messages[n].clone().into_data();
                    prop_assert_eq!(other.message(&out), payload);
                }
                let event = far.receive(&mut out.freeze()).unwrap();
                prop_assert_eq!(event, Some(Event::Message(messages[n].clone())));
            }
        }
    }
}
