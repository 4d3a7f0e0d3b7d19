//! Connects a WebSocket to a TCP server, or one on a Unix socket: binary messages carry the
//! bytes of the connection.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncWrite};

use super::access::{AccessRecord, Outcome, Side};
use super::idle::IdleTimer;
use super::lifetime::{self, Lifetime};
use super::{Admission, Timeouts};
use crate::error::{Chain, Error};
use crate::frame::{CloseCode, CloseFrame};
use crate::server::WebSocketRequest;
use crate::socket::{BinaryStream, CopyError, HALF_CLOSE, WebSocket};
use crate::transport::NetStream;
use crate::transport::linger::linger;

/// Accepts a WebSocket that carries bytes.
///
/// [`HALF_CLOSE`] is selected if offered. Otherwise the target cannot choose a subprotocol,
/// and a browser that offers some fails the connection if none is selected: so `binary` is
/// selected if offered, as websockify does, and otherwise the client's first choice.
pub(super) async fn accept(mut request: WebSocketRequest) -> Result<WebSocket, Error> {
    let choose = |request: &WebSocketRequest| {
        let mut offered = request.requested_subprotocols();
        let named = |wanted| {
            request
                .requested_subprotocols()
                .find(|name| *name == wanted)
        };
        let known = named(HALF_CLOSE).or_else(|| named("binary"));
        known.or_else(|| offered.next()).map(str::to_owned)
    };
    if let Some(name) = choose(&request) {
        request.select_subprotocol(&name)?;
    }
    request.accept().await
}

/// Moves bytes between a WebSocket and a connection to a target.
///
/// Neither side is read while the other has no room.
///
/// | event | effect |
/// |---|---|
/// | the client closes with code 1000, 1001 or none | the target receives FIN |
/// | the client closes with another code, disconnects, or violates the protocol | the target receives RST |
/// | the client sends text | the target receives RST, the client Close 1003 |
/// | the target ends its side | the client receives Close 1000 |
/// | the target resets | the client receives Close 1011 |
///
/// A Unix socket has no RST: its target reads the end instead.
///
/// Under [`HALF_CLOSE`] each FIN is an empty message instead, in either direction, and the other
/// direction continues. The side that ends last closes with 1000.
pub(super) struct Tunnel {
    socket: BinaryStream,
    target: Target,
    idle_timeout: Option<Duration>,
    idle: IdleTimer,
    lifetime: Lifetime,
    up: u64,
    down: u64,
    /// The target has ended its side, and the client was sent a Close frame, or an empty message.
    target_ended: bool,
    /// The client ended its side by an empty message, and the target was sent FIN.
    client_ended: bool,
    /// The first event that ends the tunnel or a direction of it. What follows is its consequence.
    cause: Option<Cause>,
    /// `None` once the tunnel is over for its client.
    admission: Option<Admission>,
}

/// What began the end of a tunnel.
#[derive(Clone, Copy)]
enum Cause {
    /// The client ended its side by an empty message.
    Client,
    /// The target ended its side.
    Target,
    /// The idle timeout expired, and a Close frame was sent to the client.
    Idle,
    /// Its lifetime ended, and a Close frame was sent to the client.
    Lifetime,
    /// The server drains, and the WebSocket has sent a Close frame to the client.
    Drain,
}

/// The connection to the target.
///
/// Dropping it sends RST instead of FIN unless [`end`](Self::end) was called: the
/// target must not mistake a failure of the client for the end of its data.
struct Target {
    stream: NetStream,
    is_ended: bool,
}

/// How a tunnel ended.
enum End {
    ClientClosed,
    ClientBroke(io::Error),
    TargetBroke(io::Error),
}

impl Tunnel {
    pub(super) fn new(
        socket: WebSocket,
        stream: NetStream,
        timeouts: Timeouts,
        admission: Admission,
    ) -> Self {
        Self {
            socket: socket.into_binary_stream(),
            target: Target {
                stream,
                is_ended: false,
            },
            idle_timeout: timeouts.idle,
            idle: IdleTimer::default(),
            lifetime: Lifetime::new(timeouts.max_lifetime),
            up: 0,
            down: 0,
            target_ended: false,
            client_ended: false,
            cause: None,
            admission: Some(admission),
        }
    }

    /// Moves bytes until the WebSocket is over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cuts both sides.
    pub(super) async fn run(mut self: Box<Self>, access: &mut AccessRecord) -> Outcome {
        let end = poll_fn(|cx| {
            let end = self.poll_end(cx);
            access.set_bytes(self.up, self.down);
            end
        })
        .await;
        // Boxed: it is large, and must not add to the memory of open WebSockets.
        Box::pin(self.finish(end, access)).await
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if self.socket.get_ref().is_draining() {
                self.begin_end(Cause::Drain);
            }
            if let Poll::Ready(end) = self.poll_moves(cx) {
                return Poll::Ready(end);
            }
            let (cause, text) = if self.lifetime.poll(Duration::ZERO, cx).is_ready() {
                // The WebSocket has a timeout of its own for the answer.
                self.lifetime = Lifetime::default();
                (Cause::Lifetime, "maximum lifetime")
            } else {
                ready!(self.idle.poll(self.idle_timeout, cx));
                self.idle_timeout = None;
                (Cause::Idle, "idle")
            };
            self.begin_end(cause);
            // The client is still read after this Close, as after any other.
            let mut why = Some(Some(CloseFrame::new(CloseCode::GOING_AWAY, text)));
            // If this fails, reading from the client reports it.
            let _ = self.socket.get_mut().poll_send_close(&mut why, cx);
        }
    }

    fn poll_moves(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Poll::Ready(end) = self.poll_up(cx) {
            return Poll::Ready(end);
        }
        if !self.target_ended
            && let Poll::Ready(error) = self.poll_down(cx)
        {
            return Poll::Ready(End::TargetBroke(error));
        }
        Poll::Pending
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if self.client_ended {
                let closed = ready!(self.socket.poll_closed(cx));
                return Poll::Ready(match closed {
                    Ok(()) => End::ClientClosed,
                    Err(error) => self.ended_by(error),
                });
            }
            let bytes = match ready!(self.socket.poll_bytes(cx)) {
                Ok([]) => {
                    if !self.socket.peer_ended() {
                        return Poll::Ready(End::ClientClosed);
                    }
                    self.client_ended = true;
                    self.begin_end(Cause::Client);
                    match ready!(Pin::new(&mut self.target.stream).poll_shutdown(cx)) {
                        Ok(()) => continue,
                        Err(error) => return Poll::Ready(End::TargetBroke(error)),
                    }
                }
                Ok(bytes) => bytes,
                Err(error) => return Poll::Ready(self.ended_by(error)),
            };
            let Poll::Ready(written) = Pin::new(&mut self.target.stream).poll_write(cx, bytes)
            else {
                // The client may break, or its connection drain, while it is not
                // read.
                let broken = self.socket.get_mut().poll_unread(cx);
                return broken.map(|error| End::ClientBroke(io::Error::other(error)));
            };
            match written {
                Ok(written) => {
                    Pin::new(&mut self.socket).consume(written);
                    self.up += written as u64;
                    self.idle.note_progress();
                }
                Err(error) => return Poll::Ready(End::TargetBroke(error)),
            }
        }
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let target = Pin::new(&mut self.target.stream);
            match ready!(self.socket.poll_write_from(cx, target)) {
                Ok(0) => {
                    self.target_ended = true;
                    self.begin_end(Cause::Target);
                    // If this fails, reading from the client reports it.
                    let _ = Pin::new(&mut self.socket).poll_shutdown(cx);
                    // It may have received the client's Close frame, for which reading waits.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(sent) => {
                    self.down += sent as u64;
                    self.idle.note_progress();
                }
                // Reading from the client reports how its side ended.
                Err(CopyError::Write(_)) => return Poll::Pending,
                Err(CopyError::Read(error)) => return Poll::Ready(error),
            }
        }
    }

    /// How the tunnel ends after an error of the client's stream.
    fn ended_by(&self, error: io::Error) -> End {
        // With code 1001 the client closed in order, perhaps because the bridge drains or the
        // tunnel was idle. A reset could destroy what the target has not read yet.
        match self.socket.get_ref().close_code() {
            Some(CloseCode::GOING_AWAY) => End::ClientClosed,
            _ => End::ClientBroke(error),
        }
    }

    async fn finish(mut self, end: End, access: &mut AccessRecord) -> Outcome {
        self.admission = None;
        let (closed, why) = match end {
            End::ClientClosed => {
                self.target.end().await;
                let code = self.socket.get_ref().close_code();
                if matches!(self.cause, Some(Cause::Lifetime)) {
                    access.set_reason(lifetime::REASON);
                }
                return self.client_closed(code.unwrap_or(CloseCode::NO_STATUS_RECEIVED));
            }
            End::ClientBroke(error) => {
                let closed = self.client_broke();
                drop(self.target);
                // If a Close frame was sent to the client, waits for its answer.
                let _ = self.socket.get_mut().close(None).await;
                (closed, error)
            }
            End::TargetBroke(error) => {
                drop(self.target);
                let why = CloseFrame::new(CloseCode::INTERNAL_ERROR, "target reset");
                let _ = self.socket.get_mut().close(why).await;
                (Outcome::Broken(Side::Upstream), error)
            }
        };
        access.set_reason(Chain(&why));
        closed
    }

    fn begin_end(&mut self, cause: Cause) {
        self.cause.get_or_insert(cause);
    }

    /// The outcome after the client closed with `code`.
    fn client_closed(&self, code: CloseCode) -> Outcome {
        match self.cause {
            None | Some(Cause::Client) => Outcome::By(Side::Client, code),
            Some(Cause::Target) => Outcome::By(Side::Upstream, code),
            Some(Cause::Idle | Cause::Lifetime | Cause::Drain) => {
                Outcome::By(Side::Bridge, CloseCode::GOING_AWAY)
            }
        }
    }

    /// The outcome after the client's side broke.
    fn client_broke(&self) -> Outcome {
        match self.cause {
            None | Some(Cause::Client) => Outcome::Broken(Side::Client),
            Some(Cause::Target) => Outcome::By(Side::Upstream, CloseCode::NORMAL),
            Some(Cause::Idle | Cause::Lifetime) => Outcome::TimedOut(Side::Bridge),
            Some(Cause::Drain) => Outcome::Broken(Side::Bridge),
        }
    }
}

impl Target {
    /// Sends FIN, then reads and discards what the target still sends.
    async fn end(&mut self) {
        self.is_ended = true;
        linger(&mut self.stream, u64::MAX).await;
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_ended
            && let Err(error) = self.stream.reset_on_drop()
        {
            tracing::debug!(%error, "cannot reset the connection to the target");
        }
    }
}
