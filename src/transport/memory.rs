//! Connections within one process, for tests that need no socket of the operating system.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

/// Bytes that one direction of a connection buffers.
const BUFFER: usize = 64 * 1024;

/// Connections that may wait to be accepted.
const BACKLOG: usize = 128;

/// The address of a peer without one, such as that of a Unix socket.
pub(crate) const NO_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Creates a listener, and the connector of its clients.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use h2ws::server::WebSocketRequest;
/// use h2ws::{Client, Server, memory};
///
/// let (listener, connector) = memory::pair();
/// let server = Server::builder().listener(listener)?;
/// let accept = |request: WebSocketRequest| async { drop(request.accept().await) };
/// tokio::spawn(server.serve(accept).into_future());
///
/// let client = Client::builder().connector(move |_| connector.connect()).build()?;
/// let socket = client.connect("ws://app.example/").await?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn pair() -> (MemoryListener, MemoryConnector) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    (MemoryListener(receiver), MemoryConnector(sender))
}

/// Accepts the connections of a [`MemoryConnector`]; pass it to
/// [`ServerBuilder::listener`](crate::server::ServerBuilder::listener).
#[derive(Debug)]
pub struct MemoryListener(mpsc::Receiver<(DuplexStream, SocketAddr)>);

impl MemoryListener {
    /// Waits for the next connection, forever if there is no connector left.
    ///
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> (DuplexStream, SocketAddr) {
        match self.0.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }
}

/// Opens connections to a [`MemoryListener`]; call it in the function that
/// [`ClientBuilder::connector`](crate::client::ClientBuilder::connector) takes.
#[derive(Clone, Debug)]
pub struct MemoryConnector(mpsc::Sender<(DuplexStream, SocketAddr)>);

impl MemoryConnector {
    /// Opens a connection. The server sees the peer address `0.0.0.0:0`. Waits while 128 others wait to
    /// be accepted.
    ///
    /// # Errors
    ///
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) if the listener was
    /// dropped.
    pub fn connect(&self) -> impl Future<Output = io::Result<DuplexStream>> + Send + use<> {
        self.connect_from(NO_ADDRESS)
    }

    /// Opens a connection whose peer address is `peer` for the server.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect).
    pub fn connect_from(
        &self,
        peer: SocketAddr,
    ) -> impl Future<Output = io::Result<DuplexStream>> + Send + use<> {
        let sender = self.0.clone();
        async move {
            let (near, far) = duplex(BUFFER);
            let sent = sender.send((far, peer)).await;
            sent.map_err(|_| {
                let reason = "the in-memory listener was dropped";
                io::Error::new(io::ErrorKind::ConnectionRefused, reason)
            })?;
            Ok(near)
        }
    }
}
