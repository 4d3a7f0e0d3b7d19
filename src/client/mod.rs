//! The client: opens WebSockets, many per connection.

mod attempt;
mod builder;
#[expect(
    clippy::module_inception,
    reason = "the type that the module is named after"
)]
pub(crate) mod client;
mod connector;
mod custom_connector;
mod destination;
mod dialed;
mod fallback_probe;
mod http1_sockets;
mod origin;
mod origins;
mod pool;
mod proxy;
mod reconnecting;
mod request;
mod service;
mod settings;
mod target;
mod target_cache;
pub(crate) mod version;
pub(crate) use self::attempt::Accepted;
pub use self::builder::ClientBuilder;
pub(crate) use self::client::Client;
pub use self::destination::Destination;
pub use self::dialed::Dialed;
pub use self::reconnecting::{AttemptFailed, Disconnected, ReconnectEvent};
pub use self::reconnecting::{ReconnectingBuilder, ReconnectingWebSocket};
pub use self::request::RequestBuilder;
pub use self::target::IntoTarget;
pub(crate) use self::version::HttpVersion;
pub use crate::error::{DisconnectCause, RejectedResponse};
pub use crate::transport::ConnectionStats;

#[cfg(test)]
mod tests;
