//! Connections that a user's function makes, instead of TCP and proxies.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::Error;
use crate::handshake::Target;
use crate::transport::{BoxIo, TcpConfig};

type Connecting = Pin<Box<dyn Future<Output = io::Result<BoxIo>> + Send>>;

#[derive(Clone)]
pub(super) struct CustomConnector(Arc<dyn Fn(Target, TcpConfig) -> Connecting + Send + Sync>);

impl CustomConnector {
    pub(super) fn new<F, Fut, I>(connect: F) -> Self
    where
        F: Fn(Target) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<I>> + Send + 'static,
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self(Arc::new(move |target, tcp| {
            let connecting = connect(target);
            Box::pin(async move { Ok(tcp.boxed(connecting.await?)) })
        }))
    }

    pub(super) async fn connect(&self, target: &Target, tcp: &TcpConfig) -> Result<BoxIo, Error> {
        let connected = (self.0)(target.clone(), tcp.clone()).await;
        connected.map_err(|error| Error::Connect(Arc::new(error)))
    }
}

impl fmt::Debug for CustomConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomConnector")
    }
}
