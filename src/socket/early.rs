//! Early messages, which are sent with the opening request.

use bytes::{Bytes, BytesMut};

use super::keys::mask_key;
use crate::frame::{Limits, Message, Protocol, Role, SendError};

/// The early messages of a request, kept until a server has accepted them, because the request may
/// be repeated.
#[derive(Clone, Debug, Default)]
pub(crate) struct Early {
    messages: Vec<Message>,
}

impl Early {
    pub(crate) fn push(&mut self, message: Message) {
        self.messages.push(message);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Returns the number of messages and the total length of their payloads.
    pub(crate) fn size(&self) -> (u64, usize) {
        let bytes = self.messages.iter().map(Message::len).sum();
        (self.messages.len() as u64, bytes)
    }

    /// Returns the frames, with fresh masks for each attempt (RFC 6455 §5.3). They are not
    /// compressed, because nothing is negotiated yet, and uncompressed messages are always allowed
    /// (RFC 7692 §6).
    pub(crate) fn frames(&self, limits: Limits) -> Result<Bytes, SendError> {
        if self.messages.is_empty() {
            return Ok(Bytes::new());
        }
        let mut protocol = Protocol::new(Role::Client, limits);
        let mut frames = BytesMut::new();
        for message in &self.messages {
            protocol.send(message.clone(), mask_key, &mut frames)?;
            while protocol.write(mask_key, &mut frames) {}
        }
        Ok(frames.freeze())
    }

    pub(crate) fn into_messages(self) -> Vec<Message> {
        self.messages
    }
}
