//! What is sent and what arrives.

use bytes::Bytes;

use super::close::CloseFrame;
use super::header::OpCode;
use super::text::Text;

/// What an application sends or receives. Payloads are shared memory: a clone copies nothing.
///
/// Close frames are none: a socket is closed by its `close`, and its stream of messages ends when
/// the peer closes.
///
/// ```
/// use h2ws::Message;
///
/// let message = Message::text("hello");
/// assert_eq!(message.as_text(), Some("hello"));
/// assert_eq!(message.as_bytes(), b"hello");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// Text (RFC 6455 §5.6).
    Text(Text),
    /// Bytes (RFC 6455 §5.6).
    Binary(Bytes),
    /// Asks the peer for a pong (RFC 6455 §5.5.2); at most 125 bytes.
    Ping(Bytes),
    /// Answers a ping, or tells unasked that this side is alive (RFC 6455 §5.5.3); at most 125
    /// bytes. Pings are answered without the application's help.
    Pong(Bytes),
}

impl Message {
    /// A text message.
    pub fn text(text: impl Into<Text>) -> Self {
        Self::Text(text.into())
    }

    /// A binary message.
    pub fn binary(payload: impl Into<Bytes>) -> Self {
        Self::Binary(payload.into())
    }

    /// A ping with a payload of at most 125 bytes.
    pub fn ping(payload: impl Into<Bytes>) -> Self {
        Self::Ping(payload.into())
    }

    /// A pong with a payload of at most 125 bytes.
    pub fn pong(payload: impl Into<Bytes>) -> Self {
        Self::Pong(payload.into())
    }

    /// The text, if that is what this is.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The payload, whatever the kind.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(payload) | Self::Ping(payload) | Self::Pong(payload) => payload,
        }
    }

    /// The payload, whatever the kind, without a copy.
    #[must_use]
    pub fn into_payload(self) -> Bytes {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Binary(payload) | Self::Ping(payload) | Self::Pong(payload) => payload,
        }
    }

    /// The length of the payload in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload is empty.
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
        }
    }

    /// Whether this is a text message.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        matches!(self, Self::Text(_))
    }

    /// Whether this is a binary message.
    #[must_use]
    pub const fn is_binary(&self) -> bool {
        matches!(self, Self::Binary(_))
    }

    /// Whether this is a ping.
    #[must_use]
    pub const fn is_ping(&self) -> bool {
        matches!(self, Self::Ping(_))
    }

    /// Whether this is a pong.
    #[must_use]
    pub const fn is_pong(&self) -> bool {
        matches!(self, Self::Pong(_))
    }
}

impl From<Text> for Message {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<&'static str> for Message {
    fn from(text: &'static str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Bytes> for Message {
    fn from(payload: Bytes) -> Self {
        Self::Binary(payload)
    }
}

impl From<Vec<u8>> for Message {
    fn from(payload: Vec<u8>) -> Self {
        Self::binary(payload)
    }
}

/// What the peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A whole text or binary message.
    Message(Message),
    /// A ping; [`Protocol`](super::Protocol) answers it by itself.
    Ping(Bytes),
    /// A pong, asked for or not.
    Pong(Bytes),
    /// The peer's last frame; without code and reason when it was empty.
    Close(Option<CloseFrame>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_payloads() {
        let table = [
            (Message::text("data"), [true, false, false, false]),
            (Message::binary("data"), [false, true, false, false]),
            (Message::ping("data"), [false, false, true, false]),
            (Message::pong("data"), [false, false, false, true]),
        ];
        for (message, [text, binary, ping, pong]) in table {
            assert_eq!(message.is_text(), text);
            assert_eq!(message.is_binary(), binary);
            assert_eq!(message.is_ping(), ping);
            assert_eq!(message.is_pong(), pong);
            assert_eq!(message.as_text().is_some(), text);
            assert_eq!((message.len(), message.is_empty()), (4, false));
            assert_eq!(message.as_bytes(), b"data");
            assert_eq!(message.into_payload(), "data");
        }
        assert!(Message::text("").is_empty());
    }

    #[test]
    fn conversions() {
        assert_eq!(Message::from("a"), Message::text("a"));
        assert_eq!(Message::from("a".to_owned()), Message::text("a"));
        assert_eq!(Message::from(Text::from("a")), Message::text("a"));
        assert_eq!(Message::from(vec![1]), Message::binary(vec![1]));
        assert_eq!(
            Message::from(Bytes::from_static(b"a")),
            Message::binary("a")
        );
    }
}
