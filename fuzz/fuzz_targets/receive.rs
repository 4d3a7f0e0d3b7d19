//! Decodes arbitrary bytes, split into chunks of any size: no input causes a panic, the result does
//! not depend on the chunks, and no message exceeds the limits.
#![no_main]

use bytes::{Bytes, BytesMut};
use h2ws::frame::{Deflate, Event, Protocol, Role};
use h2ws::{CloseCode, Limits};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits::UNLIMITED
    .max_frame_size(1 << 16)
    .max_message_size(1 << 17)
    .max_fragments(64);

fn receive(
    mut protocol: Protocol,
    chunks: impl Iterator<Item = Bytes>,
) -> (Vec<Event>, Option<CloseCode>) {
    let mut events = Vec::new();
    let mut out = BytesMut::new();
    for mut chunk in chunks {
        loop {
            match protocol.receive(&mut chunk) {
                Ok(Some(event)) => {
                    if let Event::Message(message) = &event {
                        assert!(message.len() <= 1 << 17);
                    }
                    events.push(event);
                }
                Ok(None) => break,
                // If a message violates the protocol twice, either violation may be found first, so
                // only the close codes are compared.
                Err(error) => return (events, Some(error.close_code())),
            }
            while protocol.write(|| [1, 2, 3, 4], &mut out) {}
            out.clear();
        }
    }
    (events, None)
}

fuzz_target!(|input: (bool, bool, u8, Vec<u8>)| {
    let (server, compressed, size, bytes) = input;
    let role = if server { Role::Server } else { Role::Client };
    let protocol = || {
        if compressed {
            Protocol::with_deflate(role, LIMITS, Deflate::default())
        } else {
            Protocol::new(role, LIMITS)
        }
    };
    let bytes = Bytes::from(bytes);
    let whole = receive(protocol(), std::iter::once(bytes.clone()));
    let size = usize::from(size).max(1);
    let pieces = bytes.chunks(size).map(|piece| bytes.slice_ref(piece));
    assert_eq!(receive(protocol(), pieces), whole);
});
