//! [`Rarely`]: a future that hardly ever makes progress, beside one that does all the time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::sync::AtomicWaker;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Polls a future only after it was woken. `select!` polls all of its branches whenever the task is
/// woken: a connection would ask several times per message whether the server shuts down.
pub(super) struct Rarely<'a, F> {
    future: Pin<&'a mut F>,
    bell: Arc<Bell>,
    /// `bell` as a waker.
    waker: Waker,
}

struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl<'a, F: Future> Rarely<'a, F> {
    pub(super) fn new(future: Pin<&'a mut F>) -> Self {
        let bell = Arc::new(Bell {
            // The first poll registers with what the future waits for.
            rung: AtomicBool::new(true),
            task: AtomicWaker::new(),
        });
        Self {
            future,
            waker: Waker::from(bell.clone()),
            bell,
        }
    }
}

impl<F: Future> Future for Rarely<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.bell.task.register(cx.waker());
        if !this.bell.rung.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        this.future
            .as_mut()
            .poll(&mut Context::from_waker(&this.waker))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn is_polled_when_woken_and_not_with_its_task() {
        let (stop, mut stopped) = oneshot::channel();
        let mut polls = 0;
        let future = pin!(poll_fn(|cx| {
            polls += 1;
            Pin::new(&mut stopped).poll(cx)
        }));
        let mut rarely = Rarely::new(future);
        for _ in 0..3 {
            poll_fn(|cx| {
                assert!(Pin::new(&mut rarely).poll(cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        let stopping = tokio::spawn(async move { stop.send(()) });
        assert_eq!(rarely.await, Ok(()));
        assert_eq!(stopping.await.unwrap(), Ok(()));
        assert_eq!(polls, 2);
    }
}
