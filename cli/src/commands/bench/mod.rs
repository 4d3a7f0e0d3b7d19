//! `h2ws bench`: load-tests an echo server.

mod load;
mod pace;
mod report;
mod run;
mod socket;
mod sockets;
mod usage;

use std::collections::HashSet;
use std::io::Write;
use std::time::{Duration, Instant};

use h2ws::{Client, Http2Config, Transport, WebSocketConfig};
use indicatif::{ProgressBar, ProgressStyle};

use self::report::Report;
use self::run::Measured;
use self::socket::Socket;
use self::usage::Usage;
use super::request::{self, shutdown};
use crate::args::BenchArgs;
use crate::error::Failure;
use crate::{signals, terminal};

pub(crate) async fn run(args: BenchArgs) -> Result<(), Failure> {
    let clients = clients(&args)?;
    let before = Usage::now(args.server_pid);
    let began = Instant::now();
    let progress = bar(&args, u64::from(args.sockets), "opening");
    // Kept for the whole run, so that a second signal exits at once.
    let mut stop = std::pin::pin!(signals::stop());
    let mut sockets = tokio::select! {
        opened = sockets::open(&args, &clients, args.sockets, &progress) => opened?,
        () = &mut stop => return Err("stopped while the WebSockets were being opened".into()),
    };
    progress.finish_and_clear();
    let open_time = began.elapsed();
    let carriers = Carriers::of(&sockets);
    let open = sample_after_rest(&args).await;
    let ping_time = ping(&args, &mut sockets).await?;

    let mut bulk = sockets::open(&args, &clients, args.bulk, &ProgressBar::hidden()).await?;
    let measured = run::run(&args, &mut sockets, &mut bulk, stop.as_mut()).await?;
    let after = sample_after_rest(&args).await;

    sockets.append(&mut bulk);
    let began = Instant::now();
    let progress = bar(&args, sockets.len() as u64, "closing");
    let (unclosed, unclosed_failure) = tokio::select! {
        closed = sockets::close(&mut sockets, &progress) => closed,
        () = stop => return Err("stopped while the WebSockets were being closed".into()),
    };
    progress.finish_and_clear();
    let report = Report {
        args: &args,
        open_time,
        ping_time,
        close_time: began.elapsed(),
        carriers,
        usage: [before, open, after],
        unclosed,
        measured,
    };
    for client in &clients {
        shutdown(client).await;
    }
    if args.json {
        writeln!(terminal::stdout(), "{}", report.json())?;
    } else {
        report.print()?;
    }
    let Measured {
        failed, failure, ..
    } = report.measured;
    match failure.or(unclosed_failure) {
        Some(failure) => {
            let failed = failed + unclosed;
            Err(format!("{failed} of {} WebSockets failed: {failure}", args.sockets).into())
        }
        None => Ok(()),
    }
}

/// Makes one client per connection, because a client puts as many WebSockets on a connection as the
/// server allows.
fn clients(args: &BenchArgs) -> Result<Vec<Client>, Failure> {
    let http2 = Http2Config::default().stream_window(1 << 20);
    let socket = WebSocketConfig::default().control_messages(args.ping);
    let builder = args.request.client(&args.url)?.http2(http2).socket(socket);
    let build = |_| request::build(builder.clone());
    (0..args.connections).map(build).collect()
}

/// The connections that carry the WebSockets.
struct Carriers {
    connections: usize,
    over_http2: usize,
}

impl Carriers {
    fn of(sockets: &[Socket]) -> Self {
        let transports = || sockets.iter().map(|socket| socket.transport());
        let connections: HashSet<_> = transports().filter_map(report::connection).collect();
        Self {
            connections: connections.len(),
            over_http2: transports().filter(Transport::is_http2).count(),
        }
    }
}

/// Waits for `--rest`, then samples memory and CPU time.
async fn sample_after_rest(args: &BenchArgs) -> Usage {
    if args.rest > 0.0 {
        tokio::time::sleep(Duration::from_secs_f64(args.rest)).await;
    }
    Usage::now(args.server_pid)
}

async fn ping(args: &BenchArgs, sockets: &mut [Socket]) -> Result<Option<Duration>, Failure> {
    if !args.ping {
        return Ok(None);
    }
    let began = Instant::now();
    let progress = bar(args, u64::from(args.sockets), "pinging");
    sockets::ping(sockets, &progress).await?;
    progress.finish_and_clear();
    Ok(Some(began.elapsed()))
}

/// Returns a progress bar, which is hidden with `--json` and if stderr is not a terminal.
fn bar(args: &BenchArgs, total: u64, what: &'static str) -> ProgressBar {
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
