//! Two byte streams joined: what comes from one goes to the other.
//!
//! # How a socket ends
//!
//! One rule, whatever version of HTTP carries either side. A socket is over for
//! its client when there is nothing left that the client could be told; then
//! its places are free (permit, lease), and the line names the party that ended
//! it first, whatever followed.
//!
//! | what ends | the other side sees | the places are free | the line |
//! |---|---|---|---|
//! | Close of one side | the Close, while its stream stays open for the answer | when both have closed; after a silence of `close_timeout` | that side, `close`, its code; `silence` where no answer came |
//! | client's end without a Close | the end (END_STREAM, FIN), while the upstream may go on | when the upstream has ended; after a silence of `close_timeout` | client, `end`, 1006 |
//! | upstream's end without a Close | the end, and a reset within `client_linger` | at once: for a client the socket is over, and browsers do not end their side | upstream, `end`, 1006 |
//! | upstream's end (or reset) behind its Close | the Close at once; the end when the client has closed or ended, or after a silence of `client_linger`; at once where the client's frames could not be followed, so that its answer would not be seen | with that end | upstream, `close`, its code |
//! | client's end behind its Close | the end behind the upstream's Close: there are servers that lose their answer otherwise | when the upstream has closed or ended; after a silence of `close_timeout` | client, `close`, its code |
//! | client's reset behind its Close | the end, in time for the upstream's Close | at once | client, `close`, its code |
//! | reset of one side | a reset | at once | that side, `reset`, 1006 |
//! | upstream's break while the client takes nothing more | a reset, unless the client reads what the upstream sent before | when that was read; after a silence of `close_timeout`, whatever the client sends meanwhile | upstream, `reset`, 1006 |
//! | Close of the bridge (drain, idle time) | as if the upstream had sent it; the client's answer closes the upstream | as above | bridge, `close`, 1001 |
//! | the server's grace is over | a reset | at once | bridge, `reset`, 1006 |
//!
//! What a client still sends to an upstream that ended without a Close goes
//! there for `client_linger`: END_STREAM is FIN, which is half an end (RFC 8441
//! §5). Nobody's place is held for it.

use std::fmt;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::access::{AccessRecord, Outcome, Side};
use super::frame_boundaries::FrameBoundaries;
use super::idle::IdleTimer;
use super::meters::Meters;
use crate::error::Error;
use crate::frame::{CloseCode, Role};
use crate::transport::{Finish, Linger, Stream, StreamError};

/// Chunks shorter than this are copied together: what is kept for a slow
/// reader stays near the number of its bytes, and many leave as one.
const COPIED: usize = 8 * 1024;

/// A Close frame with code 1001 as a server sends it (RFC 6455 §5.5.1).
const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];

/// The times of a splice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// After how long a silence of both sides the client is asked to close.
    pub(super) idle: Option<Duration>,
    /// How long both may be silent once the socket has begun to end.
    pub(super) close: Duration,
    /// How long the client may take to end its side afterwards.
    pub(super) client_linger: Linger,
    /// How long the upstream may.
    pub(super) upstream_linger: Linger,
}

/// Moves the bytes of one socket until it is over.
///
/// What it holds on either side counts on the client's connection
/// (`connection_buffer`): many clients share the upstream's.
///
/// One task moves both directions. Neither is read while the other side has no
/// room, so what is held is bounded by one outgoing buffer and one receive
/// window a direction; a splice that is idle holds nothing.
///
/// The ends of one side go across as the table of this module says. What
/// follows a Close frame does not go across at once: the stream stays open for
/// the other side's Close, because there are peers that lose theirs otherwise
/// (Firefox, lighttpd), or all their sockets (Hypercorn). When both Close frames
/// have passed, each side is ended as an endpoint of this library would end it.
pub(super) struct Splice {
    client: Stream,
    upstream: Stream,
    /// From the client to the upstream.
    up: Flow,
    /// From the upstream to the client.
    down: Flow,
    times: Times,
    silence: IdleTimer,
    meters: Meters,
    leave: Leave,
    first: Option<Side>,
}

/// Whether the bridge itself asks the client to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    No,
    /// At the end of the frame that is on its way.
    Wanted,
    /// It was, or need not be.
    Asked,
}

struct Flow {
    frames: FrameBoundaries,
    state: State,
    bytes: u64,
    /// Written and not flushed.
    dirty: bool,
    /// The receiver is gone, and what the sender has still to say matters only
    /// for its Close frame.
    deaf: bool,
    /// How the sender's stream has ended behind its Close frame.
    behind: Behind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// Not yet.
    Nothing,
    End,
    Break,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Ended without a Close frame, which the receiver has still to be told.
    Ending,
    Ended,
    /// The Close frame has passed.
    Closed,
}

/// How far a flow came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    /// As far as there was something.
    All,
    WaitsForRoom,
}

/// Which stream broke.
enum Broken {
    Sender(StreamError),
    Receiver(StreamError),
}

impl Splice {
    pub(super) fn new(client: Stream, upstream: Stream, times: Times, meters: Meters) -> Self {
        Self {
            client,
            upstream,
            up: Flow::from(Role::Client),
            down: Flow::from(Role::Server),
            times,
            silence: IdleTimer::default(),
            meters,
            leave: Leave::No,
            first: None,
        }
    }

    /// Moves bytes until the socket is over for its client, and lets go of both
    /// streams; what is left to do for them happens without the caller.
    ///
    /// Dropping the future cuts both. Boxed, for it is what an open socket
    /// weighs.
    pub(super) async fn run(mut self: Box<Self>, access: &mut AccessRecord) -> Outcome {
        let (closed, why) = std::future::poll_fn(|cx| {
            let over = self.poll_over(cx);
            self.client.held_elsewhere(self.upstream.counted());
            let (up, down) = (self.up.bytes, self.down.bytes);
            self.meters.pause(up, down);
            access.moved(up, down);
            over
        })
        .await;
        self.meters.ends(closed);
        if !matches!(why, Why::Ended) {
            access.because(why);
        }
        if self.client_is_left() {
            tokio::spawn(self.hear_out());
        } else {
            let linger = self.times.client_linger;
            self.finish(linger);
        }
        closed
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<(Outcome, Why)> {
        loop {
            // What an upstream said before it broke is worth more than an
            // error of writing to it.
            let down =
                self.down
                    .poll_move(&mut self.upstream, &mut self.client, &mut self.silence, cx);
            self.note(Side::Upstream, |splice| &splice.down);
            self.ask_to_close();
            if self.down.poll_behind(&mut self.upstream, cx) {
                self.silence.restart();
            }
            let up = self
                .up
                .poll_move(&mut self.client, &mut self.upstream, &mut self.silence, cx);
            self.note(Side::Client, |splice| &splice.up);
            self.up.poll_behind(&mut self.client, cx);
            let moved = *down.as_ref().unwrap_or(&Moved::All);
            let down = down.and_then(|_| self.down.poll_out(&mut self.client, cx));
            let up = up.and_then(|moved| match self.client_breaks(moved, cx) {
                Some(broken) => Err(broken),
                None => self.up.poll_out(&mut self.upstream, cx),
            });
            if let Err(broken) = down {
                return Poll::Ready(self.broken(broken, Side::Upstream, Side::Client));
            }
            match up {
                // It has closed, and waits for no answer; or reading it tells
                // whether it has, and how it broke.
                Err(Broken::Receiver(_))
                    if matches!(self.down.state, State::Open | State::Closed) && !self.up.deaf =>
                {
                    self.up.deaf = true;
                    self.silence.restart();
                    continue;
                }
                Err(broken) => {
                    return Poll::Ready(self.broken(broken, Side::Client, Side::Upstream));
                }
                Ok(()) => {}
            }
            if self.upstream_breaks(moved, cx) {
                continue;
            }
            if self.is_over() {
                return Poll::Ready((self.closed(), Why::Ended));
            }
            // After the wakers are in place, by which a drain is told.
            if self.leave == Leave::No && self.client.is_draining() {
                self.leave = Leave::Wanted;
                self.silence.restart();
                continue;
            }
            ready!(self.silence.poll(self.silence_limit(), cx));
            if self.down.behind != Behind::Nothing {
                return Poll::Ready((self.closed(), Why::Unanswered));
            }
            if self.up.deaf && self.first.is_none() {
                let error = match self.upstream.poll_broken(cx) {
                    Poll::Ready(error) => error,
                    Poll::Pending => StreamError::Closed,
                };
                let broken = Broken::Sender(error);
                return Poll::Ready(self.broken(broken, Side::Upstream, Side::Client));
            }
            if self.is_ending() {
                let began = self.first.unwrap_or(Side::Bridge);
                return Poll::Ready((Outcome::TimedOut(began), Why::Unanswered));
            }
            self.leave = Leave::Wanted;
        }
    }

    /// Who is not read, for want of room at the upstream, may break and be
    /// drained all the same.
    fn client_breaks(&mut self, moved: Moved, cx: &mut Context<'_>) -> Option<Broken> {
        match moved {
            Moved::All => None,
            Moved::WaitsForRoom => match self.client.poll_broken(cx) {
                Poll::Ready(error) => Some(Broken::Sender(error)),
                Poll::Pending => None,
            },
        }
    }

    /// An upstream that is not read, for want of room at the client, may break.
    /// What it sent before is still the client's, who has a time for it; what
    /// the client sends has no receiver. Returns whether that is news.
    fn upstream_breaks(&mut self, moved: Moved, cx: &mut Context<'_>) -> bool {
        let breaks = moved == Moved::WaitsForRoom
            && !self.up.deaf
            && self.upstream.poll_broken(cx).is_ready();
        if breaks {
            self.up.deaf = true;
            self.silence.restart();
        }
        breaks
    }

    fn note(&mut self, party: Side, flow: impl Fn(&Self) -> &Flow) {
        if self.first.is_none() && flow(self).state != State::Open {
            self.first = Some(party);
            self.silence.restart();
        }
    }

    /// Whether the socket has begun to end.
    fn is_ending(&self) -> bool {
        self.first.is_some() || self.leave != Leave::No
    }

    /// Whether there is nothing left that the client could be told.
    fn is_over(&self) -> bool {
        let unseen = self.up.frames.is_lost() && self.down.behind != Behind::Nothing;
        (self.up.is_over() && self.down.is_over())
            || self.upstream_is_gone()
            || self.up.behind == Behind::Break
            || unseen
    }

    /// Whether the upstream was the first to end, without a Close frame.
    fn upstream_is_gone(&self) -> bool {
        self.first == Some(Side::Upstream)
            && matches!(self.down.state, State::Ending | State::Ended)
    }

    /// For how long nothing may move.
    fn silence_limit(&self) -> Option<Duration> {
        if self.down.behind != Behind::Nothing {
            Some(self.times.client_linger.peer)
        } else if self.is_ending() || self.up.deaf {
            Some(self.times.close)
        } else {
            self.times.idle
        }
    }

    /// Sends the client a Close frame, if that is wanted and fits here. Its
    /// answer goes to the upstream like all that it sends, and closes there.
    fn ask_to_close(&mut self) {
        if self.leave != Leave::Wanted {
            return;
        }
        // One that has closed waits for its upstream's answer.
        if self.down.state != State::Open || self.up.state == State::Closed {
            self.leave = Leave::Asked;
        } else if self.down.frames.is_between() {
            self.client
                .write(|out| out.buffer().extend_from_slice(&GOING_AWAY));
            self.down.dirty = true;
            self.down.frames.pass(&GOING_AWAY);
            self.down.state = State::Closed;
            self.leave = Leave::Asked;
            self.first.get_or_insert(Side::Bridge);
            self.silence.restart();
        }
    }

    /// What a break means: nothing more, where the socket had begun to end.
    fn broken(&self, broken: Broken, sender: Side, receiver: Side) -> (Outcome, Why) {
        let (party, error) = match broken {
            Broken::Sender(error) => (sender, error),
            Broken::Receiver(error) => (receiver, error),
        };
        tracing::debug!(?party, ?error, "socket broke");
        let cut = party == Side::Client && self.client.is_draining() && is_taken_away(&error);
        let closed = match self.first {
            None | Some(Side::Bridge) if cut => Outcome::Broken(Side::Bridge),
            None => Outcome::Broken(party),
            Some(_) => return (self.closed(), Why::Ended),
        };
        let why = if cut {
            Why::Cut
        } else {
            Why::Broken(Box::new(error))
        };
        (closed, why)
    }

    fn closed(&self) -> Outcome {
        let party = self.first.unwrap_or(Side::Client);
        let code = match party {
            Side::Client => self.up.frames.code(),
            Side::Upstream | Side::Bridge => self.down.frames.code(),
        };
        Outcome::By(party, code.unwrap_or(CloseCode::ABNORMAL))
    }

    /// Whether the client is still to be heard, by an upstream that has ended
    /// its side.
    fn client_is_left(&self) -> bool {
        self.upstream_is_gone() && self.up.state == State::Open && !self.up.deaf
    }

    /// Takes what the client still sends to an upstream that has ended its
    /// side, for as long as the client is lingered for.
    async fn hear_out(mut self: Box<Self>) {
        let linger = self.times.client_linger;
        let until = Instant::now() + linger.peer;
        let heard = std::future::poll_fn(|cx| self.poll_heard(cx));
        // An error is the end of it, as the end is.
        let _ = timeout_at(until, heard).await;
        self.finish(Linger {
            peer: until - Instant::now(),
            ..linger
        });
    }

    fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.down.poll_out(&mut self.client, cx)?;
        self.up
            .poll_move(&mut self.client, &mut self.upstream, &mut self.silence, cx)?;
        self.up.poll_out(&mut self.upstream, cx)?;
        if self.up.is_over() && self.down.is_over() {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// Lets go of both streams, each as its peer is owed.
    fn finish(self, client_linger: Linger) {
        // As a server: ends behind what was sent.
        self.client.finish(match self.down.state {
            State::Open => Finish::Cancel,
            _ => Finish::End(client_linger),
        });
        let linger = self.times.upstream_linger;
        // As a client: after a Close frame the server goes first.
        self.upstream.finish(match self.up.state {
            State::Open => Finish::Cancel,
            State::Closed => Finish::Await { linger, end: true },
            State::Ending | State::Ended => Finish::End(linger),
        });
    }
}

/// Whether a stream breaks so when the connection is dropped under it, as the
/// server does at the end of its grace.
fn is_taken_away(error: &StreamError) -> bool {
    match error {
        StreamError::Closed => true,
        StreamError::Io(error) => error.kind() == io::ErrorKind::BrokenPipe,
        _ => false,
    }
}

/// The reason why a socket is over, beside the party that ended it.
#[derive(Clone, Debug)]
pub(super) enum Why {
    /// By the ends that its sides sent.
    Ended,
    /// One side's was not answered.
    Unanswered,
    /// The server's grace was over.
    Cut,
    Broken(Box<StreamError>),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended => f.write_str("ended"),
            Self::Unanswered => f.write_str("no answer to the Close frame or the end"),
            Self::Cut => f.write_str("cut at the end of the grace"),
            Self::Broken(error) => write!(f, "{}", Error::from((**error).clone())),
        }
    }
}

impl Flow {
    fn from(sender: Role) -> Self {
        Self {
            frames: FrameBoundaries::of(sender),
            state: State::Open,
            bytes: 0,
            dirty: false,
            deaf: false,
            behind: Behind::Nothing,
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Ended | State::Closed)
    }

    /// Moves what there is, as far as there is room for it.
    fn poll_move(
        &mut self,
        from: &mut Stream,
        to: &mut Stream,
        silence: &mut IdleTimer,
        cx: &mut Context<'_>,
    ) -> Result<Moved, Broken> {
        while self.state == State::Open {
            if !self.deaf {
                match to.poll_room(cx) {
                    Poll::Ready(room) => room.map_err(Broken::Receiver)?,
                    Poll::Pending => return Ok(Moved::WaitsForRoom),
                }
            }
            // One unit a chunk: a socket that is never silent must not keep
            // others from their turn.
            let Poll::Ready(budget) = tokio::task::coop::poll_proceed(cx) else {
                break;
            };
            let Poll::Ready(chunk) = from.poll_chunk(cx) else {
                break;
            };
            budget.made_progress();
            match chunk.map_err(Broken::Sender)? {
                Some(chunk) => {
                    // What nobody receives keeps no socket.
                    if !self.deaf {
                        silence.broken();
                    }
                    self.carry(chunk, to);
                }
                None => self.state = State::Ending,
            }
        }
        Ok(Moved::All)
    }

    /// Reads what follows the sender's Close frame, which belongs to nobody, for
    /// the end behind it. A peer that answers what it reads has to be read to
    /// go on reading. Returns whether the end is news.
    fn poll_behind(&mut self, from: &mut Stream, cx: &mut Context<'_>) -> bool {
        while self.state == State::Closed && self.behind == Behind::Nothing {
            let Poll::Ready(budget) = tokio::task::coop::poll_proceed(cx) else {
                return false;
            };
            let Poll::Ready(chunk) = from.poll_chunk(cx) else {
                return false;
            };
            budget.made_progress();
            self.behind = match chunk {
                Ok(Some(_)) => continue,
                Ok(None) => Behind::End,
                Err(_) => Behind::Break,
            };
            return true;
        }
        false
    }

    fn carry(&mut self, mut chunk: Bytes, to: &mut Stream) {
        chunk.truncate(self.frames.pass(&chunk));
        self.bytes += chunk.len() as u64;
        if self.frames.is_closed() {
            self.state = State::Closed;
        }
        if self.deaf {
            return;
        }
        self.dirty = true;
        to.write(|out| {
            if chunk.len() < COPIED {
                out.expect(chunk.len());
                out.buffer().extend_from_slice(&chunk);
            } else {
                out.append(chunk);
            }
        });
    }

    /// Sets what was moved on its way, and the end behind it.
    fn poll_out(&mut self, to: &mut Stream, cx: &mut Context<'_>) -> Result<(), Broken> {
        if self.deaf {
            if self.state == State::Ending {
                self.state = State::Ended;
            }
            return Ok(());
        }
        if self.state == State::Ending {
            if let Poll::Ready(ended) = to.poll_end(cx) {
                ended.map_err(Broken::Receiver)?;
                self.state = State::Ended;
            }
        } else if self.dirty
            && let Poll::Ready(flushed) = to.poll_flush(cx)
        {
            flushed.map_err(Broken::Receiver)?;
            self.dirty = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;

    use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

    use super::*;
    use crate::transport::{BoxIo, IoStream, Transport};

    const CLOSE_1008: [u8; 4] = [0x88, 2, 0x03, 0xf0];

    /// Has closed and is gone; that it can be read is seen late.
    struct Gone {
        looks: usize,
    }

    impl AsyncRead for Gone {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.looks += 1;
            match self.looks {
                1 => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                2 => buf.put_slice(&CLOSE_1008),
                _ => {}
            }
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_an_upstream_said_before_it_broke_is_heard_where_writing_fails_first() {
        let stream = |io: BoxIo| {
            let stream = IoStream::new(io, Bytes::new(), Transport::Io, 1024);
            Stream::Io(Box::new(stream))
        };
        let (near, mut client) = tokio::io::duplex(1024);
        // "x", and an answer to the upstream's Close, masked with zeros.
        let sent = b"\x82\x81\0\0\0\0x\x88\x82\0\0\0\0\x03\xf0";
        client.write_all(sent).await.unwrap();
        let second = Duration::from_secs(1);
        let linger = Linger {
            unsent: second,
            peer: second,
        };
        let times = Times {
            idle: None,
            close: second,
            client_linger: linger,
            upstream_linger: linger,
        };
        let (broken, _) = tokio::io::duplex(1);
        let upstream = tokio::io::join(Gone { looks: 0 }, broken);
        let (client, upstream) = (stream(Box::new(near)), stream(Box::new(upstream)));
        let mut splice = Splice::new(client, upstream, times, Meters::new(None, None));
        let (closed, _) = poll_fn(|cx| splice.poll_over(cx)).await;
        assert_eq!(
            closed,
            Outcome::By(Side::Client, CloseCode::POLICY_VIOLATION)
        );
        assert_eq!(splice.down.state, State::Closed);
    }
}
