//! Resets requests that the bridge no longer needs, on an HTTP/2 connection that
//! other requests share.
//!
//! Cancelling one request must not cost the others their connection, and servers
//! close a connection on which too many requests are reset before they were
//! answered. So an abandoned request first waits up to [`PATIENCE`] for its
//! response; only then it is reset, and at most [`MAX_UNCONFIRMED_RESETS`] are
//! reset before the server has sent anything again. `transport::h2::abandoned`
//! holds the same rule for WebSockets, where PING confirms resets; hyper gives no
//! access to PING.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::transport::h2::inspected_io::Server;

/// How long a response is awaited before the request is reset.
const PATIENCE: Duration = Duration::from_millis(250);

/// Maximum number of requests that are reset before the server has sent anything
/// again: less than half of what servers built on the `h2` crate allow.
const MAX_UNCONFIRMED_RESETS: usize = 8;

/// Interval at which to check whether the server has sent anything.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(50);

/// Limits the resets of abandoned requests on one connection.
pub(super) struct ResetLimiter {
    server: Server,
    permits: Semaphore,
}

impl ResetLimiter {
    pub(super) fn new(server: Server) -> Arc<Self> {
        Arc::new(Self {
            server,
            permits: Semaphore::new(MAX_UNCONFIRMED_RESETS),
        })
    }

    /// Awaits the response of `sending`. If this future is dropped first,
    /// `sending` and `held` are dropped later, as the limit allows.
    pub(super) async fn response<F, H>(self: &Arc<Self>, sending: F, held: H) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
        H: Send + 'static,
    {
        let mut pending = PendingRequest {
            sending: Some((Box::pin(sending), held)),
            limiter: self.clone(),
        };
        poll_fn(|cx| {
            let Some((sending, _)) = &mut pending.sending else {
                return std::task::Poll::Pending;
            };
            let response = std::task::ready!(sending.as_mut().poll(cx));
            pending.sending = None;
            std::task::Poll::Ready(response)
        })
        .await
    }

    async fn reset<F: Future>(self: Arc<Self>, mut sending: Pin<Box<F>>) {
        if timeout(PATIENCE, &mut sending).await.is_ok() {
            return;
        }
        let permit = tokio::select! {
            biased;
            _ = &mut sending => return,
            permit = self.permits.acquire() => permit,
        };
        let before = self.server.bytes();
        drop(sending);
        while self.server.bytes() == before && !self.server.is_gone() {
            sleep(CONFIRM_INTERVAL).await;
        }
        drop(permit);
    }
}

/// A request whose response is awaited.
struct PendingRequest<F, H>
where
    F: Future<Output: Send> + Send + 'static,
    H: Send + 'static,
{
    /// `None` once the response has come.
    sending: Option<(Pin<Box<F>>, H)>,
    limiter: Arc<ResetLimiter>,
}

impl<F, H> Drop for PendingRequest<F, H>
where
    F: Future<Output: Send> + Send + 'static,
    H: Send + 'static,
{
    fn drop(&mut self) {
        if let Some((sending, held)) = self.sending.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let limiter = self.limiter.clone();
            runtime.spawn(async move {
                limiter.reset(sending).await;
                drop(held);
            });
        }
    }
}
