//! Which version of HTTP a client speaks.

/// Which version of HTTP carries a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum HttpVersion {
    /// HTTP/2 where a `wss` server has RFC 8441, else HTTP/1.1. A server that
    /// says it has, and then refuses the method, is asked over HTTP/1.1 before
    /// the attempt is given up: answers 400, 405, 426, 501, HTTP_1_1_REQUIRED,
    /// and resets that name no fault. That it helps is remembered, as is a
    /// missing RFC 8441, for [`http1_cache_ttl`](ClientBuilder::http1_cache_ttl).
    /// Servers at `ws` URLs are spoken to in HTTP/1.1.
    #[default]
    Auto,
    /// A connection of its own, upgraded from HTTP/1.1 (RFC 6455).
    Http1,
    /// A stream of an HTTP/2 connection (RFC 8441), or an error; at `ws` URLs
    /// with prior knowledge (RFC 9113 §3.3).
    Http2,
}
