//! The maximum lifetime of a WebSocket.
//!
//! It is up to a tenth shorter than configured, by chance, so that WebSockets that
//! were opened at the same time do not all return at the same time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::socket::nonce;

/// The reason in the access log.
pub(super) const REASON: &str = "open for its maximum lifetime";

/// Expires at the end of a lifetime, and once more if the WebSocket then does not end.
#[derive(Default)]
pub(super) struct Lifetime {
    /// Boxed, as it counts for every open WebSocket.
    sleep: Option<Pin<Box<Sleep>>>,
    pub(super) has_expired: bool,
}

/// What follows from the end of a lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// The client is to be asked to close.
    Close,
    /// It was asked, and the WebSocket is to be cut.
    Cut,
}

impl Lifetime {
    pub(super) fn new(max: Option<Duration>) -> Self {
        Self {
            sleep: max.map(|max| Box::pin(sleep(jittered(max, random())))),
            has_expired: false,
        }
    }

    /// Ready at the end of the lifetime, and again `grace` after it.
    pub(super) fn poll(&mut self, grace: Duration, cx: &mut Context<'_>) -> Poll<Expired> {
        let Some(sleep) = &mut self.sleep else {
            return Poll::Pending;
        };
        std::task::ready!(sleep.as_mut().poll(cx));
        if std::mem::replace(&mut self.has_expired, true) {
            self.sleep = None;
            return Poll::Ready(Expired::Cut);
        }
        let now = Instant::now();
        // The clock cannot represent every time.
        let end = now.checked_add(grace).unwrap_or(now);
        sleep.as_mut().reset(end);
        Poll::Ready(Expired::Close)
    }
}

fn random() -> u16 {
    let [first, second, ..] = nonce();
    u16::from_be_bytes([first, second])
}

/// Shortens `max` by up to a tenth.
fn jittered(max: Duration, random: u16) -> Duration {
    max - max / 10 * u32::from(random) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_at_most_a_tenth_shorter() {
        let max = Duration::from_secs(3600);
        assert_eq!(jittered(max, 0), max);
        assert_eq!(jittered(max, u16::MAX), Duration::from_secs(3240));
        let half = jittered(max, u16::MAX / 2);
        assert!(half > Duration::from_secs(3419) && half < Duration::from_secs(3421));
        assert!(jittered(Duration::from_secs(400 * 86_400), u16::MAX) > Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lifetime_expires_twice() {
        let mut lifetime = Lifetime::new(Some(Duration::from_secs(100)));
        let began = Instant::now();
        let grace = Duration::from_secs(5);
        let expired = std::future::poll_fn(|cx| lifetime.poll(grace, cx)).await;
        assert_eq!(expired, Expired::Close);
        assert!(began.elapsed() >= Duration::from_secs(90));
        let closed = Instant::now();
        let expired = std::future::poll_fn(|cx| lifetime.poll(grace, cx)).await;
        assert_eq!(expired, Expired::Cut);
        assert!(closed.elapsed() >= grace);
        let never = std::future::poll_fn(|cx| lifetime.poll(grace, cx));
        assert!(futures_util::FutureExt::now_or_never(never).is_none());
    }
}
