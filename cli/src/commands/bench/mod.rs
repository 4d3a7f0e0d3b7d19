//! `h2ws bench`: load on a server that echoes.

mod report;
mod socket;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use h2ws::{Client, Http2Config, Message, WebSocket};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::{JoinError, JoinSet};

use self::report::Report;
use self::socket::{Load, Tally};
use super::process;
use super::request::shutdown;
use crate::args::BenchArgs;
use crate::{Failure, signals};

/// Sockets being opened at a time.
const OPENING: usize = 256;

/// How long answers are waited for after the last message was due.
const TAIL: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: BenchArgs) -> Result<(), Failure> {
    let clients = clients(&args)?;
    let memory = [
        process::resident_kib(None),
        process::resident_kib(args.server_pid),
    ];
    let began = Instant::now();
    let sockets = open(&args, &clients).await?;
    let open_time = began.elapsed();
    let idle = [
        process::resident_kib(None),
        process::resident_kib(args.server_pid),
    ];
    let transports: std::collections::HashSet<_> = sockets
        .iter()
        .map(|s| report::connection(s.transport()))
        .collect();
    let over_http2 = sockets.iter().filter(|s| s.transport().is_http2()).count();

    let measured = load(&args, sockets).await;
    for client in &clients {
        shutdown(client).await;
    }
    let failed = measured.failed;
    let report = Report {
        args: &args,
        open_time,
        over_http2,
        connections: transports.len(),
        client_kib: difference(idle[0], memory[0]),
        server_kib: args.server_pid.and_then(|_| difference(idle[1], memory[1])),
        measured,
    };
    if args.json {
        writeln!(std::io::stdout(), "{}", report.json())?;
    } else {
        report.print()?;
    }
    match &report.measured.failure {
        Some(failure) => {
            Err(format!("{failed} of {} sockets failed: {failure}", args.sockets).into())
        }
        None => Ok(()),
    }
}

fn difference(now: Option<u64>, then: Option<u64>) -> Option<u64> {
    Some(now?.saturating_sub(then?))
}

/// One client a connection: a client puts as many sockets on one as the server
/// allows.
fn clients(args: &BenchArgs) -> Result<Vec<Client>, Failure> {
    let http2 = Http2Config::default().stream_window(1 << 20);
    let builder = args.request.client(&args.url)?.http2(http2);
    let build = |_| builder.clone().build().map_err(Failure::from);
    (0..args.connections).map(build).collect()
}

async fn open(args: &BenchArgs, clients: &[Client]) -> Result<Vec<WebSocket>, Failure> {
    let progress = progress(args, u64::from(args.sockets), "opening");
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..OPENING.min(args.sockets as usize) {
        let (next, clients) = (next.clone(), clients.to_vec());
        let (total, progress) = (args.sockets, progress.clone());
        let (args, url) = (args.request.clone(), args.url.clone());
        tasks.spawn(async move {
            let mut sockets = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= u64::from(total) {
                    return Ok::<_, h2ws::Error>(sockets);
                }
                let client = &clients[n as usize % clients.len()];
                sockets.push(args.request(client, &url).connect().await?);
                progress.inc(1);
            }
        });
    }
    let mut sockets = Vec::with_capacity(args.sockets as usize);
    while let Some(opened) = tasks.join_next().await {
        sockets.append(&mut opened??);
    }
    progress.finish_and_clear();
    Ok(sockets)
}

/// What a run gave.
pub(super) struct Measured {
    load: Arc<Load>,
    time: Duration,
    cpu: Option<Duration>,
    server_cpu: Option<Duration>,
    /// What the first socket that failed said, and how many did.
    failure: Option<String>,
    failed: u32,
}

impl Measured {
    fn ended(&mut self, result: Result<Result<(), Failure>, JoinError>) {
        if let Err(error) = result.map_err(Failure::from).and_then(|result| result) {
            self.failed += 1;
            self.failure.get_or_insert_with(|| error.to_string());
        }
    }
}

async fn load(args: &BenchArgs, sockets: Vec<WebSocket>) -> Measured {
    let duration = match (args.messages, args.duration) {
        (Some(_), _) => None,
        (None, seconds) => Some(Duration::from_secs_f64(seconds.unwrap_or(5.0))),
    };
    let warm_up = match (args.warm_up, duration) {
        (Some(seconds), _) => Duration::from_secs_f64(seconds),
        (None, duration) => duration.unwrap_or_default() / 10,
    };
    let payload = if args.text {
        Message::text("x".repeat(args.size as usize))
    } else {
        Message::binary(vec![0x78; args.size as usize])
    };
    let interval = |rate| Duration::from_secs_f64(f64::from(args.sockets) / rate as f64);
    let load = Arc::new(Load {
        payload,
        in_flight: args.in_flight,
        messages: args.messages,
        interval: args.rate.map(interval),
        counting: AtomicBool::new(warm_up.is_zero()),
        stop: AtomicBool::new(false),
        tally: Tally::new(),
    });
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    let cpu = [process::cpu_time(None), process::cpu_time(args.server_pid)];
    for (n, socket) in sockets.into_iter().enumerate() {
        // Spreads the sockets' first messages over one interval.
        let share = n as f64 / f64::from(args.sockets);
        tasks.spawn(socket::run(load.clone(), socket, share));
    }
    let mut measured = Measured {
        load,
        time: Duration::ZERO,
        cpu: None,
        server_cpu: None,
        failure: None,
        failed: 0,
    };
    let (began, cpu) = if warm_up.is_zero() {
        (began, cpu)
    } else {
        tokio::time::sleep(warm_up).await;
        measured.load.counting.store(true, Ordering::Relaxed);
        let cpu = [process::cpu_time(None), process::cpu_time(args.server_pid)];
        (Instant::now(), cpu)
    };
    wait(
        args,
        duration.map(|d| d.saturating_sub(warm_up)),
        &mut measured,
        &mut tasks,
    )
    .await;
    measured.load.counting.store(false, Ordering::Relaxed);
    measured.time = began.elapsed();
    let used = |pid, then: Option<Duration>| Some(process::cpu_time(pid)?.saturating_sub(then?));
    measured.cpu = used(None, cpu[0]);
    measured.server_cpu = args.server_pid.and_then(|pid| used(Some(pid), cpu[1]));

    measured.load.stop.store(true, Ordering::Relaxed);
    let deadline = tokio::time::Instant::now() + TAIL;
    while let Ok(Some(ended)) = tokio::time::timeout_at(deadline, tasks.join_next()).await {
        measured.ended(ended);
    }
    if !tasks.is_empty() {
        measured.failed += tasks.len() as u32;
        measured.failure.get_or_insert_with(|| "no answer".into());
    }
    measured
}

/// Waits for the end of the counted time: its duration, the sockets' messages,
/// or a signal.
async fn wait(
    args: &BenchArgs,
    counted: Option<Duration>,
    measured: &mut Measured,
    tasks: &mut JoinSet<Result<(), Failure>>,
) {
    let total = args.messages.map(|m| m * u64::from(args.sockets));
    let progress = progress(args, total.unwrap_or(0), "running");
    let end = async {
        match counted {
            Some(counted) => tokio::time::sleep(counted).await,
            None => std::future::pending().await,
        }
    };
    let mut end = std::pin::pin!(end);
    let mut stop = std::pin::pin!(signals::stop());
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            () = &mut end => break,
            () = &mut stop => break,
            _ = tick.tick() => progress.set_position(measured.load.tally.messages()),
            ended = tasks.join_next() => match ended {
                Some(ended) => measured.ended(ended),
                None => break,
            },
        }
    }
    progress.finish_and_clear();
}

/// On a terminal, and not beside JSON on it.
fn progress(args: &BenchArgs, total: u64, what: &'static str) -> ProgressBar {
    if args.json {
        return ProgressBar::hidden();
    }
    let (bar, template) = if total > 0 {
        (
            ProgressBar::new(total),
            "{msg} {wide_bar} {human_pos}/{human_len} {per_sec}",
        )
    } else {
        (
            ProgressBar::new_spinner(),
            "{msg} {human_pos} messages, {elapsed}",
        )
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.with_message(what)
}
