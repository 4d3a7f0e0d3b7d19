//! A server at work: [`Serve`].

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tower_service::Service;

use super::accept::accept;
use super::{Body, Server, Upgrade};

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(super) type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Starts a task for a WebSocket request.
pub(super) type OnUpgrade = Arc<dyn Fn(Upgrade) + Send + Sync>;
/// Answers an ordinary request.
pub(super) type Fallback =
    Arc<dyn Fn(Request<Body>) -> BoxFuture<Result<Response<ResponseBody>, BoxError>> + Send + Sync>;

/// A server at work, once it is awaited; see [`Server::serve`].
#[must_use = "nothing is served before this is awaited"]
pub struct Serve {
    server: Server,
    on_upgrade: OnUpgrade,
    fallback: Option<Fallback>,
    shutdown: Option<BoxFuture<()>>,
}

impl Serve {
    pub(super) fn new<H, F>(server: Server, handler: H) -> Self
    where
        H: Fn(Upgrade) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            server,
            on_upgrade: Arc::new(move |upgrade| {
                tokio::spawn(handler(upgrade));
            }),
            fallback: None,
            shutdown: None,
        }
    }

    /// Hands ordinary requests to a service: any `tower` service over `http`
    /// types, such as an axum router. Without one they are answered 404.
    ///
    /// What carries a request is among its extensions, as
    /// [`Transport`](crate::Transport).
    pub fn fallback<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let service = Mutex::new(service);
        self.fallback = Some(Arc::new(move |request| {
            let mut service = service
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            Box::pin(async move {
                poll_fn(|cx| service.poll_ready(cx))
                    .await
                    .map_err(Into::into)?;
                let response = service.call(request).await.map_err(Into::into)?;
                Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
            })
        }));
        self
    }

    /// Stops taking connections and streams when `signal` is done: HTTP/2
    /// connections are told by GOAWAY (RFC 9113 §6.8), idle HTTP/1.1
    /// connections are closed. The server is done when the last connection is.
    pub fn with_graceful_shutdown(
        mut self,
        signal: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.shutdown = Some(Box::pin(signal));
        self
    }
}

impl IntoFuture for Serve {
    type Output = io::Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        let shutdown = self
            .shutdown
            .unwrap_or_else(|| Box::pin(std::future::pending()));
        Box::pin(accept(
            self.server,
            self.on_upgrade,
            self.fallback,
            shutdown,
        ))
    }
}

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
