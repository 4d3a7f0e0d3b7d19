//! Reading: decodes messages from chunks of the stream, and detects a silent peer.
//!
//! A task pays for the work it does, not for the bytes it received: one unit of tokio's
//! cooperative budget per chunk, and one per [`WORK`] of inflating or compressing. So other tasks
//! run after a bounded time, whatever the peer's bytes expand to.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::{Out, WebSocket};
use crate::error::{Error, Timeout};
use crate::frame::{CloseCode, CloseFrame, Event, Message};
use crate::metrics::SocketEnd;
use crate::socket::keys::mask_key;
use crate::socket::pings::Silence;
use crate::transport::{Finish, StreamError};

/// Number of bytes that are inflated or compressed for one unit of tokio's budget. A task has 128
/// units before it yields, which takes about 0.4 ms.
const WORK: usize = 1024;

impl WebSocket {
    /// Receives the next message; `None` once the closing handshake is done.
    ///
    /// Answers Pings and the peer's Close frame meanwhile, and flushes messages that were
    /// [fed](Self::feed) before it waits. Once it has returned `None` or an error, it returns
    /// `None`, and [`close_code`](Self::close_code) and [`close_frame`](Self::close_frame) report
    /// how the WebSocket ended.
    ///
    /// # Errors
    ///
    /// Every other end of the stream of messages:
    ///
    /// - [`Error::Abnormal`], [`Error::Reset`], [`Error::GoAway`] or [`Error::Io`] if the stream
    ///   or its connection broke without a Close frame.
    /// - [`Error::Protocol`] if the peer broke the protocol or exceeded the
    ///   [limits](crate::WebSocketConfig::limits).
    /// - [`Error::Timeout`] if the peer did not answer a
    ///   [keep-alive Ping](crate::WebSocketConfig::ping_interval) or our Close frame.
    /// - [`Error::Overloaded`] if the connection exceeded its
    ///   [receive buffer](crate::Http2Config::connection_buffer).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no message is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Result<Message, Error>> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    #[inline]
    pub(in crate::socket) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, Error>>> {
        match self.take_whole() {
            Some(message) => Poll::Ready(Some(Ok(message))),
            None => self.poll_event(cx),
        }
    }

    /// Takes a message that lies complete at the front of what was received.
    #[inline]
    fn take_whole(&mut self) -> Option<Message> {
        let message = self.protocol.receive_whole(&mut self.chunk)?;
        self.count_received(message.len());
        Some(message)
    }

    /// The uncommon cases of [`poll_message`](Self::poll_message).
    #[inline(never)]
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        loop {
            if self.stream.is_none() {
                return Poll::Ready(self.take_untold().map(Err));
            }
            // First, because there may be nothing else to wait for.
            ready!(self.poll_paid(cx));
            if self.chunk.is_empty() && !self.protocol.has_more() {
                self.settle(cx);
                self.go_on(cx);
                self.heed_drain(cx)?;
                match self.poll_chunk(cx) {
                    Poll::Ready(Ok(chunk)) => {
                        self.chunk = chunk;
                        if let Some(message) = self.take_whole() {
                            return Poll::Ready(Some(Ok(message)));
                        }
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                    // A drain that began after the check found no registered waker.
                    Poll::Pending if self.must_heed_drain() => continue,
                    Poll::Pending => {
                        // An empty slice would still keep the connection's read buffer allocated.
                        self.chunk = Bytes::new();
                        self.pause();
                        return Poll::Pending;
                    }
                }
            }
            let received = self.protocol.receive_some(&mut self.chunk);
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
                        Event::Ping(payload) if self.config.control_messages => {
                            self.count_received(payload.len());
                            return Poll::Ready(Some(Ok(Message::Ping(payload))));
                        }
                        Event::Pong(payload)
                            if self.config.control_messages && !self.is_keep_alive(&payload) =>
                        {
                            self.count_received(payload.len());
                            return Poll::Ready(Some(Ok(Message::Pong(payload))));
                        }
                        Event::Close(frame) => {
                            let code = self.close_code().unwrap_or(CloseCode::NO_STATUS_RECEIVED);
                            self.ends(SocketEnd::Closed(code));
                            self.let_go();
                            let shown = self.config.control_messages;
                            return Poll::Ready(shown.then_some(Ok(Message::Close(frame))));
                        }
                        _ => {}
                    }
                }
                // Owed frames are written before the next chunk is awaited.
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

    /// Charges the task's budget for compressing and inflating; ready when it may continue.
    #[inline]
    pub(super) fn poll_paid(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.protocol.work() >= WORK {
            ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
            self.protocol.deduct_work(WORK);
        }
        Poll::Ready(())
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(Error::Closed));
        };
        // One unit per chunk, so that a peer that sends without pause cannot keep other tasks from
        // running.
        let budget = ready!(tokio::task::coop::poll_proceed(cx));
        let ended = match stream.poll_chunk(cx) {
            Poll::Ready(Ok(Some(chunk))) => {
                budget.made_progress();
                if let Some(rare) = &mut self.rare
                    && let Some(pings) = &mut rare.pings
                {
                    pings.heard();
                }
                return Poll::Ready(Ok(chunk));
            }
            Poll::Ready(Ok(None)) => Error::Abnormal,
            Poll::Ready(Err(StreamError::Overloaded)) => {
                budget.made_progress();
                self.ends(SocketEnd::Overloaded);
                self.protocol.discard_received();
                // Fails if it was already closing.
                let _ = self.give_up(CloseFrame::from(CloseCode::TRY_AGAIN_LATER), cx);
                self.let_go();
                return Poll::Ready(Err(Error::Overloaded));
            }
            Poll::Ready(Err(error)) => error.into(),
            Poll::Pending => {
                if self.poll_silence(cx).is_ready() {
                    budget.made_progress();
                    self.ends(SocketEnd::Timeout);
                    // The peer is gone, so there is nothing to wait for.
                    self.let_go_by(Finish::Cancel);
                    self.rare_mut().abnormal = true;
                    return Poll::Ready(Err(Error::Timeout(Timeout::KeepAlive)));
                }
                ready!(self.poll_close_timer(cx, |closing| &mut closing.reader));
                budget.made_progress();
                return Poll::Ready(Err(self.close_fails()));
            }
        };
        budget.made_progress();
        self.rare_mut().abnormal = true;
        self.ends(ended.socket_end());
        self.let_go();
        Poll::Ready(Err(ended))
    }

    /// Sends keep-alive Pings to a silent peer; ready when it did not answer.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let (Some(rare), Some(stream)) = (&mut self.rare, &mut self.stream) else {
                return Poll::Pending;
            };
            let Some(pings) = &mut rare.pings else {
                return Poll::Pending;
            };
            if !self.protocol.is_open() {
                // The close timeout applies now.
                return Poll::Pending;
            }
            match ready!(pings.poll(cx)) {
                Silence::Dead => return Poll::Ready(()),
                // Without room, the queued data is as good as a Ping.
                Silence::Ping(payload) => {
                    if stream.has_room(cx) {
                        let protocol = &mut self.protocol;
                        let ping = Message::Ping(payload);
                        // Cannot fail: it is short, and the WebSocket is open.
                        let _ = stream.write(|out| protocol.send(ping, mask_key, &mut Out(out)));
                        stream.flush_as_reader(cx);
                    }
                }
            }
        }
    }

    /// Returns whether a Pong answers one of the keep-alive Pings.
    fn is_keep_alive(&self, pong: &[u8]) -> bool {
        let pings = self.rare().and_then(|rare| rare.pings.as_ref());
        pings.is_some_and(|pings| pings.is_answer(pong))
    }

    #[inline]
    fn count_received(&mut self, len: usize) {
        if let Some(meter) = &mut self.meter {
            meter.received(1, len);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::StreamExt;
    use tokio::time::Instant;

    use super::*;
    use crate::frame::Role;
    use crate::socket::WebSocketConfig;

    struct Buffer {
        bytes: &'static [u8],
        _alive: Arc<()>,
    }

    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            self.bytes
        }
    }

    #[tokio::test]
    async fn a_socket_that_waits_keeps_no_read_buffer() {
        let (near, _far) = tokio::io::duplex(64);
        let mut socket = WebSocket::from_stream(near, Role::Server, WebSocketConfig::default());
        let alive = Arc::new(());
        socket.chunk = Bytes::from_owner(Buffer {
            bytes: b"\x82\x81keysx",
            _alive: alive.clone(),
        });
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let message = socket.poll_message(&mut cx);
        assert!(matches!(message, Poll::Ready(Some(Ok(Message::Binary(_))))));
        drop(message);
        assert!(socket.poll_message(&mut cx).is_pending());
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_answer_to_a_keep_alive_ping_wakes_the_reader() {
        const INTERVAL: Duration = Duration::from_secs(10);
        let (near, far) = tokio::io::duplex(1024);
        let config = WebSocketConfig::default().ping_interval(INTERVAL);
        let mut asking = WebSocket::from_stream(near, Role::Client, config);
        let mut silent = WebSocket::from_stream(far, Role::Server, WebSocketConfig::default());
        let start = Instant::now();
        let answers = tokio::spawn(async move {
            tokio::time::sleep(INTERVAL + Duration::from_secs(1)).await;
            silent.send(Message::text("at once")).await.unwrap();
            silent
        });
        let message = asking.next().await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some("at once"));
        assert!(start.elapsed() < INTERVAL + Duration::from_secs(2));
        answers.await.unwrap();
    }

    /// How often others have their turn before `future` is done, where nothing but work holds it
    /// up.
    #[cfg(feature = "deflate")]
    async fn turns<T>(future: impl Future<Output = T>) -> (usize, T) {
        let mut future = std::pin::pin!(future);
        let mut turns = 0;
        let done = std::future::poll_fn(|cx| {
            turns += 1;
            future.as_mut().poll(cx)
        });
        let done = done.await;
        (turns, done)
    }

    #[cfg(feature = "deflate")]
    #[tokio::test]
    async fn what_a_few_bytes_inflate_to_leaves_others_their_turns() {
        use crate::frame::Deflate;
        const SIZE: usize = 1 << 20;
        let (near, far) = tokio::io::duplex(64 * 1024);
        let socket = |io, role| {
            WebSocket::from_stream_with_deflate(
                io,
                role,
                WebSocketConfig::default(),
                Deflate::default(),
            )
        };
        let mut client = socket(near, Role::Client);
        let mut server = socket(far, Role::Server);
        // As an echo: inflated, compressed, and inflated again. A turn is 128 KiB of it.
        let bomb = Message::binary(vec![0; SIZE]);
        let (compressing, sent) = turns(client.send(bomb)).await;
        sent.unwrap();
        let (inflating, message) = turns(server.next()).await;
        let message = message.unwrap().unwrap();
        assert_eq!(message.len(), SIZE);
        let (answering, sent) = turns(server.send(message)).await;
        sent.unwrap();
        for turns in [compressing, inflating, answering] {
            assert!(turns >= SIZE >> 17, "{turns} turns");
        }
        assert_eq!(client.next().await.unwrap().unwrap().len(), SIZE);
    }
}
