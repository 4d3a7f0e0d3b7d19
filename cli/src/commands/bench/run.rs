//! The counted time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use h2ws::Message;
use tokio::task::{JoinError, JoinSet};

use super::bar;
use super::load::Load;
use super::pace::Pace;
use super::socket::{Socket, Talk};
use super::usage::Usage;
use crate::args::BenchArgs;
use crate::{Failure, log};

/// How long answers are waited for after the last message was due.
const TAIL: Duration = Duration::from_secs(10);

/// When the user is told that nothing came back yet.
const DOUBTFUL: Duration = Duration::from_secs(2);

/// When nothing is expected to come back any more, if nothing ever did.
const HOPELESS: Duration = Duration::from_secs(5);

const NO_ECHO: &str = "no answer: does the server echo what it is sent?";

/// What a run gave.
pub(super) struct Measured {
    pub(super) load: Arc<Load>,
    pub(super) time: Duration,
    /// At the beginning and the end of that time.
    pub(super) usage: [Usage; 2],
    /// Bytes a second that the bulk moved each way.
    pub(super) bulk: f64,
    /// How many sockets failed, and what the first of them said.
    pub(super) failed: u32,
    pub(super) failure: Option<String>,
}

/// Lets the talkers among `sockets` talk, beside the `bulk`, and puts them back.
pub(super) async fn run(
    args: &BenchArgs,
    sockets: &mut Vec<Socket>,
    bulk: &mut Vec<Socket>,
    stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<Measured, Failure> {
    let payload = |size| {
        if args.text {
            Message::text("x".repeat(size as usize))
        } else {
            Message::binary(vec![0x78; size as usize])
        }
    };
    let talkers = args.talkers.unwrap_or(args.sockets).min(args.sockets) as usize;
    let talking = sockets.split_off(sockets.len() - talkers);
    let mut load = Load::new(payload(args.size), args.in_flight);
    load.messages = args.messages;
    let duration = match (args.messages, args.duration) {
        (Some(_), _) => None,
        (None, seconds) => Some(Duration::from_secs_f64(seconds.unwrap_or(5.0))),
    };
    let warm_up = args.warm_up.map_or_else(
        || duration.unwrap_or_default() / 10,
        Duration::from_secs_f64,
    );
    let mut from = Usage::now(args.server_pid);
    if warm_up.is_zero() {
        // Before the first message is due.
        load.count_from_now();
    }
    let rate = args.rate.filter(|_| talkers > 0);
    load.pace = rate.map(|rate| Arc::new(Pace::new(rate, talkers)));
    let mut beside = Crowd::start(Load::new(payload(args.bulk_size), 1), std::mem::take(bulk))?;
    let mut crowd = Crowd::start(load, talking)?;
    let asked = tokio::time::Instant::now();
    let mut stop = stop;
    if !warm_up.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(warm_up) => {}
            () = &mut stop => {}
            () = unanswered(crowd.load.clone(), asked) => {}
        }
        from = Usage::now(args.server_pid);
    }
    beside.load.count_from_now();
    let began = crowd.load.count_from_now();
    let counted = duration.map(|duration| duration.saturating_sub(warm_up));
    // A signal that came during the warm-up has ended the run.
    if crate::signals::status().is_none() {
        crowd.wait(args, counted, asked, stop).await;
    }
    crowd.load.count_no_more();
    beside.load.count_no_more();
    let (time, to) = (began.elapsed(), Usage::now(args.server_pid));

    crowd.end(sockets).await;
    beside.end(bulk).await;
    let moved = beside.load.tally.messages() as f64 * f64::from(args.bulk_size);
    Ok(Measured {
        time,
        usage: [from, to],
        bulk: moved / time.as_secs_f64().max(1e-9),
        failed: crowd.failed + beside.failed,
        failure: crowd.failure.or(beside.failure),
        load: crowd.load,
    })
}

/// Done when nothing came back for so long that nothing will; says so before.
async fn unanswered(load: Arc<Load>, asked: tokio::time::Instant) {
    tokio::time::sleep_until(asked + DOUBTFUL).await;
    if !load.is_answered() {
        log::tell(format_args!(
            "no answer in {DOUBTFUL:?}: does the server echo what it is sent?"
        ));
        tokio::time::sleep_until(asked + HOPELESS).await;
    }
    if load.is_answered() {
        std::future::pending::<()>().await;
    }
}

/// Sockets that talk, a task each.
struct Crowd {
    load: Arc<Load>,
    tasks: JoinSet<Result<Socket, Failure>>,
    /// Those that are done.
    done: Vec<Socket>,
    failed: u32,
    failure: Option<String>,
}

impl Crowd {
    fn start(load: Load, sockets: Vec<Socket>) -> Result<Self, Failure> {
        let load = Arc::new(load);
        let mut tasks = JoinSet::new();
        let done = Vec::with_capacity(sockets.len());
        for (number, socket) in sockets.into_iter().enumerate() {
            tasks.spawn(Talk::new(load.clone(), socket, number));
        }
        if let Some(pace) = &load.pace {
            let stopping = load.clone();
            pace.start(load.messages, move || stopping.stop.load(Ordering::Relaxed))?;
        }
        Ok(Self {
            load,
            tasks,
            done,
            failed: 0,
            failure: None,
        })
    }

    /// Waits for the end of the counted time: its duration, the sockets'
    /// messages, or a signal.
    async fn wait(
        &mut self,
        args: &BenchArgs,
        counted: Option<Duration>,
        asked: tokio::time::Instant,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) {
        let total = args.messages.map(|m| m * self.tasks.len() as u64);
        let progress = bar(args, total.unwrap_or(0), "running");
        let end = async {
            match counted {
                Some(counted) => tokio::time::sleep(counted).await,
                None => std::future::pending().await,
            }
        };
        let mut end = std::pin::pin!(end);
        let (mut stop, load) = (stop, self.load.clone());
        let mut unanswered = std::pin::pin!(unanswered(load, asked));
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                () = &mut end => break,
                () = &mut stop => break,
                () = &mut unanswered => break,
                _ = tick.tick() => progress.set_position(self.load.tally.messages()),
                ended = self.tasks.join_next() => match ended {
                    Some(ended) => self.ended(ended),
                    None => break,
                },
            }
        }
        progress.finish_and_clear();
    }

    /// Waits for the answers that are due, and puts the sockets back.
    async fn end(&mut self, sockets: &mut Vec<Socket>) {
        self.load.stop.store(true, Ordering::Relaxed);
        // What never answered does not answer now.
        let tail = if self.load.is_answered() {
            TAIL
        } else {
            TAIL / 10
        };
        let deadline = tokio::time::Instant::now() + tail;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.tasks.join_next()).await
        {
            self.ended(ended);
        }
        if !self.tasks.is_empty() {
            self.failed += self.tasks.len() as u32;
            self.failure.get_or_insert_with(|| NO_ECHO.into());
            // They leave what they have counted.
            self.tasks.shutdown().await;
        }
        sockets.append(&mut self.done);
    }

    fn ended(&mut self, result: Result<Result<Socket, Failure>, JoinError>) {
        match result.map_err(Failure::from).and_then(|result| result) {
            Ok(socket) => self.done.push(socket),
            Err(error) => {
                self.failed += 1;
                self.failure.get_or_insert_with(|| error.to_string());
            }
        }
    }
}
