//! Tests of a single WebSocket over HTTP/1.1 and HTTP/2: messages, halves, closing.

mod broadcast;
mod cancellation;
mod clauses;
mod close_timeout;
#[cfg(feature = "deflate")]
mod deflate;
mod delivery;
mod fragments;
mod halves;
mod keep_alive;
mod methods;
mod random;
mod topics;
