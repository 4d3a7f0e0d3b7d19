//! The WebSocket protocol without I/O: RFC 6455 §5 to §8 as a state machine over bytes.
//!
//! Nothing here reads a clock, draws random numbers or waits. The caller passes in the received
//! bytes, the masking keys, and a buffer for the bytes to send. So the same code works on any
//! transport, and tests and fuzzers can reach all of it.
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
//! assert_eq!(server.receive(&mut chunk)?, None, "the input is used up");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! The path of received bytes: `header` parses the header of a frame, [`mask`] unmasks its payload,
//! `deflate` inflates it if it is compressed (RFC 7692), `assemble` joins the fragments of a
//! message, and `utf8` validates text as it arrives. [`Decoder`] combines these steps and returns
//! [`Event`]s. [`Protocol`] adds the sending side and the closing handshake.

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

/// One of the two ends of a connection.
///
/// They differ in masking: a client masks the frames that it sends, a server does not (RFC 6455
/// §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The end that opened the connection; masks what it sends.
    Client,
    /// The end that accepted the connection; unmasks what it receives.
    Server,
}
