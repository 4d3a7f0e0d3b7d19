//! [`WebSocket`]: runs [`Protocol`] over a byte stream.

mod closing;
mod reading;
mod writing;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use futures_core::stream::{FusedStream, Stream};
use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use super::config::WebSocketConfig;
use super::pings::Pings;
use super::split::{self, WebSocketReader, WebSocketWriter};
use crate::error::Error;
use crate::frame::{CloseCode, CloseFrame, Deflate, Limits, Message, Output, Protocol, Role};
use crate::metrics::{SocketEnd, SocketMeter};
use crate::transport::{self, IoStream, Outgoing, Transport};

/// A WebSocket, over HTTP/2, HTTP/1.1 or any byte stream.
///
/// [`recv`](Self::recv) receives messages and [`send`](Self::send) sends them. It is also a
/// [`Stream`] of messages and a [`Sink`] for them. Pings are answered while it is read. Pings, Pongs
/// and the Close frame are received as messages only with
/// [`control_messages`](WebSocketConfig::control_messages). The stream of messages ends with `None`
/// after the closing handshake, and with an error in every other case.
///
/// Messages that are [fed](Self::feed) rather than sent share frames of HTTP/2 and system calls.
/// They leave with the next flush, and at the latest when [`recv`](Self::recv) has to wait, so an
/// echo server does not need to flush.
///
/// # What becomes of what was sent
///
/// A message that `send` or `flush` has accepted arrives, however the WebSocket ends and whatever
/// carries it: queued data leaves first, and then the stream ends. This happens in the background
/// once the WebSocket is closed or dropped, for at most [`linger`](WebSocketConfig::linger). Data is
/// lost only if the peer does not read it in that time or cannot be reached.
///
/// | how it ends here | what the peer receives |
/// |---|---|
/// | [`close`](Self::close), or the peer's Close frame is answered | what was sent, the Close frame, the end of the stream |
/// | dropped without that, with both halves: the handler returns, or its task is aborted or panics | what was sent, the end of the stream: close code 1006 |
/// | [`RawStream`](crate::socket::RawStream) is shut down or dropped | what was written, the end of the stream |
/// | [`BinaryStream`](crate::socket::BinaryStream) is shut down | what was written, a Close frame with code 1000, the end of the stream |
/// | any of these, and the peer neither reads what was sent within `linger`, nor ends its side within the same time again | RST_STREAM over HTTP/2, the end of the connection over HTTP/1.1 |
/// | [`close`](Self::close), and the peer does not answer within [`close_timeout`](WebSocketConfig::close_timeout) | the same as after a drop |
/// | the peer does not answer a [keep-alive Ping](WebSocketConfig::ping_timeout), or the connection broke | RST_STREAM, or the end of the connection |
///
/// The end of the stream is END_STREAM over HTTP/2 (RFC 8441 §5) and FIN over HTTP/1.1, after
/// TLS's own end. A message that was only [fed](Self::feed) may or may not arrive, but never in
/// part. A WebSocket that was split ends with the later of its halves: without the reader, the
/// peer's Pings and Close frame are not answered.
///
/// When a program exits, data that the operating system does not have yet is lost. Await
/// [`Client::shutdown`](crate::Client::shutdown) and the future of
/// [`Serve`](crate::server::Serve) first.
///
/// # Cancel safety
///
/// Receiving is cancel safe: no message is lost if the future is dropped. A future of `send` that
/// is dropped may or may not have sent the message, but never a part of it.
///
/// # Example
///
/// ```
/// use h2ws::frame::Role;
/// use h2ws::{WebSocket, WebSocketConfig};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), h2ws::Error> {
/// let (near, far) = tokio::io::duplex(4096);
/// let mut client = WebSocket::from_stream(near, Role::Client, WebSocketConfig::default());
/// let mut server = WebSocket::from_stream(far, Role::Server, WebSocketConfig::default());
///
/// client.send("hello").await?;
/// let message = server.recv().await.expect("the stream is open")?;
/// assert_eq!(message.as_text(), Some("hello"));
/// # Ok(())
/// # }
/// ```
pub struct WebSocket {
    /// `None` once the stream was released.
    stream: Option<transport::Stream>,
    protocol: Protocol,
    /// Received bytes that are not decoded yet.
    chunk: Bytes,
    config: Arc<WebSocketConfig>,
    meter: Option<Box<SocketMeter>>,
    /// Null for most sockets, for most of their life, which keeps idle sockets small.
    rare: Option<Box<Rare>>,
}

/// State that few sockets need, or that they need only at their end.
#[derive(Default)]
struct Rare {
    subprotocol: Option<String>,
    pings: Option<Pings>,
    closing: Closing,
    /// What carried the socket, once its stream was released.
    transport: Option<Transport>,
    /// Whether it ended without a closing handshake.
    abnormal: bool,
}

/// The time limit of the closing handshake.
#[derive(Default)]
struct Closing {
    /// When the peer's Close frame is overdue.
    by: Option<Instant>,
    /// Timer of the reader.
    reader: Option<Pin<Box<Sleep>>>,
    /// Timer of the writer, which waits for the Close frame to be written in another task.
    writer: Option<Pin<Box<Sleep>>>,
    /// Whether the time limit was exceeded.
    failed: bool,
    /// Whether the reader still has to return that error.
    untold: bool,
}

/// What the opening handshake negotiated.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agreement {
    pub(crate) subprotocol: Option<String>,
    pub(crate) deflate: Option<Deflate>,
}

impl WebSocket {
    /// Creates a WebSocket on a byte stream whose opening handshake is done.
    pub fn from_stream<T>(io: T, role: Role, config: WebSocketConfig) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::on(io, role, config, Agreement::default())
    }

    /// Creates a WebSocket on a byte stream whose opening handshake is done and negotiated
    /// permessage-deflate (RFC 7692);
    /// [`DeflateConfig::at`](crate::handshake::DeflateConfig::at) returns what was negotiated.
    #[cfg(feature = "deflate")]
    pub fn from_stream_with_deflate<T>(
        io: T,
        role: Role,
        config: WebSocketConfig,
        deflate: Deflate,
    ) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let agreement = Agreement {
            deflate: Some(deflate),
            ..Agreement::default()
        };
        Self::on(io, role, config, agreement)
    }

    fn on<T>(io: T, role: Role, config: WebSocketConfig, agreement: Agreement) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::over(io, role, Arc::new(config), agreement)
    }

    /// Creates a WebSocket on a byte stream, with what its handshake negotiated.
    pub(crate) fn over<T>(
        io: T,
        role: Role,
        config: Arc<WebSocketConfig>,
        agreement: Agreement,
    ) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let write_buffer = config.write_buffer;
        let stream = IoStream::new(Box::new(io), Bytes::new(), Transport::Io, write_buffer);
        let stream = transport::Stream::Io(Box::new(stream));
        Self::new(stream, role, config, agreement, None)
    }

    pub(crate) fn new(
        stream: transport::Stream,
        role: Role,
        config: Arc<WebSocketConfig>,
        agreement: Agreement,
        meter: Option<Box<SocketMeter>>,
    ) -> Self {
        let protocol = protocol(role, config.limits, agreement.deflate);
        let pings = Pings::new(&config);
        let subprotocol = agreement.subprotocol;
        let rare = (pings.is_some() || subprotocol.is_some()).then(|| {
            Box::new(Rare {
                subprotocol,
                pings,
                ..Rare::default()
            })
        });
        Self {
            stream: Some(stream),
            protocol,
            chunk: Bytes::new(),
            config,
            meter,
            rare,
        }
    }

    /// Returns what carries the WebSocket.
    #[must_use]
    pub fn transport(&self) -> Transport {
        match &self.stream {
            Some(stream) => stream.transport(),
            None => self
                .rare()
                .and_then(|rare| rare.transport)
                .unwrap_or(Transport::Io),
        }
    }

    fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn is_abnormal(&self) -> bool {
        self.rare().is_some_and(|rare| rare.abnormal)
    }

    /// Returns the negotiated subprotocol (RFC 6455 §1.9).
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.rare()?.subprotocol.as_deref()
    }

    /// Returns the parameters of compression, if permessage-deflate was negotiated (RFC 7692).
    #[must_use]
    pub fn deflate(&self) -> Option<&Deflate> {
        self.protocol.deflate()
    }

    /// Frees the memory of a compressor that is kept for the next message (RFC 7692 §7.1.1), for
    /// instance if nothing will be sent for a while. The next message is compressed without
    /// reference to earlier ones. Does nothing while a long message is being sent.
    pub fn free_compressor(&mut self) {
        self.protocol.free_compressor();
    }

    /// Returns the close code (RFC 6455 §7.1.5): the peer's,
    /// [`CloseCode::NO_STATUS_RECEIVED`] if its Close frame had none, or
    /// [`CloseCode::ABNORMAL`] if it sent no Close frame; `None` while the WebSocket is open.
    #[must_use]
    pub fn close_code(&self) -> Option<CloseCode> {
        match self.protocol.received_close() {
            Some(Some(frame)) => Some(frame.code),
            Some(None) => Some(CloseCode::NO_STATUS_RECEIVED),
            None => self.is_abnormal().then_some(CloseCode::ABNORMAL),
        }
    }

    /// Returns the peer's Close frame, with its code and reason; `None` if none came yet or it
    /// was empty.
    #[must_use]
    pub fn close_frame(&self) -> Option<&CloseFrame> {
        self.protocol.received_close().flatten()
    }

    /// Splits the WebSocket into halves that two tasks can use.
    #[must_use]
    pub fn split(self) -> (WebSocketReader, WebSocketWriter) {
        split::split(self)
    }

    /// Called when the reading half is dropped. Returns its waker and timer, to be dropped after
    /// the lock is released.
    pub(super) fn reader_leaves(&mut self) -> (Option<Waker>, Option<Pin<Box<Sleep>>>) {
        let stream = self.stream.as_mut();
        let pings = self.rare.as_mut().and_then(|rare| rare.pings.as_mut());
        (
            stream.and_then(transport::Stream::reader_leaves),
            pings.and_then(Pings::rest),
        )
    }

    /// As [`reader_leaves`](Self::reader_leaves), for the writing half.
    pub(super) fn writer_leaves(&mut self) -> Option<Waker> {
        self.stream.as_mut()?.writer_leaves()
    }

    /// Called when there is nothing to do, so that the meter may report.
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
}

impl Stream for WebSocket {
    type Item = Result<Message, Error>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_message(cx)
    }
}

impl FusedStream for WebSocket {
    fn is_terminated(&self) -> bool {
        self.stream.is_none() && !self.rare().is_some_and(|rare| rare.closing.untold)
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

    /// Sends a Close frame with code 1000 without waiting for the peer's, which ends the stream of
    /// messages.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut frame = Some(Some(CloseFrame::from(CloseCode::NORMAL)));
        self.get_mut().poll_send_close(&mut frame, cx)
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("transport", &self.transport())
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

/// Encodes frames directly into the stream's outgoing buffer.
struct Out<'a>(&'a mut Outgoing);

impl Output for Out<'_> {
    fn buffer(&mut self) -> &mut BytesMut {
        self.0.buffer()
    }

    fn append(&mut self, payload: Bytes) {
        self.0.append(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_small() {
        let size = size_of::<WebSocket>();
        assert!(size <= 240, "{size} bytes, in every handler's task");
    }

    /// So that a future that holds `&socket` across an await can be spawned.
    #[test]
    fn is_shared_by_tasks() {
        fn shared<T: Send + Sync>() {}
        shared::<WebSocket>();
        shared::<crate::socket::RawStream>();
        shared::<crate::server::WebSocketRequest>();
    }
}
