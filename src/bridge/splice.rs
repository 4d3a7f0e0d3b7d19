//! Two byte streams joined: what comes from one goes to the other.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use super::access::{Access, Closed, Party};
use super::frames::Frames;
use super::meters::Meters;
use super::silence::Silence;
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
/// One task moves both directions. Neither is read while the other side has no
/// room, so what is held is bounded by one outgoing buffer and one receive
/// window a direction; a splice that is idle holds nothing.
///
/// Ends go across as RFC 8441 §5 maps them: an orderly end (FIN, END_STREAM)
/// behind what was sent before it, while the other direction goes on; a reset
/// resets. Only what follows a Close frame does not go across at once: the
/// stream stays open for the other side's Close, because there are peers that
/// lose theirs otherwise (Firefox, lighttpd), or all their sockets (Hypercorn).
/// When both Close frames have passed, each side is ended as an endpoint of
/// this library would end it.
pub(super) struct Splice {
    client: Stream,
    upstream: Stream,
    /// From the client to the upstream.
    up: Flow,
    /// From the upstream to the client.
    down: Flow,
    times: Times,
    silence: Silence,
    meters: Meters,
    leave: Leave,
    first: Option<Party>,
}

/// Whether the bridge itself asks the client to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    No,
    /// At the end of the frame that is on its way.
    Wanted,
    /// It was, and the upstream is no longer heard, but read.
    Ignored,
    Asked,
}

struct Flow {
    frames: Frames,
    state: State,
    bytes: u64,
    /// Written and not flushed.
    dirty: bool,
    /// The receiver is gone, and what the sender has still to say matters only
    /// for its Close frame.
    deaf: bool,
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
            silence: Silence::default(),
            meters,
            leave: Leave::No,
            first: None,
        }
    }

    /// Moves bytes until the socket is over, and lets go of both streams; what
    /// is left to do for them happens without the caller.
    ///
    /// Dropping the future cuts both. Boxed, for it is what an open socket
    /// weighs.
    pub(super) async fn run(mut self: Box<Self>, access: &mut Access) -> Closed {
        let closed = std::future::poll_fn(|cx| {
            let over = self.poll_over(cx);
            let (up, down) = (self.up.bytes, self.down.bytes);
            self.meters.pause(up, down);
            access.moved(up, down);
            over
        })
        .await;
        self.meters.ends(closed);
        self.finish();
        closed
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        loop {
            // What an upstream said before it broke is worth more than an
            // error of writing to it.
            let down =
                self.down
                    .poll_move(&mut self.upstream, &mut self.client, &mut self.silence, cx);
            self.note(Party::Upstream, |splice| &splice.down);
            self.ignore_upstream(cx);
            self.ask_to_close();
            let up = self
                .up
                .poll_move(&mut self.client, &mut self.upstream, &mut self.silence, cx);
            self.note(Party::Client, |splice| &splice.up);
            let down = down.and_then(|_| self.down.poll_out(&mut self.client, cx));
            let up = up.and_then(|moved| match self.client_breaks(moved, cx) {
                Some(broken) => Err(broken),
                None => self.up.poll_out(&mut self.upstream, cx),
            });
            if let Err(broken) = down {
                return Poll::Ready(self.broken(broken, Party::Upstream, Party::Client));
            }
            match up {
                // It has closed, and waits for no answer; or reading it tells
                // whether it has, and how it broke.
                Err(Broken::Receiver(_))
                    if matches!(self.down.state, State::Open | State::Closed) && !self.up.deaf =>
                {
                    self.up.deaf = true;
                    continue;
                }
                Err(broken) => {
                    return Poll::Ready(self.broken(broken, Party::Client, Party::Upstream));
                }
                Ok(()) => {}
            }
            if self.up.is_over() && self.down.is_over() {
                return Poll::Ready(self.closed());
            }
            // After the wakers are in place, by which a drain is told.
            if self.leave == Leave::No && self.client.is_draining() {
                self.leave = Leave::Wanted;
                self.silence.restart();
                continue;
            }
            let limit = if self.is_ending() {
                Some(self.times.close)
            } else {
                self.times.idle
            };
            ready!(self.silence.poll(limit, cx));
            if self.is_ending() {
                return Poll::Ready(Closed::Silence);
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

    fn note(&mut self, party: Party, flow: impl Fn(&Self) -> &Flow) {
        if self.first.is_none() && flow(self).state != State::Open {
            self.first = Some(party);
            self.silence.restart();
        }
    }

    /// Whether the socket has begun to end.
    fn is_ending(&self) -> bool {
        self.first.is_some() || self.leave != Leave::No
    }

    /// Behind the bridge's own Close frame nobody hears the upstream, but it
    /// may have to be read to go on reading, as one that answers what it reads.
    fn ignore_upstream(&mut self, cx: &mut Context<'_>) {
        while self.leave == Leave::Ignored {
            let Poll::Ready(budget) = tokio::task::coop::poll_proceed(cx) else {
                return;
            };
            let Poll::Ready(chunk) = self.upstream.poll_chunk(cx) else {
                return;
            };
            budget.made_progress();
            if !matches!(chunk, Ok(Some(_))) {
                // An error shows up where the upstream is written to.
                self.leave = Leave::Asked;
            }
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
            self.leave = Leave::Ignored;
            self.first.get_or_insert(Party::Bridge);
            self.silence.restart();
        }
    }

    fn broken(&self, broken: Broken, sender: Party, receiver: Party) -> Closed {
        let (party, error) = match broken {
            Broken::Sender(error) => (sender, error),
            Broken::Receiver(error) => (receiver, error),
        };
        tracing::debug!(?party, ?error, "socket broke");
        Closed::Broken(party)
    }

    fn closed(&self) -> Closed {
        let party = self.first.unwrap_or(Party::Client);
        let code = match party {
            Party::Client => self.up.frames.code(),
            Party::Upstream | Party::Bridge => self.down.frames.code(),
        };
        Closed::By(party, code.unwrap_or(CloseCode::ABNORMAL))
    }

    /// Lets go of both streams, each as its peer is owed.
    fn finish(self) {
        let Times {
            client_linger,
            upstream_linger,
            ..
        } = self.times;
        // As a server: ends behind what was sent.
        self.client.finish(match self.down.state {
            State::Open => Finish::Cancel,
            _ => Finish::End(client_linger),
        });
        // As a client: after a Close frame the server goes first.
        self.upstream.finish(match self.up.state {
            State::Open => Finish::Cancel,
            State::Closed => Finish::Await {
                linger: upstream_linger,
                end: true,
            },
            State::Ending | State::Ended => Finish::End(upstream_linger),
        });
    }
}

impl Flow {
    fn from(sender: Role) -> Self {
        Self {
            frames: Frames::of(sender),
            state: State::Open,
            bytes: 0,
            dirty: false,
            deaf: false,
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
        silence: &mut Silence,
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
                    silence.broken();
                    self.carry(chunk, to);
                }
                None => self.state = State::Ending,
            }
        }
        Ok(Moved::All)
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
    use std::io;
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
        let closed = poll_fn(|cx| splice.poll_over(cx)).await;
        assert!(
            matches!(closed, Closed::By(_, CloseCode::POLICY_VIOLATION)),
            "{closed:?}"
        );
        assert_eq!(splice.down.state, State::Closed);
    }
}
