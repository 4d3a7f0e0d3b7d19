//! What goes over the wire, and what does not. One binary, so that the library
//! is linked once.

mod ending_server;
mod frames_server;
mod http1;
mod layers;
mod opening_server;
mod support;
