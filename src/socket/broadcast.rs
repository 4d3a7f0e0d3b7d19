//! One message to many sockets.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use slab::Slab;

use super::WebSocketWriter;
use crate::error::Error;
use crate::frame::{CloseCode, CloseFrame, PreparedMessage};

/// What becomes of a socket whose peer does not keep up: more than its write
/// buffer has not left yet ([`Http2Config::write_buffer`](crate::Http2Config::write_buffer),
/// [`WebSocketConfig::write_buffer`](crate::WebSocketConfig::write_buffer)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LagPolicy {
    /// The message is not sent to it: it misses some, the others wait for
    /// nothing. For news that the next message makes old.
    #[default]
    Skip,
    /// It is closed with code 1013 (try again later), behind what it has not
    /// read yet, and leaves the group. For streams that may have no gaps.
    Close,
    /// All wait for it: the slowest sets the pace. For few and trusted peers.
    Wait,
}

/// Names a socket in a [`Broadcast`]; not used again before the socket has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemberId(usize);

/// What came of a message.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Delivery {
    /// Sockets that were sent it.
    pub sent: usize,
    /// Sockets that were too slow and miss it ([`LagPolicy::Skip`]).
    pub skipped: usize,
    /// Sockets that left the group: too slow ([`LagPolicy::Close`], without an
    /// error), or ended, with what their writer says.
    pub left: Vec<(MemberId, Option<Error>)>,
}

/// A group of sockets that are sent the same messages.
///
/// Each socket joins by its writing half; who reads the other half answers its
/// pings and sees its end. Sockets that have ended leave with the next message.
///
/// # Example
///
/// ```
/// use futures_util::StreamExt;
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
/// let news = PreparedMessage::new("the same for all")?;
/// assert_eq!(group.send(&news).await.sent, 3);
/// for (client, _reader) in &mut clients {
///     let got = client.next().await.expect("open")?;
///     assert_eq!(got.as_text(), Some("the same for all"));
/// }
/// # Ok(())
/// # }
/// ```
pub struct Broadcast {
    members: Slab<WebSocketWriter>,
    slow: LagPolicy,
}

impl Broadcast {
    /// An empty group.
    #[must_use]
    pub fn new(slow: LagPolicy) -> Self {
        Self {
            members: Slab::new(),
            slow,
        }
    }

    /// Takes a socket in.
    pub fn join(&mut self, writer: WebSocketWriter) -> MemberId {
        MemberId(self.members.insert(writer))
    }

    /// Gives a socket back, if it is still here.
    pub fn leave(&mut self, member: MemberId) -> Option<WebSocketWriter> {
        self.members.try_remove(member.0)
    }

    /// Sockets in the group.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Sends a message to all, and sets it on its way. What goes wrong with one
    /// socket is told in the [`Delivery`] and disturbs no other.
    ///
    /// With [`LagPolicy::Wait`] it takes as long as the slowest socket; otherwise it
    /// never waits, only lets other tasks run in between.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, some have been sent the message and others
    /// not; none was sent a part of it.
    pub async fn send(&mut self, message: &PreparedMessage) -> Delivery {
        let mut delivery = Delivery::default();
        let mut keys: Vec<usize> = self.members.iter().map(|(key, _)| key).collect();
        if self.slow == LagPolicy::Wait {
            poll_fn(|cx| {
                keys.retain(|key| !self.deliver(*key, message, &mut delivery, cx));
                if keys.is_empty() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            return delivery;
        }
        for key in keys {
            poll_fn(|cx| {
                if !self.deliver(key, message, &mut delivery, cx) {
                    self.too_slow(key, &mut delivery, cx);
                }
                Poll::Ready(())
            })
            .await;
            tokio::task::coop::consume_budget().await;
        }
        delivery
    }

    /// Whether the socket needs no further look.
    fn deliver(
        &mut self,
        key: usize,
        message: &PreparedMessage,
        delivery: &mut Delivery,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(writer) = self.members.get_mut(key) else {
            return true;
        };
        match writer.poll_send_prepared(message, cx) {
            Poll::Ready(Ok(())) => delivery.sent += 1,
            Poll::Ready(Err(error)) => {
                self.members.remove(key);
                delivery.left.push((MemberId(key), Some(error)));
            }
            Poll::Pending => return false,
        }
        true
    }

    fn too_slow(&mut self, key: usize, delivery: &mut Delivery, cx: &mut Context<'_>) {
        if self.slow == LagPolicy::Skip {
            delivery.skipped += 1;
            return;
        }
        let mut writer = self.members.remove(key);
        let frame = CloseFrame::new(CloseCode::TRY_AGAIN_LATER, "too slow");
        let error = writer.give_up(frame, cx).err();
        delivery.left.push((MemberId(key), error));
    }
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast")
            .field("members", &self.members.len())
            .field("slow", &self.slow)
            .finish()
    }
}
