//! WebSockets in a service, so that a router's paths, layers and extractors apply to
//! them.
//!
//! One rule holds for every framework: *the service answers, the server opens*. A
//! WebSocket request reaches the service as a plain request with a [`Slot`](slot::Slot)
//! among its extensions. The handler that extracts the slot decides *how* the WebSocket
//! is opened (subprotocol, limits, compression), and gets it once it is open. The final
//! response, after all layers, decides *whether* it is opened:
//!
//! | the service's response | slot accepted | the client gets |
//! |---|---|---|
//! | 101 over HTTP/1.1, 2xx over HTTP/2 | yes | an open WebSocket, with the response's header fields |
//! | 3xx, 4xx, 5xx | either | the response, with its body |
//! | 101 or 2xx of the other version | yes | 500, and a warning in the log |
//! | 1xx or 2xx | no | 501, and a warning in the log |
//! | none within the handler timeout | either | 503; the service's future is dropped |
//! | an error or a panic | either | 500 or a reset |
//!
//! The same extractor works under other hyper servers, where the request carries
//! `hyper::upgrade::OnUpgrade` instead of a slot.

#[cfg(feature = "axum")]
pub(crate) mod axum;
pub(crate) mod hyper;
mod on_websocket;
mod rejection;
mod service;
mod slot;

pub use self::service::ServiceOptions;

pub(super) use self::service::route;
