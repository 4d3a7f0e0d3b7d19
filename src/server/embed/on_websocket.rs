//! [`OnWebSocket`]: the WebSocket that a response opens.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::frame::Role;
use crate::socket::{Agreement, WebSocket, WebSocketConfig};

/// A WebSocket that opens once its response has been sent.
///
/// Await it in a task of its own, because the response is sent only after the handler has
/// returned it. Dropping it drops the WebSocket.
///
/// # Errors
///
/// [`Error::Closed`] if the response was not sent, because the client is gone or a layer replaced it;
/// otherwise the error of the connection.
#[must_use = "dropping it drops the WebSocket; await it in a task of its own"]
pub struct OnWebSocket(Kind);

enum Kind {
    /// Under h2ws's own server.
    Native(oneshot::Receiver<Result<WebSocket, Error>>),
    /// Under another server on hyper.
    Hyper {
        on: hyper::upgrade::OnUpgrade,
        config: Arc<WebSocketConfig>,
        agreement: Agreement,
    },
    Failed(Option<Error>),
}

impl OnWebSocket {
    pub(super) fn native(socket: oneshot::Receiver<Result<WebSocket, Error>>) -> Self {
        Self(Kind::Native(socket))
    }

    pub(super) fn hyper(
        on: hyper::upgrade::OnUpgrade,
        config: Arc<WebSocketConfig>,
        agreement: Agreement,
    ) -> Self {
        Self(Kind::Hyper {
            on,
            config,
            agreement,
        })
    }

    pub(super) fn failed(error: Error) -> Self {
        Self(Kind::Failed(Some(error)))
    }
}

impl Future for OnWebSocket {
    type Output = Result<WebSocket, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            // Fails if the client is gone, or a layer replaced the response by one that opens no
            // WebSocket.
            Kind::Native(socket) => Pin::new(socket)
                .poll(cx)
                .map(|socket| socket.unwrap_or(Err(Error::Closed))),
            Kind::Hyper {
                on,
                config,
                agreement,
            } => Pin::new(on).poll(cx).map(|upgraded| {
                let io = upgraded.map_err(error_of)?;
                let (config, agreement) = (config.clone(), std::mem::take(agreement));
                Ok(WebSocket::over(
                    TokioIo::new(io),
                    Role::Server,
                    config,
                    agreement,
                ))
            }),
            Kind::Failed(error) => Poll::Ready(Err(error.take().unwrap_or(Error::Closed))),
        }
    }
}

/// As under h2ws's own server: [`Error::Closed`] if the server dropped the request, for whatever
/// reason.
fn error_of(error: hyper::Error) -> Error {
    if error.is_canceled() {
        return Error::Closed;
    }
    Error::Io(Arc::new(std::io::Error::other(error)))
}

impl fmt::Debug for OnWebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnWebSocket").finish_non_exhaustive()
    }
}
