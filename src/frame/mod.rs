//! The WebSocket protocol as bytes and state: RFC 6455 §5 to §8 without I/O.
//!
//! Nothing here reads a clock, draws a random number or waits: the caller brings the bytes that
//! arrived, the masking keys, and a place for the bytes to send. So the same code serves any
//! transport, and tests and fuzzers reach every corner of it.
//!
//! [`Protocol`] is one endpoint, and all that most callers need:
//!
//! ```
//! use bytes::{Bytes, BytesMut};
//! use h2ws::frame::{Event, Protocol, Role};
//! use h2ws::{Limits, Message};
//!
//! let mut client = Protocol::new(Role::Client, Limits::default());
//! let mut server = Protocol::new(Role::Server, Limits::default());
//!
//! let mut wire = BytesMut::new();
//! // A real client draws each key from a cryptographic generator (RFC 6455 §5.3).
//! client.send(Message::text("hello"), || [0x37, 0xfa, 0x21, 0x3d], &mut wire)?;
//!
//! let mut chunk = wire.freeze();
//! let event = server.receive(&mut chunk)?;
//! assert_eq!(event, Some(Event::Message(Message::text("hello"))));
//! assert_eq!(server.receive(&mut chunk)?, None, "that was all");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! How a byte travels: `header` reads the first bytes of a frame, [`mask`] uncovers its payload,
//! `deflate` inflates it where it is compressed (RFC 7692), `assemble` puts together what was cut,
//! `utf8` checks text as it arrives, [`Decoder`] joins these into [`Event`]s, and [`Protocol`] adds
//! the sending side and the closing handshake.

mod assemble;
pub(crate) mod close;
pub(crate) mod close_code;
mod decoder;
mod deflate;
mod encoder;
mod error;
mod header;
pub(crate) mod limits;
pub mod mask;
pub(crate) mod message;
mod prepared;
mod protocol;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod utf8;

pub use decoder::Decoder;
pub use deflate::Deflate;
pub use encoder::Output;
pub use error::{ProtocolError, SendError};
pub use header::{Header, OpCode};
pub use message::Event;
pub(crate) use message::Message;
pub use prepared::PreparedMessage;
pub use protocol::Protocol;
pub use utf8::{InvalidUtf8, Utf8Validator};

#[cfg(any(feature = "net", test))]
pub(crate) use self::{close::CloseFrame, close_code::CloseCode, limits::Limits};

/// Which end of the connection this is.
///
/// The ends differ in one thing: what a client sends is masked, what a server sends is not
/// (RFC 6455 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Opened the connection: masks what it sends.
    Client,
    /// Accepted the connection: unmasks what it receives.
    Server,
}
