//! What goes over the wire, and what does not. One binary, so that the library
//! is linked once.

#[cfg(all(feature = "client", feature = "server", feature = "deflate"))]
mod deflate;
mod layers;
