//! The two opening handshakes.

/// Which opening handshake is used, and so which version of HTTP carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeKind {
    /// The HTTP/1.1 Upgrade (RFC 6455 §4).
    Http1,
    /// The HTTP/2 extended CONNECT (RFC 8441 §4).
    Http2,
}
