//! HTTP/1.1 connections, on hyper, up to their upgrade (RFC 9110 §7.8).

#[cfg(feature = "server")]
mod linger;
#[cfg(feature = "client")]
mod upgrade;

use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};

#[cfg(feature = "server")]
use self::linger::Lent;
#[cfg(feature = "client")]
pub(crate) use self::upgrade::{H1Answer, upgrade};
use super::{BoxIo, IoStream, StreamError, Transport};
#[cfg(feature = "bridge")]
use {bytes::Bytes, http::StatusCode, http_body_util::Empty};

/// Sends a request without a body on a connection of its own, for the status
/// alone.
#[cfg(feature = "bridge")]
pub(crate) async fn status(io: BoxIo, request: Request<()>) -> Result<StatusCode, StreamError> {
    let (mut send, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(io))
        .await?;
    let request = request.map(|()| Empty::<Bytes>::new());
    // Both in this future, so that nothing is left of it when it is dropped.
    tokio::select! {
        response = send.send_request(request) => Ok(response?.status()),
        Err(error) = connection => Err(error.into()),
    }
}

/// Bytes of a request's or response's head.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

/// The byte stream of an upgraded connection, with what the peer sent in one
/// packet with its 101 in front.
#[cfg(feature = "server")]
pub(crate) async fn switched(
    on: OnUpgrade,
    connection: u64,
    write_buffer: usize,
) -> Result<IoStream, StreamError> {
    let upgraded = on.await?;
    let parts = upgraded
        .downcast::<TokioIo<Lent>>()
        .map_err(|_| StreamError::Closed)?;
    let io = parts.io.into_inner().keep().ok_or(StreamError::Closed)?;
    let transport = Transport::Http1 { connection };
    Ok(IoStream::new(io, parts.read_buf, transport, write_buffer))
}

/// Serves requests on an HTTP/1.1 connection until it ends or is upgraded, and
/// reads on behind the last answer, so that the client gets it. When `drain`
/// turns true, the request under way is the last.
#[cfg(feature = "server")]
pub(crate) async fn serve<S, B>(
    io: BoxIo,
    service: S,
    header_timeout: Option<Duration>,
    mut drain: tokio::sync::watch::Receiver<bool>,
) -> Result<(), StreamError>
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<B>>,
    S::Error: std::error::Error + Send + Sync + 'static,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (io, returned) = linger::lend(io);
    let served = async {
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            biased;
            ended = &mut connection => return ended,
            Ok(_) = drain.wait_for(|drain| *drain) => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }
    .await;
    returned.linger().await;
    Ok(served?)
}

impl From<hyper::Error> for StreamError {
    fn from(error: hyper::Error) -> Self {
        Self::Io(std::sync::Arc::new(std::io::Error::other(error)))
    }
}

impl From<std::io::Error> for StreamError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(std::sync::Arc::new(error))
    }
}
