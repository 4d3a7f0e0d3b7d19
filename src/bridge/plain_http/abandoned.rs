//! Requests over a shared connection of HTTP/2 that nobody waits for any more.
//!
//! The rule is that of sockets: giving up one request must not cost the others
//! the connection, and servers count resets of streams that they have not taken
//! up (`transport::h2::abandoned`). So a request that is given up waits for its
//! answer for [`PATIENCE`], and then it is reset, [`AT_A_TIME`] until the server
//! has said anything again: hyper has no PING to ask it by.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::transport::h2::inspected_io::Server;

/// How long an answer is waited for before the request is reset.
const PATIENCE: Duration = Duration::from_millis(250);

/// Requests that are reset unanswered without a word of the server's: less than
/// half of what a server on the `h2` crate allows.
const AT_A_TIME: usize = 8;

/// How often is looked whether the server has said anything.
const LOOK: Duration = Duration::from_millis(50);

/// Resets what is given up on one connection.
pub(super) struct GivenUp {
    server: Server,
    resets: Semaphore,
}

impl GivenUp {
    pub(super) fn new(server: Server) -> Arc<Self> {
        Arc::new(Self {
            server,
            resets: Semaphore::new(AT_A_TIME),
        })
    }

    /// Awaits an answer. Where this is dropped before, `sending` is only some
    /// time later, and `held` with it.
    pub(super) async fn answer<F, H>(self: &Arc<Self>, sending: F, held: H) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
        H: Send + 'static,
    {
        let mut waited = Waited {
            sending: Some((Box::pin(sending), held)),
            given_up: self.clone(),
        };
        poll_fn(|cx| {
            let Some((sending, _)) = &mut waited.sending else {
                return std::task::Poll::Pending;
            };
            let answer = std::task::ready!(sending.as_mut().poll(cx));
            waited.sending = None;
            std::task::Poll::Ready(answer)
        })
        .await
    }

    async fn settle<F: Future>(self: Arc<Self>, mut sending: Pin<Box<F>>) {
        if timeout(PATIENCE, &mut sending).await.is_ok() {
            return;
        }
        let permit = tokio::select! {
            _ = &mut sending => return,
            permit = self.resets.acquire() => permit,
        };
        let before = self.server.bytes();
        drop(sending);
        while self.server.bytes() == before && !self.server.is_gone() {
            sleep(LOOK).await;
        }
        drop(permit);
    }
}

/// A request that is waited for.
struct Waited<F, H>
where
    F: Future<Output: Send> + Send + 'static,
    H: Send + 'static,
{
    /// None once it is answered.
    sending: Option<(Pin<Box<F>>, H)>,
    given_up: Arc<GivenUp>,
}

impl<F, H> Drop for Waited<F, H>
where
    F: Future<Output: Send> + Send + 'static,
    H: Send + 'static,
{
    fn drop(&mut self) {
        if let Some((sending, held)) = self.sending.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let given_up = self.given_up.clone();
            runtime.spawn(async move {
                given_up.settle(sending).await;
                drop(held);
            });
        }
    }
}
