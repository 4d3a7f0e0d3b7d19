//! What a `tcp` upstream is sent before the client's bytes.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// The two ends of a tunnel, for [`RouteBuilder::tcp_preface`](crate::bridge::RouteBuilder::tcp_preface).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TunnelEnds {
    /// The client. The port is 0 if a trusted proxy reported the address, and the address is the
    /// unspecified one, `0.0.0.0`, if it is unknown, such as that of a Unix socket's peer.
    pub client: SocketAddr,
    /// The upstream; `None` if it is on a Unix socket.
    pub upstream: Option<SocketAddr>,
}

#[derive(Clone)]
pub(in crate::bridge) struct TcpPreface(Arc<dyn Fn(TunnelEnds) -> Vec<u8> + Send + Sync>);

impl TcpPreface {
    pub(super) fn new(preface: impl Fn(TunnelEnds) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self(Arc::new(preface))
    }

    pub(in crate::bridge) fn bytes(&self, ends: TunnelEnds) -> Vec<u8> {
        (self.0)(ends)
    }
}

impl fmt::Debug for TcpPreface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TcpPreface")
    }
}
