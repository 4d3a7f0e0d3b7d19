//! What each fuzz target does with one input: a function from bytes that panics if a promise is
//! broken.
//!
//! `fuzz_targets/` gives these functions to libFuzzer. `tests/fuzz.rs` of the library gives them the
//! inputs in `corpus/`, so that what was found once is tested by `cargo test`. An input begins with
//! the decisions of the target, a byte each, and ends with the bytes of a peer: so libFuzzer can
//! change either without moving the other.
//!
//! The functions of the program are in `cli/src/fuzz.rs`.
#![allow(unreachable_pub, reason = "a crate here, a module in a test")]

pub mod client;
mod connections;
pub mod deflate;
pub mod frames;
pub mod handshakes;
mod input;
pub mod server;
pub mod splice;
pub mod urls;
