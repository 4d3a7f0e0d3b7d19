//! Tests of both roles together: one decodes what the other encodes, however the bytes are split.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::testing::{decode_chunks, frame, key_to};
use super::*;

/// Writes everything that `from` has to send, with a new mask key for each frame.
fn drain(from: &mut Protocol, out: &mut BytesMut) {
    let mut seed = 0x9e37_79b9_u32;
    while from.write(|| next_key(&mut seed), out) {}
}

fn next_key(seed: &mut u32) -> [u8; 4] {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    seed.to_be_bytes()
}

fn opposite(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

fn event(message: &Message) -> Event {
    match message.clone() {
        Message::Ping(payload) => Event::Ping(payload),
        Message::Pong(payload) => Event::Pong(payload),
        data => Event::Message(data),
    }
}

/// Returns the bytes that an endpoint of this role sends for `messages` and a Close frame, and the
/// events that they decode to.
fn encode(role: Role, limits: Limits, messages: &[Message]) -> (Vec<u8>, Vec<Event>) {
    let mut sender = Protocol::new(role, limits);
    let mut seed = 1;
    let mut out = BytesMut::new();
    for message in messages {
        drain(&mut sender, &mut out);
        let sent = sender.send(message.clone(), || next_key(&mut seed), &mut out);
        assert_eq!(sent, Ok(()));
    }
    let frame = CloseFrame::new(CloseCode::NORMAL, "bye");
    assert_eq!(
        sender.close(Some(frame.clone()), || next_key(&mut seed), &mut out),
        Ok(())
    );
    drain(&mut sender, &mut out);
    assert!(sender.close_sent());
    let events = messages
        .iter()
        .map(event)
        .chain([Event::Close(Some(frame))]);
    (out.to_vec(), events.collect())
}

/// Messages of each size at which the header or the encoding changes.
fn samples() -> Vec<Message> {
    let mut samples: Vec<Message> = [0, 1, 125, 126, 127, 300]
        .map(|len| Message::binary(vec![0xa5; len]))
        .to_vec();
    samples.push(Message::text("grüezi 😀 κόσμε"));
    samples.push(Message::text("ü".repeat(80)));
    samples.push(Message::ping("are you there?"));
    samples.push(Message::pong(vec![0; 125]));
    samples.push(Message::text(""));
    samples
}

#[test]
fn messages_decode_to_the_same_events_when_split_at_any_byte() {
    for role in [Role::Client, Role::Server] {
        let (all, short) = (&samples()[..], &samples()[6..]);
        // Unfragmented, and in fragments. The smallest fragments split characters.
        for (fragment_size, messages) in [(usize::MAX, all), (100, all), (3, short), (0, short)] {
            let limits = Limits::default().fragment_size(fragment_size);
            let (bytes, expected) = encode(role, limits, messages);
            let mut decoder = Decoder::new(opposite(role), limits);
            assert_eq!(
                decode_chunks(&mut decoder, bytes.chunks(1)),
                (expected.clone(), None)
            );
            for cut in 0..=bytes.len() {
                let mut decoder = Decoder::new(opposite(role), limits);
                let (left, right) = bytes.split_at(cut);
                let events = decode_chunks(&mut decoder, [left, right]);
                assert_eq!(events, (expected.clone(), None), "cut at {cut}");
            }
        }
    }
}

#[test]
fn control_frames_between_fragments_are_decoded_first() {
    for role in [Role::Client, Role::Server] {
        let key = key_to(role);
        let bytes = [
            frame(
                0x01,
                key,
                "gr\u{fc}".as_bytes().split_last().expect("not empty").1,
            ),
            frame(0x89, key, b"1"),
            frame(0x00, key, b"\xbc"),
            frame(0x8a, key, b"2"),
            frame(0x80, key, b"ezi"),
        ]
        .concat();
        let expected = vec![
            Event::Ping(Bytes::from_static(b"1")),
            Event::Pong(Bytes::from_static(b"2")),
            Event::Message(Message::text("grüezi")),
        ];
        for size in 1..=bytes.len() {
            let mut decoder = Decoder::new(role, Limits::default());
            let events = decode_chunks(&mut decoder, bytes.chunks(size));
            assert_eq!(events, (expected.clone(), None), "chunks of {size}");
        }
    }
}

fn message() -> impl Strategy<Value = Message> {
    let bytes = |max| prop::collection::vec(any::<u8>(), 0..max);
    prop_oneof![
        4 => bytes(400).prop_map(Message::binary),
        4 => any::<String>().prop_map(Message::text),
        1 => (60_000..70_000_usize).prop_map(|len| Message::binary(vec![0x5a; len])),
        1 => bytes(126).prop_map(Message::ping),
        1 => bytes(126).prop_map(Message::pong),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn messages_round_trip(
        client in any::<bool>(),
        messages in prop::collection::vec(message(), 0..8),
        fragment_size in prop_oneof![Just(usize::MAX), 1..500_usize],
        sizes in prop::collection::vec(1..2000_usize, 1..20),
    ) {
        let role = if client { Role::Client } else { Role::Server };
        let limits = Limits { max_fragments: usize::MAX, fragment_size, ..Limits::default() };
        let (bytes, expected) = encode(role, limits, &messages);
        let mut rest = &bytes[..];
        let mut sizes = sizes.into_iter().cycle();
        let chunks = std::iter::from_fn(|| {
            let size = sizes.next()?.min(rest.len());
            let (chunk, after) = rest.split_at(size);
            rest = after;
            (size > 0).then_some(chunk)
        });
        let mut decoder = Decoder::new(opposite(role), limits);
        prop_assert_eq!(decode_chunks(&mut decoder, chunks), (expected, None));
    }

    /// No input causes a panic, and splitting the input does not change the result.
    #[test]
    fn arbitrary_frames_decode_the_same_however_they_are_split(
        client in any::<bool>(),
        frames in prop::collection::vec(
            (any::<u8>(), prop::collection::vec(any::<u8>(), 0..140), any::<bool>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let role = if client { Role::Client } else { Role::Server };
        let mut bytes = Vec::new();
        for (first, payload, valid_header) in frames {
            // Half of the frames have no reserved bits and mostly valid opcodes.
            let first = if valid_header { first & 0x8b } else { first };
            bytes.extend(frame(first, key_to(role), &payload));
        }
        let whole = decode_chunks(&mut Decoder::new(role, Limits::default()), [&bytes[..]]);
        let (left, right) = bytes.split_at(cut.index(bytes.len() + 1));
        let mut decoder = Decoder::new(role, Limits::default());
        prop_assert_eq!(&decode_chunks(&mut decoder, [left, right]), &whole);
        let mut decoder = Decoder::new(role, Limits::default());
        prop_assert_eq!(&decode_chunks(&mut decoder, bytes.chunks(1)), &whole);
    }
}
