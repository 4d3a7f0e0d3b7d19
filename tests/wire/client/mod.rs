//! Opening requests, connection pooling and fallback, observed by the server that an h2ws
//! client connects to.

mod dialling;
mod early_messages;
mod endings;
mod fallback_probe;
pub(crate) mod http1;
mod opening;
mod pool;
mod proxy;
mod reconnecting;
mod stream_limit;
mod tls;
