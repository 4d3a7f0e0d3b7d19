//! [`ReconnectingWebSocket`]: one WebSocket after another, to the same URL.
//!
//! It owns no task: `recv` and `send` drive the attempts, and an attempt is kept when their
//! futures are dropped. A message is given to one WebSocket only. Whether it was taken decides
//! what `send` returns: before that, the message waits for the next WebSocket; after that, it is
//! counted among the unconfirmed ones of this WebSocket.

mod backoff;
mod builder;
mod ending;
mod event;
mod policy;

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_core::stream::{FusedStream, Stream};
use futures_sink::Sink;
use tokio::time::{Instant, Sleep};

use self::policy::Policy;
use crate::error::{DisconnectCause, Error};
use crate::frame::{CloseCode, CloseFrame, Message, SendError};
use crate::socket::WebSocket;

pub use self::builder::ReconnectingBuilder;
pub use self::event::{AttemptFailed, Disconnected, ReconnectEvent};

/// A WebSocket that is opened again when it is lost.
///
/// [`recv`](Self::recv) returns messages, and reports when the WebSocket is lost and open again.
/// It reconnects after what [may be temporary](DisconnectCause::is_retryable): a broken
/// connection, an exceeded time limit, statuses such as 503 and 429, and the close codes 1001,
/// 1011, 1012, 1013 and 1014. It ends with what is final: other close codes, such as 1000, 1005 (a
/// Close frame without a code) and 1008, and statuses such as 401, 403 and 404.
///
/// A peer that vanishes in silence is noticed by
/// [`WebSocketConfig::ping_interval`](crate::WebSocketConfig::ping_interval), which is off by
/// default.
///
/// Attempts are made while [`recv`](Self::recv) or [`send`](Self::send) is awaited. Between them it
/// waits, longer each time, for a random duration, and for as long as the server asks
/// by `Retry-After`. Like all WebSockets of a [`Client`](crate::Client), those that reconnect to
/// an origin over HTTP/2 at the same time share a connection to it.
///
/// # Delivery
///
/// Each message given to [`send`](Self::send) has a number, counted from 0.
///
/// - If `send` returns an error, the message was not sent.
/// - If it returns a number, the message was given to the WebSocket that was open at that time, and
///   to no other. It arrives, unless a later [`Disconnected::unconfirmed`] has its number, or
///   [`close`](Self::close) fails: then it may not have arrived.
/// - While there is no WebSocket, `send` waits for the next one.
/// - No message is sent twice. To resend unconfirmed messages, keep each until the server has
///   confirmed it in a message of its own: nothing else does while a WebSocket is open, however long
///   that is. Some may then arrive twice, so give them an id of your own.
/// - Messages arrive in the order of their numbers. After one that was lost, no later one of the same
///   WebSocket has arrived.
/// - What the server sent while there was no WebSocket is lost, unless it repeats it; request it in
///   [`after_connect`](ReconnectingBuilder::after_connect).
///
/// # Example
///
/// ```no_run
/// use h2ws::Client;
/// use h2ws::client::ReconnectEvent;
///
/// # async fn example() -> Result<(), h2ws::Error> {
/// let client = Client::new();
/// let mut socket = client
///     .request("wss://example.com/news")
///     .reconnecting()
///     .after_connect(|socket| Box::pin(async move { socket.send("subscribe").await }))
///     .connect()
///     .await?;
/// while let Some(event) = socket.recv().await {
///     match event? {
///         ReconnectEvent::Message(message) => println!("{message:?}"),
///         ReconnectEvent::Disconnected(lost) => println!("{}", lost.cause),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct ReconnectingWebSocket {
    policy: Arc<Policy>,
    state: State,
    /// Attempts since a WebSocket was open for long enough.
    attempts: u32,
    opened: Instant,
    /// Messages that were given to all WebSockets so far.
    sent: u64,
    /// Messages that were given to earlier WebSockets.
    sent_before: u64,
    /// What `recv` has yet to return.
    events: VecDeque<ReconnectEvent>,
    /// Whether `close` was called.
    closing: bool,
    end: Option<DisconnectCause>,
    /// Whether `recv` has yet to return the error that it ended with.
    error_is_unreported: bool,
}

type Attempt = Pin<Box<dyn Future<Output = Result<WebSocket, DisconnectCause>> + Send>>;

enum State {
    Open(Box<WebSocket>),
    Waiting(Pin<Box<Sleep>>),
    /// In a mutex that is never locked, so that the type is `Sync`.
    Connecting(Mutex<Attempt>),
    Ended,
}

impl State {
    fn connecting(policy: &Arc<Policy>) -> Self {
        Self::Connecting(Mutex::new(Box::pin(policy.clone().attempt())))
    }
}

impl ReconnectingWebSocket {
    fn new(policy: Arc<Policy>, state: State) -> Self {
        Self {
            policy,
            state,
            attempts: 0,
            opened: Instant::now(),
            sent: 0,
            sent_before: 0,
            events: VecDeque::new(),
            closing: false,
            end: None,
            error_is_unreported: false,
        }
    }

    fn open(policy: Arc<Policy>, socket: WebSocket) -> Self {
        let mut reconnecting = Self::new(policy, State::Ended);
        reconnecting.opens(socket);
        reconnecting
    }

    fn lazy(policy: Arc<Policy>) -> Self {
        let state = State::connecting(&policy);
        Self {
            attempts: 1,
            ..Self::new(policy, state)
        }
    }

    /// Receives the next message or other event, and reconnects meanwhile. The first event is
    /// [`ReconnectEvent::Connected`], or a failed attempt after
    /// [`connect_lazy`](ReconnectingBuilder::connect_lazy).
    ///
    /// Returns `None` after [`close`](Self::close), and after a close code that is final;
    /// [`close_code`](Self::close_code) returns which. After any other end it returns the error
    /// once, and then `None`. Either follows the event with the same cause, in which `retry_in` is
    /// `None`.
    ///
    /// # Errors
    ///
    /// The error that no attempt follows; [`Error::GaveUp`] after
    /// [`max_attempts`](ReconnectingBuilder::max_attempts).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no message or event is lost if the future is dropped, and an attempt to connect
    /// continues with the next call.
    pub async fn recv(&mut self) -> Option<Result<ReconnectEvent, Error>> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Sends a message, and returns its number. If there is no WebSocket at present, this waits
    /// for the next one.
    ///
    /// A lost WebSocket is reported by [`recv`](Self::recv), with the numbers of the messages that
    /// [may not have arrived](Self#delivery).
    ///
    /// # Errors
    ///
    /// The message was not sent in any of these cases:
    ///
    /// - [`Error::Send`] if the message itself cannot be sent. The WebSocket stays as it was.
    /// - [`Error::Closed`] after [`close`](Self::close), after a close code that is final, and if
    ///   the WebSocket is lost before `recv` has reported that an earlier one was.
    /// - The error that no attempt follows, as for [`recv`](Self::recv).
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped may or may not have given the message to the WebSocket, but never
    /// a part of it. If it has, [`sent`](Self::sent) has grown by one.
    pub fn send(
        &mut self,
        message: impl Into<Message>,
    ) -> impl Future<Output = Result<u64, Error>> {
        let mut message = Some(message.into());
        let mut number = None;
        poll_fn(move |cx| {
            let number = match number {
                Some(number) => number,
                None => *number.insert(ready!(self.poll_give(&mut message, cx))?),
            };
            // An error is an end, which `recv` reports.
            ready!(self.poll_flush(cx));
            Poll::Ready(Ok(number))
        })
    }

    /// Closes for good: sends a Close frame and waits for the server's, as
    /// [`WebSocket::close`](crate::WebSocket::close) does, or abandons the attempt to connect. If it
    /// returns `Ok` while a WebSocket was open, everything sent on it has arrived.
    ///
    /// # Errors
    ///
    /// As [`WebSocket::close`](crate::WebSocket::close).
    ///
    /// # Cancel safety
    ///
    /// Once the future was polled, no attempt to reconnect follows and the Close frame will be
    /// sent. Call `close` again to continue waiting.
    pub async fn close(&mut self, frame: impl Into<Option<CloseFrame>>) -> Result<(), Error> {
        let frame = frame.into();
        if let State::Open(socket) = &mut self.state {
            if let Some(frame) = &frame
                && frame.check().is_err()
            {
                // Nothing is closed by a frame that cannot be sent.
                return socket.close(Some(frame.clone())).await;
            }
            self.closing = true;
            let closed = socket.close(frame).await;
            self.ends(None);
            return closed;
        }
        self.closing = true;
        self.state = State::Ended;
        Ok(())
    }

    /// Returns the WebSocket that is open, for what was negotiated and what carries it.
    #[must_use]
    pub fn get_ref(&self) -> Option<&WebSocket> {
        match &self.state {
            State::Open(socket) => Some(socket),
            _ => None,
        }
    }

    /// Returns whether a WebSocket is open, as far as [`recv`](Self::recv) and
    /// [`send`](Self::send) have found out.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.get_ref().is_some()
    }

    /// Returns the number of messages that were given to WebSockets, which is the number of the
    /// next one.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Returns the close code that it ended with, 1005 if the Close frame was empty; `None` if it has
    /// not ended, or ended otherwise.
    #[must_use]
    pub fn close_code(&self) -> Option<CloseCode> {
        match &self.end {
            Some(cause) => cause.close_code(),
            None if self.closing => self.get_ref()?.close_code(),
            None => None,
        }
    }

    /// Returns the Close frame that it ended with; `None` if it has not ended, ended otherwise, or
    /// the frame was empty.
    #[must_use]
    pub fn close_frame(&self) -> Option<&CloseFrame> {
        match &self.end {
            Some(DisconnectCause::Closed(frame)) => frame.as_ref(),
            None if self.closing => self.get_ref()?.close_frame(),
            Some(DisconnectCause::Error(_)) | None => None,
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ReconnectEvent, Error>>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            match &mut self.state {
                State::Open(socket) => match ready!(Pin::new(&mut **socket).poll_next(cx)) {
                    Some(Ok(message)) => {
                        return Poll::Ready(Some(Ok(ReconnectEvent::Message(message))));
                    }
                    ended => self.ends(ended.and_then(Result::err)),
                },
                State::Waiting(_) | State::Connecting(_) => ready!(self.poll_connect(cx)),
                State::Ended => {
                    let error = std::mem::take(&mut self.error_is_unreported).then(|| self.error());
                    return Poll::Ready(error.map(Err));
                }
            }
        }
    }

    /// Gives the message to the present WebSocket or the next one, and returns its number.
    fn poll_give(
        &mut self,
        message: &mut Option<Message>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<u64, Error>> {
        loop {
            if self.closing {
                return Poll::Ready(Err(Error::Closed));
            }
            if message.as_ref().is_some_and(Message::is_close) {
                return Poll::Ready(Err(SendError::NotAMessage.into()));
            }
            match &mut self.state {
                State::Open(socket) => match ready!(socket.poll_offer(message, cx)) {
                    Ok(()) => {
                        self.sent += 1;
                        return Poll::Ready(Ok(self.sent - 1));
                    }
                    Err(error @ Error::Send(_)) => return Poll::Ready(Err(error)),
                    // A program that does not receive would collect what it does not want.
                    Err(_) if self.has_unreported_end() => {
                        return Poll::Ready(Err(Error::Closed));
                    }
                    Err(_) => ready!(self.poll_rest(cx)),
                },
                State::Waiting(_) | State::Connecting(_) => ready!(self.poll_connect(cx)),
                State::Ended => return Poll::Ready(Err(self.error())),
            }
        }
    }

    /// Receives what has arrived on a WebSocket that takes no messages any more, up to its end.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let State::Open(socket) = &mut self.state {
            match ready!(Pin::new(&mut **socket).poll_next(cx)) {
                Some(Ok(message)) => self.events.push_back(ReconnectEvent::Message(message)),
                ended => self.ends(ended.and_then(Result::err)),
            }
        }
        Poll::Ready(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Open(socket) => Pin::new(&mut **socket).poll_flush(cx).map(drop),
            _ => Poll::Ready(()),
        }
    }

    /// Drives the attempt to connect, up to its success, its failure or the end of the delay.
    fn poll_connect(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Waiting(delay) => {
                ready!(delay.as_mut().poll(cx));
                self.state = State::connecting(&self.policy);
            }
            State::Connecting(attempt) => {
                let attempt = attempt.get_mut().unwrap_or_else(PoisonError::into_inner);
                match ready!(attempt.as_mut().poll(cx)) {
                    Ok(socket) => self.opens(socket),
                    Err(cause) => self.fails(cause),
                }
            }
            State::Open(_) | State::Ended => {}
        }
        Poll::Ready(())
    }

    fn opens(&mut self, socket: WebSocket) {
        self.state = State::Open(Box::new(socket));
        self.opened = Instant::now();
        self.sent_before = self.sent;
        self.events.push_back(ReconnectEvent::Connected);
    }
}

impl Stream for ReconnectingWebSocket {
    type Item = Result<ReconnectEvent, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_event(cx)
    }
}

impl FusedStream for ReconnectingWebSocket {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Ended) && self.events.is_empty() && !self.error_is_unreported
    }
}

impl fmt::Debug for ReconnectingWebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReconnectingWebSocket")
            .field("socket", &self.get_ref())
            .field("attempts", &self.attempts)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}
