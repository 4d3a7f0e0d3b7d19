//! Compressed messages (RFC 7692). What is sent arrives, and miniz_oxide inflates it to the same.
//! Of arbitrary data, what is accepted is what miniz_oxide inflates, a message beyond the limit is
//! refused for its size, and the pieces in which it arrives do not matter.

use bytes::{Bytes, BytesMut};
use h2ws::frame::{Deflate, Event, Header, OpCode, Protocol, Role};
use h2ws::{CloseCode, Limits, Message};
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use super::input::Input;

/// More than an inflater gives out before it pauses. A multiple would only cost time.
const MAX_MESSAGE: usize = 20 << 10;

/// Bytes of all messages of an input, and frames of one message. With more, an input takes longer
/// and reaches no other code.
const MAX_INPUT: usize = MAX_MESSAGE + (8 << 10);
const MAX_FRAMES: usize = 16;

/// What five bytes inflate to at most: a copy of 258 bytes for two bits.
const LOOKED_FOR: usize = 5 * 8 / 2 * 258;

pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let role = input.choice(&[Role::Client, Role::Server]);
    let arbitrary = input.boolean();
    let bits = 8 + input.byte() % 8;
    let takeover = input.boolean();
    let piece = usize::from(input.byte()).max(1);
    let deflate = Deflate::default()
        .send(bits, takeover)
        .receive(bits, takeover)
        .threshold(usize::from(input.byte() % 80))
        .level(1 + input.byte() % 9);
    let fragment_size = 1 + usize::from(input.byte()) * 16;
    let limits = Limits::UNLIMITED
        .max_message_size(MAX_MESSAGE)
        .fragment_size(fragment_size);
    let ends = Ends {
        sender: Protocol::with_deflate(role, limits, deflate),
        receiver: Protocol::with_deflate(other(role), limits, deflate),
        takeover,
        piece,
        most: MAX_MESSAGE.min(fragment_size * MAX_FRAMES),
        left: MAX_INPUT,
    };
    if arbitrary {
        ends.inflate(input);
    } else {
        ends.round_trip(input);
    }
}

fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

struct Ends {
    sender: Protocol,
    receiver: Protocol,
    takeover: bool,
    piece: usize,
    /// Maximum size of a sent message.
    most: usize,
    /// What is left of [`MAX_INPUT`].
    left: usize,
}

impl Ends {
    fn round_trip(mut self, mut input: Input<'_>) {
        let mut reference = Reference::default();
        for _ in 0..16 {
            if input.is_empty() || self.left == 0 {
                break;
            }
            // Most inputs repeat little.
            let repeats = match usize::from(input.byte()) {
                few @ 0..=239 => 1 + few % 4,
                many => 1 + (many - 239) * 16,
            };
            let length = usize::from(input.byte());
            let mut payload = input.bytes(length).repeat(repeats);
            payload.truncate(self.most.min(self.left));
            self.left -= payload.len();
            let message = match String::from_utf8(payload) {
                Ok(text) => Message::text(text),
                Err(error) => Message::binary(error.into_bytes()),
            };
            let mut wire = BytesMut::new();
            let key = || [3, 1, 4, 1];
            self.sender
                .send(message.clone(), key, &mut wire)
                .expect("is open");
            while self.sender.write(key, &mut wire) {}
            let wire = wire.freeze();
            let (compressed, sent) = payload_of(&wire);
            if compressed {
                if !self.takeover {
                    reference = Reference::default();
                }
                assert_eq!(
                    reference.inflate(&sent),
                    Inflated::Whole(message.as_bytes().to_vec())
                );
            } else {
                assert_eq!(sent, message.as_bytes());
            }
            let received = self.receive(&wire);
            assert_eq!(received, Ok(vec![Event::Message(message)]));
        }
    }

    fn inflate(mut self, mut input: Input<'_>) {
        let mut reference = Reference::default();
        let masks = self.sender.role() == Role::Client;
        for _ in 0..16 {
            if input.is_empty() || self.left == 0 {
                break;
            }
            let length = usize::from(input.byte()) << 4 | usize::from(input.byte() & 15);
            let payload = input.bytes(length);
            let mut wire = BytesMut::new();
            let header = Header {
                fin: true,
                rsv1: true,
                opcode: OpCode::Binary,
                // The mask of zeros leaves the payload as it is.
                mask: masks.then_some([0; 4]),
                payload_len: payload.len() as u64,
            };
            header.encode(&mut wire);
            wire.extend_from_slice(payload);
            let received = self.receive(&wire.freeze());
            if payload.is_empty() {
                // Some peers compress an empty message to nothing.
                assert_eq!(received, Ok(vec![Event::Message(Message::binary(""))]));
                continue;
            }
            if !self.takeover {
                reference = Reference::default();
            }
            match (received, reference.inflate(payload)) {
                // The reference does not follow a stream into the next one.
                (_, Inflated::Ended)
                | (
                    Err(CloseCode::MESSAGE_TOO_BIG | CloseCode::INVALID_PAYLOAD),
                    Inflated::TooLarge,
                ) => return,
                (Ok(events), Inflated::Whole(bytes)) => {
                    self.left = self.left.saturating_sub(bytes.len());
                    assert_eq!(events, [Event::Message(Message::binary(bytes))]);
                }
                // Within a block, of which the end is looked for with a few bytes more.
                (Err(CloseCode::MESSAGE_TOO_BIG), Inflated::Whole(bytes))
                    if bytes.len() + LOOKED_FOR > MAX_MESSAGE =>
                {
                    return;
                }
                // The same, or with references beyond a small window.
                (Err(code), Inflated::Whole(_) | Inflated::Invalid) => {
                    return assert_eq!(code, CloseCode::INVALID_PAYLOAD);
                }
                (Ok(events), other) => panic!("{events:?} and {other:?}"),
                (Err(code), other) => panic!("{code:?} and {other:?}"),
            }
        }
    }

    fn receive(&mut self, wire: &Bytes) -> Result<Vec<Event>, CloseCode> {
        let mut events = Vec::new();
        for piece in wire.chunks(self.piece) {
            let mut piece = wire.slice_ref(piece);
            loop {
                match self.receiver.receive(&mut piece) {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(error) => return Err(error.close_code()),
                }
            }
        }
        for event in &events {
            let Event::Message(message) = event else {
                panic!("{event:?} was not sent");
            };
            assert!(message.len() <= MAX_MESSAGE);
        }
        Ok(events)
    }
}

/// Returns whether a message is compressed, and the payload of all of its frames.
fn payload_of(wire: &[u8]) -> (bool, Vec<u8>) {
    let mut compressed = None;
    let mut payload = Vec::new();
    let mut rest = wire;
    while !rest.is_empty() {
        let (header, length) = Header::parse(rest).expect("a frame").expect("a whole one");
        let (frame, after) = rest[length..].split_at(header.payload_len as usize);
        let mut frame = frame.to_vec();
        if let Some(key) = header.mask {
            frame
                .iter_mut()
                .zip(key.iter().cycle())
                .for_each(|(byte, key)| *byte ^= key);
        }
        compressed.get_or_insert(header.rsv1);
        payload.extend(frame);
        rest = after;
        assert_eq!(header.fin, rest.is_empty());
    }
    (compressed.unwrap_or_default(), payload)
}

/// The inflater of miniz_oxide, with the window of earlier messages.
struct Reference(Box<InflateState>);

impl Default for Reference {
    fn default() -> Self {
        Self(InflateState::new_boxed(DataFormat::Raw))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Inflated {
    Whole(Vec<u8>),
    Invalid,
    /// More than the limit came out before anything invalid.
    TooLarge,
    /// A block was the last of its stream.
    Ended,
}

impl Reference {
    fn inflate(&mut self, payload: &[u8]) -> Inflated {
        let input = [payload, &[0, 0, 0xff, 0xff]].concat();
        let mut rest = &input[..];
        let mut bytes = Vec::new();
        // What precedes an error gets lost if it is more than there is room for.
        let mut out = [0; 32 << 10];
        loop {
            let step = inflate(&mut self.0, rest, &mut out, MZFlush::None);
            rest = &rest[step.bytes_consumed..];
            bytes.extend_from_slice(&out[..step.bytes_written]);
            if bytes.len() > MAX_MESSAGE {
                return Inflated::TooLarge;
            }
            match step.status {
                Ok(MZStatus::StreamEnd) => return Inflated::Ended,
                Ok(_) if step.bytes_written < out.len() && rest.is_empty() => {
                    return Inflated::Whole(bytes);
                }
                Err(MZError::Buf) if rest.is_empty() => return Inflated::Whole(bytes),
                Ok(_) => {}
                Err(_) => return Inflated::Invalid,
            }
        }
    }
}
