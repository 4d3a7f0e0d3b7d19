//! The halves of a [`WebSocket`], and byte streams in its place.

mod binary_stream;
pub(crate) mod broadcast;
pub(crate) mod config;
mod early;
mod keys;
#[cfg(all(test, h2ws_loom))]
mod models;
mod pings;
mod raw_stream;
mod split;
pub(crate) mod topics;
pub(crate) mod websocket;

pub use self::binary_stream::{BinaryStream, CopyError, HALF_CLOSE};
pub use self::config::StreamEnd;
pub(crate) use self::config::WebSocketConfig;
pub(crate) use self::early::Early;
pub(crate) use self::keys::{mask_key, nonce};
pub use self::raw_stream::RawStream;
pub use self::split::{ReuniteError, WebSocketReader, WebSocketWriter};
pub(crate) use self::websocket::Agreement;
pub(crate) use self::websocket::WebSocket;
