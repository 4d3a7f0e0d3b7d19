//! How WebSockets are opened, and whether another one is.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::backoff::Backoff;
use crate::client::request::RequestBuilder;
use crate::error::{DisconnectCause, Error, Timeout};
use crate::frame::CloseCode;
use crate::setting::{self, InvalidSetting};
use crate::socket::WebSocket;

pub(super) type Hooked<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;
type BeforeConnect = Arc<dyn Fn(RequestBuilder) -> Hooked<'static, RequestBuilder> + Send + Sync>;
type AfterConnect = Arc<dyn for<'a> Fn(&'a mut WebSocket) -> Hooked<'a, ()> + Send + Sync>;
type ReconnectIf = Arc<dyn Fn(&DisconnectCause) -> bool + Send + Sync>;

/// See [`ReconnectingBuilder`](super::ReconnectingBuilder).
#[derive(Clone)]
pub(super) struct Policy {
    pub(super) request: RequestBuilder,
    pub(super) backoff: Backoff,
    pub(super) reset_after: Duration,
    pub(super) max_attempts: Option<u32>,
    pub(super) hook_timeout: Duration,
    pub(super) before_connect: Option<BeforeConnect>,
    pub(super) after_connect: Option<AfterConnect>,
    pub(super) reconnect_if: Option<ReconnectIf>,
}

impl Policy {
    pub(super) fn new(request: RequestBuilder) -> Self {
        Self {
            request,
            backoff: Backoff {
                min: Duration::from_secs(1),
                max: Duration::from_secs(60),
                max_retry_after: Duration::from_secs(3600),
            },
            reset_after: Duration::from_secs(10),
            max_attempts: None,
            hook_timeout: Duration::from_secs(20),
            before_connect: None,
            after_connect: None,
            reconnect_if: None,
        }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidSetting> {
        let Backoff {
            min,
            max,
            max_retry_after,
        } = self.backoff;
        setting::finite("ReconnectingBuilder::min_delay", min)?;
        setting::finite_from("ReconnectingBuilder::max_delay", max, min)?;
        setting::finite("ReconnectingBuilder::max_retry_after", max_retry_after)?;
        setting::time("ReconnectingBuilder::hook_timeout", self.hook_timeout)
    }

    pub(super) fn reconnects(&self, cause: &DisconnectCause) -> bool {
        match &self.reconnect_if {
            Some(decide) => decide(cause),
            None => cause.is_retryable(),
        }
    }

    /// Opens a WebSocket, with both hooks.
    pub(super) async fn attempt(self: Arc<Self>) -> Result<WebSocket, DisconnectCause> {
        let mut socket = self.open().await.map_err(DisconnectCause::Error)?;
        let Some(hook) = &self.after_connect else {
            return Ok(socket);
        };
        let hook = hook(&mut socket);
        match self.in_time(hook).await {
            Ok(()) => Ok(socket),
            // The server's Close frame says more than the error of what the hook did next.
            Err(Error::Closed) if was_closed(&socket) => {
                Err(DisconnectCause::Closed(socket.close_frame().cloned()))
            }
            Err(error) => Err(DisconnectCause::Error(error)),
        }
    }

    async fn open(&self) -> Result<WebSocket, Error> {
        let mut request = self.request.clone();
        if let Some(hook) = &self.before_connect {
            request = self.in_time(hook(request)).await?;
        }
        request.connect().await
    }

    async fn in_time<T>(&self, hook: Hooked<'_, T>) -> Result<T, Error> {
        let done = timeout(self.hook_timeout, hook).await;
        done.unwrap_or(Err(Error::Timeout(Timeout::Hook)))
    }
}

/// Returns whether the peer's Close frame has arrived.
fn was_closed(socket: &WebSocket) -> bool {
    let code = socket.close_code();
    code.is_some_and(|code| code != CloseCode::ABNORMAL)
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("request", &self.request)
            .field("backoff", &self.backoff)
            .field("max_attempts", &self.max_attempts)
            .finish_non_exhaustive()
    }
}
