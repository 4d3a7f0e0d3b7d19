//! Carries out the plan of a socket at one of its ends.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::{Sink, Stream};
use h2ws::socket::{WebSocketReader, WebSocketWriter};
use h2ws::{CloseCode, CloseFrame, Error, Message, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use crate::plan::{Ending, Item, SocketPlan, Way};
use crate::random::Random;

/// What one end sent and received, and how its socket ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) opened: bool,
    /// Messages received, all of them as the plan has them.
    pub(crate) received: usize,
    /// Messages that `send`, or `feed` and `flush`, have accepted.
    pub(crate) sent: usize,
    /// The code that this end closed with of its own accord.
    pub(crate) closed: Option<CloseCode>,
    /// How reading ended, or `None` if this end did not read so far.
    pub(crate) end: Option<Result<Option<CloseCode>, Error>>,
    /// What was received that should not have been.
    pub(crate) wrong: Option<String>,
}

/// One end of a socket.
struct Side<'a> {
    plan: &'a SocketPlan,
    server: bool,
    outcome: Outcome,
    /// The last Ping of ours that was answered.
    pong: Option<u8>,
    /// The code of the Close frame that was received as a message.
    close: Option<CloseCode>,
    /// Bytes received of the current message, for byte streams.
    partial: Vec<u8>,
    /// Called when this end closes its socket or finds it closed. From then on a bridge may be done
    /// with it.
    on_close: &'a (dyn Fn() + Send + Sync),
}

pub(crate) async fn talk(
    socket: WebSocket,
    plan: &SocketPlan,
    server: bool,
    seed: u64,
    on_close: &(dyn Fn() + Send + Sync),
) -> Outcome {
    let mut side = Side {
        plan,
        server,
        on_close,
        outcome: Outcome {
            opened: true,
            ..Outcome::default()
        },
        pong: None,
        close: None,
        partial: Vec::new(),
    };
    let random = Random::of(seed, plan.id as u64 * 2 + u64::from(server));
    match plan.ways[usize::from(server)] {
        Way::Turns => side.take_turns(socket, random).await,
        Way::Split => side.use_halves(socket, random).await,
        Way::Polls => side.poll_both(socket).await,
        Way::Cancels => side.cancel_futures(socket, random).await,
        Way::Bytes => side.use_bytes(socket, random).await,
    }
    side.outcome
}

/// The code that an end closes with: a byte stream has no other than 1000.
pub(crate) fn own_code(plan: &SocketPlan, server: bool) -> CloseCode {
    match server {
        _ if plan.ways.contains(&Way::Bytes) => CloseCode::NORMAL,
        false => CloseCode::from(3001),
        true => CloseCode::from(3002),
    }
}

impl Side<'_> {
    fn to_send(&self) -> usize {
        self.plan.items(self.server).len()
    }

    fn to_receive(&self) -> usize {
        self.plan.items(!self.server).len()
    }

    fn is_sent(&self) -> bool {
        self.outcome.sent == self.to_send()
    }

    fn message(&self, n: usize) -> Message {
        self.plan.message(self.server, n)
    }

    fn code(&self) -> CloseCode {
        own_code(self.plan, self.server)
    }

    /// Whether this end has received what it waits for.
    fn is_done(&self) -> bool {
        let enough = self.plan.drops(self.server).unwrap_or(self.to_receive());
        let early =
            matches!(self.plan.end, Ending::ClosesEarly { server } if server == self.server);
        self.outcome.received >= enough || early && self.is_sent()
    }

    /// Whether there is nothing left to do but to close, to drop or to read on.
    fn is_over(&self) -> bool {
        self.is_done() && (self.plan.drops(self.server).is_some() || self.is_sent())
    }

    fn wrong(&mut self, what: String) {
        self.outcome.wrong.get_or_insert(what);
    }

    fn check(&mut self, message: &Message) {
        if let Some(code) = self.close {
            return self.wrong(format!("{message:?} after a Close frame with {code}"));
        }
        if let Message::Close(frame) = message {
            let code = frame.as_ref().map(|frame| frame.code);
            self.close = Some(code.unwrap_or(CloseCode::NO_STATUS_RECEIVED));
            return;
        }
        if message.is_pong() {
            return self.check_pong(message);
        }
        let n = self.outcome.received;
        if n >= self.to_receive() {
            return self.wrong(format!("one more message, {message:?}"));
        }
        if *message != self.plan.message(!self.server, n) {
            let what = format!("message {n} is {message:?}");
            self.wrong(what);
        }
        self.outcome.received += 1;
    }

    /// Pongs may be left out, but not change places (RFC 6455 §5.5.3).
    fn check_pong(&mut self, pong: &Message) {
        let n = match pong.as_bytes() {
            [n, side] if *side == u8::from(self.server) => *n,
            _ => return self.wrong(format!("{pong:?}")),
        };
        let is_ping = self.plan.items(self.server).get(usize::from(n)) == Some(&Item::Ping);
        if !is_ping || self.pong.is_some_and(|last| last >= n) {
            self.wrong(format!("Pong {n} after {:?}", self.pong));
        }
        self.pong = Some(n);
    }

    fn ended(&mut self, end: Option<Error>, code: Option<CloseCode>) {
        (self.on_close)();
        let end = match end {
            None => Ok(code),
            Some(error) => Err(error),
        };
        if self.close.is_some() && !matches!(&end, Ok(code) if *code == self.close) {
            let what = format!("{end:?} after a Close frame with {:?}", self.close);
            self.wrong(what);
        }
        self.outcome.end.get_or_insert(end);
    }

    fn got(&mut self, message: Option<Result<Message, Error>>, code: Option<CloseCode>) {
        match message {
            Some(Ok(message)) => self.check(&message),
            Some(Err(error)) => self.ended(Some(error), code),
            None => self.ended(None, code),
        }
    }

    /// Closes or drops the socket, or reads it to its end.
    async fn finish(&mut self, mut socket: WebSocket) {
        if self.outcome.end.is_some() || self.plan.drops(self.server).is_some() {
            return;
        }
        if self.plan.closes(self.server) {
            (self.on_close)();
            if socket.close_code().is_none() {
                self.outcome.closed = Some(self.code());
            }
            let closed = socket.close(CloseFrame::new(self.code(), "over")).await;
            return self.ended(closed.err(), socket.close_code());
        }
        while self.outcome.end.is_none() {
            let message = socket.recv().await;
            self.got(message, socket.close_code());
        }
    }

    async fn take_turns(&mut self, mut socket: WebSocket, mut random: Random) {
        let mut flushed = 0;
        while self.outcome.end.is_none() && !self.is_over() {
            let (sent, received) = (self.outcome.sent, self.outcome.received);
            let turn = received >= sent + usize::from(self.server);
            if !self.is_sent() && (turn || received == self.to_receive()) {
                let message = self.message(sent);
                // An echo server need not flush: receiving does.
                let feeds = random.once_in(2) && sent + 1 != self.to_send();
                let done = match feeds {
                    true => socket.feed(message).await,
                    false => socket.send(message).await,
                };
                if done.is_err() {
                    break;
                }
                self.outcome.sent += 1;
                if !feeds {
                    flushed = self.outcome.sent;
                }
            } else if received < self.to_receive() {
                let message = socket.recv().await;
                self.got(message, socket.close_code());
            } else {
                break;
            }
        }
        if self.outcome.end.is_none() && !self.is_over() {
            // Sending failed; reading tells why.
            while self.outcome.end.is_none() {
                let message = socket.recv().await;
                self.got(message, socket.close_code());
            }
        }
        if self.plan.drops(self.server).is_some() {
            // Dropping a socket does not flush it, unlike closing it.
            self.outcome.sent = flushed;
        }
        self.finish(socket).await;
    }

    async fn use_halves(&mut self, socket: WebSocket, random: Random) {
        let (mut reader, writer) = socket.split();
        let mut writing = tokio::spawn(write(writer, self.plan.clone(), self.server, random));
        let mut written = None;
        while self.outcome.end.is_none() {
            if self.is_done() && (written.is_some() || self.plan.drops(self.server).is_some()) {
                break;
            }
            tokio::select! {
                biased;
                message = reader.recv() => self.got(message, reader.close_code()),
                done = &mut writing, if written.is_none() => {
                    let Ok((writer, sent)) = done else {
                        return self.wrong("the writer panicked".into());
                    };
                    self.outcome.sent = sent;
                    written = Some(writer);
                }
            }
        }
        if written.is_none() && self.plan.drops(self.server).is_some() {
            writing.abort();
            if let Ok((_, sent)) = writing.await {
                self.outcome.sent = sent;
            }
            return;
        }
        if written.is_none()
            && let Ok((writer, sent)) = writing.await
        {
            self.outcome.sent = sent;
            written = Some(writer);
        }
        if let Some(writer) = written
            && self.plan.drops(self.server).is_none()
        {
            self.finish_halves(reader, writer).await;
        }
    }

    async fn finish_halves(&mut self, mut reader: WebSocketReader, mut writer: WebSocketWriter) {
        if self.outcome.end.is_none() && self.plan.closes(self.server) {
            (self.on_close)();
            if reader.close_code().is_none() {
                self.outcome.closed = Some(self.code());
            }
            let frame = CloseFrame::new(self.code(), "over");
            let closing = tokio::spawn(async move {
                let _ = writer.close(frame).await;
            });
            self.read_rest(&mut reader).await;
            let _ = closing.await;
        } else {
            self.read_rest(&mut reader).await;
        }
    }

    async fn read_rest(&mut self, reader: &mut WebSocketReader) {
        while self.outcome.end.is_none() {
            let message = reader.recv().await;
            self.got(message, reader.close_code());
        }
    }

    async fn poll_both(&mut self, mut socket: WebSocket) {
        let mut broken = false;
        let mut next = self.outcome.sent;
        poll_fn(|cx| {
            loop {
                let mut moved = false;
                while !broken && next < self.to_send() {
                    match Pin::new(&mut socket).poll_ready(cx) {
                        Poll::Ready(Ok(())) => {
                            let message = self.message(next);
                            broken = Pin::new(&mut socket).start_send(message).is_err();
                            next += usize::from(!broken);
                            moved = true;
                        }
                        Poll::Ready(Err(_)) => broken = true,
                        Poll::Pending => break,
                    }
                }
                if !broken {
                    match Pin::new(&mut socket).poll_flush(cx) {
                        Poll::Ready(Ok(())) => self.outcome.sent = next,
                        Poll::Ready(Err(_)) => broken = true,
                        Poll::Pending => {}
                    }
                }
                if self.is_over() {
                    return Poll::Ready(());
                }
                match Pin::new(&mut socket).poll_next(cx) {
                    Poll::Ready(message) => {
                        self.got(message, socket.close_code());
                        if self.outcome.end.is_some() {
                            return Poll::Ready(());
                        }
                    }
                    Poll::Pending if moved => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
        self.finish(socket).await;
    }

    async fn cancel_futures(&mut self, mut socket: WebSocket, mut random: Random) {
        let (mut next, mut broken) = (0, false);
        while self.outcome.end.is_none() && !self.is_over() {
            let all_sent = broken || next == self.to_send();
            let cancel = pause(random.below(4), random.below(3) as u64);
            if !all_sent && random.once_in(2) {
                tokio::select! {
                    biased;
                    fed = socket.feed(self.message(next)) => match fed {
                        Ok(()) => next += 1,
                        Err(_) => broken = true,
                    },
                    () = cancel => {}
                }
            } else if !broken && self.outcome.sent < next && random.once_in(2) {
                tokio::select! {
                    biased;
                    flushed = socket.flush() => match flushed {
                        Ok(()) => self.outcome.sent = next,
                        Err(_) => broken = true,
                    },
                    () = cancel => {}
                }
            } else if broken || self.outcome.sent == self.to_send() {
                let message = socket.recv().await;
                self.got(message, socket.close_code());
            } else {
                tokio::select! {
                    biased;
                    message = socket.recv() => self.got(message, socket.close_code()),
                    () = cancel => {}
                }
            }
        }
        self.finish(socket).await;
    }

    async fn use_bytes(&mut self, socket: WebSocket, mut random: Random) {
        let stream = socket.into_binary_stream();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let plan = self.plan.clone();
        let server = self.server;
        let most = random.one_of(&[1, 100, 100_000]);
        let mut writing = tokio::spawn(async move {
            let mut sent = 0;
            for n in 0..plan.items(server).len() {
                let message = plan.message(server, n);
                if writer.write_all(message.as_bytes()).await.is_err() {
                    break;
                }
                if writer.flush().await.is_err() {
                    break;
                }
                sent += 1;
            }
            (writer, sent)
        });
        let mut written = None;
        let mut buffer = vec![0; most];
        self.skip_empty();
        let mut over = false;
        while !over {
            if self.is_done() && (written.is_some() || self.plan.drops(self.server).is_some()) {
                break;
            }
            tokio::select! {
                biased;
                read = reader.read(&mut buffer) => over = self.read_bytes(read, &buffer),
                done = &mut writing, if written.is_none() => {
                    let Ok((writer, sent)) = done else {
                        return self.wrong("the writer panicked".into());
                    };
                    self.outcome.sent = sent;
                    written = Some(writer);
                }
            }
        }
        if self.plan.drops(self.server).is_some() {
            writing.abort();
            if written.is_none()
                && let Ok((_, sent)) = writing.await
            {
                self.outcome.sent = sent;
            }
            return;
        }
        if written.is_none()
            && let Ok((writer, sent)) = writing.await
        {
            self.outcome.sent = sent;
            written = Some(writer);
        }
        let Some(mut writer) = written else { return };
        if !over && self.plan.closes(self.server) {
            (self.on_close)();
            self.outcome.closed = Some(self.code());
            let closing = tokio::spawn(async move { writer.shutdown().await.map(|()| writer) });
            while !over {
                let read = reader.read(&mut buffer).await;
                over = self.read_bytes(read, &buffer);
            }
            let _ = closing.await;
            return;
        }
        while !over {
            let read = reader.read(&mut buffer).await;
            over = self.read_bytes(read, &buffer);
        }
    }

    /// Empty messages are not seen in a byte stream.
    fn skip_empty(&mut self) {
        while self.outcome.received < self.to_receive()
            && self.plan.message(!self.server, self.outcome.received).len() == self.partial.len()
        {
            self.outcome.received += 1;
            self.partial.clear();
        }
    }

    /// Returns whether the stream is over.
    fn read_bytes(&mut self, read: std::io::Result<usize>, buffer: &[u8]) -> bool {
        match read {
            // The code is not known while the halves are split; it was an orderly one.
            Ok(0) => self.ended(None, None),
            Ok(len) => {
                for byte in &buffer[..len] {
                    let n = self.outcome.received;
                    if n == self.to_receive() {
                        self.wrong("bytes after the last".into());
                        break;
                    }
                    let message = self.plan.message(!self.server, n);
                    if message.as_bytes()[self.partial.len()] != *byte {
                        self.wrong(format!("byte {} of message {n}", self.partial.len()));
                    }
                    self.partial.push(*byte);
                    self.skip_empty();
                }
                return false;
            }
            Err(error) => {
                let error = std::sync::Arc::new(error);
                self.ended(Some(Error::Io(error)), None);
            }
        }
        true
    }
}

/// Yields, and then waits: the clock moves only when every task does.
async fn pause(times: usize, milliseconds: u64) {
    yields(times).await;
    sleep(Duration::from_millis(milliseconds)).await;
}

async fn yields(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

/// Sends everything by a writing half. Returns it, with the number of messages sent.
async fn write(
    mut writer: WebSocketWriter,
    plan: SocketPlan,
    server: bool,
    mut random: Random,
) -> (WebSocketWriter, usize) {
    let (mut sent, mut fed) = (0, 0);
    for n in 0..plan.items(server).len() {
        let message = plan.message(server, n);
        let feeds = random.once_in(3);
        let done = match feeds {
            true => writer.feed(message).await,
            false => writer.send(message).await,
        };
        if done.is_err() {
            return (writer, sent);
        }
        fed += 1;
        if !feeds {
            sent = fed;
        }
        yields(random.below(3)).await;
    }
    if writer.flush().await.is_ok() {
        sent = fed;
    }
    (writer, sent)
}
