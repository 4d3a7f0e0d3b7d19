//! The connection's PINGs (RFC 9113 §6.7).
//!
//! `h2` has one handle for them and allows one outstanding PING at a time. They
//! are shared by the [short-frame budget](super::short_frames), the
//! [keep-alive](super::keep_alive) and the list of [abandoned
//! requests](super::abandoned).

use std::task::Context;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::Instant;

/// A peer whose answer takes longer than this is considered far away.
pub(super) const NEAR: Duration = Duration::from_millis(10);

pub(super) struct Pings {
    handle: Option<PingPong>,
    /// When the outstanding PING was sent.
    under_way: Option<Instant>,
    /// A PING was requested while another was outstanding, whose answer would
    /// come too early.
    again: bool,
    sent: u64,
    answered: u64,
    /// The shortest round-trip time so far.
    distance: Option<Duration>,
}

impl Pings {
    pub(super) fn new(handle: Option<PingPong>) -> Self {
        Self {
            handle,
            under_way: None,
            again: false,
            sent: 0,
            answered: 0,
            distance: None,
        }
    }

    /// Sends a PING, or schedules one if another is outstanding. Returns its
    /// number: [`is_answered`](Self::is_answered) for that number means that
    /// the peer has read all that was sent before this call.
    pub(super) fn request(&mut self, cx: &mut Context<'_>, now: Instant) -> u64 {
        if self.under_way.is_some() {
            self.again = true;
            return self.sent + 1;
        }
        self.send(cx, now);
        self.sent
    }

    fn send(&mut self, cx: &mut Context<'_>, now: Instant) {
        self.again = false;
        self.sent += 1;
        if let Some(handle) = &mut self.handle
            && handle.send_ping(Ping::opaque()).is_ok()
        {
            // Registers for the answer. On an error the connection ends
            // anyway.
            self.under_way = handle.poll_pong(cx).is_pending().then_some(now);
        }
    }

    /// Takes the answer if it has arrived, and returns the round-trip time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<Duration> {
        let (handle, sent) = (self.handle.as_mut()?, self.under_way?);
        if handle.poll_pong(cx).is_pending() {
            return None;
        }
        let took = sent.elapsed();
        self.under_way = None;
        self.answered = self.sent;
        self.distance = Some(self.distance.map_or(took, |known| known.min(took)));
        if self.again {
            self.send(cx, sent + took);
        }
        Some(took)
    }

    pub(super) fn is_answered(&self, number: u64) -> bool {
        self.answered >= number
    }

    /// Returns whether the shortest round-trip time so far exceeds [`NEAR`].
    pub(super) fn is_far(&self) -> bool {
        self.distance.is_some_and(|distance| distance > NEAR)
    }
}
