//! The WebSocket of `connect`, or with `--reconnect` one after another: what is sent goes in at one
//! end of [`Link::next`], and what happens comes out at the other.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, StreamExt};
use h2ws::client::{ReconnectEvent, ReconnectingWebSocket, RequestBuilder};
use h2ws::handshake::HostPort;
use h2ws::{Client, CloseCode, CloseFrame, Error, Message, Timeout, WebSocket};

use crate::args::ConnectArgs;
use crate::commands::request::connect_error;
use crate::error::Failure;

pub(super) struct Link {
    socket: Socket,
    url: String,
    /// Whether [`Event::Open`] is still to be reported.
    is_new: bool,
    /// Whether a part of a message that was taken may not have left yet.
    is_unflushed: bool,
}

enum Socket {
    One(Box<WebSocket>),
    Reconnecting(Box<ReconnectingWebSocket>),
}

pub(super) enum Event {
    /// A WebSocket is open.
    Open,
    /// The message to send was taken.
    Sent,
    /// All that was taken has left.
    Flushed,
    Received(Message),
    /// The WebSocket was lost, or could not be opened. The next attempt follows after this time.
    Lost(String, Duration),
    /// It has ended: the server closed it, or it failed.
    Ended(Result<Ending, Failure>),
}

/// How the server closed.
pub(super) struct Ending {
    pub(super) code: CloseCode,
    pub(super) reason: String,
}

impl Link {
    pub(super) async fn open(args: &ConnectArgs, client: &Client) -> Result<Self, Failure> {
        let request = args.request.request(client, &args.url);
        let socket = if args.reconnect {
            let mut request = request.reconnecting();
            if let Some(place) = args.connect_to.clone() {
                request = request.before_connect(elsewhere(place));
            }
            Socket::Reconnecting(Box::new(request.connect_lazy()?))
        } else {
            let socket = match &args.connect_to {
                Some(place) => connect_to(place, &request)
                    .await
                    .map_err(|error| match error {
                        Error::Timeout(Timeout::Connect) => {
                            format!("timed out connecting to {place}").into()
                        }
                        error => connect_error(error, &args.url),
                    }),
                None => request
                    .connect()
                    .await
                    .map_err(|error| connect_error(error, &args.url)),
            };
            Socket::One(Box::new(socket?))
        };
        Ok(Self {
            is_new: matches!(socket, Socket::One(_)),
            is_unflushed: false,
            socket,
            url: args.url.clone(),
        })
    }

    /// Returns the WebSocket that is open.
    pub(super) fn socket(&self) -> Option<&WebSocket> {
        match &self.socket {
            Socket::One(socket) => Some(socket),
            Socket::Reconnecting(socket) => socket.get_ref(),
        }
    }

    /// Returns whether all that was taken has left, as far as is known.
    pub(super) fn is_flushed(&self) -> bool {
        !self.is_unflushed
    }

    /// Sends the message, if there is one, and returns what happens next. Both at once: a peer that
    /// echoes may not read the rest of a long message before its echo of the beginning is read.
    ///
    /// Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self, message: &mut Option<Message>) -> Event {
        poll_fn(|cx| self.poll_next(message, cx)).await
    }

    pub(super) async fn close(&mut self, frame: CloseFrame) -> Result<(), Error> {
        match &mut self.socket {
            Socket::One(socket) => socket.close(frame).await,
            Socket::Reconnecting(socket) => socket.close(frame).await,
        }
    }

    fn poll_next(&mut self, message: &mut Option<Message>, cx: &mut Context<'_>) -> Poll<Event> {
        if std::mem::take(&mut self.is_new) {
            return Poll::Ready(Event::Open);
        }
        if message.is_some() {
            match self.socket.poll_send(message, cx) {
                Poll::Ready(Ok(())) => {
                    self.is_unflushed = self.socket.poll_flush(cx).is_pending();
                    return Poll::Ready(Event::Sent);
                }
                Poll::Ready(Err(error @ Error::Send(_))) => {
                    return Poll::Ready(Event::Ended(Err(error.into())));
                }
                // Receiving returns the reason.
                Poll::Ready(Err(_)) | Poll::Pending => {}
            }
        }
        if self.is_unflushed && self.socket.poll_flush(cx).is_ready() {
            self.is_unflushed = false;
            return Poll::Ready(Event::Flushed);
        }
        match &mut self.socket {
            Socket::One(socket) => socket.poll_next_unpin(cx).map(|received| match received {
                Some(Ok(message)) => Event::Received(message),
                Some(Err(error)) => Event::Ended(Err(error.into())),
                None => Event::Ended(Ok(Ending::new(socket.close_code(), socket.close_frame()))),
            }),
            Socket::Reconnecting(socket) => loop {
                let event = std::task::ready!(socket.poll_next_unpin(cx));
                return Poll::Ready(match event {
                    Some(Ok(ReconnectEvent::Message(message))) => Event::Received(message),
                    Some(Ok(ReconnectEvent::Connected)) => Event::Open,
                    Some(Ok(ReconnectEvent::Disconnected(lost))) => match lost.retry_in {
                        Some(retry_in) => {
                            let mut why = lost.cause.to_string();
                            if !lost.unconfirmed.is_empty() {
                                why.push_str("; what was sent last may not have arrived");
                            }
                            Event::Lost(why, retry_in)
                        }
                        // The end follows.
                        None => continue,
                    },
                    Some(Ok(ReconnectEvent::AttemptFailed(failed))) => match failed.retry_in {
                        Some(retry_in) => Event::Lost(failed.cause.to_string(), retry_in),
                        None => continue,
                    },
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => Event::Ended(Err(connect_error(error, &self.url))),
                    None => {
                        let frame = socket.close_frame();
                        let code = frame.map(|frame| frame.code);
                        Event::Ended(Ok(Ending::new(code, frame)))
                    }
                });
            },
        }
    }
}

impl Socket {
    /// Ready when all has left, or never will: receiving reports the error.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::One(socket) => Pin::new(&mut **socket).poll_flush(cx).map(drop),
            // It flushes by itself while it is received from.
            Self::Reconnecting(_) => Poll::Ready(()),
        }
    }

    /// Takes the message once there is room for it.
    fn poll_send(
        &mut self,
        message: &mut Option<Message>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        match self {
            Self::One(socket) => {
                let mut socket = Pin::new(&mut **socket);
                std::task::ready!(socket.as_mut().poll_ready(cx))?;
                match message.take() {
                    Some(message) => Poll::Ready(socket.start_send(message)),
                    None => Poll::Ready(Ok(())),
                }
            }
            Self::Reconnecting(socket) => {
                let Some(next) = message.clone() else {
                    return Poll::Ready(Ok(()));
                };
                let before = socket.sent();
                let sent = pin!(socket.send(next)).poll(cx).map_ok(|_| ());
                // Its future is dropped, but the message may have been taken.
                if socket.sent() > before {
                    *message = None;
                    return Poll::Ready(Ok(()));
                }
                sent
            }
        }
    }
}

impl Ending {
    fn new(code: Option<CloseCode>, frame: Option<&CloseFrame>) -> Self {
        Self {
            code: code.unwrap_or(CloseCode::NO_STATUS_RECEIVED),
            reason: frame.map_or_else(String::new, |frame| frame.reason.as_str().to_owned()),
        }
    }
}

/// Connects to the first address of `place` that accepts.
async fn connect_to(place: &HostPort, request: &RequestBuilder) -> Result<WebSocket, Error> {
    let (mut address, mut others) = resolve(place).await?;
    loop {
        let opened = request.clone().address(address).connect().await;
        match (opened, others.pop()) {
            (Err(Error::Connect(_)), Some(next)) => address = next,
            (opened, _) => return opened,
        }
    }
}

/// Returns the addresses of `place`: one, and the others.
async fn resolve(place: &HostPort) -> Result<(SocketAddr, Vec<SocketAddr>), Error> {
    let (host, port) = (place.host(), place.port().unwrap_or_default());
    let unresolved = |error: io::Error| {
        let text = format!("cannot resolve {host}: {error}");
        Error::Connect(Arc::new(io::Error::new(error.kind(), text)))
    };
    let mut addresses: Vec<_> = tokio::net::lookup_host((host, port))
        .await
        .map_err(unresolved)?
        .collect();
    addresses.reverse();
    let first = addresses.pop();
    let first = first.ok_or_else(|| unresolved(io::Error::other("it has no address")))?;
    Ok((first, addresses))
}

type Prepared = Pin<Box<dyn Future<Output = Result<RequestBuilder, Error>> + Send>>;

/// Returns a hook that lets each attempt try the next address of `place`.
fn elsewhere(place: HostPort) -> impl Fn(RequestBuilder) -> Prepared + Send + Sync + 'static {
    let attempts = AtomicUsize::new(0);
    move |request| {
        let attempt = attempts.fetch_add(1, Ordering::Relaxed);
        let place = place.clone();
        Box::pin(async move {
            let (first, others) = resolve(&place).await?;
            let all = [&[first][..], &others].concat();
            Ok(request.address(all[attempt % all.len()]))
        })
    }
}
