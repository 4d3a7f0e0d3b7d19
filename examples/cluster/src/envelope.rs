//! What nodes send each other: a node's id, a number, and a message or a fact about presence.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2ws::Message;

/// Identifies a node from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// One publication of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// The sender.
    pub node: NodeId,
    /// The number of a message among those of this node and topic, from 1. Others have 0.
    pub number: u64,
    /// The content.
    pub content: Content,
}

/// The content of an [`Envelope`].
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A text or binary message.
    Message(Message),
    /// All of the node's subscribers to the topic: how many, and the first of their names.
    Present(u32, Vec<String>),
    /// Asks the other nodes for theirs.
    WhoIsPresent,
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const PRESENT: u8 = 3;
const WHO_IS_PRESENT: u8 = 4;

impl Envelope {
    /// Returns the bytes to publish.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u64(self.node.0);
        out.put_u64(self.number);
        match &self.content {
            Content::Message(message) => {
                out.put_u8(if message.is_text() { TEXT } else { BINARY });
                out.extend_from_slice(message.as_bytes());
            }
            Content::Present(count, names) => {
                out.put_u8(PRESENT);
                out.put_u32(*count);
                for name in names {
                    // A name is a part of a URL, which is shorter.
                    let len = u16::try_from(name.len()).unwrap_or(0);
                    out.put_u16(len);
                    out.extend_from_slice(&name.as_bytes()[..len.into()]);
                }
            }
            Content::WhoIsPresent => out.put_u8(WHO_IS_PRESENT),
        }
        out.freeze()
    }

    /// Returns the envelope of published bytes, or `None` if they are not of a node.
    #[must_use]
    pub fn decode(mut bytes: Bytes) -> Option<Self> {
        let node = NodeId(bytes.try_get_u64().ok()?);
        let number = bytes.try_get_u64().ok()?;
        let content = match bytes.try_get_u8().ok()? {
            TEXT => Content::Message(Message::text(text(bytes)?)),
            BINARY => Content::Message(Message::binary(bytes)),
            PRESENT => {
                let count = bytes.try_get_u32().ok()?;
                let mut names = Vec::new();
                while bytes.has_remaining() {
                    let len = usize::from(bytes.try_get_u16().ok()?);
                    if bytes.len() < len {
                        return None;
                    }
                    names.push(text(bytes.split_to(len))?);
                }
                Content::Present(count, names)
            }
            WHO_IS_PRESENT => Content::WhoIsPresent,
            _ => return None,
        };
        Some(Self {
            node,
            number,
            content,
        })
    }
}

fn text(bytes: Bytes) -> Option<String> {
    String::from_utf8(bytes.into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_decoded_as_it_was_encoded() {
        let names = vec!["ann".to_owned(), String::new(), "Grüße".to_owned()];
        for content in [
            Content::Message(Message::text("hello")),
            Content::Message(Message::text("")),
            Content::Message(Message::binary(vec![0xff; 300])),
            Content::Present(7, names),
            Content::Present(0, Vec::new()),
            Content::WhoIsPresent,
        ] {
            let envelope = Envelope {
                node: NodeId(u64::MAX - 1),
                number: 9,
                content,
            };
            assert_eq!(Envelope::decode(envelope.encode()), Some(envelope));
        }
    }

    /// Other programs may publish to the same channels.
    #[test]
    fn other_bytes_are_no_envelope() {
        let head = [0; 16];
        for tail in [
            &[][..],
            &[0],
            &[9, 1],
            b"\x01\xff",
            &[3, 0, 0, 0],
            b"\x03\0\0\0\x01\0\x05ann",
        ] {
            let bytes = [&head[..], tail].concat();
            assert_eq!(Envelope::decode(bytes.into()), None, "{tail:?}");
        }
        assert_eq!(Envelope::decode(Bytes::from_static(b"hello")), None);
    }
}
