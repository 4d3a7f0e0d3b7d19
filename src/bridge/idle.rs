//! A limit on how long nothing moves.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Measures silence without a look at the clock while bytes move; so one may
/// be noticed up to as late again.
#[derive(Default)]
pub(super) struct IdleTimer {
    sleep: Option<Pin<Box<Sleep>>>,
    moved: bool,
}

impl IdleTimer {
    /// Something has moved.
    pub(super) fn broken(&mut self) {
        self.moved = true;
    }

    /// Another limit holds from now on.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Ready when nothing has moved for as long as that may be.
    pub(super) fn poll(&mut self, limit: Option<Duration>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = limit else {
            return Poll::Pending;
        };
        loop {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(limit)));
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
            if !std::mem::take(&mut self.moved) {
                return Poll::Ready(());
            }
        }
    }
}
