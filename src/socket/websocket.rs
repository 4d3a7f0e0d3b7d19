//! The socket: drives [`Protocol`] over a byte stream.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::config::{Config, Ending};
use super::keys::mask_key;
use super::pings::{Pings, Silence};
use super::split::{self, WebSocketReader, WebSocketWriter};
use crate::error::{Error, Timeout};
use crate::frame::{
    CloseCode, CloseFrame, Deflate, Event, Limits, Message, Output, Prepared, Protocol, Role,
    SendError,
};
use crate::metrics::{SocketEnd, SocketMeter};
use crate::transport::{self, Finish, IoStream, Outgoing, StreamError, Transport};

/// A WebSocket, whatever carries it.
///
/// It is a [`Stream`] of messages and a [`Sink`] for them. Pings are answered
/// while it is read, and are not shown; Pongs are. The stream of messages ends
/// (`None`) when the peer closed by the closing handshake, and with an error
/// in every other case.
///
/// Messages that are [fed](https://docs.rs/futures-util/0.3/futures_util/sink/trait.SinkExt.html#method.feed)
/// rather than sent share frames of HTTP/2 and system calls. They leave with
/// the next flush, and at the latest when the socket is read and has to wait:
/// an echo server need not flush.
///
/// A send is done when the message is in the hands of the connection. It waits
/// while more than the [write buffer](crate::Http2Config::write_buffer) has
/// not left yet, so a slow peer slows the sender. Only [`close`](Self::close)
/// says that the peer has seen everything.
///
/// Dropping the socket without closing it resets the stream (HTTP/2) or closes
/// the connection: the peer sees close code 1006.
///
/// # Cancel safety
///
/// Receiving is cancel safe: no message is lost when the future of `next` is
/// dropped. A dropped future of `send` may or may not have sent the message,
/// never a part of it.
///
/// # Example
///
/// ```
/// use futures_util::{SinkExt, StreamExt};
/// use h2ws::{Config, Message, Role, WebSocket};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), h2ws::Error> {
/// let (near, far) = tokio::io::duplex(4096);
/// let mut client = WebSocket::from_stream(near, Role::Client, Config::default());
/// let mut server = WebSocket::from_stream(far, Role::Server, Config::default());
///
/// client.send(Message::text("hello")).await?;
/// let message = server.next().await.expect("the stream is open")?;
/// assert_eq!(message.as_text(), Some("hello"));
/// # Ok(())
/// # }
/// ```
pub struct WebSocket {
    /// `None` once it is let go.
    stream: Option<transport::Stream>,
    protocol: Protocol,
    /// Received and not decoded.
    chunk: Bytes,
    config: Arc<Config>,
    agreement: Option<Box<Agreement>>,
    transport: Transport,
    close_timer: Option<Pin<Box<Sleep>>>,
    pings: Option<Box<Pings>>,
    meter: Option<Box<SocketMeter>>,
    /// Ended without a closing handshake.
    abnormal: bool,
}

/// What the opening handshake settled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agreement {
    pub(crate) subprotocol: Option<String>,
    pub(crate) deflate: Option<Deflate>,
}

impl WebSocket {
    /// A WebSocket on a byte stream whose opening handshake is done.
    pub fn from_stream<T>(io: T, role: Role, config: Config) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::on(io, role, config, Agreement::default())
    }

    /// A WebSocket on a byte stream whose opening handshake is done and agreed to
    /// permessage-deflate (RFC 7692);
    /// [`DeflateConfig::at`](crate::handshake::DeflateConfig::at) tells what was agreed.
    #[cfg(feature = "deflate")]
    pub fn from_stream_with_deflate<T>(io: T, role: Role, config: Config, deflate: Deflate) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let agreement = Agreement {
            deflate: Some(deflate),
            ..Agreement::default()
        };
        Self::on(io, role, config, agreement)
    }

    fn on<T>(io: T, role: Role, config: Config, agreement: Agreement) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let write_buffer = config.write_buffer;
        let stream = IoStream::new(Box::new(io), Bytes::new(), Transport::Io, write_buffer);
        let stream = transport::Stream::Io(Box::new(stream));
        Self::new(stream, role, Arc::new(config), agreement, None)
    }

    pub(crate) fn new(
        stream: transport::Stream,
        role: Role,
        config: Arc<Config>,
        agreement: Agreement,
        meter: Option<Box<SocketMeter>>,
    ) -> Self {
        let protocol = protocol(role, config.limits, agreement.deflate);
        let agreement = agreement.subprotocol.is_some().then(|| Box::new(agreement));
        Self {
            transport: stream.transport(),
            stream: Some(stream),
            protocol,
            chunk: Bytes::new(),
            pings: Pings::new(&config),
            config,
            agreement,
            close_timer: None,
            meter,
            abnormal: false,
        }
    }

    /// What carries the socket.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The subprotocol that both sides agreed on (RFC 6455 §1.9).
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.agreement.as_ref()?.subprotocol.as_deref()
    }

    /// How messages are compressed, if both sides agreed on permessage-deflate (RFC 7692).
    #[must_use]
    pub fn deflate(&self) -> Option<&Deflate> {
        self.protocol.deflate()
    }

    /// Gives back the memory of a compressor that is kept for the next message (RFC 7692 §7.1.1),
    /// such as when there will be nothing to say for a while. The next message is compressed as
    /// the first was. Does nothing while a long message is on its way.
    pub fn free_compressor(&mut self) {
        self.protocol.free_compressor();
    }

    /// How the peer closed: its code, [`CloseCode::NO_STATUS`] where its Close
    /// frame had none, [`CloseCode::ABNORMAL`] where it sent no Close frame;
    /// `None` while the socket is open (RFC 6455 §7.1.5).
    #[must_use]
    pub fn close_code(&self) -> Option<CloseCode> {
        match self.protocol.received_close() {
            Some(Some(frame)) => Some(frame.code),
            Some(None) => Some(CloseCode::NO_STATUS),
            None => self.abnormal.then_some(CloseCode::ABNORMAL),
        }
    }

    /// The reason that the peer's Close frame gave; empty where it gave none.
    #[must_use]
    pub fn close_reason(&self) -> &str {
        match self.protocol.received_close() {
            Some(Some(frame)) => &frame.reason,
            _ => "",
        }
    }

    /// Splits into halves that two tasks can use.
    #[must_use]
    pub fn split(self) -> (WebSocketReader, WebSocketWriter) {
        split::split(self)
    }

    /// Closes: sends what is queued and a Close frame, and waits for the
    /// peer's. Messages that arrive meanwhile are dropped; receive until the
    /// end first if they matter.
    ///
    /// Closing a socket that the peer has closed already is no error.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the peer's Close frame does not come within
    /// [`Config::close_timeout`]; [`Error::Send`] if the code may not be sent
    /// (RFC 6455 §7.4); otherwise what broke the stream.
    ///
    /// # Cancel safety
    ///
    /// Once the future was polled the Close frame is on its way; the wait can
    /// be taken up by calling `close` again.
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

    /// Sends a message that was prepared for many sockets, as `send` does one
    /// of its own.
    ///
    /// # Errors
    ///
    /// What broke the stream; [`Error::Send`] after a Close frame.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may or may not have sent the message, never a part.
    pub async fn send_prepared(&mut self, message: &Prepared) -> Result<(), Error> {
        self.feed_prepared(message).await?;
        poll_fn(|cx| self.poll_flush_messages(cx)).await
    }

    /// As [`send_prepared`](Self::send_prepared), to leave with the next flush.
    ///
    /// # Errors
    ///
    /// As [`send_prepared`](Self::send_prepared).
    ///
    /// # Cancel safety
    ///
    /// A dropped future has not sent the message.
    pub async fn feed_prepared(&mut self, message: &Prepared) -> Result<(), Error> {
        poll_fn(|cx| self.poll_ready_to_send(cx)).await?;
        self.start_prepared(message)
    }

    fn send_close(&mut self, frame: Option<CloseFrame>) -> Result<(), Error> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let protocol = &mut self.protocol;
        match stream.write(|out| protocol.close(frame, mask_key, &mut Out(out))) {
            Ok(()) => {
                // It has to wait for the peer's Close with a limit from now on.
                stream.wake_reader();
                Ok(())
            }
            Err(SendError::Closed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Drives the closing handshake to its end.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.stream.is_some() {
            // Not waited for: a peer that stopped reading may still close.
            if let Poll::Ready(Err(error)) = self.poll_flush_messages(cx)
                && !matches!(error, Error::Closed)
            {
                return Poll::Ready(Err(error));
            }
        }
        loop {
            match ready!(self.poll_message(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    #[inline]
    pub(super) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, Error>>> {
        match self.protocol.receive_whole(&mut self.chunk) {
            Some(message) => {
                self.count_received(message.len());
                Poll::Ready(Some(Ok(message)))
            }
            None => self.poll_event(cx),
        }
    }

    /// As [`poll_message`](Self::poll_message), apart from the common case.
    #[inline(never)]
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        loop {
            if self.stream.is_none() {
                return Poll::Ready(None);
            }
            if self.chunk.is_empty() {
                self.settle(cx);
                self.go_on(cx);
                self.heed_drain(cx)?;
                match self.poll_chunk(cx) {
                    Poll::Ready(Ok(chunk)) => self.chunk = chunk,
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Poll::Pending => {
                        self.pause();
                        return Poll::Pending;
                    }
                }
            }
            let received = self.protocol.receive(&mut self.chunk);
            if let Some(stream) = &mut self.stream {
                stream.hold(self.protocol.held());
            }
            match received {
                Ok(Some(Event::Message(message))) => {
                    self.count_received(message.len());
                    return Poll::Ready(Some(Ok(message)));
                }
                Ok(Some(event)) => {
                    self.settle(cx);
                    match event {
                        Event::Pong(payload)
                            if self.pings.as_ref().is_some_and(|p| p.is_answer(&payload)) => {}
                        Event::Pong(payload) => {
                            self.count_received(payload.len());
                            return Poll::Ready(Some(Ok(Message::Pong(payload))));
                        }
                        Event::Close(_) => {
                            let code = self.close_code().unwrap_or(CloseCode::NO_STATUS);
                            self.ends(SocketEnd::Closed(code));
                            self.let_go();
                            return Poll::Ready(None);
                        }
                        _ => {}
                    }
                }
                // What is owed is written before the next chunk is waited for.
                Ok(None) => {}
                Err(error) => {
                    self.settle(cx);
                    let error = Error::Protocol(error);
                    self.ends(error.socket_end());
                    self.let_go();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(Error::Closed));
        };
        // One unit a chunk: a peer that sends without pause must not keep
        // other tasks from running.
        let budget = ready!(tokio::task::coop::poll_proceed(cx));
        let ended = match stream.poll_chunk(cx) {
            Poll::Ready(Ok(Some(chunk))) => {
                budget.made_progress();
                if let Some(pings) = &mut self.pings {
                    pings.heard();
                }
                return Poll::Ready(Ok(chunk));
            }
            Poll::Ready(Ok(None)) => Error::Abnormal,
            Poll::Ready(Err(StreamError::Overloaded)) => {
                budget.made_progress();
                self.ends(SocketEnd::Overloaded);
                self.protocol.forget_received();
                // Fails where it was closing anyway.
                let _ = self.give_up(CloseFrame::from(CloseCode::TRY_AGAIN_LATER), cx);
                self.let_go();
                return Poll::Ready(Err(Error::Overloaded));
            }
            Poll::Ready(Err(error)) => error.into(),
            Poll::Pending => {
                if self.poll_silence(cx).is_ready() {
                    budget.made_progress();
                    self.ends(SocketEnd::Timeout);
                    // Before it counts as ended: there is nobody to end it with.
                    self.let_go();
                    self.abnormal = true;
                    return Poll::Ready(Err(Error::Timeout(Timeout::KeepAlive)));
                }
                ready!(self.poll_close_timer(cx));
                Error::Timeout(Timeout::Close)
            }
        };
        budget.made_progress();
        self.abnormal = true;
        self.ends(ended.socket_end());
        self.let_go();
        Poll::Ready(Err(ended))
    }

    /// Pings a silent peer; ready when that was in vain.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let (Some(pings), Some(stream)) = (&mut self.pings, &mut self.stream) else {
                return Poll::Pending;
            };
            if !self.protocol.is_open() {
                // From here on it is the close timeout's business.
                return Poll::Pending;
            }
            match ready!(pings.poll(cx)) {
                Silence::Dead => return Poll::Ready(()),
                // Without room the peer has been asked by what fills it.
                Silence::Ping(payload) => {
                    if stream.has_room(cx) {
                        let protocol = &mut self.protocol;
                        let ping = Message::Ping(payload);
                        // Cannot fail: it is short, and the socket open.
                        let _ = stream.write(|out| protocol.send(ping, mask_key, &mut Out(out)));
                        // An error shows up in the next read.
                        let _ = stream.poll_flush(cx);
                    }
                }
            }
        }
    }

    /// Ready when the peer's Close frame is overdue.
    fn poll_close_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.protocol.close_sent() {
            return Poll::Pending;
        }
        let timeout = self.config.close_timeout;
        self.close_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)))
            .as_mut()
            .poll(cx)
    }

    /// Closes when this side is shutting down (RFC 6455 §7.4.1, code 1001).
    fn heed_drain(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        if !stream.is_draining() || !self.protocol.is_open() {
            return Ok(());
        }
        self.send_close(Some(CloseFrame::from(CloseCode::GOING_AWAY)))?;
        if let Some(stream) = &mut self.stream {
            // An error shows up in the next read or write.
            let _ = stream.poll_flush(cx);
        }
        Ok(())
    }

    /// Writes the control frames that the protocol owes.
    fn settle(&mut self, cx: &mut Context<'_>) {
        if !self.protocol.owes() {
            return;
        }
        let Some(stream) = &mut self.stream else {
            return;
        };
        // Pongs wait for room, of which a peer that pings and does not read
        // leaves none; a Close frame is the last, so it may exceed it.
        let closing = !self.protocol.is_open() && !self.protocol.has_pending();
        if closing || stream.has_room(cx) {
            let protocol = &mut self.protocol;
            stream.write(|out| protocol.write(mask_key, &mut Out(out)));
            // An error shows up in the next read or write.
            let _ = stream.poll_flush(cx);
        }
    }

    /// Writes the rest of a long message as far as there is room, on behalf of
    /// who fed it and only reads now. The reader is woken when there is more.
    fn go_on(&mut self, cx: &mut Context<'_>) {
        while self.protocol.has_pending() {
            let Some(stream) = &mut self.stream else {
                return;
            };
            if !stream.has_room(cx) {
                return;
            }
            let protocol = &mut self.protocol;
            stream.write(|out| protocol.write(mask_key, &mut Out(out)));
        }
    }

    #[inline]
    pub(super) fn poll_ready_to_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_pending(cx))?;
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(Error::Closed));
        };
        let room = stream.poll_room(cx);
        room.map_err(|error| self.broke(error))
    }

    #[inline]
    pub(super) fn start_message(&mut self, message: Message) -> Result<(), Error> {
        let Some(stream) = &mut self.stream else {
            return Err(Error::Closed);
        };
        let protocol = &mut self.protocol;
        let len = message.len();
        stream.write(|out| protocol.send(message, mask_key, &mut Out(out)))?;
        self.count_sent(len);
        Ok(())
    }

    pub(super) fn start_prepared(&mut self, message: &Prepared) -> Result<(), Error> {
        let Some(stream) = &mut self.stream else {
            return Err(Error::Closed);
        };
        let protocol = &mut self.protocol;
        stream.write(|out| protocol.send_prepared(message, mask_key, &mut Out(out)))?;
        self.count_sent(message.len());
        Ok(())
    }

    /// Closes for a peer that does not read: behind what is queued, but in
    /// place of what is left of a long message, which could wait for ever.
    pub(super) fn give_up(&mut self, frame: CloseFrame, cx: &mut Context<'_>) -> Result<(), Error> {
        self.protocol.abandon();
        self.send_close(Some(frame))?;
        match self.poll_flush_messages(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    pub(super) fn poll_flush_messages(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_pending(cx))?;
        self.pause();
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Ok(()));
        };
        let flushed = stream.poll_flush(cx);
        flushed.map_err(|error| self.broke(error))
    }

    /// An error of writing; who drops the socket for it need not read again.
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

    #[inline]
    fn count_received(&mut self, len: usize) {
        if let Some(meter) = &mut self.meter {
            meter.received(1, len);
        }
    }

    /// There is nothing to do for the moment.
    fn pause(&mut self) {
        if let Some(meter) = &mut self.meter {
            meter.pause();
        }
    }

    fn ends(&mut self, end: SocketEnd) {
        if let Some(meter) = &mut self.meter {
            meter.ends(end);
        }
    }

    #[inline]
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.protocol.has_pending() {
            return self.poll_fragments(cx);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the rest of a long message, frame by frame as there is room.
    fn poll_fragments(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while self.protocol.has_pending() {
            let Some(stream) = &mut self.stream else {
                return Poll::Ready(Err(Error::Closed));
            };
            ready!(stream.poll_room(cx))?;
            let protocol = &mut self.protocol;
            stream.write(|out| protocol.write(mask_key, &mut Out(out)));
        }
        Poll::Ready(Ok(()))
    }

    /// Sends a Close frame without waiting for the peer's.
    pub(super) fn poll_send_close(
        &mut self,
        frame: &mut Option<Option<CloseFrame>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        if let Some(frame) = frame.take() {
            self.send_close(frame)?;
        }
        self.poll_flush_messages(cx)
    }

    fn let_go(&mut self) {
        self.chunk = Bytes::new();
        self.close_timer = None;
        self.meter = None;
        let Some(stream) = self.stream.take() else {
            return;
        };
        let grace = self.config.linger_as(self.protocol.role());
        let ending = self.config.ending;
        stream.finish(match self.protocol.role() {
            _ if !self.protocol.close_sent() && !self.abnormal => Finish::Cancel,
            Role::Client if ending != Ending::AtOnce && self.protocol.is_closed() => {
                let end = ending == Ending::AfterPeer;
                Finish::Await { grace, end }
            }
            _ => Finish::End { grace },
        });
    }
}

impl Stream for WebSocket {
    type Item = Result<Message, Error>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_message(cx)
    }
}

impl Sink<Message> for WebSocket {
    type Error = Error;

    #[inline]
    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().poll_ready_to_send(cx)
    }

    #[inline]
    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        self.get_mut().start_message(message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.get_mut().poll_flush_messages(cx)
    }

    /// Sends a Close frame with code 1000, without waiting for the peer's;
    /// that ends the stream of messages.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut frame = Some(Some(CloseFrame::from(CloseCode::NORMAL)));
        self.get_mut().poll_send_close(&mut frame, cx)
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("transport", &self.transport)
            .field("role", &self.protocol.role())
            .field("close_code", &self.close_code())
            .finish_non_exhaustive()
    }
}

fn protocol(role: Role, limits: Limits, deflate: Option<Deflate>) -> Protocol {
    match deflate {
        #[cfg(feature = "deflate")]
        Some(deflate) => Protocol::with_deflate(role, limits, deflate),
        _ => Protocol::new(role, limits),
    }
}

/// Frames are encoded straight into the stream's outgoing buffer.
struct Out<'a>(&'a mut Outgoing);

impl Output for Out<'_> {
    fn buffer(&mut self) -> &mut BytesMut {
        self.0.buffer()
    }

    fn append(&mut self, payload: Bytes) {
        self.0.append(payload);
    }
}
