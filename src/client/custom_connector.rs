//! Connections that a user's function makes, instead of TCP and proxies.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::destination::Destination;
use crate::error::Error;
use crate::handshake::Target;
use crate::transport::{BoxIo, TcpConfig};

type Connecting = Pin<Box<dyn Future<Output = io::Result<BoxIo>> + Send>>;

#[derive(Clone)]
pub(super) struct CustomConnector(Arc<dyn Fn(Destination, TcpConfig) -> Connecting + Send + Sync>);

impl CustomConnector {
    pub(super) fn new<F, Fut, I>(connect: F) -> Self
    where
        F: Fn(Destination) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<I>> + Send + 'static,
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self(Arc::new(move |destination, tcp| {
            let connecting = connect(destination);
            Box::pin(async move { Ok(tcp.boxed(connecting.await?)) })
        }))
    }

    pub(super) async fn connect(
        &self,
        target: &Target,
        address: Option<SocketAddr>,
        tcp: &TcpConfig,
    ) -> Result<BoxIo, Error> {
        let destination = Destination::new(target.clone(), address);
        let connected = (self.0)(destination, tcp.clone()).await;
        connected.map_err(|error| Error::Connect(Arc::new(error)))
    }
}

impl fmt::Debug for CustomConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomConnector")
    }
}
