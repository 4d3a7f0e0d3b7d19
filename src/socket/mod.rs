//! [`WebSocket`]: messages over a byte stream.

mod broadcast;
mod bytes;
mod config;
#[cfg(feature = "client")]
mod early;
mod keys;
mod messages;
mod pings;
mod split;
mod websocket;

pub use self::broadcast::{Broadcast, Delivery, Member, Slow};
pub use self::bytes::ByteStream;
pub use self::config::{Config, Ending};
#[cfg(feature = "client")]
pub(crate) use self::early::Early;
#[cfg(feature = "client")]
pub(crate) use self::keys::nonce;
pub use self::messages::MessageStream;
pub use self::split::{ReuniteError, WebSocketReader, WebSocketWriter};
pub(crate) use self::websocket::Agreement;
pub use self::websocket::WebSocket;
