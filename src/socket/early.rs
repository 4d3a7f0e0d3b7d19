//! Messages that are sent before there is a socket.

use bytes::{Bytes, BytesMut};

use super::keys::mask_key;
use crate::frame::{Limits, Message, Protocol, Role, SendError};

/// The first messages of a client, kept until a server has taken them: a
/// request may be repeated.
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

    /// How many messages there are, and how long their payloads are together.
    pub(crate) fn size(&self) -> (u64, usize) {
        let bytes = self.messages.iter().map(Message::len).sum();
        (self.messages.len() as u64, bytes)
    }

    /// Their frames, with masks of their own for each attempt (RFC 6455 §5.3).
    /// Uncompressed: nothing is agreed on yet, and later on uncompressed
    /// messages are allowed as well (RFC 7692 §6).
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
