//! Tests of the decoder: the examples of RFC 6455, and every protocol violation.

use super::*;
use crate::frame::CloseCode;
use crate::frame::testing::{KEY, decode, decode_chunks, frame, key_to};

/// The first byte and the payload of each frame.
type Frames = Vec<(u8, Vec<u8>)>;

const ROLES: [Role; 2] = [Role::Client, Role::Server];

fn limits() -> Limits {
    Limits::default()
        .max_frame_size(1000)
        .max_message_size(1500)
        .max_fragments(3)
}

#[test]
fn rfc6455_5_7_examples_are_decoded() {
    let hello = || Event::Message(Message::text("Hello"));
    let ping = || Event::Ping(Bytes::from_static(b"Hello"));
    let pong = || Event::Pong(Bytes::from_static(b"Hello"));
    let binary = |len| Event::Message(Message::binary(vec![7; len]));
    let large = |head: &[u8], len| [head, &vec![7; len]].concat();
    let masked: &[u8] = &[0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let table = [
        (Role::Client, b"\x81\x05Hello".to_vec(), hello()),
        (Role::Server, [b"\x81\x85", masked].concat(), hello()),
        (Role::Client, b"\x01\x03Hel\x80\x02lo".to_vec(), hello()),
        (Role::Client, b"\x89\x05Hello".to_vec(), ping()),
        (Role::Server, [b"\x8a\x85", masked].concat(), pong()),
        (Role::Client, large(b"\x82\x7e\x01\x00", 256), binary(256)),
        (
            Role::Client,
            large(b"\x82\x7f\0\0\0\0\0\x01\0\0", 65_536),
            binary(65_536),
        ),
    ];
    for (role, bytes, event) in table {
        assert_eq!(decode(role, Limits::default(), &bytes), (vec![event], None));
    }
}

/// Each violation causes its error and close code in both roles, however the input is split.
#[test]
fn every_violation_is_an_error_with_its_close_code() {
    use ProtocolError as E;
    let size = |size| E::FrameTooLarge { size, limit: 1000 };
    let table: Vec<(Frames, E, CloseCode)> = vec![
        (
            vec![(0xc1, vec![])],
            E::ReservedBit,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            vec![(0xa1, vec![])],
            E::ReservedBit,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            vec![(0x91, vec![])],
            E::ReservedBit,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            vec![(0xc9, vec![])],
            E::ReservedBit,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            vec![(0x83, vec![])],
            E::ReservedOpCode(3),
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            vec![(0x8b, vec![])],
            E::ReservedOpCode(11),
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            vec![(0x09, vec![])],
            E::FragmentedControl,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            vec![(0x89, vec![0; 126])],
            E::ControlTooLong,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            vec![(0x88, vec![0; 126])],
            E::ControlTooLong,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            vec![(0x80, vec![])],
            E::UnexpectedContinuation,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            vec![(0x00, vec![1])],
            E::UnexpectedContinuation,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            vec![(0x01, vec![]), (0x81, vec![])],
            E::InterleavedMessage,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            vec![(0x02, vec![1]), (0x02, vec![1])],
            E::InterleavedMessage,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            vec![(0x88, vec![3])],
            E::TruncatedCloseCode,
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            vec![(0x88, vec![0x03, 0xed])],
            E::InvalidCloseCode(1005),
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            vec![(0x88, b"\x03\xe8\xff".to_vec())],
            E::InvalidCloseReason,
            CloseCode::INVALID_PAYLOAD,
        ),
        (
            vec![(0x81, b"ab\xff".to_vec())],
            E::InvalidUtf8,
            CloseCode::INVALID_PAYLOAD,
        ),
        (
            vec![(0x81, b"ab\xe2\x82".to_vec())],
            E::InvalidUtf8,
            CloseCode::INVALID_PAYLOAD,
        ),
        (
            vec![(0x01, b"\xe2".to_vec()), (0x80, b"\x82".to_vec())],
            E::InvalidUtf8,
            CloseCode::INVALID_PAYLOAD,
        ),
        (
            vec![(0x01, b"\xe2".to_vec()), (0x00, b"a".to_vec())],
            E::InvalidUtf8,
            CloseCode::INVALID_PAYLOAD,
        ),
        (
            vec![(0x82, vec![0; 1001])],
            size(1001),
            CloseCode::MESSAGE_TOO_BIG,
        ),
        (
            vec![(0x02, vec![0; 1000]), (0x00, vec![0; 501])],
            E::MessageTooLarge {
                size: 1501,
                limit: 1500,
            },
            CloseCode::MESSAGE_TOO_BIG,
        ),
        (
            vec![
                (0x02, vec![]),
                (0x00, vec![]),
                (0x00, vec![]),
                (0x80, vec![]),
            ],
            E::TooManyFragments { limit: 3 },
            CloseCode::MESSAGE_TOO_BIG,
        ),
    ];
    for (frames, error, code) in table {
        for role in ROLES {
            let bytes: Vec<u8> = frames
                .iter()
                .flat_map(|(first, payload)| frame(*first, key_to(role), payload))
                .collect();
            let expected = (vec![], Some(error.clone()));
            assert_eq!(decode(role, limits(), &bytes), expected);
            let mut decoder = Decoder::new(role, limits());
            assert_eq!(decode_chunks(&mut decoder, bytes.chunks(1)), expected);
            assert_eq!(error.close_code(), code);
        }
    }
}

#[test]
fn only_frames_from_clients_are_masked() {
    for first in [0x81, 0x82, 0x89, 0x88] {
        let bare = decode(Role::Server, limits(), &frame(first, None, b""));
        assert_eq!(bare, (vec![], Some(ProtocolError::UnmaskedFrame)));
        let masked = decode(Role::Client, limits(), &frame(first, Some(KEY), b""));
        assert_eq!(masked, (vec![], Some(ProtocolError::MaskedFrame)));
    }
}

#[test]
fn limits_are_inclusive() {
    for role in ROLES {
        let bytes = [
            frame(0x82, key_to(role), &[7; 1000]),
            frame(0x02, key_to(role), &[7; 1000]),
            frame(0x00, key_to(role), &[7; 500]),
            frame(0x80, key_to(role), &[]),
        ]
        .concat();
        let events = [1000, 1500]
            .map(|len| Event::Message(Message::binary(vec![7; len])))
            .to_vec();
        assert_eq!(decode(role, limits(), &bytes), (events, None));
    }
}

#[test]
fn data_limits_do_not_apply_to_control_frames() {
    let bytes = frame(0x89, None, &[7; 125]);
    let tight = Limits::default().max_frame_size(0).max_message_size(0);
    let expected = vec![Event::Ping(vec![7; 125].into())];
    assert_eq!(decode(Role::Client, tight, &bytes), (expected, None));
}

#[test]
fn an_oversized_frame_is_rejected_from_its_header() {
    let header = [0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255];
    let (events, error) = decode(Role::Client, Limits::default(), &header);
    assert!(events.is_empty());
    let size = (1 << 63) - 1;
    let limit = Limits::default().max_frame_size;
    assert_eq!(error, Some(ProtocolError::FrameTooLarge { size, limit }));
}

#[test]
fn memory_is_not_allocated_for_an_announced_length() {
    let mut decoder = Decoder::new(Role::Client, Limits::UNLIMITED);
    let header: &[u8] = &[0x82, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255];
    assert_eq!(decode_chunks(&mut decoder, [header]), (vec![], None));
    assert!(
        decoder.message.is_none(),
        "nothing is allocated before the first payload byte"
    );
    assert_eq!(decode_chunks(&mut decoder, [&b"x"[..]]), (vec![], None));
    assert_eq!(decoder.message.map(|message| message.len()), Some(1));
}

#[test]
fn invalid_text_is_an_error_before_its_frame_ends() {
    for role in ROLES {
        let bytes = frame(
            0x81,
            key_to(role),
            &[b"good \xff"[..].to_vec(), vec![b'.'; 90]].concat(),
        );
        let invalid_end = bytes.len() - 90;
        let mut decoder = Decoder::new(role, limits());
        assert_eq!(
            decode_chunks(&mut decoder, [&bytes[..invalid_end - 1]]),
            (vec![], None)
        );
        let error = decode_chunks(&mut decoder, [&bytes[invalid_end - 1..invalid_end]]).1;
        assert_eq!(error, Some(ProtocolError::InvalidUtf8));
    }
}

#[test]
fn an_unmasked_message_is_a_slice_of_the_input() {
    let mut chunk = Bytes::from(frame(0x82, None, b"payload"));
    let payload = chunk[2..].as_ptr();
    let mut decoder = Decoder::new(Role::Client, limits());
    let Ok(Some(Event::Message(message))) = decoder.decode(&mut chunk) else {
        panic!("no message");
    };
    assert_eq!(message.as_bytes().as_ptr(), payload);
}

/// Short messages in a chunk are unmasked together, even with other frames between them, and
/// wherever the chunk ends.
#[test]
fn a_large_message_of_its_own_chunk_is_unmasked_in_place() {
    let payload: Vec<u8> = (0..20_000).map(|n| (n / 7) as u8).collect();
    let bytes = frame(0x82, Some(KEY), &payload);
    let header = bytes.len() - payload.len();
    let decode = |chunk: &mut Bytes| {
        let decoded = Decoder::new(Role::Server, Limits::default()).decode(chunk);
        assert!(chunk.is_empty());
        match decoded {
            Ok(Some(Event::Message(Message::Binary(got)))) => got,
            other => panic!("{other:?}"),
        }
    };
    let mut own = Bytes::from(bytes.clone());
    let at = own[header..].as_ptr();
    let got = decode(&mut own);
    assert_eq!((&got[..], got.as_ptr()), (&payload[..], at));

    let shared = Bytes::from(bytes.clone());
    assert_eq!(decode(&mut shared.clone()), payload);
    assert_eq!(shared, bytes, "others still have the chunk");

    let mut roomy = bytes::BytesMut::with_capacity(2 * bytes.len());
    roomy.extend_from_slice(&bytes);
    let mut roomy = roomy.freeze();
    let at = roomy[header..].as_ptr();
    let got = decode(&mut roomy);
    assert_eq!(got, payload);
    assert_ne!(got.as_ptr(), at, "the chunk takes twice its length");
}

#[test]
fn short_messages_in_a_chunk_share_one_allocation() {
    let other = Some([9, 8, 7, 6]);
    let frames = [
        frame(0x82, Some(KEY), b"one"),
        frame(0x89, other, b"ping"),
        frame(0x81, other, "zwölf".as_bytes()),
        frame(0x82, Some(KEY), &[7; 300]),
        frame(0x82, Some([0; 4]), b"bare"),
        frame(0x82, Some(KEY), b"cut by the end"),
    ];
    let bytes = frames.concat();
    let one_by_one = {
        let mut decoder = Decoder::new(Role::Server, Limits::default());
        decode_chunks(&mut decoder, frames.iter().map(Vec::as_slice))
    };
    assert_eq!(one_by_one.0.len(), frames.len());
    for end in 0..=bytes.len() {
        let mut decoder = Decoder::new(Role::Server, Limits::default());
        let together = decode_chunks(&mut decoder, [&bytes[..end], &bytes[end..]]);
        assert_eq!(together, one_by_one);
    }

    let mut chunk = Bytes::from(bytes);
    let mut decoder = Decoder::new(Role::Server, Limits::default());
    let mut addresses = Vec::new();
    while let Ok(Some(event)) = decoder.decode(&mut chunk) {
        if let Event::Message(message) = event {
            addresses.push(message.as_bytes().as_ptr() as usize);
        }
    }
    let [first, text, ..] = addresses[..] else {
        panic!("{} messages", addresses.len())
    };
    assert_eq!(text - first, 3 + 6 + 4 + 6, "one allocation");
}

#[test]
fn no_state_remains_after_a_message() {
    for role in ROLES {
        let bytes = [
            frame(0x01, key_to(role), b"frag"),
            frame(0x89, key_to(role), b"ping"),
            frame(0x80, key_to(role), b"ment"),
        ]
        .concat();
        let mut decoder = Decoder::new(role, limits());
        let (events, error) = decode_chunks(&mut decoder, bytes.chunks(1));
        assert_eq!((events.len(), error), (2, None));
        assert!(decoder.message.is_none() && decoder.control.is_none());
        assert!(matches!(decoder.position, Position::Header { len: 0, .. }));
    }
}

#[test]
fn only_complete_valid_messages_take_the_fast_path() {
    for role in ROLES {
        let key = key_to(role);
        let other = if key.is_none() { Some(KEY) } else { None };
        let bare = |first| frame(first, key, b"text");
        let non_minimal = [
            vec![0x82, if key.is_some() { 0xfe } else { 126 }],
            vec![0; 129],
        ]
        .concat();
        let table: [(Vec<u8>, bool); 14] = [
            (bare(0x81), true),
            (bare(0x82), true),
            (frame(0x82, key, &[7; 125]), true),
            (frame(0x82, key, &[7; 126]), true),
            (frame(0x82, key, &[7; 1000]), true),
            (frame(0x82, key, &[7; 1001]), false),
            (frame(0x82, key, &[7; 70_000]), false),
            (frame(0x81, key, b"\xff"), false),
            (frame(0x82, other, b"text"), false),
            (bare(0x01), false),
            (bare(0xc1), false),
            (bare(0x89), false),
            (non_minimal, false),
            (vec![0x82], false),
        ];
        for (bytes, taken) in table {
            let decoder = Decoder::new(role, limits());
            let mut input = Bytes::from(bytes.clone());
            assert_eq!(decoder.whole(&mut input).is_some(), taken);
            assert_eq!(input.len(), if taken { 0 } else { bytes.len() });
            let mut cut = Bytes::copy_from_slice(&bytes[..bytes.len() - 1]);
            assert_eq!(decoder.whole(&mut cut), None);
            assert_eq!(cut.len(), bytes.len() - 1);
        }
        // The fast path is not taken while a message is incomplete.
        for before in [
            &frame(0x02, key, b"x")[..],
            &bare(0x82)[..1],
            &bare(0x82)[..5],
        ] {
            let mut decoder = Decoder::new(role, limits());
            decode_chunks(&mut decoder, [before]);
            let mut input = Bytes::from(bare(0x82));
            assert_eq!(decoder.whole(&mut input), None);
        }
    }
}

#[test]
fn an_event_is_at_most_48_bytes() {
    assert!(size_of::<Result<Option<Event>, ProtocolError>>() <= 48);
}

/// Fragments of a few bytes are not limited in number. Too many nearly empty ones are an error,
/// and use little memory until then.
#[test]
fn short_fragments_are_accepted_and_nearly_empty_ones_are_limited() {
    for (len, frames, passes) in [
        (4, 100_000, true),
        (16, 100_000, true),
        (64, 65_536, true),
        (1, 16_384, true),
        (1, 1_000_000, false),
        (0, 1_000_000, false),
    ] {
        for role in ROLES {
            let mut decoder = Decoder::new(role, Limits::default());
            let fragment = |head| Bytes::from(frame(head, key_to(role), &vec![7; len]));
            let (first, more) = (fragment(0x02), fragment(0x00));
            let mut received = 0;
            let error = (0..frames).find_map(|at| {
                let mut input = if at == 0 { first.clone() } else { more.clone() };
                received = at;
                decoder.decode(&mut input).err()
            });
            if passes {
                assert_eq!(error, None, "{frames} frames of {len} bytes");
            } else {
                let limit = 16_384;
                assert_eq!(error, Some(ProtocolError::TooManyFragments { limit }));
                assert!(received < 2 * limit, "{received} frames of {len} bytes");
                let held = decoder.message.map_or(0, |message| message.len());
                assert!(held < 2 * limit, "{held} bytes");
            }
        }
    }
}
