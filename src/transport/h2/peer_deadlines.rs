//! Deadlines for what the peer has begun.
//!
//! While a header block is incomplete, no other frame can be received (RFC 9113
//! §4.3), and before its SETTINGS nothing is known about a peer. Both get the
//! time limit of a handshake, not that of an idle connection, and further bytes
//! do not extend it.

use std::time::Duration;

use tokio::time::Instant;

use super::frame_counter::FrameCounts;
use crate::clock::later;

pub(super) struct PeerDeadlines {
    limit: Duration,
    awaited: Option<(Awaited, Instant)>,
}

/// What the peer has to complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Settings,
    /// The header block with this number.
    Block(u64),
}

impl PeerDeadlines {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            awaited: None,
        }
    }

    /// Returns what is overdue, judging by what was received. Reads the clock
    /// only while something is awaited.
    pub(super) fn late(&mut self, received: &FrameCounts) -> Option<Awaited> {
        let settings = (received.settings == 0).then_some(Awaited::Settings);
        let awaited = received.open_block.map(Awaited::Block).or(settings);
        match (awaited, self.awaited) {
            (None, _) => self.awaited = None,
            (Some(awaited), Some((known, at))) if awaited == known => {
                return (at <= Instant::now()).then_some(known);
            }
            (Some(awaited), _) => {
                self.awaited = Some((awaited, later(Instant::now(), self.limit)));
            }
        }
        None
    }

    /// Returns when to check again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.awaited.map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn further_bytes_do_not_extend_the_time_for_a_header_block() {
        let second = Duration::from_secs(1);
        let mut deadlines = PeerDeadlines::new(10 * second);
        let mut received = FrameCounts::default();
        assert_eq!(deadlines.late(&received), None);
        tokio::time::advance(9 * second).await;
        assert_eq!(
            deadlines.late(&received),
            None,
            "SETTINGS have a second left"
        );
        received.settings = 1;
        assert_eq!(deadlines.late(&received), None);
        assert_eq!(deadlines.deadline(), None);
        for block in 1..4 {
            received.open_block = Some(block);
            for _ in 0..9 {
                assert_eq!(deadlines.late(&received), None, "block {block}");
                tokio::time::advance(second).await;
            }
        }
        tokio::time::advance(second).await;
        assert_eq!(deadlines.late(&received), Some(Awaited::Block(3)));
    }
}
