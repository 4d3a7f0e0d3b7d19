//! `h2ws bench`: load-tests an echo server, or two servers or HTTP versions in turns.

mod check;
mod compare;
mod histogram;
mod live;
mod load;
mod pace;
mod report;
mod run;
mod socket;
mod sockets;
mod timer;
mod usage;

use std::collections::HashSet;
use std::io::Write;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use h2ws::{Client, Http2Config, Transport, WebSocketConfig};

use self::report::Report;
use self::socket::Socket;
use self::usage::Usage;
use super::request::{self, shutdown};
use crate::args::BenchArgs;
use crate::error::Failure;
use crate::progress::{Count, Progress};
use crate::{signals, terminal};

const NO_ECHO: &str = "no answer; bench needs a server that echoes messages";

pub(crate) async fn run(args: BenchArgs) -> Result<(), Failure> {
    // Kept for the whole run, so that a second signal exits at once.
    let stop = std::pin::pin!(signals::stop().fuse());
    if let Some(both) = compare::both(&args) {
        return compare::run(both, stop).await;
    }
    let report = measure(&args, stop).await?;
    if args.json {
        writeln!(terminal::stdout(), "{}", report.json())?;
    } else {
        report.print()?;
    }
    report.verdict()
}

/// Opens WebSockets, runs the load, and closes them. A signal ends the load early; `stop` must be
/// fused.
async fn measure<'a>(
    args: &'a BenchArgs,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Result<Report<'a>, Failure> {
    let clients = clients(args)?;
    let before = Usage::now(args.server_pid);
    let began = Instant::now();
    let (progress, count) = bar(args, u64::from(args.sockets), "opening");
    let mut sockets = tokio::select! {
        opened = sockets::open(args, &clients, args.sockets, &count) => opened?,
        () = &mut stop => return Err("stopped while the WebSockets were being opened".into()),
    };
    drop(progress);
    let open_time = began.elapsed();
    let carriers = Carriers::of(&sockets);
    let open = sample_after_rest(args).await;
    let ping_time = ping(args, &mut sockets).await?;

    let mut bulk = sockets::open(args, &clients, args.bulk, &Count::default()).await?;
    let measured = run::run(args, &mut sockets, &mut bulk, stop.as_mut()).await?;
    let after = sample_after_rest(args).await;

    sockets.append(&mut bulk);
    let began = Instant::now();
    let (progress, count) = bar(args, sockets.len() as u64, "closing");
    let (unclosed, unclosed_failure) = tokio::select! {
        closed = sockets::close(&mut sockets, &count) => closed,
        () = stop => return Err("stopped while the WebSockets were being closed".into()),
    };
    drop(progress);
    let close_time = began.elapsed();
    for client in &clients {
        shutdown(client).await;
    }
    Ok(Report {
        args,
        open_time,
        ping_time,
        close_time,
        carriers,
        usage: [before, open, after],
        unclosed,
        unclosed_failure,
        measured,
    })
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
    let (_progress, count) = bar(args, u64::from(args.sockets), "pinging");
    sockets::ping(sockets, &count).await?;
    Ok(Some(began.elapsed()))
}

/// Returns the number of WebSockets that send messages.
fn talkers(args: &BenchArgs) -> usize {
    args.talkers.unwrap_or(args.sockets).min(args.sockets) as usize
}

/// Whether a progress bar is shown where stderr is a terminal.
fn is_shown(args: &BenchArgs) -> bool {
    !args.json
}

fn bar(args: &BenchArgs, total: u64, name: &str) -> (Progress, Count) {
    Progress::count(is_shown(args), format!("{}{name}", args.label), total)
}
