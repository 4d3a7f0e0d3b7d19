//! The server: WebSockets and plain HTTP requests on one port.

mod accept;
mod accept_errors;
mod body;
mod builder;
mod client_counts;
mod connection;
mod connection_counts;
mod connection_slots;
mod connections;
pub(crate) mod embed;
mod erased;
mod handler;
mod http_service;
mod listen;
mod listener;
#[cfg(all(test, h2ws_loom))]
mod models;
mod own_answers;
mod peer;
mod pending;
mod rarely;
mod redirect;
mod registry;
mod rejection_log;
mod request;
mod response;
mod serve;
#[expect(
    clippy::module_inception,
    reason = "the type that the module is named after"
)]
pub(crate) mod server;
mod service;
mod settings;
mod truncated_body;

pub use self::body::{Body, BodyError};
pub use self::builder::ServerBuilder;
pub(crate) use self::client_counts::{ClientCounts, ClientId};
pub use self::connection_counts::ConnectionCounts;
pub use self::connections::{Connections, ShutdownReport};
pub use self::embed::ServiceOptions;
pub use self::handler::HandlerResult;
pub use self::listen::ListenConfig;
pub use self::listener::Listener;
pub use self::peer::Peer;
pub(crate) use self::rejection_log::version_name;
pub use self::request::WebSocketRequest;
pub(crate) use self::request::query;
pub use self::serve::Serve;
