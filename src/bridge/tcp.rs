//! A socket whose binary messages are the bytes of a TCP connection.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::net::TcpStream;

use super::access::{AccessRecord, Outcome, Side};
use super::idle::IdleTimer;
use crate::error::Error;
use crate::frame::{CloseCode, CloseFrame};
use crate::server::WebSocketRequest;
use crate::socket::{BinaryStream, WebSocket};
use crate::transport::linger::linger;
use crate::transport::{TcpConfig, dial as net};

/// Bytes read from the target at a time, and so of a message at most.
const READ: usize = 32 * 1024;

pub(super) async fn dial(
    host: &str,
    port: u16,
    address: Option<SocketAddr>,
    config: &TcpConfig,
) -> io::Result<TcpStream> {
    match address {
        Some(address) => net::address(address, config).await,
        None => net::tcp(host, port, config).await,
    }
}

/// Accepts a socket for bytes. As there is nobody behind the bridge who could
/// choose a subprotocol, it takes `binary` where that is offered, as websockify
/// does, and else the client's favourite: a browser that offered some fails
/// without an answer.
pub(super) async fn accept(mut request: WebSocketRequest) -> Result<WebSocket, Error> {
    let offered = |request: &WebSocketRequest| {
        let mut offered = request.requested_subprotocols();
        let binary = request
            .requested_subprotocols()
            .find(|name| *name == "binary");
        binary.or_else(|| offered.next()).map(str::to_owned)
    };
    if let Some(name) = offered(&request) {
        request.select_subprotocol(&name)?;
    }
    request.accept().await
}

/// Moves bytes between a socket and a TCP connection.
///
/// Neither side is read while the other has no room.
///
/// | what happens | the other side sees |
/// |---|---|
/// | the client closes | FIN |
/// | the client vanishes, or breaks the protocol | RST |
/// | the client sends text | RST; the client: Close 1003 |
/// | the target ends its side | Close 1000 |
/// | the target resets | Close 1011 |
pub(super) struct Tunnel {
    socket: BinaryStream,
    target: Target,
    idle: Option<Duration>,
    silence: IdleTimer,
    up: u64,
    down: u64,
    /// The target has ended its side, and the client was told so.
    target_ended: bool,
    /// Both were silent for too long, and the client was told so.
    fell_idle: bool,
    /// The server drains, and the socket has asked the client to close.
    drained: bool,
}

/// Dropped, it ends by RST instead of FIN, unless it was [ended in
/// order](Self::end): a target must not take a cut for the end of what was to
/// be sent.
struct Target {
    tcp: TcpStream,
    in_order: bool,
}

/// What ends a tunnel.
enum End {
    ClientClosed,
    ClientBroke(io::Error),
    TargetBroke(io::Error),
}

impl Tunnel {
    pub(super) fn new(socket: WebSocket, tcp: TcpStream, idle: Option<Duration>) -> Self {
        Self {
            socket: socket.into_binary_stream(),
            target: Target {
                tcp,
                in_order: false,
            },
            idle,
            silence: IdleTimer::default(),
            up: 0,
            down: 0,
            target_ended: false,
            fell_idle: false,
            drained: false,
        }
    }

    /// Moves bytes until the socket is over. Dropping the future cuts it.
    pub(super) async fn run(mut self: Box<Self>, access: &mut AccessRecord) -> Outcome {
        let end = poll_fn(|cx| {
            let end = self.poll_end(cx);
            access.moved(self.up, self.down);
            end
        })
        .await;
        // Large, and over in a moment: not to weigh on an open socket.
        Box::pin(self.finish(end, access)).await
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            self.drained = self.drained || self.socket.get_ref().is_draining();
            let end = self.poll_moves(cx);
            if end.is_ready() || self.fell_idle {
                return end;
            }
            ready!(self.silence.poll(self.idle, cx));
            self.fell_idle = true;
            // Like every Close, behind which the client is still heard.
            let mut why = Some(Some(CloseFrame::new(CloseCode::GOING_AWAY, "idle")));
            // An error shows up where the client is read.
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
            let socket = Pin::new(&mut self.socket);
            let bytes = match ready!(socket.poll_fill_buf(cx)) {
                Ok([]) => return Poll::Ready(End::ClientClosed),
                Ok(bytes) => bytes,
                Err(error) => return Poll::Ready(End::ClientBroke(error)),
            };
            let Poll::Ready(written) = Pin::new(&mut self.target.tcp).poll_write(cx, bytes) else {
                // Who is not read may break, and be drained, all the same.
                let broken = self.socket.get_mut().poll_unread(cx);
                return broken.map(|error| End::ClientBroke(io::Error::other(error)));
            };
            match written {
                Ok(written) => {
                    Pin::new(&mut self.socket).consume(written);
                    self.up += written as u64;
                    self.silence.broken();
                }
                Err(error) => return Poll::Ready(End::TargetBroke(error)),
            }
        }
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            if ready!(self.socket.poll_room(cx)).is_err() {
                // Reading tells how the client's side ended.
                return Poll::Pending;
            }
            if let Err(error) = ready!(self.target.tcp.poll_read_ready(cx)) {
                return Poll::Ready(error);
            }
            let mut bytes = BytesMut::with_capacity(READ);
            match self.target.tcp.try_read_buf(&mut bytes) {
                Ok(0) => {
                    self.target_ended = true;
                    // An error shows up where the client is read.
                    let _ = Pin::new(&mut self.socket).poll_shutdown(cx);
                    return Poll::Pending;
                }
                Ok(read) => {
                    self.down += read as u64;
                    self.silence.broken();
                    let _ = self.socket.send(bytes.freeze(), cx);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(error),
            }
        }
    }

    async fn finish(mut self, end: End, access: &mut AccessRecord) -> Outcome {
        let (closed, why) = match end {
            End::ClientClosed => {
                self.target.end().await;
                let code = self.socket.get_ref().close_code();
                let code = code.unwrap_or(CloseCode::NO_STATUS_RECEIVED);
                return self.began(code).unwrap_or(Outcome::By(Side::Client, code));
            }
            End::ClientBroke(error) => {
                let closed = self.client_broke();
                drop(self.target);
                // Where it was told why, its Close frame is waited for.
                let _ = self.socket.get_mut().close(None).await;
                (closed, error)
            }
            End::TargetBroke(error) => {
                drop(self.target);
                let why = CloseFrame::new(CloseCode::INTERNAL_ERROR, "the target reset");
                let _ = self.socket.get_mut().close(why).await;
                (Outcome::Broken(Side::Upstream), error)
            }
        };
        access.because(why);
        closed
    }

    /// The end, where another party than the client had begun it.
    fn began(&self, code: CloseCode) -> Option<Outcome> {
        if self.target_ended {
            Some(Outcome::By(Side::Upstream, code))
        } else if self.fell_idle || self.drained {
            Some(Outcome::By(Side::Bridge, CloseCode::GOING_AWAY))
        } else {
            None
        }
    }

    /// The end, where the client's side broke.
    fn client_broke(&self) -> Outcome {
        if self.target_ended {
            Outcome::By(Side::Upstream, CloseCode::NORMAL)
        } else if self.drained {
            Outcome::Broken(Side::Bridge)
        } else if self.fell_idle {
            Outcome::TimedOut(Side::Bridge)
        } else {
            Outcome::Broken(Side::Client)
        }
    }
}

impl Target {
    /// FIN, and what the target still says, unheard.
    async fn end(&mut self) {
        self.in_order = true;
        linger(&mut self.tcp, u64::MAX).await;
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.in_order
            && let Err(error) = self.tcp.set_zero_linger()
        {
            tracing::debug!(%error, "no reset");
        }
    }
}
