//! Messages, and the events that a peer causes.

use bytes::{Bytes, BytesMut};

use super::close::CloseFrame;
use super::header::OpCode;
use super::text::Text;

/// A message to send, or one that was received. Clones share the payload.
///
/// These are all kinds that RFC 6455 has. A WebSocket returns the last three to the application only
/// if its configuration asks for control messages.
///
/// ```
/// use h2ws::Message;
///
/// let message = Message::from("hello");
/// assert_eq!(message, Message::text("hello"));
/// assert_eq!(message.as_text(), Some("hello"));
/// assert_eq!(message.as_bytes(), b"hello");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text message (RFC 6455 §5.6).
    Text(Text),
    /// A binary message (RFC 6455 §5.6).
    Binary(Bytes),
    /// A control frame that asks the peer for a Pong (RFC 6455 §5.5.2). The payload is at most 125
    /// bytes. A WebSocket answers the peer's Pings by itself.
    Ping(Bytes),
    /// A control frame that answers a Ping, or an unsolicited sign of life (RFC 6455 §5.5.3). The
    /// payload is at most 125 bytes.
    Pong(Bytes),
    /// A control frame that closes the WebSocket (RFC 6455 §5.5.1); `None` if it has no code. To send
    /// one begins the closing handshake; `close` also waits for its end. The peer's is answered
    /// by itself, and the stream of messages ends after it.
    Close(Option<CloseFrame>),
}

impl Message {
    /// Creates a text message. A `&str` is copied; a `String`, or a
    /// [`Text::from_static`], is not.
    pub fn text(text: impl Into<Text>) -> Self {
        Self::Text(text.into())
    }

    /// Creates a binary message.
    pub fn binary(payload: impl Into<Bytes>) -> Self {
        Self::Binary(payload.into())
    }

    /// Creates a Ping with a payload of at most 125 bytes.
    pub fn ping(payload: impl Into<Bytes>) -> Self {
        Self::Ping(payload.into())
    }

    /// Creates a Pong with a payload of at most 125 bytes.
    pub fn pong(payload: impl Into<Bytes>) -> Self {
        Self::Pong(payload.into())
    }

    /// Returns the text of a text message. Takes time in proportion to its length; see [`Text`].
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// Returns the text of a text message, without a copy.
    #[must_use]
    pub fn into_text(self) -> Option<Text> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the payload of any message; of a Close frame, the reason.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(payload) | Self::Ping(payload) | Self::Pong(payload) => payload,
            Self::Close(frame) => frame.as_ref().map_or(&[], |frame| frame.reason.as_bytes()),
        }
    }

    /// Returns the payload of any message, without a copy; of a Close frame, the reason.
    #[must_use]
    pub fn into_data(self) -> Bytes {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Binary(payload) | Self::Ping(payload) | Self::Pong(payload) => payload,
            Self::Close(frame) => frame.map_or_else(Bytes::new, |frame| frame.reason.into_bytes()),
        }
    }

    /// Returns the length of the payload in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Returns whether the payload is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    pub(super) const fn opcode(&self) -> OpCode {
        match self {
            Self::Text(_) => OpCode::Text,
            Self::Binary(_) => OpCode::Binary,
            Self::Ping(_) => OpCode::Ping,
            Self::Pong(_) => OpCode::Pong,
            Self::Close(_) => OpCode::Close,
        }
    }

    /// Returns whether this is a text message.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// Returns whether this is a binary message.
    #[must_use]
    pub const fn is_binary(&self) -> bool {
        matches!(self, Self::Binary(_))
    }

    /// Returns whether this is a Ping.
    #[must_use]
    pub const fn is_ping(&self) -> bool {
        matches!(self, Self::Ping(_))
    }

    /// Returns whether this is a Pong.
    #[must_use]
    pub const fn is_pong(&self) -> bool {
        matches!(self, Self::Pong(_))
    }

    /// Returns whether this is a Close frame.
    #[must_use]
    pub const fn is_close(&self) -> bool {
        matches!(self, Self::Close(_))
    }
}

/// A text message.
impl From<Text> for Message {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

/// A text message; copies the text.
impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

/// A text message; copies the text.
impl From<&String> for Message {
    fn from(text: &String) -> Self {
        Self::text(text)
    }
}

/// A text message.
impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

/// A binary message.
impl From<Bytes> for Message {
    fn from(payload: Bytes) -> Self {
        Self::Binary(payload)
    }
}

/// A binary message.
impl From<BytesMut> for Message {
    fn from(payload: BytesMut) -> Self {
        Self::binary(payload)
    }
}

/// A binary message.
impl From<Vec<u8>> for Message {
    fn from(payload: Vec<u8>) -> Self {
        Self::binary(payload)
    }
}

/// A binary message.
impl From<&'static [u8]> for Message {
    fn from(payload: &'static [u8]) -> Self {
        Self::binary(payload)
    }
}

/// A binary message.
impl<const N: usize> From<&'static [u8; N]> for Message {
    fn from(payload: &'static [u8; N]) -> Self {
        Self::binary(&payload[..])
    }
}

/// What a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A whole text or binary message, never a control frame.
    Message(Message),
    /// A Ping; [`Protocol`](super::Protocol) answers it by itself.
    Ping(Bytes),
    /// A Pong, solicited or not.
    Pong(Bytes),
    /// The peer's Close frame, and so its last; `None` if it carried no code.
    Close(Option<CloseFrame>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::CloseCode;

    #[test]
    fn kinds_and_payloads() {
        let table = [
            (Message::text("data"), [true, false, false, false, false]),
            (Message::binary("data"), [false, true, false, false, false]),
            (Message::ping("data"), [false, false, true, false, false]),
            (Message::pong("data"), [false, false, false, true, false]),
            (
                Message::Close(Some(CloseFrame::new(CloseCode::NORMAL, "data"))),
                [false, false, false, false, true],
            ),
        ];
        for (message, [text, binary, ping, pong, close]) in table {
            assert_eq!(message.is_text(), text);
            assert_eq!(message.is_binary(), binary);
            assert_eq!(message.is_ping(), ping);
            assert_eq!(message.is_pong(), pong);
            assert_eq!(message.is_close(), close);
            assert_eq!(message.as_text().is_some(), text);
            assert_eq!((message.len(), message.is_empty()), (4, false));
            assert_eq!(message.as_bytes(), b"data");
            assert_eq!(message.clone().into_data(), "data");
            assert_eq!(message.into_text(), text.then(|| Text::from("data")));
        }
        assert!(Message::text("").is_empty());
        assert!(Message::Close(None).is_empty());
    }

    #[test]
    fn conversions() {
        assert_eq!(Message::from("a"), Message::text("a"));
        assert_eq!(Message::from("a".to_owned()), Message::text("a"));
        assert_eq!(Message::from(&"a".to_owned()), Message::text("a"));
        assert_eq!(Message::from(Text::from("a")), Message::text("a"));
        assert_eq!(Message::from(vec![1]), Message::binary(vec![1]));
        assert_eq!(Message::from(b"a"), Message::binary("a"));
        assert_eq!(Message::from(&b"a"[..]), Message::binary("a"));
        assert_eq!(Message::from(BytesMut::from("a")), Message::binary("a"));
        assert_eq!(
            Message::from(Bytes::from_static(b"a")),
            Message::binary("a")
        );
    }
}
