//! WebSockets through a service: a router's paths, layers and extractors apply
//! to them.
//!
//! One rule holds for every framework: *the service answers, the server opens*.
//! A WebSocket request reaches the service as a plain request with a
//! [`Slot`](slot::Slot) among its extensions. Whoever extracts the slot decides
//! *how* the WebSocket is opened (subprotocol, limits, compression) and gets it
//! once it is open; *whether* it is opened is the final response's to say, after
//! all layers have seen it:
//!
//! | the service's response | slot accepted | the client sees |
//! |---|---|---|
//! | 101 over HTTP/1.1, 2xx over HTTP/2 | yes | an open WebSocket, with the response's header fields |
//! | 3xx, 4xx, 5xx | either | the response, with its body |
//! | 101 or 2xx of the other version | yes | 500, and a warning in the log |
//! | 1xx or 2xx | no | 501, and a warning in the log |
//! | none in time | either | 503 after the answer timeout; the service's future is dropped |
//! | an error or a panic | either | 500 or a reset |
//!
//! The same extractor works under a hyper server that is not ours, where the
//! request carries `hyper::upgrade::OnUpgrade` instead of a slot.

#[cfg(feature = "axum")]
pub(crate) mod axum;
pub(crate) mod hyper;
mod on_websocket;
mod rejection;
mod service;
mod slot;

pub use self::service::ServiceOptions;

pub(super) use self::service::route;
