//! The socket: drives [`Protocol`] over a byte stream.

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
/// # What becomes of what was sent
///
/// What `send` or `flush` took arrives, however the socket ends and whatever
/// carries it: what is queued leaves first, and then the stream ends. That
/// happens without the application, once the socket is closed or dropped, and
/// takes [`linger`](WebSocketConfig::linger) at most; only a peer that does not take it
/// in that time, or is gone, loses it.
///
/// | how it ends here | what the peer sees |
/// |---|---|
/// | [`close`](Self::close), or the peer's Close frame answered | what was sent, the Close frame, the end of the stream |
/// | dropped without that, both halves too: by a handler that returns, a task that is aborted or panics | what was sent, the end of the stream: close code 1006 |
/// | [`RawStream`](crate::socket::RawStream) shut down or dropped | what was written, the end of the stream |
/// | [`BinaryStream`](crate::socket::BinaryStream) shut down | what was written, a Close frame with code 1000, the end of the stream |
/// | any of these, and the peer does not take what was sent within `linger`, nor end its side within as long again | the end of its patience: RST_STREAM over HTTP/2, the connection's end over HTTP/1.1 |
/// | [`close`](Self::close) at a peer that does not answer within [`close_timeout`](WebSocketConfig::close_timeout) | as where it is dropped |
/// | by a [silence](WebSocketConfig::ping_timeout) of the peer, or a connection that broke | RST_STREAM, or the connection's end: there is nobody to send to |
///
/// The end of the stream is END_STREAM over HTTP/2 (RFC 8441 §5) and FIN over
/// HTTP/1.1, behind TLS's own. A message that was only
/// [fed](https://docs.rs/futures-util/0.3/futures_util/sink/trait.SinkExt.html#method.feed)
/// may arrive or not, but never in part. While one half lives, the socket
/// does: a reader that is dropped leaves nobody to answer the peer's pings and
/// its Close frame, a writer that is dropped sends nothing.
///
/// A program that exits takes along what the operating system was not given
/// yet: let it await [`Client::shutdown`](crate::Client::shutdown), and the
/// future of [`Serve`](crate::server::Serve), first.
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
    /// `None` once it is let go.
    stream: Option<transport::Stream>,
    protocol: Protocol,
    /// Received and not decoded.
    chunk: Bytes,
    config: Arc<WebSocketConfig>,
    meter: Option<Box<SocketMeter>>,
    /// A pointer for most sockets, for most of their life.
    rare: Option<Box<Rare>>,
}

/// What few sockets have, or only at their end.
#[derive(Default)]
struct Rare {
    subprotocol: Option<String>,
    pings: Option<Pings>,
    closing: Closing,
    /// What carried the socket, once it is let go.
    transport: Option<Transport>,
    /// Ended without a closing handshake.
    abnormal: bool,
}

/// The time that closing takes.
#[derive(Default)]
struct Closing {
    /// When the peer's Close frame is overdue.
    by: Option<Instant>,
    /// For who reads.
    reader: Option<Pin<Box<Sleep>>>,
    /// For who waits for the Close frame to be written, in another task.
    writer: Option<Pin<Box<Sleep>>>,
    /// It was overdue.
    failed: bool,
    /// And who reads has yet to be told.
    untold: bool,
}

/// What the opening handshake settled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agreement {
    pub(crate) subprotocol: Option<String>,
    pub(crate) deflate: Option<Deflate>,
}

impl WebSocket {
    /// A WebSocket on a byte stream whose opening handshake is done.
    pub fn from_stream<T>(io: T, role: Role, config: WebSocketConfig) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::on(io, role, config, Agreement::default())
    }

    /// A WebSocket on a byte stream whose opening handshake is done and agreed to
    /// permessage-deflate (RFC 7692);
    /// [`DeflateConfig::at`](crate::handshake::DeflateConfig::at) tells what was agreed.
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

    /// A WebSocket on a byte stream, with what its handshake settled.
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

    /// What carries the socket.
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

    /// The subprotocol that both sides agreed on (RFC 6455 §1.9).
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.rare()?.subprotocol.as_deref()
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

    /// How the peer closed: its code, [`CloseCode::NO_STATUS_RECEIVED`] where its Close
    /// frame had none, [`CloseCode::ABNORMAL`] where it sent no Close frame;
    /// `None` while the socket is open (RFC 6455 §7.1.5).
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

    /// Splits into halves that two tasks can use.
    #[must_use]
    pub fn split(self) -> (WebSocketReader, WebSocketWriter) {
        split::split(self)
    }

    /// Nobody reads any more, but somebody may write. Returns what keeps the
    /// memory of who read last, to be dropped while nothing is locked.
    pub(super) fn reader_leaves(&mut self) -> (Option<Waker>, Option<Pin<Box<Sleep>>>) {
        let stream = self.stream.as_mut();
        let pings = self.rare.as_mut().and_then(|rare| rare.pings.as_mut());
        (
            stream.and_then(transport::Stream::reader_leaves),
            pings.and_then(Pings::rest),
        )
    }

    /// As [`reader_leaves`](Self::reader_leaves), the other way round.
    pub(super) fn writer_leaves(&mut self) -> Option<Waker> {
        self.stream.as_mut()?.writer_leaves()
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

    /// Sends a Close frame with code 1000, without waiting for the peer's;
    /// that ends the stream of messages.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_small() {
        let size = size_of::<WebSocket>();
        assert!(size <= 240, "{size} bytes, in every handler's task");
    }

    /// A future that holds `&socket` while it waits can be spawned.
    #[test]
    fn is_shared_by_tasks() {
        fn shared<T: Send + Sync>() {}
        shared::<WebSocket>();
        shared::<crate::socket::RawStream>();
        shared::<crate::server::WebSocketRequest>();
    }
}
