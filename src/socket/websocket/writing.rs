//! Writing: the application's messages, long ones in fragments as there is room, and the control
//! frames that the protocol owes.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll, ready};

use super::{Out, WebSocket};
use crate::error::Error;
use crate::frame::{Message, PreparedMessage};
use crate::socket::keys::mask_key;
use crate::transport::StreamError;

impl WebSocket {
    /// Sends a message, and completes once the connection has taken it.
    ///
    /// Waits while the [write buffer](crate::Http2Config::write_buffer) is full, so that a slow
    /// peer slows the sender. Only [`close`](Self::close) confirms that the peer has received
    /// everything: [`Message::Close`] begins the closing handshake, and the end of the stream of
    /// messages completes it.
    ///
    /// # Errors
    ///
    /// - [`Error::Closed`] if the WebSocket is closing or closed, by either side.
    /// - [`Error::Send`] if the message itself cannot be sent, such as a Ping of more than 125
    ///   bytes.
    /// - [`Error::Timeout`] if a Close frame has not left within
    ///   [`close_timeout`](crate::WebSocketConfig::close_timeout).
    /// - Otherwise the error that broke the stream.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped may or may not have sent the message, but never a part of it.
    pub fn send(&mut self, message: impl Into<Message>) -> impl Future<Output = Result<(), Error>> {
        let mut message = Some(message.into());
        poll_fn(move |cx| self.poll_send(&mut message, cx))
    }

    /// Queues a message without flushing it, so that several share a frame of HTTP/2 and a system
    /// call.
    ///
    /// The message leaves with the next [`flush`](Self::flush) or [`send`](Self::send), or when
    /// [`recv`](Self::recv) has to wait, whichever comes first.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped before it completes has not sent the message.
    pub fn feed(&mut self, message: impl Into<Message>) -> impl Future<Output = Result<(), Error>> {
        let mut message = Some(message.into());
        poll_fn(move |cx| self.poll_feed(&mut message, cx))
    }

    /// Waits until the connection has taken all messages that were [fed](Self::feed).
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the WebSocket is closed; otherwise the error that broke the stream.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what has not left yet stays queued.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_flush_messages(cx)).await
    }

    /// Sends a message that was prepared for many WebSockets, as [`send`](Self::send) does one
    /// of its own.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped may or may not have sent the message, but never a part of it.
    pub async fn send_prepared(&mut self, message: &PreparedMessage) -> Result<(), Error> {
        self.feed_prepared(message).await?;
        poll_fn(|cx| self.poll_flush_messages(cx)).await
    }

    /// Queues a prepared message without flushing it, as [`feed`](Self::feed) does one of its own.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped before it completes has not sent the message.
    pub async fn feed_prepared(&mut self, message: &PreparedMessage) -> Result<(), Error> {
        poll_fn(|cx| self.poll_ready_to_send(cx)).await?;
        self.start_prepared(message)
    }

    /// Takes the message once it can be sent.
    #[inline]
    pub(in crate::socket) fn poll_feed(
        &mut self,
        message: &mut Option<Message>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        // Like `close`, it does not wait for room.
        if !message.as_ref().is_some_and(Message::is_close) {
            ready!(self.poll_ready_to_send(cx))?;
        }
        Poll::Ready(match message.take() {
            Some(message) => self.start_message(message),
            None => Ok(()),
        })
    }

    /// Takes the message once it can be sent. The message of a WebSocket that takes none any more,
    /// because it is closing or broken, stays with the caller.
    pub(crate) fn poll_offer(
        &mut self,
        message: &mut Option<Message>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        ready!(self.poll_ready_to_send(cx))?;
        if !self.protocol.is_open() {
            return Poll::Ready(Err(Error::Closed));
        }
        self.poll_feed(message, cx)
    }

    /// Takes the message once it can be sent, and flushes.
    #[inline]
    pub(in crate::socket) fn poll_send(
        &mut self,
        message: &mut Option<Message>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        if message.is_some() {
            ready!(self.poll_feed(message, cx))?;
        }
        self.poll_flush_messages(cx)
    }

    #[inline]
    pub(in crate::socket) fn poll_ready_to_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        ready!(self.poll_pending(cx))?;
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(Error::Closed));
        };
        let room = stream.poll_room(cx);
        room.map_err(|error| self.broke(error))
    }

    #[inline]
    pub(in crate::socket) fn start_message(&mut self, message: Message) -> Result<(), Error> {
        if let Message::Close(frame) = message {
            return self.start_close(frame);
        }
        let Some(stream) = &mut self.stream else {
            return Err(Error::Closed);
        };
        let protocol = &mut self.protocol;
        let len = message.len();
        stream.write(|out| protocol.send(message, mask_key, &mut Out(out)))?;
        self.count_sent(len);
        Ok(())
    }

    pub(in crate::socket) fn start_prepared(
        &mut self,
        message: &PreparedMessage,
    ) -> Result<(), Error> {
        let Some(stream) = &mut self.stream else {
            return Err(Error::Closed);
        };
        let protocol = &mut self.protocol;
        stream.write(|out| protocol.send_prepared(message, mask_key, &mut Out(out)))?;
        self.count_sent(message.len());
        Ok(())
    }

    pub(in crate::socket) fn poll_flush_messages(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let flushed = self.poll_flush_stream(cx);
        if flushed.is_pending() && !self.protocol.is_open() {
            return self.poll_close_overdue(cx).map(Err);
        }
        flushed
    }

    fn poll_flush_stream(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_pending(cx))?;
        self.pause();
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(Error::Closed));
        };
        let flushed = stream.poll_flush(cx);
        flushed.map_err(|error| self.broke(error))
    }

    #[inline]
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.protocol.has_pending() {
            return self.poll_fragments(cx);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the rest of a long message, one frame at a time as there is room.
    fn poll_fragments(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while self.protocol.has_pending() {
            let Some(stream) = &mut self.stream else {
                return Poll::Ready(Err(Error::Closed));
            };
            ready!(stream.poll_room(cx))?;
            let protocol = &mut self.protocol;
            stream.write(|out| protocol.write(mask_key, &mut Out(out)));
            stream.hold(protocol.held());
            ready!(self.poll_paid(cx));
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the rest of a long message as far as there is room, for a caller that fed it and now
    /// reads. The reader is woken when there is more room.
    pub(super) fn go_on(&mut self, cx: &mut Context<'_>) {
        while self.protocol.has_pending() && self.poll_paid(cx).is_ready() {
            let Some(stream) = &mut self.stream else {
                return;
            };
            if !stream.has_room(cx) {
                return;
            }
            let protocol = &mut self.protocol;
            stream.write(|out| protocol.write(mask_key, &mut Out(out)));
            stream.hold(protocol.held());
        }
    }

    /// Writes the control frames that the protocol owes.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) {
        if !self.protocol.has_pending_control() {
            return;
        }
        let Some(stream) = &mut self.stream else {
            return;
        };
        // Pongs wait for room, so that a peer that pings and does not read cannot fill memory. A
        // Close frame is the last frame, so it may exceed the room.
        let closing = !self.protocol.is_open() && !self.protocol.has_pending();
        if closing || stream.has_room(cx) {
            let protocol = &mut self.protocol;
            stream.write(|out| protocol.write(mask_key, &mut Out(out)));
            stream.flush_as_reader(cx);
        }
    }

    /// Reports an error of writing as the end, because the caller may drop the WebSocket for it.
    fn broke(&mut self, error: StreamError) -> Error {
        let error = Error::from(error);
        self.ends(error.socket_end());
        error
    }

    #[inline]
    fn count_sent(&mut self, len: usize) {
        if let Some(meter) = &mut self.meter {
            meter.sent(1, len);
        }
    }
}
