//! What the echo peers and the load clients share.
//!
//! | module | holds |
//! |---|---|
//! | [`args`] | the command line, without a dependency |
//! | [`process`] | runtimes, CPU time and resident memory |
//! | [`mode`] | which of the tricks a raw h2 peer uses, and its HTTP/2 settings |
//! | [`gather`] | small writes gathered below h2 |
//! | [`driver`] | the h2 connection's task, which may yield before it writes |
//! | [`owned`] | the other design: a driver that alone talks to h2 |
//! | [`stream`] | one echo stream, whichever design carries it |
//! | [`frames`] | RFC 6455 frames as a client writes and counts them |
//! | [`upgrade`] | the HTTP/1.1 handshake of RFC 6455 §4, for peers that have none |
//! | [`tls`] | TLS with a certificate that nobody checks |
//! | [`load`] | the closed loop's bookkeeping and its JSON report |

pub mod args;
pub mod driver;
pub mod frames;
pub mod gather;
pub mod load;
pub mod mode;
pub mod owned;
pub mod process;
pub mod stream;
pub mod tls;
pub mod upgrade;

/// Any failure ends a benchmark program; nobody matches on it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
