//! Runs the load and measures it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::TryFutureExt;
use h2ws::Message;
use tokio::task::{JoinError, JoinSet};

use super::live::{Live, Until};
use super::load::Load;
use super::pace::Pace;
use super::socket::{Socket, Talk};
use super::usage::Usage;
use super::{NO_ECHO, check, talkers};
use crate::args::BenchArgs;
use crate::error::{Failure, with_causes};

/// How long to wait for answers after the last message was due.
const TAIL: Duration = Duration::from_secs(10);

/// When a run without any answer ends.
const SILENT: Duration = Duration::from_secs(10);

/// The results of a run.
pub(super) struct Measured {
    pub(super) load: Arc<Load>,
    pub(super) time: Duration,
    /// At the start and the end of that time.
    pub(super) usage: [Usage; 2],
    /// Bytes per second that the bulk WebSockets moved in each direction.
    pub(super) bulk: f64,
    /// Number of WebSockets that failed, and the first error.
    pub(super) failed: u32,
    pub(super) failure: Option<String>,
}

/// Sends messages on the talkers among `sockets` and on the `bulk` ones, and puts them back.
pub(super) async fn run(
    args: &BenchArgs,
    sockets: &mut Vec<Socket>,
    bulk: &mut Vec<Socket>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<Measured, Failure> {
    let payload = |size| {
        if args.text {
            Message::text("x".repeat(size as usize))
        } else {
            Message::binary(vec![0x78; size as usize])
        }
    };
    let talkers = talkers(args);
    let mut talking = sockets.split_off(sockets.len() - talkers);
    if let Some(first) = talking.first_mut().filter(|_| args.messages != Some(0)) {
        let message = payload(args.size);
        tokio::select! {
            checked = check::echo(first, &message) => checked?,
            () = &mut stop => return Err("stopped before the load".into()),
        }
    }
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
        // Start before the first message is due.
        load.start_counting();
    }
    let rate = args.rate.filter(|_| talkers > 0);
    load.pace = rate.map(|rate| Arc::new(Pace::new(rate, talkers)));
    let mut bulk_group = Group::start(Load::new(payload(args.bulk_size), 1), std::mem::take(bulk));
    let mut talking_group = Group::start(load, talking);
    let until = match (duration, args.messages) {
        (Some(duration), _) => Until::Time(duration),
        (None, messages) => Until::Messages(messages.unwrap_or(0) * talkers as u64),
    };
    let progress = Live::show(args, until, talking_group.load.clone());
    if !warm_up.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(warm_up) => {}
            () = &mut stop => {}
        }
        from = Usage::now(args.server_pid);
    }
    bulk_group.load.start_counting();
    let began = talking_group.load.start_counting();
    let counted = duration.map(|duration| duration.saturating_sub(warm_up));
    // A signal during the warm-up ends the run.
    if crate::signals::status().is_none() {
        talking_group.wait(counted, stop).await;
    }
    talking_group.load.stop_counting();
    bulk_group.load.stop_counting();
    let (time, to) = (began.elapsed(), Usage::now(args.server_pid));
    drop(progress);

    talking_group.end(sockets).await;
    bulk_group.end(bulk).await;
    let moved = bulk_group.load.tally.messages() as f64 * f64::from(args.bulk_size);
    Ok(Measured {
        time,
        usage: [from, to],
        bulk: moved / time.as_secs_f64().max(1e-9),
        failed: talking_group.failed + bulk_group.failed,
        failure: talking_group.failure.or(bulk_group.failure),
        load: talking_group.load,
    })
}

/// Returns when there has been no answer for [`SILENT`].
async fn silence(load: Arc<Load>) {
    loop {
        tokio::time::sleep(SILENT).await;
        if !load.was_answered() {
            return;
        }
    }
}

/// WebSockets under load, with one task each, and a task that paces them.
struct Group {
    load: Arc<Load>,
    tasks: JoinSet<Result<Option<Socket>, Failure>>,
    /// The WebSockets whose task has finished.
    done: Vec<Socket>,
    /// Whether the server has stopped answering.
    is_silent: bool,
    failed: u32,
    failure: Option<String>,
}

impl Group {
    fn start(load: Load, sockets: Vec<Socket>) -> Self {
        let load = Arc::new(load);
        let mut tasks = JoinSet::new();
        let done = Vec::with_capacity(sockets.len());
        for (number, socket) in sockets.into_iter().enumerate() {
            tasks.spawn(Talk::new(load.clone(), socket, number).map_ok(Some));
        }
        if let Some(pace) = load.pace.clone() {
            let load = load.clone();
            tasks.spawn(async move {
                let stop = || load.stop.load(Ordering::Relaxed);
                pace.run(load.messages, stop).await?;
                Ok(None)
            });
        }
        Self {
            load,
            tasks,
            done,
            is_silent: false,
            failed: 0,
            failure: None,
        }
    }

    /// Waits for the end of the run: its duration, its number of messages, a signal, or silence.
    async fn wait(
        &mut self,
        counted: Option<Duration>,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) {
        let end = async {
            match counted {
                Some(counted) => tokio::time::sleep(counted).await,
                None => std::future::pending().await,
            }
        };
        let mut end = std::pin::pin!(end);
        let mut silence = std::pin::pin!(silence(self.load.clone()));
        loop {
            tokio::select! {
                () = &mut end => break,
                () = &mut stop => break,
                () = &mut silence => {
                    self.is_silent = true;
                    break;
                }
                ended = self.tasks.join_next() => match ended {
                    Some(ended) => self.ended(ended),
                    None => break,
                },
            }
        }
    }

    /// Waits for outstanding answers, and puts the WebSockets back.
    async fn end(&mut self, sockets: &mut Vec<Socket>) {
        self.load.stop.store(true, Ordering::Relaxed);
        // A server that has stopped answering is not going to answer now.
        let tail = if self.is_silent { TAIL / 10 } else { TAIL };
        let deadline = tokio::time::Instant::now() + tail;
        while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.tasks.join_next()).await
        {
            self.ended(ended);
        }
        if !self.tasks.is_empty() {
            self.failed += self.tasks.len() as u32;
            self.failure.get_or_insert_with(|| NO_ECHO.into());
            // Dropped tasks add what they have counted to the tally.
            self.tasks.shutdown().await;
        }
        sockets.append(&mut self.done);
    }

    fn ended(&mut self, result: Result<Result<Option<Socket>, Failure>, JoinError>) {
        match result.map_err(Failure::from).and_then(|result| result) {
            Ok(socket) => self.done.extend(socket),
            Err(error) => {
                self.failed += 1;
                self.failure.get_or_insert_with(|| with_causes(&*error));
            }
        }
    }
}
