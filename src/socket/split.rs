//! The halves of a split [`WebSocket`].

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, ready};

use futures_core::stream::{FusedStream, Stream};
use futures_sink::Sink;

use super::WebSocket;
use crate::error::Error;
use crate::frame::{CloseCode, CloseFrame, Message, PreparedMessage};
use crate::sync::{Mutex, MutexGuard};
use crate::transport::Transport;

/// The receiving half of a WebSocket; see [`WebSocket::split`].
///
/// It answers Pings and the peer's Close frame, so it has to be read for the WebSocket to stay
/// alive. The WebSocket ends with the later of its halves; see
/// [what becomes of what was sent](WebSocket#what-becomes-of-what-was-sent).
pub struct WebSocketReader(Shared);

/// The sending half of a WebSocket; see [`WebSocket::split`].
///
/// Dropping it does not close the WebSocket while the reader exists, and what it sent still
/// leaves.
pub struct WebSocketWriter(Shared);

/// The WebSocket of both halves. Locked for one poll, never across an await.
#[derive(Clone)]
struct Shared(Arc<Mutex<WebSocket>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, WebSocket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn split(socket: WebSocket) -> (WebSocketReader, WebSocketWriter) {
    let shared = Shared(Arc::new(Mutex::new(socket)));
    (WebSocketReader(shared.clone()), WebSocketWriter(shared))
}

/// The error of [`WebSocketReader::reunite`] for halves of different WebSockets; returns them.
#[derive(Debug)]
pub struct ReuniteError(pub WebSocketReader, pub WebSocketWriter);

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves belong to different WebSockets")
    }
}

impl std::error::Error for ReuniteError {}

impl WebSocketReader {
    /// Reunites the halves.
    ///
    /// # Errors
    ///
    /// [`ReuniteError`] if they belong to different WebSockets.
    pub fn reunite(self, writer: WebSocketWriter) -> Result<WebSocket, Box<ReuniteError>> {
        if !Arc::ptr_eq(&self.0.0, &writer.0.0) {
            return Err(Box::new(ReuniteError(self, writer)));
        }
        let shared = self.0.clone();
        drop((self, writer));
        match Arc::try_unwrap(shared.0) {
            Ok(mutex) => Ok(mutex.into_inner().unwrap_or_else(PoisonError::into_inner)),
            Err(_) => unreachable!("there are two halves and both are here"),
        }
    }

    /// Returns what carries the WebSocket.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.0.lock().transport()
    }

    /// See [`WebSocket::close_code`].
    #[must_use]
    pub fn close_code(&self) -> Option<CloseCode> {
        self.0.lock().close_code()
    }

    /// See [`WebSocket::close_frame`].
    #[must_use]
    pub fn close_frame(&self) -> Option<CloseFrame> {
        self.0.lock().close_frame().cloned()
    }

    /// Receives the next message; see [`WebSocket::recv`].
    ///
    /// # Errors
    ///
    /// As for [`WebSocket::recv`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no message is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.0.lock().poll_message(cx)).await
    }
}

impl WebSocketWriter {
    /// Sends a message; see [`WebSocket::send`].
    ///
    /// # Errors
    ///
    /// As for [`WebSocket::send`].
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped may or may not have sent the message, but never a part of it.
    pub fn send(&mut self, message: impl Into<Message>) -> impl Future<Output = Result<(), Error>> {
        let mut message = Some(message.into());
        poll_fn(move |cx| self.0.lock().poll_send(&mut message, cx))
    }

    /// Queues a message without flushing it; see [`WebSocket::feed`]. It leaves with the next
    /// [`flush`](Self::flush) or [`send`](Self::send), or when the reader has to wait.
    ///
    /// # Errors
    ///
    /// As for [`WebSocket::send`].
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped before it completes has not sent the message.
    pub fn feed(&mut self, message: impl Into<Message>) -> impl Future<Output = Result<(), Error>> {
        let mut message = Some(message.into());
        poll_fn(move |cx| self.0.lock().poll_feed(&mut message, cx))
    }

    /// Waits until the connection has taken all messages that were [fed](Self::feed).
    ///
    /// # Errors
    ///
    /// As for [`WebSocket::flush`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what has not left yet stays queued.
    pub async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.0.lock().poll_flush_messages(cx)).await
    }

    /// See [`WebSocket::send_prepared`].
    ///
    /// # Errors
    ///
    /// As for [`WebSocket::send`].
    ///
    /// # Cancel safety
    ///
    /// A dropped future may or may not have sent the message, never a part.
    pub async fn send_prepared(&mut self, message: &PreparedMessage) -> Result<(), Error> {
        self.feed_prepared(message).await?;
        poll_fn(|cx| self.0.lock().poll_flush_messages(cx)).await
    }

    /// See [`WebSocket::feed_prepared`].
    ///
    /// # Errors
    ///
    /// As [`send_prepared`](Self::send_prepared).
    ///
    /// # Cancel safety
    ///
    /// A dropped future has not sent the message.
    pub async fn feed_prepared(&mut self, message: &PreparedMessage) -> Result<(), Error> {
        poll_fn(|cx| self.0.lock().poll_ready_to_send(cx)).await?;
        self.0.lock().start_prepared(message)
    }

    /// Sends a message if there is room; pending, and nothing was sent, if there is none.
    pub(super) fn poll_send_prepared(
        &mut self,
        message: &PreparedMessage,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let mut socket = self.0.lock();
        ready!(socket.poll_ready_to_send(cx))?;
        socket.start_prepared(message)?;
        // What is not written now is written with the next message, or by the reader.
        match socket.poll_flush_messages(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    pub(super) fn give_up(&mut self, frame: CloseFrame, cx: &mut Context<'_>) -> Result<(), Error> {
        self.0.lock().give_up(frame, cx)
    }

    /// Sends a Close frame after what is queued: a [`CloseFrame`], a [`CloseCode`], or `None` for
    /// an empty one. The closing handshake is done when the reader's stream of messages ends.
    ///
    /// # Errors
    ///
    /// [`Error::Send`] if the code may not be sent (RFC 6455 §7.4);
    /// [`Error::Timeout`] if the frame has not left within
    /// [`WebSocketConfig::close_timeout`](crate::WebSocketConfig::close_timeout), which the reader
    /// returns as well; otherwise the error that broke the stream.
    ///
    /// # Cancel safety
    ///
    /// Once the future was polled, the Close frame will be sent.
    pub async fn close(&mut self, frame: impl Into<Option<CloseFrame>>) -> Result<(), Error> {
        let mut frame = Some(frame.into());
        poll_fn(|cx| self.0.lock().poll_send_close(&mut frame, cx)).await
    }
}

impl Stream for WebSocketReader {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.lock().poll_message(cx)
    }
}

impl FusedStream for WebSocketReader {
    fn is_terminated(&self) -> bool {
        self.0.lock().is_terminated()
    }
}

impl Sink<Message> for WebSocketWriter {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.lock().poll_ready_to_send(cx)
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.0.lock().start_message(message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.lock().poll_flush_messages(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut frame = Some(Some(CloseFrame::from(CloseCode::NORMAL)));
        self.0.lock().poll_send_close(&mut frame, cx)
    }
}

/// Drops the registered waker and timer of the reader.
impl Drop for WebSocketReader {
    fn drop(&mut self) {
        // Dropped after the lock is released.
        let _kept = self.0.lock().reader_leaves();
    }
}

impl Drop for WebSocketWriter {
    fn drop(&mut self) {
        let _kept = self.0.lock().writer_leaves();
    }
}

impl fmt::Debug for WebSocketReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebSocketReader")
            .field(&*self.0.lock())
            .finish()
    }
}

impl fmt::Debug for WebSocketWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebSocketWriter")
            .field(&*self.0.lock())
            .finish()
    }
}
