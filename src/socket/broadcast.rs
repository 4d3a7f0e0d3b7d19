//! [`Broadcast`]: one message to many WebSockets.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use slab::Slab;

use super::WebSocketWriter;
use crate::error::Error;
use crate::frame::{CloseCode, CloseFrame, PreparedMessage};

/// What happens to a WebSocket whose peer does not keep up, so that its write buffer
/// ([`Http2Config::write_buffer`](crate::Http2Config::write_buffer),
/// [`WebSocketConfig::write_buffer`](crate::WebSocketConfig::write_buffer)) is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LagPolicy {
    /// The message is not sent to it. For messages that the next one replaces.
    #[default]
    Skip,
    /// It is closed with code 1013 (try again later) after what is queued, and leaves the group.
    /// For streams of messages without gaps.
    Close,
    /// All others wait for it. For few and trusted peers.
    Wait,
}

/// Identifies a WebSocket in a [`Broadcast`] or in [`Topics`](super::topics::Topics), and no other
/// one after it has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId {
    /// How many have joined before.
    joined: u64,
    key: usize,
}

struct Member {
    id: MemberId,
    writer: WebSocketWriter,
}

/// The result of sending a message to a [`Broadcast`] or to a topic.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Delivery {
    /// Number of WebSockets that were sent the message.
    pub sent: usize,
    /// Number of WebSockets that were too slow and skipped it ([`LagPolicy::Skip`]).
    pub skipped: usize,
    /// WebSockets that left the group: those that were too slow ([`LagPolicy::Close`], without an
    /// error), and those that have ended, with the error of their writer.
    pub left: Vec<(MemberId, Option<Error>)>,
}

/// A group of WebSockets that are sent the same messages.
///
/// Each WebSocket joins with its writing half; the reading half still has to be read, to answer
/// Pings and to see the end. WebSockets that have ended leave with the next message.
///
/// # Example
///
/// ```
/// use h2ws::broadcast::{Broadcast, LagPolicy};
/// use h2ws::frame::{PreparedMessage, Role};
/// use h2ws::{WebSocket, WebSocketConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), h2ws::Error> {
/// let mut group = Broadcast::new(LagPolicy::Skip);
/// let mut clients = Vec::new();
/// for _ in 0..3 {
///     let (near, far) = tokio::io::duplex(4096);
///     let server = WebSocket::from_stream(near, Role::Server, WebSocketConfig::default());
///     let (reader, writer) = server.split();
///     group.join(writer);
///     clients.push((WebSocket::from_stream(far, Role::Client, WebSocketConfig::default()), reader));
/// }
///
/// let news = PreparedMessage::text("the same for all");
/// assert_eq!(group.send(&news).await.sent, 3);
/// for (client, _reader) in &mut clients {
///     let got = client.recv().await.expect("open")?;
///     assert_eq!(got.as_text(), Some("the same for all"));
/// }
/// # Ok(())
/// # }
/// ```
pub struct Broadcast {
    members: Slab<Member>,
    joined: u64,
    slow: LagPolicy,
}

impl Broadcast {
    /// Creates an empty group.
    #[must_use]
    pub fn new(slow: LagPolicy) -> Self {
        Self {
            members: Slab::new(),
            joined: 0,
            slow,
        }
    }

    /// Adds a WebSocket.
    pub fn join(&mut self, writer: WebSocketWriter) -> MemberId {
        let entry = self.members.vacant_entry();
        let id = MemberId {
            joined: self.joined,
            key: entry.key(),
        };
        entry.insert(Member { id, writer });
        self.joined += 1;
        id
    }

    /// Removes and returns a WebSocket, if it has not left.
    pub fn leave(&mut self, member: MemberId) -> Option<WebSocketWriter> {
        self.get_mut(member)?;
        Some(self.members.remove(member.key).writer)
    }

    /// Returns the writing half of a WebSocket, if it has not left, for a message to it alone.
    pub fn get_mut(&mut self, member: MemberId) -> Option<&mut WebSocketWriter> {
        let found = self.members.get_mut(member.key)?;
        (found.id == member).then_some(&mut found.writer)
    }

    /// Returns the number of WebSockets in the group.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns whether the group is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Sends a message to all WebSockets and flushes it. The failure of one is reported in the
    /// [`Delivery`] and does not affect the others.
    ///
    /// With [`LagPolicy::Wait`] it takes as long as the slowest WebSocket. Otherwise it never
    /// waits, and only lets other tasks run in between.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped before it completes, some WebSockets have been sent the message
    /// and others have not, but none was sent a part of it.
    pub async fn send(&mut self, message: &PreparedMessage) -> Delivery {
        let all = self.members.iter().map(|(_, member)| member.id).collect();
        self.send_to(all, message).await
    }

    /// [`send`](Self::send) to all WebSockets but one, such as the one that the message came from.
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn send_except(&mut self, except: MemberId, message: &PreparedMessage) -> Delivery {
        let all = self.members.iter().map(|(_, member)| member.id);
        let others = all.filter(|member| *member != except).collect();
        self.send_to(others, message).await
    }

    /// [`send`](Self::send) to some of the WebSockets.
    pub(super) async fn send_to(
        &mut self,
        mut members: Vec<MemberId>,
        message: &PreparedMessage,
    ) -> Delivery {
        let mut delivery = Delivery::default();
        if self.slow == LagPolicy::Wait {
            poll_fn(|cx| {
                members.retain(|member| !self.deliver(*member, message, &mut delivery, cx));
                if members.is_empty() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            return delivery;
        }
        for member in members {
            poll_fn(|cx| {
                if !self.deliver(member, message, &mut delivery, cx) {
                    self.too_slow(member, &mut delivery, cx);
                }
                Poll::Ready(())
            })
            .await;
            tokio::task::coop::consume_budget().await;
        }
        delivery
    }

    /// Sends to one WebSocket. Returns false if it has no room yet.
    fn deliver(
        &mut self,
        member: MemberId,
        message: &PreparedMessage,
        delivery: &mut Delivery,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(writer) = self.get_mut(member) else {
            return true;
        };
        match writer.poll_send_prepared(message, cx) {
            Poll::Ready(Ok(())) => delivery.sent += 1,
            Poll::Ready(Err(error)) => {
                self.leave(member);
                delivery.left.push((member, Some(error)));
            }
            Poll::Pending => return false,
        }
        true
    }

    fn too_slow(&mut self, member: MemberId, delivery: &mut Delivery, cx: &mut Context<'_>) {
        if self.slow == LagPolicy::Skip {
            delivery.skipped += 1;
            return;
        }
        let Some(mut writer) = self.leave(member) else {
            return;
        };
        let frame = CloseFrame::new(CloseCode::TRY_AGAIN_LATER, "too slow");
        let error = writer.give_up(frame, cx).err();
        delivery.left.push((member, error));
    }
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast")
            .field("members", &self.members.len())
            .field("lag_policy", &self.slow)
            .finish()
    }
}
