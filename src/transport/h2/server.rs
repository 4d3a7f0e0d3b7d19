//! The server's end of an HTTP/2 connection.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::ext::Protocol;
use h2::server::{Connection, SendResponse};
use h2::{PingPong, Reason, RecvStream, SendStream};
use http::{Response, StatusCode, request};
use tokio::time::Instant;

use super::coalescing_io::CoalescingIo;
use super::driver::{self, Driver};
use super::end;
use super::handle::stream::{H2Stream, SendBuf};
use super::handle::{ConnectionHandle, Side};
use super::header_list::{self, TooLarge};
use super::keep_alive::Liveness;
use super::{DATA_FRAME_BUDGET, Http2Config};
use crate::metrics::Observed;
use crate::transport::linger::{LINGER_BYTES, linger};
use crate::transport::prefix::PREFACE;
use crate::transport::{BoxIo, StreamError, Transport};

/// Number of streams that may be reset before `h2` has delivered them. More
/// than a turn can read, after which all are delivered.
const PENDING_RESETS: usize = 1 << 16;

/// A server connection after its handshake.
pub(crate) struct H2Server {
    connection: Connection<CoalescingIo, SendBuf>,
    wire: CoalescingIo,
    handle: Arc<ConnectionHandle>,
    liveness: Liveness,
    patience: Duration,
    max_streams: u32,
}

/// A received request.
pub(crate) struct H2Incoming {
    pub(crate) parts: request::Parts,
    pub(crate) responder: H2Responder,
}

/// Sends the response to a request. Dropping it without one resets the stream.
pub(crate) struct H2Responder {
    body: RecvStream,
    respond: SendResponse<SendBuf>,
    handle: Arc<ConnectionHandle>,
}

impl H2Server {
    /// Starts HTTP/2 on `io`, announcing RFC 8441 if `extended_connect`. The
    /// connection ends once it had no streams for the `idle` time. `patience`
    /// is the time limit for the client's SETTINGS and for each of its header
    /// blocks.
    pub(crate) async fn handshake(
        io: BoxIo,
        config: &Http2Config,
        extended_connect: bool,
        patience: Duration,
        idle: Option<Duration>,
        observed: Observed,
    ) -> Result<Self, StreamError> {
        let wire = CoalescingIo::new(io, PREFACE.len(), 0);
        wire.announce(0, config.max_header_list_size);
        let mut builder = h2::server::Builder::new();
        builder
            .initial_window_size(config.stream_window)
            .initial_connection_window_size(config.connection_window)
            .max_frame_size(config.max_frame_size)
            .max_concurrent_streams(config.max_concurrent_streams)
            .max_header_list_size(header_list::taken(config.max_header_list_size))
            .data_frame_budget(DATA_FRAME_BUDGET)
            // These two would count over the connection's liveness, and end it for
            // all of its streams: `flood` counts instead.
            .max_local_error_reset_streams(None)
            .max_pending_accept_reset_streams(PENDING_RESETS)
            .max_concurrent_reset_streams(config.max_concurrent_streams as usize);
        if extended_connect {
            builder.enable_connect_protocol();
        }
        let connection = builder.handshake::<_, SendBuf>(wire.clone()).await?;
        wire.gather();
        let handle = Arc::new(ConnectionHandle::new(
            observed,
            Side::Server,
            wire.clone(),
            config,
        ));
        config.process_buffer.join(&handle);
        Ok(Self {
            connection,
            wire,
            handle,
            liveness: Liveness::new(config, idle, Instant::now()),
            patience,
            max_streams: config.max_concurrent_streams,
        })
    }

    pub(crate) fn handle(&self) -> &Arc<ConnectionHandle> {
        &self.handle
    }

    /// Drives the connection until it ends, passing each request to
    /// `on_request`. Once `drain` is done, GOAWAY announces that no new streams
    /// are accepted (RFC 9113 §6.8), and the connection ends with its last
    /// stream.
    pub(crate) async fn run<F>(
        self,
        on_request: F,
        drain: impl Future<Output = ()>,
    ) -> Result<(), StreamError>
    where
        F: FnMut(H2Incoming) + Send + Unpin,
    {
        let connection = ServerConnection {
            connection: self.connection,
            on_request,
            handle: self.handle.clone(),
            max_streams: self.max_streams,
        };
        let wire = self.wire.clone();
        let mut driver = Driver::new(connection, self.handle, wire, self.liveness, self.patience);
        let ended = tokio::select! {
            biased;
            ended = &mut driver => Some(ended),
            () = drain => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                if let Some(connection) = driver.connection_mut() {
                    connection.connection.graceful_shutdown();
                }
                (&mut driver).await
            }
        };
        let io = self.wire.hang_up();
        let sent_goaway = match &ended {
            Err(end::Error::Peer(_)) => true,
            Err(end::Error::H2(error)) => error.is_go_away() && !error.is_remote(),
            _ => false,
        };
        // The WebSockets do not wait for a client that stays connected.
        drop(driver);
        if sent_goaway {
            // So that the GOAWAY arrives.
            linger(io, LINGER_BYTES).await;
        }
        Ok(ended?)
    }
}

impl H2Incoming {
    pub(crate) fn transport(&self) -> Transport {
        self.responder.transport()
    }

    /// Returns the `:protocol` of an extended CONNECT (RFC 8441 §4).
    pub(crate) fn protocol(&self) -> Option<&str> {
        self.parts
            .extensions
            .get::<Protocol>()
            .map(Protocol::as_str)
    }

    /// Returns an error if the header list is larger than this side announced.
    pub(crate) fn check_header_list(&self) -> Result<(), TooLarge> {
        let size = header_list::of_parts(&self.parts, self.protocol());
        TooLarge::check(size, self.responder.handle.max_header_list)
    }

    /// Returns whether the client ended the stream with its request.
    pub(crate) fn is_ended(&self) -> bool {
        self.responder.body.is_end_stream()
    }
}

impl H2Responder {
    /// Returns the metrics and the span of the connection.
    pub(crate) fn observed(&self) -> &Observed {
        self.handle.observed()
    }

    pub(crate) fn transport(&self) -> Transport {
        Transport::Http2 {
            connection: self.handle.id(),
            stream: self.respond.stream_id().as_u32(),
        }
    }

    /// Polls for the client's reset of the stream.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.respond.poll_reset(cx).map(|_| ())
    }

    /// Sends `response` and keeps the stream open for a WebSocket.
    pub(crate) fn accept(mut self, response: Response<()>) -> Result<H2Stream, StreamError> {
        let send = send_head(&self.handle, &mut self.respond, response, false)?;
        Ok(H2Stream::new(self.handle, send, self.body))
    }

    /// Sends the head of a response to a plain HTTP request. Its body is sent
    /// on the returned stream, unless `end` is set.
    pub(super) fn respond(
        mut self,
        response: Response<()>,
        end: bool,
    ) -> Result<SendStream<SendBuf>, StreamError> {
        send_head(&self.handle, &mut self.respond, response, end)
    }

    /// Returns the handle of the connection.
    pub(super) fn handle(&self) -> &Arc<ConnectionHandle> {
        &self.handle
    }

    /// Splits off the body of a plain HTTP request.
    pub(super) fn into_parts(self) -> (RecvStream, SendResponse<SendBuf>, Arc<ConnectionHandle>) {
        (self.body, self.respond, self.handle)
    }

    /// Ends the stream with an error code (RFC 9113 §5.4.2).
    pub(super) fn reset(mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }
}

/// Sends the head of `response`, or an empty 500 if the head is larger than the
/// client accepts.
pub(super) fn send_head(
    handle: &ConnectionHandle,
    respond: &mut SendResponse<SendBuf>,
    response: Response<()>,
    end: bool,
) -> Result<SendStream<SendBuf>, StreamError> {
    if let Err(large) = handle.check_header_list(header_list::of_response(&response)) {
        let mut bare = Response::new(());
        *bare.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        respond.send_response(bare, true)?;
        return Err(StreamError::AnswerTooLarge(large));
    }
    Ok(respond.send_response(response, end)?)
}

struct ServerConnection<F> {
    connection: Connection<CoalescingIo, SendBuf>,
    on_request: F,
    handle: Arc<ConnectionHandle>,
    max_streams: u32,
}

impl<F: FnMut(H2Incoming)> driver::Connection for ServerConnection<F> {
    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, mut respond)))) => {
                    // Already reset, in the same turn.
                    if matches!(respond.poll_reset(cx), Poll::Ready(Ok(_))) {
                        continue;
                    }
                    let (parts, body) = request.into_parts();
                    let responder = H2Responder {
                        body,
                        respond,
                        handle: self.handle.clone(),
                    };
                    (self.on_request)(H2Incoming { parts, responder });
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn ping_pong(&mut self) -> Option<PingPong> {
        self.connection.ping_pong()
    }

    fn is_used(&self) -> bool {
        self.connection.has_streams()
    }

    /// Interrupts no stream, even if one is opened meanwhile (RFC 9113 §6.8).
    fn retire(&mut self) -> bool {
        self.connection.graceful_shutdown();
        true
    }

    fn go_away(&mut self, reason: Reason) -> bool {
        self.connection.abrupt_shutdown(reason);
        true
    }

    fn max_streams(&self) -> u64 {
        self.max_streams.into()
    }
}
