//! One socket's plan, which both of its ends know, and its two ends.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_util::{Sink, Stream, StreamExt};
use h2ws::{Error, Message, WebSocket};

use super::Random;

/// What one end does.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    seed: u64,
    server: bool,
    /// Lengths of the messages that go up to the server and down from it.
    up: Vec<usize>,
    down: Vec<usize>,
    end: End,
    /// In which way either end goes about it.
    ways: [Way; 2],
}

/// Who ends it, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Closes when it has said and heard all.
    Closes {
        server: bool,
    },
    BothClose,
    /// Is dropped after so many messages.
    Drops {
        server: bool,
        after: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// Both halves in tasks of their own.
    Split,
    /// One task that polls both directions.
    Polls,
    /// Futures that are dropped before they are ready, now and then.
    Cancels,
}

/// How it went.
#[derive(Debug)]
pub(super) struct Said {
    heard: usize,
    sent: usize,
    /// How the stream of messages ended; `None` where it was not read to the end.
    end: Option<Result<(), Error>>,
}

/// In a seed whose plan is for windows of a few bytes.
const NARROW: u64 = 1 << 60;

impl Plan {
    /// Of a new plan.
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

    fn to_say(&self) -> &[usize] {
        if self.server { &self.down } else { &self.up }
    }

    fn to_hear(&self) -> &[usize] {
        if self.server { &self.up } else { &self.down }
    }

    /// The message of this number.
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

    /// Drops the socket after so many messages.
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

impl Said {
    /// There was no socket.
    pub(super) fn nothing(error: Error) -> Self {
        Self {
            heard: 0,
            sent: 0,
            end: Some(Err(error)),
        }
    }

    pub(super) fn is_as_planned(&self, plan: &Plan) {
        let (all, said) = (plan.to_hear().len(), plan.to_say().len());
        let whole = self.heard == all && self.sent == said;
        match (&self.end, plan.end) {
            // Who drops it does not read to the end, unless there was nothing else.
            (None, End::Drops { server, .. }) if server == plan.server => {}
            (Some(Err(error)), End::Drops { .. }) if error.is_abnormal_closure() => {}
            (Some(Ok(())), End::Closes { .. } | End::BothClose) => {
                assert!(whole, "{self:?} of {plan:?}");
            }
            _ => panic!("{self:?} of {plan:?}"),
        }
    }
}

/// Checks what comes.
struct Ear<'a> {
    plan: &'a Plan,
    heard: usize,
}

impl Ear<'_> {
    fn hear(&mut self, message: &Message) {
        let expected = self.plan.message(!self.plan.server, self.heard);
        assert!(
            *message == expected,
            "message {} of {:?}",
            self.heard,
            self.plan
        );
        self.heard += 1;
    }

    fn is_done(&self) -> bool {
        self.heard >= self.plan.drops().unwrap_or(self.plan.to_hear().len())
    }
}

/// Acts by the plan.
pub(super) async fn talk(socket: WebSocket, plan: Plan) -> Said {
    match plan.ways[usize::from(plan.server)] {
        Way::Split => in_halves(socket, &plan).await,
        Way::Polls => polled(socket, &plan).await,
        Way::Cancels => cancelling(socket, &plan).await,
    }
}

async fn rest<S>(socket: &mut S, ear: &mut Ear<'_>) -> Result<(), Error>
where
    S: Stream<Item = Result<Message, Error>> + Unpin,
{
    while let Some(message) = socket.next().await {
        ear.hear(&message?);
    }
    Ok(())
}

async fn in_halves(socket: WebSocket, plan: &Plan) -> Said {
    let (mut reader, mut writer) = socket.split();
    let writing = tokio::spawn({
        let plan = plan.clone();
        async move {
            let mut random = Random::new(plan.seed + 2);
            let mut sent = 0;
            for n in 0..plan.to_say().len() {
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
    let mut ear = Ear { plan, heard: 0 };
    let mut end = None;
    while end.is_none() && !ear.is_done() {
        match reader.next().await {
            Some(Ok(message)) => ear.hear(&message),
            Some(Err(error)) => end = Some(Err(error)),
            None => end = Some(Ok(())),
        }
    }
    if plan.drops().is_some() {
        writing.abort();
        let _ = writing.await;
        return Said {
            heard: ear.heard,
            sent: 0,
            end,
        };
    }
    let reading = async {
        if end.is_none() && !plan.closes() {
            end = Some(rest(&mut reader, &mut ear).await);
        }
        (reader, end, ear)
    };
    let (written, (reader, mut end, mut ear)) = tokio::join!(writing, reading);
    let (mut writer, sent) = written.unwrap();
    if end.is_none() {
        let _ = writer.close(None).await;
        let mut reader = reader;
        end = Some(rest(&mut reader, &mut ear).await);
    }
    Said {
        heard: ear.heard,
        sent,
        end,
    }
}

async fn polled(mut socket: WebSocket, plan: &Plan) -> Said {
    let mut ear = Ear { plan, heard: 0 };
    let mut sent = 0;
    let mut end = None;
    let mut broken = false;
    poll_fn(|cx| {
        loop {
            let mut moved = false;
            if !broken {
                while sent < plan.to_say().len() {
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
            let said = broken || sent == plan.to_say().len();
            if ear.is_done() && (plan.drops().is_some() || said && plan.closes()) {
                return Poll::Ready(());
            }
            match Pin::new(&mut socket).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => ear.hear(&message),
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
    finish(socket, ear, sent, end).await
}

/// Closes or drops, if it has not ended.
async fn finish(
    mut socket: WebSocket,
    mut ear: Ear<'_>,
    sent: usize,
    mut end: Option<Result<(), Error>>,
) -> Said {
    if ear.plan.drops().is_none() && end.is_none() {
        if ear.plan.closes() {
            end = Some(socket.close(None).await);
        } else {
            end = Some(rest(&mut socket, &mut ear).await);
        }
    }
    Said {
        heard: ear.heard,
        sent,
        end,
    }
}

async fn cancelling(mut socket: WebSocket, plan: &Plan) -> Said {
    let mut random = Random::new(plan.seed + 3);
    let mut ear = Ear { plan, heard: 0 };
    let (mut sent, mut end, mut broken) = (0, None, false);
    while end.is_none() {
        let said = broken || sent == plan.to_say().len();
        if ear.is_done() && (plan.drops().is_some() || said) {
            break;
        }
        let patience = random.below(4);
        let waits = async {
            for _ in 0..patience {
                tokio::task::yield_now().await;
            }
        };
        if !said && random.once_in(2) {
            tokio::select! {
                biased;
                fed = socket.feed(plan.message(plan.server, sent)) => match fed {
                    Ok(()) => sent += 1,
                    Err(_) => broken = true,
                },
                () = waits => {}
            }
        } else if random.once_in(4) {
            tokio::select! {
                biased;
                flushed = socket.flush() => broken |= flushed.is_err(),
                () = waits => {}
            }
        } else if said {
            match socket.next().await {
                Some(Ok(message)) => ear.hear(&message),
                ended => end = Some(ended.map_or(Ok(()), |error| Err(error.unwrap_err()))),
            }
        } else {
            tokio::select! {
                biased;
                message = socket.next() => match message {
                    Some(Ok(message)) => ear.hear(&message),
                    ended => end = Some(ended.map_or(Ok(()), |error| Err(error.unwrap_err()))),
                },
                () = waits => {}
            }
        }
    }
    finish(socket, ear, sent, end).await
}
