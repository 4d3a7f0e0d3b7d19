//! Code that the echo servers and load clients share.
//!
//! | module | contents |
//! |---|---|
//! | [`args`] | a parser of the command line |
//! | [`process`] | runtimes, CPU time and resident memory |
//! | [`mode`] | the optimizations that a raw h2 peer uses, and its HTTP/2 settings |
//! | [`gather`] | I/O that gathers small writes below h2 |
//! | [`driver`] | the task of an h2 connection, which may yield before it writes |
//! | [`owned`] | an alternative design, in which only the driver calls h2 |
//! | [`stream`] | one stream in either design |
//! | [`frames`] | writing and counting RFC 6455 frames |
//! | [`upgrade`] | the HTTP/1.1 handshake of RFC 6455 §4, for peers without their own |
//! | [`tls`] | TLS with a certificate that is not verified |
//! | [`load`] | the counters of a load client and its JSON report |

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

/// Any error, which ends a benchmark program.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
