//! Idle timeouts.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Expires when there has been no progress for a limit.
///
/// It does not read the clock on progress, so it may expire up to one limit
/// late.
#[derive(Default)]
pub(super) struct IdleTimer {
    sleep: Option<Pin<Box<Sleep>>>,
    has_progressed: bool,
}

impl IdleTimer {
    pub(super) fn note_progress(&mut self) {
        self.has_progressed = true;
    }

    /// Starts anew, because another limit applies.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Ready when there has been no progress for `limit`.
    pub(super) fn poll(&mut self, limit: Option<Duration>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = limit else {
            return Poll::Pending;
        };
        loop {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(limit)));
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
            if !std::mem::take(&mut self.has_progressed) {
                return Poll::Ready(());
            }
        }
    }
}
