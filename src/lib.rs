//! WebSockets over HTTP/2.
pub mod frame;
pub mod handshake;
