//! WebSockets over HTTP/2 (RFC 8441), with the HTTP/1.1 Upgrade (RFC 6455) as
//! the fallback.

pub mod frame;
pub mod handshake;

#[cfg(feature = "_net")]
mod error;
#[cfg(feature = "_net")]
mod socket;
#[cfg(feature = "_net")]
#[cfg_attr(
    not(all(feature = "client", feature = "server")),
    allow(dead_code, unused_imports, reason = "each end uses a part of it")
)]
mod transport;

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "server")]
mod server;

#[cfg(feature = "_net")]
pub use self::error::{Error, Refusal, Timeout};
pub use self::frame::{CloseCode, CloseFrame, Deflate, Limits, Message, ProtocolError, Role, Text};
pub use self::handshake::DeflateConfig;
#[cfg(feature = "_net")]
pub use self::socket::{
    ByteStream, Config, Ending, ReuniteError, WebSocket, WebSocketReader, WebSocketWriter,
};
#[cfg(feature = "_net")]
pub use self::transport::{ConnectionStats, Transport, h2::Http2Config};

#[cfg(feature = "client")]
pub use self::client::{Client, ClientBuilder, HttpVersion, RequestBuilder};
#[cfg(feature = "server")]
pub use self::server::{Body, BodyError, Drained, Serve, Server, ServerBuilder, Upgrade};
