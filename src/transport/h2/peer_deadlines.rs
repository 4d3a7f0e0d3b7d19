//! Whether the peer finishes in time what it has begun.
//!
//! Nothing else moves in a direction while a header block does (RFC 9113
//! §4.3), and nothing is known of a peer before its SETTINGS. Either gets the
//! time of a handshake, not that of an idle connection, and not one that each
//! further byte extends.

use std::time::Duration;

use tokio::time::Instant;

use super::frame_counter::FrameCounts;
use super::keep_alive;

pub(super) struct PeerDeadlines {
    limit: Duration,
    awaited: Option<(Awaited, Instant)>,
}

/// What the peer has yet to finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Settings,
    /// The header block of this number.
    Block(u64),
}

impl PeerDeadlines {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            awaited: None,
        }
    }

    /// What takes too long, by what was received. Looks at the clock only while
    /// something is awaited.
    pub(super) fn late(&mut self, received: &FrameCounts) -> Option<Awaited> {
        let settings = (received.settings == 0).then_some(Awaited::Settings);
        let awaited = received.open_block.map(Awaited::Block).or(settings);
        match (awaited, self.awaited) {
            (None, _) => self.awaited = None,
            (Some(awaited), Some((known, at))) if awaited == known => {
                return (at <= Instant::now()).then_some(known);
            }
            (Some(awaited), _) => {
                self.awaited = Some((awaited, keep_alive::later(Instant::now(), self.limit)));
            }
        }
        None
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.awaited.map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_block_gets_its_time_and_no_more_by_further_bytes() {
        let second = Duration::from_secs(1);
        let mut prompt = PeerDeadlines::new(10 * second);
        let mut received = FrameCounts::default();
        assert_eq!(prompt.late(&received), None);
        tokio::time::advance(9 * second).await;
        assert_eq!(prompt.late(&received), None, "SETTINGS still have a second");
        received.settings = 1;
        assert_eq!(prompt.late(&received), None);
        assert_eq!(prompt.deadline(), None);
        for block in 1..4 {
            received.open_block = Some(block);
            for _ in 0..9 {
                assert_eq!(prompt.late(&received), None, "block {block}");
                tokio::time::advance(second).await;
            }
        }
        tokio::time::advance(second).await;
        assert_eq!(prompt.late(&received), Some(Awaited::Block(3)));
    }
}
