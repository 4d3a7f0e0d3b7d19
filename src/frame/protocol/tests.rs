//! Tests of the state machine of one endpoint.

use super::*;
use crate::frame::testing::{KEY, frame, key_to};
use crate::frame::{CloseCode, CloseFrame, ProtocolError};
use bytes::BytesMut;

const ROLES: [Role; 2] = [Role::Client, Role::Server];

struct End {
    protocol: Protocol,
    out: BytesMut,
}

impl End {
    fn new(role: Role) -> Self {
        let limits = Limits::default().fragment_size(4);
        Self {
            protocol: Protocol::new(role, limits),
            out: BytesMut::new(),
        }
    }

    fn key(&self) -> impl FnMut() -> [u8; 4] + use<> {
        let role = self.protocol.role();
        move || {
            assert_eq!(role, Role::Client, "a server does not mask");
            KEY
        }
    }

    fn send(&mut self, message: Message) -> Result<(), SendError> {
        self.protocol.send(message, self.key(), &mut self.out)
    }

    fn close(&mut self, frame: Option<CloseFrame>) -> Result<(), SendError> {
        self.protocol.close(frame, self.key(), &mut self.out)
    }

    fn write(&mut self) -> bool {
        self.protocol.write(self.key(), &mut self.out)
    }

    /// Receives a frame from the peer.
    fn receive(&mut self, first: u8, payload: &[u8]) -> Result<Option<Event>, ProtocolError> {
        let mut input = frame(first, key_to(self.protocol.role()), payload).into();
        self.protocol.receive(&mut input)
    }

    /// Asserts that exactly these frames were written since the last call.
    #[track_caller]
    fn wrote(&mut self, frames: &[(u8, &[u8])]) {
        let key = (self.protocol.role() == Role::Client).then_some(KEY);
        let expected: Vec<u8> = frames
            .iter()
            .flat_map(|(first, payload)| frame(*first, key, payload))
            .collect();
        assert_eq!(self.out.split(), expected);
    }
}

fn ends() -> [End; 2] {
    ROLES.map(End::new)
}

fn code(code: u16) -> CloseFrame {
    CloseCode::from(code).into()
}

#[test]
fn a_protocol_is_at_most_112_bytes() {
    let size = size_of::<Protocol>();
    assert!(size <= 112, "{size} bytes for each socket");
}

#[test]
fn a_new_protocol_is_open_and_has_nothing_to_write() {
    for mut end in ends() {
        assert!(end.protocol.is_open());
        assert!(!end.protocol.has_pending_control() && !end.protocol.has_pending());
        assert!(!end.protocol.close_sent() && !end.protocol.is_closed());
        assert_eq!(end.protocol.received_close(), None);
        assert_eq!(end.protocol.failed(), None);
        assert_eq!(end.protocol.limits().fragment_size, 4);
        assert!(!end.write());
        end.wrote(&[]);
    }
}

#[test]
fn a_long_message_is_sent_one_fragment_at_a_time() {
    for mut end in ends() {
        assert_eq!(end.send(Message::text("0123456789")), Ok(()));
        end.wrote(&[(0x01, b"0123")]);
        assert!(end.protocol.has_pending() && !end.protocol.has_pending_control());
        assert_eq!(end.send(Message::text("x")), Err(SendError::Busy));
        assert_eq!(end.send(Message::ping("p")), Ok(()));
        assert_eq!(end.send(Message::pong("q")), Ok(()));
        end.wrote(&[(0x89, b"p"), (0x8a, b"q")]);
        assert!(end.write());
        end.wrote(&[(0x00, b"4567")]);
        assert!(end.write());
        end.wrote(&[(0x80, b"89")]);
        assert!(!end.protocol.has_pending() && !end.write());
        assert_eq!(end.send(Message::binary("0123")), Ok(()));
        end.wrote(&[(0x82, b"0123")]);
    }
}

#[test]
fn a_control_payload_above_125_bytes_is_rejected() {
    for mut end in ends() {
        assert_eq!(end.send(Message::ping(vec![0; 125])), Ok(()));
        end.wrote(&[(0x89, &[0; 125])]);
        assert_eq!(
            end.send(Message::ping(vec![0; 126])),
            Err(SendError::ControlTooLong)
        );
        assert_eq!(
            end.send(Message::pong(vec![0; 126])),
            Err(SendError::ControlTooLong)
        );
        end.wrote(&[]);
    }
}

#[test]
fn the_latest_ping_is_answered_before_the_next_fragment() {
    for mut end in ends() {
        end.send(Message::binary("012345")).expect("open");
        end.wrote(&[(0x02, b"0123")]);
        for payload in [&b"1"[..], b"2", b"3"] {
            let ping = Event::Ping(Bytes::copy_from_slice(payload));
            assert_eq!(end.receive(0x89, payload), Ok(Some(ping)));
            assert!(end.protocol.has_pending_control());
        }
        assert!(end.write());
        end.wrote(&[(0x8a, b"3"), (0x80, b"45")]);
        assert!(!end.protocol.has_pending_control() && !end.write());
    }
}

#[test]
fn our_close_frame_is_followed_by_the_peers() {
    for mut end in ends() {
        assert_eq!(
            end.close(Some(CloseFrame::new(CloseCode::NORMAL, "bye"))),
            Ok(())
        );
        end.wrote(&[(0x88, b"\x03\xe8bye")]);
        assert!(end.protocol.close_sent() && !end.protocol.is_open());
        assert!(!end.protocol.is_closed() && !end.protocol.has_pending_control());
        assert_eq!(end.close(None), Err(SendError::Closed));
        assert_eq!(end.send(Message::text("x")), Err(SendError::Closed));
        assert_eq!(end.send(Message::ping("x")), Err(SendError::Closed));

        // The peer may still send messages, but no Pong may follow our Close frame.
        let late = Event::Message(Message::text("late"));
        assert_eq!(end.receive(0x81, b"late"), Ok(Some(late)));
        assert_eq!(end.receive(0x89, b""), Ok(Some(Event::Ping(Bytes::new()))));
        assert!(!end.protocol.has_pending_control());

        assert_eq!(
            end.receive(0x88, b"\x03\xe8"),
            Ok(Some(Event::Close(Some(code(1000)))))
        );
        assert!(end.protocol.is_closed() && !end.write());
        assert_eq!(end.protocol.received_close(), Some(Some(&code(1000))));
        end.wrote(&[]);
    }
}

#[test]
fn the_peers_close_frame_is_echoed() {
    // The peer's Close frame, and the expected echo.
    let table: [(&[u8], Option<CloseFrame>, &[u8]); 3] = [
        (b"", None, b""),
        (b"\x03\xe9", Some(code(1001)), b"\x03\xe9"),
        (
            b"\x0f\xa0why",
            Some(CloseFrame::new(4000.into(), "why")),
            b"\x0f\xa0",
        ),
    ];
    for (payload, theirs, echo) in table {
        for mut end in ends() {
            assert_eq!(
                end.receive(0x88, payload),
                Ok(Some(Event::Close(theirs.clone())))
            );
            assert_eq!(end.protocol.received_close(), Some(theirs.as_ref()));
            assert!(end.protocol.has_pending_control() && !end.protocol.close_sent());
            assert!(!end.protocol.is_open() && !end.protocol.is_closed());
            assert_eq!(end.send(Message::text("x")), Err(SendError::Closed));
            assert_eq!(
                end.close(None),
                Err(SendError::Closed),
                "the echo is already due"
            );
            assert!(end.write());
            end.wrote(&[(0x88, echo)]);
            assert!(
                end.protocol.is_closed() && !end.protocol.has_pending_control() && !end.write()
            );
        }
    }
}

#[test]
fn a_ping_before_the_peers_close_frame_is_answered() {
    for mut end in ends() {
        end.receive(0x89, b"p").expect("a ping");
        end.receive(0x88, b"").expect("a close");
        assert!(end.write());
        end.wrote(&[(0x8a, b"p"), (0x88, b"")]);
    }
}

#[test]
fn a_due_pong_is_sent_before_our_close_frame() {
    for mut end in ends() {
        end.receive(0x89, b"p").expect("a ping");
        assert_eq!(end.close(None), Ok(()));
        end.wrote(&[(0x8a, b"p"), (0x88, b"")]);
    }
}

#[test]
fn input_after_the_peers_close_frame_is_ignored() {
    for mut end in ends() {
        let key = key_to(end.protocol.role());
        let mut input =
            Bytes::from([frame(0x88, key, b""), frame(0x81, key, b"x"), vec![0xff; 9]].concat());
        assert_eq!(
            end.protocol.receive(&mut input),
            Ok(Some(Event::Close(None)))
        );
        assert!(!input.is_empty());
        assert_eq!(end.protocol.receive(&mut input), Ok(None));
        assert!(input.is_empty());
        assert_eq!(end.protocol.failed(), None);
    }
}

#[test]
fn our_close_frame_waits_for_pending_fragments() {
    for mut end in ends() {
        end.send(Message::binary("0123456789")).expect("open");
        assert_eq!(end.close(Some(code(1001))), Ok(()));
        end.wrote(&[(0x02, b"0123")]);
        assert!(!end.protocol.is_open() && !end.protocol.close_sent());
        assert!(end.protocol.has_pending_control() && end.protocol.has_pending());
        assert_eq!(end.close(None), Err(SendError::Closed));
        end.receive(0x89, b"p").expect("a ping");
        assert!(end.write());
        end.wrote(&[(0x8a, b"p"), (0x00, b"4567")]);
        assert!(end.write());
        end.wrote(&[(0x80, b"89"), (0x88, b"\x03\xe9")]);
        assert!(end.protocol.close_sent() && !end.protocol.has_pending_control() && !end.write());
    }
}

#[test]
fn the_peers_close_frame_drops_pending_fragments() {
    for close_waits in [false, true] {
        for mut end in ends() {
            end.send(Message::binary("0123456789")).expect("open");
            end.wrote(&[(0x02, b"0123")]);
            if close_waits {
                end.close(Some(code(1001))).expect("open");
            }
            end.receive(0x88, b"\x03\xe8").expect("a close");
            assert!(!end.protocol.has_pending());
            assert!(end.write());
            end.wrote(&[(0x88, b"\x03\xe8")]);
            assert!(end.protocol.is_closed());
        }
    }
}

#[test]
fn a_violation_is_answered_with_its_close_code_and_ends_the_connection() {
    for mut end in ends() {
        end.send(Message::binary("0123456789")).expect("open");
        end.wrote(&[(0x02, b"0123")]);
        let error = ProtocolError::InvalidUtf8;
        assert_eq!(end.receive(0x81, b"\xff"), Err(error.clone()));
        assert_eq!(end.protocol.failed(), Some(&error));
        assert!(!end.protocol.has_pending() && !end.protocol.is_open());
        assert_eq!(end.receive(0x81, b"fine"), Err(error), "the error is final");
        assert_eq!(end.send(Message::text("x")), Err(SendError::Closed));
        assert!(end.protocol.has_pending_control() && end.write());
        end.wrote(&[(0x88, b"\x03\xeftext message is not UTF-8")]);
        assert!(end.protocol.close_sent() && !end.protocol.is_closed() && !end.write());
    }
}

#[test]
fn a_violation_after_our_close_frame_is_not_answered() {
    for mut end in ends() {
        end.close(None).expect("open");
        end.wrote(&[(0x88, b"")]);
        assert_eq!(
            end.receive(0x83, b""),
            Err(ProtocolError::ReservedOpCode(3))
        );
        assert_eq!(
            end.protocol.failed(),
            Some(&ProtocolError::ReservedOpCode(3))
        );
        assert!(!end.protocol.has_pending_control() && !end.write());
        end.wrote(&[]);
    }
}

#[test]
fn an_invalid_close_frame_is_rejected_and_changes_nothing() {
    let reason = CloseFrame::new(CloseCode::NORMAL, "x".repeat(124));
    let frames = [
        code(1005),
        code(1006),
        code(1015),
        code(999),
        code(5000),
        reason,
    ];
    for mut end in ends() {
        for frame in &frames {
            let result = end.close(Some(frame.clone()));
            assert_eq!(result, Err(SendError::InvalidCloseFrame));
        }
        assert!(end.protocol.is_open());
        end.wrote(&[]);
    }
}
