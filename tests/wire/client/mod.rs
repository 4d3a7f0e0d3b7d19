//! Opening, pooling and falling back, seen from the server that a client of ours meets.

mod dialling;
mod early_messages;
mod endings;
mod fallback_probe;
pub(crate) mod http1;
mod opening;
mod pool;
mod proxy;
mod stream_limit;
mod tls;
