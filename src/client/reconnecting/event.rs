//! What happens to a WebSocket that reconnects: [`ReconnectEvent`].

use std::ops::Range;
use std::time::Duration;

use crate::error::DisconnectCause;
use crate::frame::Message;

/// What happened to a [`ReconnectingWebSocket`](super::ReconnectingWebSocket).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReconnectEvent {
    /// A message was received.
    Message(Message),
    /// A WebSocket is open, and [`after_connect`](super::ReconnectingBuilder::after_connect) has
    /// completed.
    Connected,
    /// The WebSocket ended.
    Disconnected(Disconnected),
    /// An attempt to open the next one failed.
    AttemptFailed(AttemptFailed),
}

impl ReconnectEvent {
    /// Returns the message, if the event is one.
    #[must_use]
    pub fn into_message(self) -> Option<Message> {
        match self {
            Self::Message(message) => Some(message),
            _ => None,
        }
    }
}

/// A WebSocket that ended without a call of
/// [`close`](super::ReconnectingWebSocket::close).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Disconnected {
    /// Why it ended.
    pub cause: DisconnectCause,
    /// The numbers of the messages that it was given. The protocol has no acknowledgements, so any
    /// number of them, from the last one backwards, may not have arrived. They are not sent again.
    pub unconfirmed: Range<u64>,
    /// Time until the next attempt; `None` if there is none.
    pub retry_in: Option<Duration>,
}

/// An attempt to open a WebSocket that failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AttemptFailed {
    /// Why it failed.
    pub cause: DisconnectCause,
    /// Number of attempts in a row, including this one.
    pub attempts: u32,
    /// Time until the next attempt; `None` if there is none.
    pub retry_in: Option<Duration>,
}
