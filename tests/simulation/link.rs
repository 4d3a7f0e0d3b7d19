//! One connection: two directions of bytes that arrive late, in pieces, or not at all.
//!
//! It follows TCP on Linux: a reset destroys what has not arrived yet, an end that is dropped with
//! unread bytes resets, and a peer that has vanished is noticed only after [`PATIENCE`].

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::plan::{Cut, Harm, Pace};
use crate::random::Random;
use crate::tap::Tap;
use crate::trace::Trace;

/// How long an operating system repeats what a vanished peer does not acknowledge.
const PATIENCE: Duration = Duration::from_secs(90);

/// One of the two ends of a connection. The first is the one that opened it.
pub(crate) struct End {
    link: Arc<Mutex<Link>>,
    /// Whether this is the end that accepted the connection.
    far: bool,
    reads: Option<Pin<Box<Sleep>>>,
    writes: Option<Pin<Box<Sleep>>>,
}

struct Link {
    number: usize,
    /// From the first end to the second, and back.
    ways: [Way; 2],
    /// The time at which the operating systems give up, if the network has vanished.
    lost: Option<Instant>,
    tap: Tap,
    trace: Trace,
}

/// One direction.
struct Way {
    random: Random,
    pace: Pace,
    items: VecDeque<(Instant, Item)>,
    /// Bytes in `items`.
    held: usize,
    passed: usize,
    cuts: Vec<Cut>,
    /// Nothing sent later arrives before this.
    not_before: Instant,
    ended: bool,
    reader_is_gone: bool,
    broken: Option<io::ErrorKind>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum Item {
    Bytes(VecDeque<u8>),
    End,
    Broken(io::ErrorKind),
}

impl Way {
    fn new(random: Random, pace: Pace, cuts: Vec<Cut>) -> Self {
        Self {
            random,
            pace,
            items: VecDeque::new(),
            held: 0,
            passed: 0,
            cuts,
            not_before: Instant::now(),
            ended: false,
            reader_is_gone: false,
            broken: None,
            reader: None,
            writer: None,
        }
    }

    fn push(&mut self, item: Item) {
        let delay = self.random.below(self.pace.delay + 1) as u64;
        let due = Instant::now() + Duration::from_millis(delay);
        self.not_before = self.not_before.max(due);
        self.items.push_back((self.not_before, item));
        wake(&mut self.reader);
    }

    /// Destroys what is on its way, and lets the reader find the connection broken.
    fn reset(&mut self) {
        let now = Instant::now();
        self.items.retain(|(due, _)| *due <= now);
        self.not_before = now;
        self.push(Item::Broken(io::ErrorKind::ConnectionReset));
        wake(&mut self.writer);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Creates a connection. `paces` are those of the two directions.
pub(crate) fn link(
    number: usize,
    seed: u64,
    pace: Pace,
    cuts: &[Cut],
    trace: &Trace,
) -> (End, End) {
    let way = |up: bool| {
        let random = Random::of(seed, 2 * number as u64 + u64::from(up) + 100);
        let cuts = cuts.iter().filter(|cut| cut.up == up).copied().collect();
        Way::new(random, pace, cuts)
    };
    let link = Arc::new(Mutex::new(Link {
        number,
        ways: [way(true), way(false)],
        lost: None,
        tap: Tap::default(),
        trace: trace.clone(),
    }));
    trace.ends(2);
    let end = |far| End {
        link: link.clone(),
        far,
        reads: None,
        writes: None,
    };
    (end(false), end(true))
}

impl End {
    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn note(&self, far: bool, what: u64, len: usize) {
        let side = u64::from(far);
        self.trace
            .note(&[what, self.number as u64, side, len as u64]);
    }

    /// Takes `bytes` from the writer at `far`, and returns how many.
    fn accept(&mut self, far: bool, bytes: &[u8]) -> usize {
        let at = usize::from(far);
        let way = &mut self.ways[at];
        let room = way.pace.capacity.saturating_sub(way.held);
        let most = way.random.below(way.pace.piece) + 1;
        let mut len = bytes.len().min(room).min(most);
        let next = way.cuts.iter().map(|cut| cut.at).min();
        if let Some(next) = next {
            len = len.min(next.saturating_sub(way.passed).max(1));
        }
        way.passed += len;
        way.held += len;
        if self.lost.is_none() {
            way.push(Item::Bytes(bytes[..len].iter().copied().collect()));
        }
        self.note(far, 1, len);
        if let Some(fault) = self.tap.sent(far, &bytes[..len]) {
            self.trace
                .violation(format!("link {}: {fault}", self.number));
        }
        let passed = self.ways[at].passed;
        while let Some(cut) = self.ways[at].cuts.iter().position(|cut| cut.at <= passed) {
            let cut = self.ways[at].cuts.remove(cut);
            self.harm(at, cut.harm);
        }
        len
    }

    fn harm(&mut self, at: usize, harm: Harm) {
        self.note(at == 1, 7, 0);
        if !matches!(harm, Harm::Stall(_)) {
            self.trace.harmed();
        }
        match harm {
            Harm::Reset => self.ways.iter_mut().for_each(Way::reset),
            Harm::Stall(milliseconds) => {
                let until = Instant::now() + Duration::from_millis(milliseconds);
                self.ways[at].not_before = until;
            }
            Harm::Vanish => {
                let until = Instant::now() + PATIENCE;
                self.lost = Some(until);
                let now = Instant::now();
                for way in &mut self.ways {
                    way.items.retain(|(due, _)| *due <= now);
                    let broken = Item::Broken(io::ErrorKind::TimedOut);
                    way.items.push_back((until, broken));
                    wake(&mut way.reader);
                    wake(&mut way.writer);
                }
            }
        }
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let due = {
                let far = self.far;
                let mut link = self.lock();
                let way = &mut link.ways[usize::from(!far)];
                if let Some(kind) = way.broken {
                    return Poll::Ready(Err(kind.into()));
                }
                if way.random.once_in(8) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                way.reader = Some(cx.waker().clone());
                let Some((due, item)) = way.items.front_mut() else {
                    return Poll::Pending;
                };
                if *due <= Instant::now() {
                    match item {
                        Item::Bytes(bytes) => {
                            let len = bytes.len().min(buf.remaining());
                            let (near, _) = bytes.as_slices();
                            let len = len.min(near.len());
                            buf.put_slice(&near[..len]);
                            bytes.drain(..len);
                            if bytes.is_empty() {
                                way.items.pop_front();
                            }
                            way.held -= len;
                            wake(&mut way.writer);
                            link.note(far, 2, len);
                            return Poll::Ready(Ok(()));
                        }
                        Item::End => {
                            link.note(far, 3, 0);
                            return Poll::Ready(Ok(()));
                        }
                        Item::Broken(kind) => {
                            let kind = *kind;
                            for way in &mut link.ways {
                                way.broken = Some(kind);
                                wake(&mut way.reader);
                                wake(&mut way.writer);
                            }
                            link.note(far, 4, 0);
                            return Poll::Ready(Err(kind.into()));
                        }
                    }
                }
                *due
            };
            ready!(wait(&mut self.reads, due, cx));
        }
    }
}

fn wait(timer: &mut Option<Pin<Box<Sleep>>>, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
    if timer.deadline() != until {
        timer.as_mut().reset(until);
    }
    timer.as_mut().poll(cx)
}

impl AsyncWrite for End {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let far = self.far;
        let lost = {
            let mut link = self.lock();
            let lost = link.lost;
            let way = &mut link.ways[usize::from(far)];
            if let Some(kind) = way.broken {
                return Poll::Ready(Err(kind.into()));
            }
            if lost.is_some_and(|until| until <= Instant::now()) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if way.ended {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if way.reader_is_gone && lost.is_none() {
                // The bytes reach nobody, and their answer is a reset.
                link.ways[usize::from(!far)].reset();
                return Poll::Ready(Ok(bytes.len()));
            }
            if way.random.once_in(8) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if way.held < way.pace.capacity {
                return Poll::Ready(Ok(link.accept(far, bytes)));
            }
            way.writer = Some(cx.waker().clone());
            lost
        };
        if let Some(until) = lost {
            ready!(wait(&mut self.writes, until, cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().end(self.far);
        Poll::Ready(Ok(()))
    }
}

impl Link {
    fn end(&mut self, far: bool) {
        let lost = self.lost.is_some();
        let way = &mut self.ways[usize::from(far)];
        if !std::mem::replace(&mut way.ended, true) && !lost {
            way.push(Item::End);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let far = self.far;
        let mut link = self.lock();
        link.note(far, 5, 0);
        link.trace.ends(-1);
        let (now, is_lost) = (Instant::now(), link.lost.is_some());
        let incoming = &mut link.ways[usize::from(!far)];
        incoming.reader_is_gone = true;
        let arrived = |(due, item): &(Instant, Item)| *due <= now && matches!(item, Item::Bytes(_));
        let unread = incoming.items.front().is_some_and(arrived);
        if unread && !is_lost {
            link.ways[usize::from(far)].reset();
            wake(&mut link.ways[usize::from(!far)].writer);
        } else {
            if !is_lost {
                // What is on its way takes no more room. What is written after it is reset.
                incoming.items.clear();
                incoming.held = 0;
                wake(&mut incoming.writer);
            }
            link.end(far);
        }
    }
}
