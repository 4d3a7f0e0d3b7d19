//! A message that is encoded once and sent many times.

use bytes::{Bytes, BytesMut};

use super::encoder::Frame;
use super::error::SendError;
use super::header::{Header, MAX_CONTROL, OpCode};
use super::{Message, Role};

/// A message for many sockets: checked and framed once, its bytes shared by all.
///
/// A server sends the frame as it is: a short one is copied into the socket's outgoing buffer,
/// where it is packed with others; of one of 16 KiB and more only the beginning is copied. A client
/// has to mask with a fresh key each time (RFC 6455 §5.3), so there only the payload is shared. It
/// goes uncompressed, also where permessage-deflate is on (RFC 7692 §6 leaves that to the sender).
///
/// Clones share it and cost nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    opcode: OpCode,
    /// The whole frame, unmasked.
    frame: Bytes,
    header_len: usize,
}

impl Prepared {
    /// Prepares a message.
    ///
    /// # Errors
    /// [`SendError::ControlTooLong`] for a Ping or Pong of more than 125 bytes (RFC 6455 §5.5).
    pub fn new(message: impl Into<Message>) -> Result<Self, SendError> {
        let message = message.into();
        let opcode = message.opcode();
        let payload = message.into_payload();
        if opcode.is_control() && payload.len() > MAX_CONTROL {
            return Err(SendError::ControlTooLong);
        }
        let len = payload.len();
        let mut frame = BytesMut::with_capacity(Header::MAX_LEN + len);
        // A server asks for no key.
        Frame::whole(opcode, payload).write(Role::Server, &mut || [0; 4], &mut frame);
        Ok(Self {
            opcode,
            header_len: frame.len() - len,
            frame: frame.freeze(),
        })
    }

    pub(super) const fn opcode(&self) -> OpCode {
        self.opcode
    }

    /// The frame as a server sends it.
    pub(super) fn frame(&self) -> &[u8] {
        &self.frame
    }

    pub(super) fn payload(&self) -> Bytes {
        self.frame.slice(self.header_len..)
    }

    /// Bytes of payload.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frame.len() - self.header_len
    }

    /// Whether there is no payload.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        /// Prepared or not: the same bytes, from either end; never in fragments.
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
            let prepared = Prepared::new(message).unwrap();
            prop_assert_eq!(prepared.len(), len);
            let mut protocol = Protocol::new(role, limits.fragment_size(fragment_size));
            protocol.send_prepared(&prepared, key, &mut shared).unwrap();
            prop_assert!(!protocol.has_pending());
            prop_assert_eq!(plain, shared);
        }
    }

    #[test]
    fn control_frames_are_short() {
        assert!(Prepared::new(Message::ping(vec![0; 125])).is_ok());
        let long = Prepared::new(Message::ping(vec![0; 126]));
        assert_eq!(long, Err(SendError::ControlTooLong));
    }

    #[test]
    fn nothing_is_sent_after_close_or_into_another_message() {
        let prepared = Prepared::new("hello").unwrap();
        let limits = Limits::default().fragment_size(1000);
        let mut protocol = Protocol::new(Role::Server, limits);
        let mut out = BytesMut::new();
        protocol
            .send(Message::binary(vec![0; 3000]), key, &mut out)
            .unwrap();
        let before = out.len();
        let busy = protocol.send_prepared(&prepared, key, &mut out);
        assert_eq!(busy, Err(SendError::Busy));
        let ping = Prepared::new(Message::ping("between")).unwrap();
        protocol.send_prepared(&ping, key, &mut out).unwrap();
        assert_eq!(out.len() - before, 9);
        protocol.abandon();
        protocol.close(None, key, &mut out).unwrap();
        assert!(protocol.close_sent());
        let closed = protocol.send_prepared(&prepared, key, &mut out);
        assert_eq!(closed, Err(SendError::Closed));
    }
}
