//! `h2ws bridge`: the reverse proxy.

pub(crate) mod config;
mod connections;
mod coverage;
mod limits;
mod listener;
mod metrics;
mod reload;
mod upstream;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use h2ws::Server;
use h2ws::bridge::Bridge;

use self::config::Config;
use self::connections::Connections;
use self::listener::Fixed;
use self::metrics::Metrics;
use self::reload::Reload;
use self::upstream::{Clients, RouteClients};
use super::listen;
use super::request::shutdown;
use super::text::count;
use crate::args::BridgeArgs;
use crate::error::{CheckFailed, Failure, Usage};
use crate::listener::{Listeners, Runtimes};
use crate::{log, signals, systemd, terminal, tls};

/// How long to wait for the access-log lines of closed WebSockets and requests before exiting.
const LAST_LINES: Duration = Duration::from_secs(5);

pub(crate) async fn run(args: BridgeArgs) -> Result<(), Failure> {
    let connections = Arc::new(Connections::default());
    let mut clients = Clients {
        insecure: args.upstream_insecure,
        metrics: args.metrics.is_some(),
        observer: connections.clone(),
        tcp: args.tcp,
        of_routes: RouteClients::new(),
    };
    let config = match &args.config {
        Some(file) => Some(Config::load(file, &clients).map_err(|errors| Usage::file(&errors))?),
        None => None,
    };
    let fixed = Fixed::of(&args, config.as_ref());
    if !args.check {
        log::set_log_format(fixed.log_format);
    }
    let configs = listener::listeners(&args.listen, config.as_ref().map(|file| &file.listeners))?;
    listen::check_addresses(&configs, fixed.metrics.as_ref())?;
    if let (Some(config), Some(path)) = (&config, &args.config) {
        let uncovered = coverage::notices(path, &config.hosts, &configs);
        for notice in config.notices.lines().chain(uncovered) {
            log::notice(notice);
        }
    }
    if args.check {
        if config.as_ref().is_some_and(|config| config.fails_check) {
            return Err(CheckFailed.into());
        }
        let routes = config.map_or(0, |config| config.routes.iter().count());
        writeln!(terminal::stdout(), "no errors, {}", count(routes, "route"))?;
        return Ok(());
    }
    match &config {
        Some(config) => args.log.apply(config.access_log.clone(), config.log_limit),
        None => args.log.apply(None, None),
    }
    // Counting has a cost, so it is off unless the metrics can be read.
    let observer = || {
        let metrics: Arc<dyn h2ws::metrics::Metrics> = connections.clone();
        fixed.metrics.as_ref().map(|_| metrics)
    };
    let files = &fixed.upstream_tls;
    let bridge = match config {
        Some(config) => {
            let client =
                clients.of_file(files, &config.routes, fixed.metrics.is_some(), &fixed.tcp)?;
            clients.of_routes = config.clients;
            Bridge::new(client, config.routes)
        }
        None => upstream::bridge_to(&args, files, observer())?,
    };
    let metrics = Metrics::new(bridge.clone(), &connections);
    if fixed.metrics.is_some() {
        bridge.observe(metrics.counters());
    }
    // Must come before the program announces itself: a signal may follow at once.
    let stop = signals::drain();
    listen::warn_if_self_signed(&configs);
    tls::warn_of(args.certificates());
    let builder = listener::builder(&fixed, observer());
    let threads = args.threads.number();
    let runtimes = if upstream::are_shared(&bridge) {
        Runtimes::one(threads)?
    } else {
        Runtimes::one_per_thread(threads)?
    };
    let listeners = Listeners::bind(&configs, &builder, fixed.reuse_port, &runtimes).await?;
    metrics.listen(listeners.status());
    let admin = match &fixed.metrics {
        Some(address) => Some(metrics.serve(address, fixed.reuse_port).await?),
        None => None,
    };
    let certificates = listeners.certificates();
    let reload = Reload::new(&args, &fixed, &bridge, clients, configs, certificates)?;
    listeners.announce(admin.iter().map(|admin| {
        let url = format!("{}/metrics", admin.url());
        log::startup_line(format!("metrics at {url}"), "serving metrics", &url)
    }))?;
    systemd::ready();
    systemd::watch();
    let reload = tokio::spawn(reload.run());
    let serve = |server: Server, _| server.serve(bridge.handler()).fallback(bridge.service());
    // The next process shares the port of the metrics too, and is the one to ask during a drain.
    let (until_drain, _until_end) = if fixed.reuse_port {
        (admin, None)
    } else {
        (None, admin)
    };
    let drain_delay = fixed.drain_delay;
    let stop = async move {
        stop.await;
        systemd::stopping();
        tracing::info!("draining");
        metrics.drain();
        tokio::time::sleep(drain_delay).await;
        drop(until_drain);
    };
    let drained = listeners.serve(serve, fixed.drain_timeout, stop).await;
    reload.abort();
    listen::report_cut(drained);
    if tokio::time::timeout(LAST_LINES, bridge.idle())
        .await
        .is_err()
    {
        tracing::warn!("shutdown timed out; lines are missing in the access log");
    }
    join_all(bridge.clients().iter().map(shutdown)).await;
    listen::report_end();
    Ok(())
}
