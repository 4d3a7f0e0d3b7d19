//! What follows when a WebSocket or an attempt has ended: another attempt after a delay, or the end.

use std::time::Duration;

use tokio::time::sleep;

use super::{AttemptFailed, Disconnected, ReconnectEvent, ReconnectingWebSocket, State};
use crate::error::{DisconnectCause, Error};
use crate::socket::WebSocket;

impl ReconnectingWebSocket {
    /// Called when the open WebSocket has ended, with the error unless it was closed.
    pub(super) fn ends(&mut self, error: Option<Error>) {
        if self.closing {
            let frame = self.close_frame().cloned();
            self.end = Some(DisconnectCause::Closed(frame));
            self.state = State::Ended;
            return;
        }
        let frame = || self.get_ref().and_then(WebSocket::close_frame).cloned();
        let cause = match error {
            Some(error) => DisconnectCause::Error(error),
            None => DisconnectCause::Closed(frame()),
        };
        if self.opened.elapsed() >= self.policy.reset_after {
            self.attempts = 0;
        }
        let (_, retry_in) = self.go_on(&cause);
        self.events
            .push_back(ReconnectEvent::Disconnected(Disconnected {
                cause,
                unconfirmed: self.sent_before..self.sent,
                retry_in,
            }));
    }

    pub(super) fn fails(&mut self, cause: DisconnectCause) {
        let (attempts, retry_in) = self.go_on(&cause);
        // While nobody receives, only the last failure is kept.
        if let Some(ReconnectEvent::AttemptFailed(_)) = self.events.back() {
            self.events.pop_back();
        }
        self.events
            .push_back(ReconnectEvent::AttemptFailed(AttemptFailed {
                cause,
                attempts,
                retry_in,
            }));
    }

    /// Waits before the next attempt, or ends. Returns the number of attempts so far, and the time
    /// until the next one.
    fn go_on(&mut self, cause: &DisconnectCause) -> (u32, Option<Duration>) {
        let attempts = self.attempts;
        if !self.policy.reconnects(cause) {
            self.end(cause.clone());
            return (attempts, None);
        }
        if self.policy.max_attempts.is_some_and(|max| attempts >= max) {
            self.end(DisconnectCause::Error(Error::GaveUp {
                attempts,
                last: Box::new(cause.clone()),
            }));
            return (attempts, None);
        }
        let delay = self.policy.backoff.delay(attempts, cause.retry_after());
        tracing::debug!(%cause, attempts, ?delay, "reconnecting after a delay");
        self.attempts = attempts.saturating_add(1);
        self.state = State::Waiting(Box::pin(sleep(delay)));
        (attempts, Some(delay))
    }

    fn end(&mut self, cause: DisconnectCause) {
        self.error_is_unreported = matches!(cause, DisconnectCause::Error(_));
        self.end = Some(cause);
        self.state = State::Ended;
    }

    /// Why nothing can be sent any more.
    pub(super) fn error(&self) -> Error {
        match &self.end {
            Some(DisconnectCause::Error(error)) => error.clone(),
            _ => Error::Closed,
        }
    }

    pub(super) fn has_unreported_end(&self) -> bool {
        let is_end = |event: &ReconnectEvent| matches!(event, ReconnectEvent::Disconnected(_));
        self.events.iter().any(is_end)
    }
}
