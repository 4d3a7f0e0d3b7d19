//! The server: WebSockets and ordinary requests on one port.

mod accept;
mod answer;
mod body;
mod builder;
mod connection;
mod open;
mod ordinary;
mod peer;
mod serve;
mod trouble;
mod upgrade;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

pub use self::body::{Body, BodyError};
pub use self::builder::ServerBuilder;
pub use self::peer::Peer;
pub use self::serve::{Drained, Serve};
pub use self::upgrade::Upgrade;

use self::builder::Settings;

/// A bound server.
///
/// It takes WebSockets over HTTP/2 (RFC 8441) and HTTP/1.1 (RFC 6455) on the
/// same port, and hands every other request to a fallback. With TLS the client
/// picks the version by ALPN, without by its first bytes.
///
/// # Example
///
/// ```no_run
/// use futures_util::{SinkExt, StreamExt};
/// use h2ws::{Server, Upgrade};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Server::builder().bind("127.0.0.1:8080").await?;
/// server
///     .serve(|request: Upgrade| async move {
///         let Ok(mut ws) = request.accept().await else { return };
///         while let Some(Ok(message)) = ws.next().await {
///             if ws.send(message).await.is_err() {
///                 break;
///             }
///         }
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    settings: Arc<Settings>,
}

impl Server {
    /// Begins a configuration.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The address that the server listens on, with the real port.
    ///
    /// # Errors
    ///
    /// If the operating system does not tell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves: each WebSocket request is given to `handler`, in a task of its
    /// own. What it returns has to be awaited.
    ///
    /// The handler is also where access is controlled, see [`Upgrade`]: it may
    /// wait before it answers, and holds up no other request by it. Until the
    /// request is answered its future is dropped when the client gives up or
    /// [`answer_timeout`](ServerBuilder::answer_timeout) is over; from then on
    /// it runs to its end. Requests under way at a time are bounded by
    /// [`max_concurrent_streams`](crate::Http2Config::max_concurrent_streams) a
    /// connection.
    pub fn serve<H, F>(self, handler: H) -> Serve
    where
        H: Fn(Upgrade) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Serve::new(self, handler)
    }
}
