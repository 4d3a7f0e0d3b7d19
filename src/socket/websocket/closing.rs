//! The closing handshake (RFC 6455 §7), and the release of the stream.
//!
//! From the call that begins it, the closing handshake takes at most
//! [`close_timeout`](crate::WebSocketConfig::close_timeout). That includes the rest of a long
//! message before our Close frame, the frame itself and the peer's answer. When the time is over
//! the stream is released, so neither half waits longer for a peer that does not read or does not
//! stop sending.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Closing, Out, WebSocket};
use crate::clock::later;
use crate::error::{Error, Timeout};
use crate::frame::{CloseCode, CloseFrame, Role, SendError};
use crate::socket::config::StreamEnd;
use crate::socket::keys::mask_key;
use crate::transport::{Finish, Stream};

impl WebSocket {
    /// Closes the WebSocket: sends what is queued and a Close frame, and waits for the peer's.
    /// Takes a [`CloseFrame`], a [`CloseCode`], or `None` for an empty frame. Messages that arrive
    /// meanwhile are dropped; receive until the end first if they matter.
    ///
    /// Closing a WebSocket that is already closed is not an error.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the peer's Close frame does not arrive within
    /// [`WebSocketConfig::close_timeout`](crate::WebSocketConfig::close_timeout);
    /// [`Error::Send`] if the code may not be sent (RFC 6455 §7.4); otherwise the error that broke
    /// the stream.
    ///
    /// # Cancel safety
    ///
    /// Once the future was polled, the Close frame will be sent. Call `close` again to continue
    /// waiting.
    pub async fn close(&mut self, frame: impl Into<Option<CloseFrame>>) -> Result<(), Error> {
        let mut frame = Some(frame.into());
        poll_fn(|cx| {
            if let Some(close) = frame.take() {
                self.send_close(close)?;
            }
            self.poll_closed(cx)
        })
        .await
    }

    /// Drives the closing handshake to its end.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // Neither pending nor an error ends the handshake here: a peer that does not read may
        // still close, or may have closed already. Reading finds out.
        let _ = self.poll_flush_messages(cx);
        loop {
            match self.poll_message(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                // The task's budget may be used up with more to read.
                Poll::Pending if self.is_close_overdue() => {
                    return Poll::Ready(Err(self.close_fails()));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Sends a Close frame without waiting for the peer's.
    pub(crate) fn poll_send_close(
        &mut self,
        frame: &mut Option<Option<CloseFrame>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        if let Some(frame) = frame.take() {
            self.send_close(frame)?;
        }
        if self.rare().is_some_and(|rare| rare.closing.failed) {
            return Poll::Ready(Err(Error::Timeout(Timeout::Close)));
        }
        Poll::Ready(match ready!(self.poll_flush_messages(cx)) {
            // Closing a WebSocket that is closed is not an error.
            Err(Error::Closed) => Ok(()),
            flushed => flushed,
        })
    }

    /// Ready, for a caller that waits for our Close frame to leave, when the time for the closing
    /// handshake is over.
    pub(super) fn poll_close_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        ready!(self.poll_close_timer(cx, |closing| &mut closing.writer));
        // The reader may wait in another task.
        if let Some(stream) = &self.stream {
            stream.wake_reader();
        }
        let error = self.close_fails();
        self.rare_mut().closing.untold = true;
        Poll::Ready(error)
    }

    /// Sends a Close frame as a message, which is an error if there is one already.
    #[inline(never)]
    pub(super) fn start_close(&mut self, frame: Option<CloseFrame>) -> Result<(), Error> {
        if self.stream.is_none() || !self.protocol.is_open() {
            return Err(Error::Closed);
        }
        self.send_close(frame)
    }

    /// Ends the WebSocket because the peer's Close frame did not arrive in time.
    pub(super) fn close_fails(&mut self) -> Error {
        let error = Error::Timeout(Timeout::Close);
        self.ends(error.socket_end());
        let rare = self.rare_mut();
        rare.abnormal = true;
        rare.closing.failed = true;
        self.let_go();
        error
    }

    /// Takes the error that ended the WebSocket while it was not read.
    pub(super) fn take_untold(&mut self) -> Option<Error> {
        let closing = &mut self.rare.as_mut()?.closing;
        std::mem::take(&mut closing.untold).then_some(Error::Timeout(Timeout::Close))
    }

    pub(super) fn send_close(&mut self, frame: Option<CloseFrame>) -> Result<(), Error> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let protocol = &mut self.protocol;
        match stream.write(|out| protocol.close(frame, mask_key, &mut Out(out))) {
            Ok(()) => {
                // From now on it waits for the peer's Close frame with a time limit.
                stream.wake_reader();
                let by = later(Instant::now(), self.config.close_timeout);
                self.rare_mut().closing.by.get_or_insert(by);
                Ok(())
            }
            Err(SendError::Closed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Closes for a peer that does not read: after what is queued, but instead of the rest of a
    /// long message, which could wait forever.
    pub(in crate::socket) fn give_up(
        &mut self,
        frame: CloseFrame,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        self.protocol.abandon();
        self.send_close(Some(frame))?;
        match self.poll_flush_messages(cx) {
            Poll::Ready(Err(Error::Closed)) | Poll::Pending => Ok(()),
            Poll::Ready(flushed) => flushed,
        }
    }

    /// Returns whether the server is shutting down and asks this WebSocket to close.
    pub(crate) fn is_draining(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_some_and(Stream::is_draining)
    }

    pub(super) fn must_heed_drain(&self) -> bool {
        let stream = self.stream.as_ref();
        stream.is_some_and(Stream::is_draining) && self.protocol.is_open()
    }

    /// Closes with code 1001 if this side is shutting down (RFC 6455 §7.4.1).
    pub(super) fn heed_drain(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        if !self.must_heed_drain() {
            return Ok(());
        }
        self.send_close(Some(CloseFrame::from(CloseCode::GOING_AWAY)))?;
        if let Some(stream) = &mut self.stream {
            stream.flush_as_reader(cx);
        }
        Ok(())
    }

    /// Polls for breakage without reading, for a caller that has no room for a message. Closes
    /// meanwhile if the server is shutting down.
    pub(crate) fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(stream) = &mut self.stream else {
            return Poll::Pending;
        };
        if let Poll::Ready(error) = stream.poll_broken(cx) {
            return Poll::Ready(error.into());
        }
        if let Err(error) = self.heed_drain(cx) {
            return Poll::Ready(error);
        }
        self.poll_close_timer(cx, |closing| &mut closing.reader)
            .map(|()| Error::Timeout(Timeout::Close))
    }

    /// Ready when the peer's Close frame did not arrive in time; registers with the given timer.
    pub(super) fn poll_close_timer(
        &mut self,
        cx: &mut Context<'_>,
        timer: impl FnOnce(&mut Closing) -> &mut Option<Pin<Box<Sleep>>>,
    ) -> Poll<()> {
        let Some(closing) = self.rare.as_mut().map(|rare| &mut rare.closing) else {
            return Poll::Pending;
        };
        let Some(by) = closing.by else {
            return Poll::Pending;
        };
        timer(closing)
            .get_or_insert_with(|| Box::pin(sleep_until(by)))
            .as_mut()
            .poll(cx)
    }

    fn is_close_overdue(&self) -> bool {
        let by = self.rare().and_then(|rare| rare.closing.by);
        by.is_some_and(|by| by <= Instant::now())
    }

    /// Releases the stream. The WebSocket can still report how it ended.
    pub(super) fn let_go(&mut self) {
        self.let_go_by(self.finish());
    }

    pub(super) fn let_go_by(&mut self, finish: Finish) {
        let transport = self.stream.as_ref().map(Stream::transport);
        if transport.is_some() {
            self.rare_mut().transport = transport;
        }
        self.release(finish);
    }

    /// Returns how the stream has to end in the present state.
    fn finish(&self) -> Finish {
        let role = self.protocol.role();
        let linger = self.config.linger_as(role);
        match self.config.ending {
            StreamEnd::AtOnce => Finish::End(linger),
            ending if role == Role::Client && self.protocol.is_closed() => Finish::Await {
                linger,
                end: ending == StreamEnd::AfterPeer,
            },
            _ => Finish::End(linger),
        }
    }

    fn release(&mut self, finish: Finish) {
        self.chunk = Bytes::new();
        self.meter = None;
        if let Some(stream) = self.stream.take() {
            if let Some(rare) = &mut self.rare {
                rare.closing.reader = None;
                rare.closing.writer = None;
            }
            stream.finish(finish);
        }
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        self.release(self.finish());
    }
}
