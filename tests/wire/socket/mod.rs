//! One WebSocket, whatever carries it: messages, halves, endings.

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
