//! The plan of one socket, which both of its ends derive from the seed, and the code
//! that carries it out at one end.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_util::{Sink, Stream, StreamExt};
use h2ws::{Error, Message, WebSocket};

use super::Random;

/// What one end of a socket does.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    seed: u64,
    server: bool,
    /// Lengths of the messages sent to the server.
    up: Vec<usize>,
    /// Lengths of the messages sent by the server.
    down: Vec<usize>,
    end: End,
    /// How the client and the server use their sockets, in this order.
    ways: [Way; 2],
}

/// Which end ends the socket, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// One end closes after it has sent and received everything.
    Closes {
        server: bool,
    },
    BothClose,
    /// One end drops the socket after it has received `after` messages.
    Drops {
        server: bool,
        after: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// Each half runs in a task of its own.
    Split,
    /// One task that polls both directions.
    Polls,
    /// Futures are sometimes dropped before they are ready.
    Cancels,
}

/// What one end sent and received, and how its socket ended.
#[derive(Debug)]
pub(super) struct Outcome {
    received: usize,
    sent: usize,
    /// How the stream of messages ended, or `None` if it was not read to the end.
    end: Option<Result<(), Error>>,
}

/// Set in a seed whose plan is for windows of a few bytes.
const NARROW: u64 = 1 << 60;

impl Plan {
    /// Returns the seed of a new plan.
    pub(super) fn seed(random: &mut Random, narrow: bool) -> u64 {
        let narrow = if narrow { NARROW } else { 0 };
        (random.next() % NARROW) | narrow
    }

    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let ways = [Way::Split, Way::Polls, Way::Cancels];
        let server = random.once_in(2);
        let narrow = seed & NARROW != 0;
        let (up, down) = (lengths(&mut random, narrow), lengths(&mut random, narrow));
        let end = match random.below(6) {
            0..3 => End::Closes { server },
            3 => End::BothClose,
            _ => {
                let most = if server { up.len() } else { down.len() };
                End::Drops {
                    server,
                    after: random.below(most + 1),
                }
            }
        };
        Self {
            seed,
            server: false,
            up,
            down,
            end,
            ways: [random.one_of(&ways), random.one_of(&ways)],
        }
    }

    pub(super) fn of_server(mut self) -> Self {
        self.server = true;
        self
    }

    fn to_send(&self) -> &[usize] {
        if self.server { &self.down } else { &self.up }
    }

    fn to_receive(&self) -> &[usize] {
        if self.server { &self.up } else { &self.down }
    }

    /// Returns the `n`th message that the server, or the client, sends.
    fn message(&self, server: bool, n: usize) -> Message {
        let lengths = if server { &self.down } else { &self.up };
        let first = self.seed as usize + n * 7 + usize::from(server);
        let bytes: Vec<u8> = (0..lengths[n]).map(|at| (first + at / 3) as u8).collect();
        Message::binary(bytes)
    }

    fn closes(&self) -> bool {
        match self.end {
            End::BothClose => true,
            End::Closes { server } => server == self.server,
            End::Drops { .. } => false,
        }
    }

    /// Returns after how many received messages this end drops the socket, if it does.
    fn drops(&self) -> Option<usize> {
        match self.end {
            End::Drops { server, after } if server == self.server => Some(after),
            _ => None,
        }
    }
}

fn lengths(random: &mut Random, narrow: bool) -> Vec<usize> {
    let most = random.one_of(&[0, 1, 3, 30]);
    let long = random.once_in(3);
    (0..most)
        .map(|_| {
            match random.below(if narrow {
                4
            } else if long {
                8
            } else {
                6
            }) {
                0 => 0,
                1..4 => random.below(130),
                4 => random.below(2_000),
                5 => random.below(20_000),
                6 => random.below(70_000),
                _ => random.below(200_000),
            }
        })
        .collect()
}

impl Outcome {
    /// The outcome of a socket that was not opened.
    pub(super) fn not_opened(error: Error) -> Self {
        Self {
            received: 0,
            sent: 0,
            end: Some(Err(error)),
        }
    }

    pub(super) fn assert_as_planned(&self, plan: &Plan) {
        let (to_receive, to_send) = (plan.to_receive().len(), plan.to_send().len());
        let whole = self.received == to_receive && self.sent == to_send;
        match (&self.end, plan.end) {
            // The end that drops the socket does not read on, so it may not see
            // how it ended.
            (None, End::Drops { server, .. }) if server == plan.server => {}
            (Some(Err(error)), End::Drops { .. }) if error.is_abnormal_closure() => {}
            (Some(Ok(())), End::Closes { .. } | End::BothClose) => {
                assert!(whole, "{self:?} of {plan:?}");
            }
            _ => panic!("{self:?} of {plan:?}"),
        }
    }
}

/// Checks the received messages against the plan.
struct Receiver<'a> {
    plan: &'a Plan,
    received: usize,
}

impl Receiver<'_> {
    fn check(&mut self, message: &Message) {
        let expected = self.plan.message(!self.plan.server, self.received);
        assert!(
            *message == expected,
            "message {} of {:?}",
            self.received,
            self.plan
        );
        self.received += 1;
    }

    fn is_done(&self) -> bool {
        self.received >= self.plan.drops().unwrap_or(self.plan.to_receive().len())
    }
}

/// Carries out the plan at one end.
pub(super) async fn talk(socket: WebSocket, plan: Plan) -> Outcome {
    match plan.ways[usize::from(plan.server)] {
        Way::Split => use_halves(socket, &plan).await,
        Way::Polls => poll_both(socket, &plan).await,
        Way::Cancels => cancel_futures(socket, &plan).await,
    }
}

async fn read_rest<S>(socket: &mut S, receiver: &mut Receiver<'_>) -> Result<(), Error>
where
    S: Stream<Item = Result<Message, Error>> + Unpin,
{
    while let Some(message) = socket.next().await {
        receiver.check(&message?);
    }
    Ok(())
}

async fn use_halves(socket: WebSocket, plan: &Plan) -> Outcome {
    let (mut reader, mut writer) = socket.split();
    let writing = tokio::spawn({
        let plan = plan.clone();
        async move {
            let mut random = Random::new(plan.seed + 2);
            let mut sent = 0;
            for n in 0..plan.to_send().len() {
                let message = plan.message(plan.server, n);
                let done = match random.once_in(3) {
                    true => writer.feed(message).await,
                    false => writer.send(message).await,
                };
                if done.is_err() {
                    break;
                }
                sent += 1;
                for _ in 0..random.below(3) {
                    tokio::task::yield_now().await;
                }
            }
            let _ = writer.flush().await;
            (writer, sent)
        }
    });
    let mut receiver = Receiver { plan, received: 0 };
    let mut end = None;
    while end.is_none() && !receiver.is_done() {
        match reader.next().await {
            Some(Ok(message)) => receiver.check(&message),
            Some(Err(error)) => end = Some(Err(error)),
            None => end = Some(Ok(())),
        }
    }
    if plan.drops().is_some() {
        writing.abort();
        let _ = writing.await;
        return Outcome {
            received: receiver.received,
            sent: 0,
            end,
        };
    }
    let reading = async {
        if end.is_none() && !plan.closes() {
            end = Some(read_rest(&mut reader, &mut receiver).await);
        }
        (reader, end, receiver)
    };
    let (written, (reader, mut end, mut receiver)) = tokio::join!(writing, reading);
    let (mut writer, sent) = written.unwrap();
    if end.is_none() {
        let _ = writer.close(None).await;
        let mut reader = reader;
        end = Some(read_rest(&mut reader, &mut receiver).await);
    }
    Outcome {
        received: receiver.received,
        sent,
        end,
    }
}

async fn poll_both(mut socket: WebSocket, plan: &Plan) -> Outcome {
    let mut receiver = Receiver { plan, received: 0 };
    let mut sent = 0;
    let mut end = None;
    let mut broken = false;
    poll_fn(|cx| {
        loop {
            let mut moved = false;
            if !broken {
                while sent < plan.to_send().len() {
                    match Pin::new(&mut socket).poll_ready(cx) {
                        Poll::Ready(Ok(())) => {
                            let message = plan.message(plan.server, sent);
                            if Pin::new(&mut socket).start_send(message).is_err() {
                                broken = true;
                                break;
                            }
                            sent += 1;
                            moved = true;
                        }
                        Poll::Ready(Err(_)) => {
                            broken = true;
                            break;
                        }
                        Poll::Pending => break,
                    }
                }
                if let Poll::Ready(Err(_)) = Pin::new(&mut socket).poll_flush(cx) {
                    broken = true;
                }
            }
            let all_sent = broken || sent == plan.to_send().len();
            if receiver.is_done() && (plan.drops().is_some() || all_sent && plan.closes()) {
                return Poll::Ready(());
            }
            match Pin::new(&mut socket).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => receiver.check(&message),
                Poll::Ready(ended) => {
                    end = Some(ended.map_or(Ok(()), |error| Err(error.unwrap_err())));
                    return Poll::Ready(());
                }
                Poll::Pending if moved => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    finish(socket, receiver, sent, end).await
}

/// Closes or drops the socket, or reads it to its end, unless it has ended.
async fn finish(
    mut socket: WebSocket,
    mut receiver: Receiver<'_>,
    sent: usize,
    mut end: Option<Result<(), Error>>,
) -> Outcome {
    if receiver.plan.drops().is_none() && end.is_none() {
        if receiver.plan.closes() {
            end = Some(socket.close(None).await);
        } else {
            end = Some(read_rest(&mut socket, &mut receiver).await);
        }
    }
    Outcome {
        received: receiver.received,
        sent,
        end,
    }
}

async fn cancel_futures(mut socket: WebSocket, plan: &Plan) -> Outcome {
    let mut random = Random::new(plan.seed + 3);
    let mut receiver = Receiver { plan, received: 0 };
    let (mut sent, mut end, mut broken) = (0, None, false);
    while end.is_none() {
        let all_sent = broken || sent == plan.to_send().len();
        if receiver.is_done() && (plan.drops().is_some() || all_sent) {
            break;
        }
        let yields = random.below(4);
        let cancel = async {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
        };
        if !all_sent && random.once_in(2) {
            tokio::select! {
                biased;
                fed = socket.feed(plan.message(plan.server, sent)) => match fed {
                    Ok(()) => sent += 1,
                    Err(_) => broken = true,
                },
                () = cancel => {}
            }
        } else if random.once_in(4) {
            tokio::select! {
                biased;
                flushed = socket.flush() => broken |= flushed.is_err(),
                () = cancel => {}
            }
        } else if all_sent {
            match socket.next().await {
                Some(Ok(message)) => receiver.check(&message),
                ended => end = Some(ended.map_or(Ok(()), |error| Err(error.unwrap_err()))),
            }
        } else {
            tokio::select! {
                biased;
                message = socket.next() => match message {
                    Some(Ok(message)) => receiver.check(&message),
                    ended => end = Some(ended.map_or(Ok(()), |error| Err(error.unwrap_err()))),
                },
                () = cancel => {}
            }
        }
    }
    finish(socket, receiver, sent, end).await
}
