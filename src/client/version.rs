//! [`HttpVersion`]: the version of HTTP that a client uses.

/// The version of HTTP that a client uses for a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum HttpVersion {
    /// HTTP/2 if a `wss` server supports RFC 8441, otherwise HTTP/1.1. For `ws` URLs,
    /// HTTP/1.1.
    ///
    /// If a server advertises RFC 8441 and then rejects the method, the client tries
    /// HTTP/1.1 before it gives up: after 400, 405, 426, 501, HTTP_1_1_REQUIRED, and resets
    /// that do not blame the request. The result is remembered for
    /// [`http1_cache_ttl`](crate::client::ClientBuilder::http1_cache_ttl), and so is a lack of RFC
    /// 8441.
    #[default]
    Auto,
    /// HTTP/1.1 with an Upgrade (RFC 6455): one connection per WebSocket.
    Http1,
    /// HTTP/2 with extended CONNECT (RFC 8441), or an error. For `ws` URLs, with prior
    /// knowledge (RFC 9113 §3.3).
    Http2,
}

impl HttpVersion {
    /// Returns the version for a URL, which is secure or not.
    pub(super) fn for_scheme(self, is_secure: bool) -> Self {
        match self {
            Self::Auto if !is_secure => Self::Http1,
            version => version,
        }
    }
}
