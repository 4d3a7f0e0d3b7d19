//! Keep-alive Pings, which detect a dead peer (RFC 6455 §5.5.2).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

use super::config::WebSocketConfig;
use crate::clock::later;

/// Prefix of the payload of keep-alive Pings, so that their Pongs are not taken for answers to the
/// application's Pings.
const MARK: &[u8; 4] = b"h2ws";

/// What to do about a silent peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Silence {
    Ping(Bytes),
    Dead,
}

/// The timer of keep-alive Pings. It checks once per interval whether anything was received;
/// receiving only sets a flag.
pub(super) struct Pings {
    interval: Duration,
    timeout: Duration,
    /// Created by the first wait, because a WebSocket may be created outside a runtime.
    sleep: Option<Pin<Box<Sleep>>>,
    heard: bool,
    /// Deadline of the answer, if a Ping was sent.
    patience: Option<Instant>,
    sent: u32,
}

impl Pings {
    pub(super) fn new(config: &WebSocketConfig) -> Option<Self> {
        let interval = config.ping_interval?;
        Some(Self {
            interval,
            timeout: config.ping_timeout,
            sleep: None,
            heard: false,
            patience: None,
            sent: 0,
        })
    }

    /// Notes that something was received from the peer.
    pub(super) fn heard(&mut self) {
        self.heard = true;
    }

    /// Returns the timer, which holds the waker of a task. The interval begins anew with the next
    /// wait.
    pub(super) fn rest(&mut self) -> Option<Pin<Box<Sleep>>> {
        self.sleep.take()
    }

    /// Returns whether a Pong answers a keep-alive Ping.
    pub(super) fn is_answer(&self, payload: &[u8]) -> bool {
        let number = payload.strip_prefix(MARK).map(<[u8; 4]>::try_from);
        matches!(number, Some(Ok(number)) if u32::from_be_bytes(number) <= self.sent)
    }

    /// Polls the timer once everything received was read; ready when something has to be done.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Silence> {
        loop {
            let interval = self.interval;
            let sleep = self
                .sleep
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(interval)));
            ready!(sleep.as_mut().poll(cx));
            let now = Instant::now();
            let next = later(now, self.interval);
            let (ask, patience) = match self.patience {
                _ if std::mem::take(&mut self.heard) => (false, None),
                None => (true, Some(later(now, self.timeout))),
                Some(end) if end <= now => return Poll::Ready(Silence::Dead),
                waiting => (false, waiting),
            };
            self.patience = patience;
            sleep
                .as_mut()
                .reset(patience.map_or(next, |end| end.min(next)));
            if ask {
                self.sent = self.sent.wrapping_add(1);
                let payload = [*MARK, self.sent.to_be_bytes()].concat();
                return Poll::Ready(Silence::Ping(payload.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn pings() -> Pings {
        Pings::new(&WebSocketConfig::default().ping_interval(INTERVAL)).expect("on")
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_pinged_and_then_dead() {
        let mut pings = pings();
        let Silence::Ping(payload) = poll_fn(|cx| pings.poll(cx)).await else {
            panic!("dead at once");
        };
        assert!(pings.is_answer(&payload));
        pings.heard();
        let again = poll_fn(|cx| pings.poll(cx)).await;
        assert!(matches!(again, Silence::Ping(next) if next != payload));
        assert_eq!(poll_fn(|cx| pings.poll(cx)).await, Silence::Dead);
    }

    #[tokio::test]
    async fn only_our_own_are_answers() {
        let mut pings = pings();
        pings.sent = 1;
        let cases: [(&[u8], bool); 5] = [
            (b"h2ws\0\0\0\x01", true),
            (b"h2ws\0\0\0\x02", false),
            (b"h2ws", false),
            (b"", false),
            (b"h2ws\0\0\0\x01\0", false),
        ];
        for (payload, ours) in cases {
            assert_eq!(pings.is_answer(payload), ours, "{payload:?}");
        }
    }

    #[test]
    fn off_unless_asked_for() {
        assert!(Pings::new(&WebSocketConfig::default()).is_none());
    }
}
