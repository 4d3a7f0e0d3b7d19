//! The library on the wire, against peers that were not written with it.
//!
//! | directory | what it holds |
//! |---|---|
//! | [`client`] | opening, pooling and falling back, against a server written by hand |
//! | [`server`] | accepting, rejecting and shutting down, against a client written by hand |
//! | [`bridge`] | a bridge between a client and an upstream, both written by hand |
//! | [`sharing`] | many WebSockets on one connection: what one of them may cost the others |
//! | [`socket`] | one WebSocket, whatever carries it: messages, halves, endings |
//! | [`support`] | the peers, and the fixtures that put one beside the code under test |
//!
//! `settings`, `metrics` and `spans` test what users configure and observe, and
//! `architecture` the layers of the source. All of it is one binary, so that the
//! library is linked once.

#![cfg(any(feature = "ring", feature = "aws-lc-rs"))]

mod architecture;
mod bridge;
mod client;
mod guide;
mod metrics;
mod server;
mod settings;
mod sharing;
mod socket;
mod spans;
mod support;
