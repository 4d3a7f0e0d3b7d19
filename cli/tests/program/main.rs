//! The program as people run it: its exit status, what it prints, and what it
//! does on the wire. One binary, so that the library is linked once.

mod bench;
mod blame;
mod bridge;
mod bridge_config;
#[cfg(unix)]
mod bridge_operation;
mod bridge_ordinary;
mod bridge_tls;
mod certificates;
mod connect;
mod demo;
mod probe;
mod process;
mod raw;
mod serve;
#[cfg(unix)]
mod stderr;
#[cfg(unix)]
mod terminal;
mod tls;
mod usage;
mod words;
