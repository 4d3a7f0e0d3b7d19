//! Tests of compression: the examples and rules of RFC 7692, and malicious input.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use zlib_rs::{Deflate as Stream, DeflateFlush};

use super::compress::LARGE;
use super::*;
use crate::frame::testing::{KEY, decode_chunks, frame, key_to};
use crate::frame::{CloseCode, Decoder, Event, Limits, Message, Protocol, ProtocolError, Role};

const ROLES: [Role; 2] = [Role::Client, Role::Server];

/// "Hello" as compressed in RFC 7692 §7.2.3.1.
const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
/// A second "Hello", which refers to the first in the window (§7.2.3.2).
const AGAIN: &[u8] = &[0xf2, 0x00, 0x11, 0x00, 0x00];

/// Settings that compress messages of any size, at the level of the RFC's examples.
fn without_threshold() -> Deflate {
    Deflate::default().threshold(0).level(6)
}

fn decoder(role: Role, limits: Limits, deflate: Deflate) -> Decoder {
    Decoder::with_deflate(role, limits, &deflate)
}

/// Decodes frames with these first bytes and payloads in this role, whole and byte by byte.
fn decode(
    role: Role,
    deflate: Deflate,
    frames: &[(u8, &[u8])],
) -> (Vec<Event>, Option<ProtocolError>) {
    let bytes: Vec<u8> = frames
        .iter()
        .flat_map(|(first, payload)| frame(*first, key_to(role), payload))
        .collect();
    let mut whole = decoder(role, Limits::default(), deflate);
    let result = decode_chunks(&mut whole, [&bytes[..]]);
    let mut cut = decoder(role, Limits::default(), deflate);
    assert_eq!(
        decode_chunks(&mut cut, bytes.chunks(1)),
        result,
        "byte by byte"
    );
    result
}

fn texts(texts: &[&'static str]) -> (Vec<Event>, Option<ProtocolError>) {
    let events = texts
        .iter()
        .map(|text| Event::Message(Message::text(*text)));
    (events.collect(), None)
}

/// Returns the unmasked frames that a server sends for the messages.
fn encode(limits: Limits, deflate: Deflate, messages: &[Message]) -> Vec<u8> {
    let mut server = Protocol::with_deflate(Role::Server, limits, deflate);
    let mut out = BytesMut::new();
    for message in messages {
        let sent = server.send(message.clone(), || unreachable!(), &mut out);
        assert_eq!(sent, Ok(()));
        while server.write(|| unreachable!(), &mut out) {}
    }
    out.to_vec()
}

/// Compresses a payload without the code under test.
fn compress(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; data.len() + 1000];
    let mut stream = Stream::new(6, false, 15);
    stream
        .compress(data, &mut out, DeflateFlush::SyncFlush)
        .expect("compresses");
    out.truncate(stream.total_out() as usize - TAIL.len());
    out
}

#[test]
fn rfc7692_7_2_3_examples_are_decoded() {
    let stored = b"\x00\x05\x00\xfa\xffHello\x00";
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let two = [
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    type Frames<'a> = &'a [(u8, &'a [u8])];
    let table: [(Frames<'_>, &[&str]); 7] = [
        (&[(0xc1, HELLO)], &["Hello"]),
        (&[(0x41, &HELLO[..3]), (0x80, &HELLO[3..])], &["Hello"]),
        (&[(0xc1, HELLO), (0xc1, AGAIN)], &["Hello", "Hello"]),
        (&[(0xc1, stored)], &["Hello"]),
        (&[(0xc1, &last)], &["Hello"]),
        (&[(0xc1, &two)], &["Hello"]),
        (&[(0xc1, &[0x00])], &[""]),
    ];
    for role in ROLES {
        for (frames, expected) in table {
            assert_eq!(decode(role, without_threshold(), frames), texts(expected));
        }
    }
}

#[test]
fn rfc7692_7_2_3_examples_are_encoded() {
    let twice = [Message::text("Hello"), Message::text("Hello")];
    let bytes = encode(Limits::default(), without_threshold(), &twice);
    assert_eq!(
        bytes,
        [frame(0xc1, None, HELLO), frame(0xc1, None, AGAIN)].concat()
    );
    let apart = without_threshold().send(15, false);
    let bytes = encode(Limits::default(), apart, &twice[..1]);
    // Without context takeover, "Hello" is sent uncompressed, because compression does not shorten
    // it.
    assert_eq!(bytes, frame(0x81, None, b"Hello"));
}

#[test]
fn messages_are_independent_without_context_takeover() {
    let message = Message::text("Hello, Hello, Hello, Hello");
    let settings = without_threshold().send(15, false).receive(15, false);
    let bytes = encode(Limits::default(), settings, &[message.clone(), message]);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert_eq!(first, second);
    assert_eq!(first[0], 0xc1);
    let events = decode(Role::Client, settings, &[(0xc1, HELLO), (0xc1, AGAIN)]);
    let error = Some(ProtocolError::InvalidDeflate);
    assert_eq!(
        events,
        (texts(&["Hello"]).0, error),
        "the window is discarded"
    );
}

#[test]
fn blocks_with_bfinal_are_accepted() {
    let last: &[u8] = &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let padded = [last, &[0]].concat();
    let stored = b"\x01\x05\x00\xfa\xffHello";
    let both = [last, HELLO].concat();
    for role in ROLES {
        // With the empty block that RFC 7692 §7.2.3.4 adds, and without it; each message is sent
        // twice.
        for frames in [
            [(0xc1, &padded[..]); 2],
            [(0xc1, last); 2],
            [(0xc1, &stored[..]); 2],
        ] {
            assert_eq!(
                decode(role, without_threshold(), &frames),
                texts(&["Hello"; 2])
            );
        }
        // A message may continue after a block with BFINAL.
        let frames: [(u8, &[u8]); 2] = [(0xc1, &both), (0xc1, HELLO)];
        assert_eq!(
            decode(role, without_threshold(), &frames),
            texts(&["HelloHello", "Hello"])
        );
    }
}

#[test]
fn invalid_deflate_data_is_an_error() {
    let last: &[u8] = &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let table: [(&str, Vec<u8>); 9] = [
        ("block type 3", vec![0x06]),
        (
            "lengths that do not match",
            b"\x00\x05\x00\x05\x00Hello".to_vec(),
        ),
        ("a reference to before the beginning", AGAIN.to_vec()),
        ("an end within a compressed block", HELLO[..5].to_vec()),
        (
            "an end within a stored block",
            b"\x00\x05\x00\xfa\xffHel".to_vec(),
        ),
        (
            "an end after a block, without the next header",
            HELLO[..6].to_vec(),
        ),
        ("the tail was not removed", [HELLO, &TAIL].concat()),
        ("garbage after BFINAL", [last, b"garbage"].concat()),
        ("a header after BFINAL", [last, &[0, 1]].concat()),
    ];
    for settings in [without_threshold(), without_threshold().receive(15, false)] {
        for role in ROLES {
            for (what, payload) in &table {
                let error = Some(ProtocolError::InvalidDeflate);
                let result = decode(role, settings, &[(0xc2, payload)]);
                assert_eq!(result, (vec![], error), "{what}");
            }
        }
    }
    assert_eq!(
        ProtocolError::InvalidDeflate.close_code(),
        CloseCode::INVALID_PAYLOAD
    );
}

#[test]
fn an_empty_compressed_message_may_have_no_payload() {
    for role in ROLES {
        let frames: [(u8, &[u8]); 4] = [(0xc1, b""), (0x41, b""), (0x80, b""), (0xc1, HELLO)];
        assert_eq!(
            decode(role, without_threshold(), &frames),
            texts(&["", "", "Hello"])
        );
    }
    let bytes = encode(Limits::default(), without_threshold(), &[Message::text("")]);
    assert_eq!(bytes, [0x81, 0], "an empty message is sent uncompressed");
}

#[test]
fn rsv1_is_valid_only_on_the_first_frame_of_a_data_message() {
    let wrong: [&[(u8, &[u8])]; 7] = [
        &[(0xc9, b"")],
        &[(0xca, b"")],
        &[(0xc8, b"")],
        &[(0x41, &HELLO[..3]), (0xc0, &HELLO[3..])],
        &[(0x01, b"He"), (0xc0, b"llo")],
        &[(0xa1, b"")],
        &[(0x91, b"")],
    ];
    for role in ROLES {
        for frames in wrong {
            let error = Some(ProtocolError::ReservedBit);
            assert_eq!(
                decode(role, without_threshold(), frames),
                (vec![], error.clone())
            );
        }
        let bytes = frame(0xc1, key_to(role), HELLO);
        let mut plain = Decoder::new(role, Limits::default());
        let error = decode_chunks(&mut plain, [&bytes[..]]).1;
        assert_eq!(error, Some(ProtocolError::ReservedBit), "not negotiated");
    }
    let code = ProtocolError::ReservedBit.close_code();
    assert_eq!(code, CloseCode::PROTOCOL_ERROR);
}

#[test]
fn compressed_messages_uncompressed_messages_and_control_frames_can_be_mixed() {
    for role in ROLES {
        let frames: [(u8, &[u8]); 6] = [
            (0x81, b"plain"),
            (0x41, &HELLO[..1]),
            (0x89, b"ping"),
            (0x00, &HELLO[1..6]),
            (0x80, &HELLO[6..]),
            (0xc1, AGAIN),
        ];
        let mut expected = texts(&["plain", "Hello", "Hello"]);
        expected
            .0
            .insert(1, Event::Ping(Bytes::from_static(b"ping")));
        assert_eq!(decode(role, without_threshold(), &frames), expected);
    }
}

#[test]
fn fragments_are_compressed_one_at_a_time() {
    let text = "Hello, Hello, Hello, Hello";
    let limits = Limits::default().fragment_size(10);
    let bytes = encode(limits, without_threshold(), &[Message::text(text)]);
    let mut rest = &bytes[..];
    let mut first = Vec::new();
    while let [head, len, after @ ..] = rest {
        first.push(*head);
        rest = &after[usize::from(*len)..];
    }
    assert_eq!(first, [0x41, 0x00, 0x80]);
    let mut client = decoder(Role::Client, Limits::default(), without_threshold());
    assert_eq!(decode_chunks(&mut client, [&bytes[..]]), texts(&[text]));
}

#[test]
fn short_messages_are_sent_uncompressed() {
    let messages = [64, 63].map(|len| Message::binary(vec![b'x'; len]));
    let bytes = encode(Limits::default(), Deflate::default(), &messages);
    assert_eq!(bytes[0], 0xc2);
    assert!(bytes.ends_with(&frame(0x82, None, &[b'x'; 63])));
    let bytes = encode(
        Limits::default(),
        without_threshold().send(8, true),
        &messages,
    );
    assert_eq!(
        bytes[0], 0x82,
        "a window of 8 bits is not used for compression"
    );
}

/// Returns bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 32) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn messages_that_do_not_shrink_are_sent_uncompressed() {
    let text = || Message::text("Hello, Hello, Hello");
    // With context takeover, a small message is kept in the window, because it may be repeated. For
    // a large one, the window is dropped.
    for (takeover, len, compressed) in [
        (false, 10_000, false),
        (false, 100_000, false),
        (true, 10_000, true),
        (true, 100_000, false),
    ] {
        for level in [1, 6] {
            for size in [7000, 50_000, usize::MAX] {
                let limits = Limits::default().fragment_size(size);
                let settings = without_threshold().send(15, takeover).level(level);
                let noise = Message::binary(noise(len));
                let bytes = encode(limits, settings, std::slice::from_ref(&noise));
                let small = size < LARGE && takeover;
                assert_eq!(bytes[0] & 0x40 != 0, compressed || small, "{len} {size}");
                // Surrounded by messages that shrink.
                let messages = [text(), noise.clone(), text(), noise, text()];
                let bytes = encode(limits, settings, &messages);
                let mut client = decoder(Role::Client, Limits::default(), settings);
                let events = messages.map(Event::Message).to_vec();
                assert_eq!(decode_chunks(&mut client, [&bytes[..]]), (events, None));
            }
        }
    }
}

#[test]
fn invalid_text_is_an_error_as_soon_as_it_is_inflated() {
    let payload = compress(&[&b"good \xff"[..], &noise(90_000)].concat());
    for role in ROLES {
        let bytes = frame(0xc1, key_to(role), &payload);
        let mut decoder = decoder(role, Limits::default(), without_threshold());
        let result = decode_chunks(&mut decoder, [&bytes[..70_000]]);
        assert_eq!(result, (vec![], Some(ProtocolError::InvalidUtf8)));
    }
    // A character split over two frames is valid; one cut off by the end of the message is not.
    let euro = compress("€".as_bytes());
    let frames: [(u8, &[u8]); 2] = [(0x41, &euro[..2]), (0x80, &euro[2..])];
    assert_eq!(
        decode(Role::Client, without_threshold(), &frames),
        texts(&["€"])
    );
    let cut = compress(&"€".as_bytes()[..2]);
    let error = decode(Role::Client, without_threshold(), &[(0xc1, &cut)]).1;
    assert_eq!(error, Some(ProtocolError::InvalidUtf8));
}

/// Returns about 1 MiB that inflates to 1 GiB.
fn decompression_bomb() -> Vec<u8> {
    let mut part = vec![0; 10_000];
    let mut stream = Stream::new(9, false, 15);
    stream
        .compress(&[0; 1 << 20], &mut part, DeflateFlush::FullFlush)
        .expect("compresses");
    part.truncate(stream.total_out() as usize);
    part.repeat(1024)
}

#[test]
fn a_decompression_bomb_is_rejected_within_the_message_limit() {
    let bomb = decompression_bomb();
    assert!((1 << 20..2 << 20).contains(&bomb.len()), "{}", bomb.len());
    let limit = 3_000_000;
    let limits = Limits::default().max_message_size(limit);
    for role in ROLES {
        let mut decoder = decoder(role, limits, without_threshold());
        let bytes = frame(0xc2, key_to(role), &bomb);
        let mut peak = 0;
        let error = bytes.chunks(100).find_map(|chunk| {
            let result = decode_chunks(&mut decoder, [chunk]);
            peak = peak.max(decoder.held());
            result.1
        });
        let Some(ProtocolError::MessageTooLarge { size, .. }) = error else {
            panic!("{error:?}");
        };
        assert!(size <= (limit + STEP) as u64, "{size} inflated");
        assert!(peak > limit / 2 && peak <= limit, "{peak} held");
        let mut protocol = Protocol::with_deflate(role, limits, without_threshold());
        let error = protocol.receive(&mut bytes.into()).expect_err("too large");
        assert_eq!(error.close_code(), CloseCode::MESSAGE_TOO_BIG);
    }
}

#[test]
fn the_message_limit_is_inclusive_and_applies_after_inflation() {
    for role in ROLES {
        for (len, fits) in [(STEP * 2, true), (STEP * 2 + 1, false), (0, true)] {
            let data = noise(len);
            let bytes = frame(0xc2, key_to(role), &compress(&data));
            // The compressed data may be larger than the limit.
            assert!(bytes.len() > len);
            let limits = Limits::default().max_message_size(STEP * 2);
            let mut decoder = decoder(role, limits, without_threshold());
            let (events, error) = decode_chunks(&mut decoder, bytes.chunks(1000));
            assert_eq!((events.len() == 1, error.is_none()), (fits, fits), "{len}");
        }
    }
}

#[test]
fn an_inflated_message_has_no_spare_capacity() {
    let data = vec![7; 100_000];
    let mut chunk = Bytes::from(frame(0xc2, None, &compress(&data)));
    let mut decoder = decoder(Role::Client, Limits::default(), without_threshold());
    let Ok(Some(Event::Message(message))) = decoder.decode(&mut chunk) else {
        panic!("no message");
    };
    let payload = message.into_data().try_into_mut().expect("not shared");
    assert_eq!((payload.len(), payload.capacity()), (100_000, 100_000));
}

#[test]
fn memory_is_allocated_late_and_freed_early() {
    let data = b"compressible, ".repeat(10);
    for (takeover, idle_after) in [(true, false), (false, true)] {
        let settings = without_threshold().send(15, takeover).receive(15, takeover);
        let mut compressor = Compressor::new(settings);
        let mut inflater = Inflater::new(&settings);
        assert!(compressor.is_idle() && inflater.is_idle());
        for _ in 0..3 {
            let first = compressor
                .compress_first(&data[..70], data.len())
                .expect("shrinks");
            assert!(!compressor.is_idle(), "within a message");
            let second = compressor.compress_next(&data[70..], true);
            assert_eq!(compressor.is_idle(), idle_after);
            let mut inflated = Vec::new();
            let mut sink = |bytes: &[u8]| {
                inflated.extend_from_slice(bytes);
                Ok(())
            };
            inflater.push(&first, &mut sink).expect("valid");
            inflater.push(&second, &mut sink).expect("valid");
            inflater.finish(&mut sink).expect("valid");
            assert_eq!(inflater.is_idle(), idle_after);
            assert_eq!(inflated, data);
        }
    }
}

#[test]
fn the_peer_is_not_affected_when_the_compressor_is_dropped() {
    let mut server = Protocol::with_deflate(Role::Server, Limits::default(), without_threshold());
    let mut client = Protocol::with_deflate(Role::Client, Limits::default(), without_threshold());
    let message = Message::text("Hello, Hello");
    for _ in 0..3 {
        let mut wire = BytesMut::new();
        server
            .send(message.clone(), || unreachable!(), &mut wire)
            .expect("open");
        let event = client.receive(&mut wire.freeze());
        assert_eq!(event, Ok(Some(Event::Message(message.clone()))));
        server.free_compressor();
    }
    assert_eq!(server.deflate(), Some(&without_threshold()));
}

#[test]
fn settings_out_of_range_are_clamped() {
    for (bits, level) in [(0, 0), (200, 200)] {
        let settings = without_threshold()
            .send(bits, true)
            .receive(bits, true)
            .level(level);
        let message = Message::text("Hello, Hello, Hello");
        let bytes = encode(Limits::default(), settings, std::slice::from_ref(&message));
        let mut client = decoder(Role::Client, Limits::default(), settings);
        let expected = (vec![Event::Message(message)], None);
        assert_eq!(decode_chunks(&mut client, [&bytes[..]]), expected);
    }
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        3 => prop::collection::vec(0..4_u8, 0..3000).prop_map(Message::binary),
        2 => prop::collection::vec(prop::sample::select(vec!['a', 'b', '€', '😀']), 0..300)
            .prop_map(|text| Message::text(String::from_iter(text))),
        1 => (0..70_000_usize).prop_map(|len| Message::binary(noise(len))),
        1 => (0..70_000_usize).prop_map(|len| Message::binary(vec![7; len])),
        1 => prop::collection::vec(any::<u8>(), 0..126).prop_map(Message::ping),
    ]
}

fn settings() -> impl Strategy<Value = Deflate> {
    let direction = || (8..=15_u8, any::<bool>());
    (direction(), direction(), 0..200_usize, 1..=9_u8).prop_map(
        |((send, kept), (receive, theirs), threshold, level)| {
            Deflate::default()
                .send(send, kept)
                .receive(receive, theirs)
                .threshold(threshold)
                .level(level)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Both roles, with all parameters and with fragments and chunks of all sizes.
    #[test]
    fn compressed_messages_round_trip(
        client in any::<bool>(),
        ours in settings(),
        messages in prop::collection::vec(message(), 0..8),
        fragment_size in prop_oneof![Just(usize::MAX), 100..5000_usize, 1..20_usize],
        sizes in prop::collection::vec(1..3000_usize, 1..20),
    ) {
        let (role, peer) = if client { (ROLES[0], ROLES[1]) } else { (ROLES[1], ROLES[0]) };
        let limits = Limits { max_fragments: usize::MAX, fragment_size, ..Limits::default() };
        let theirs = Deflate::default().receive(ours.send_window_bits, ours.send_context_takeover);
        let mut sender = Protocol::with_deflate(role, limits, ours);
        let mut out = BytesMut::new();
        for message in &messages {
            prop_assert_eq!(sender.send(message.clone(), || KEY, &mut out), Ok(()));
            while sender.write(|| KEY, &mut out) {}
        }
        let mut rest = &out[..];
        let mut sizes = sizes.into_iter().cycle();
        let chunks = std::iter::from_fn(|| {
            let size = sizes.next()?.min(rest.len());
            let (chunk, after) = rest.split_at(size);
            rest = after;
            (size > 0).then_some(chunk)
        });
        let expected = messages.into_iter().map(|message| match message {
            Message::Ping(payload) => Event::Ping(payload),
            data => Event::Message(data),
        });
        let mut receiver = decoder(peer, limits, theirs);
        prop_assert_eq!(decode_chunks(&mut receiver, chunks), (expected.collect(), None));
    }

    /// No compressed input causes a panic, and splitting it does not change the result.
    #[test]
    fn corrupt_data_decodes_the_same_however_it_is_split(
        mut payload in prop::collection::vec(any::<u8>(), 0..300),
        almost_valid in any::<bool>(),
        flip in any::<prop::sample::Index>(),
        takeover in any::<bool>(),
    ) {
        if almost_valid {
            // Valid except for one bit.
            payload = compress(&payload);
            let at = flip.index(payload.len());
            payload[at] ^= 1 << (at % 8);
        }
        let settings = without_threshold().receive(15, takeover);
        let frames: [(u8, &[u8]); 2] = [(0xc2, &payload), (0xc2, &payload)];
        decode(Role::Server, settings, &frames);
    }
}
