//! `h2ws bridge`: the reverse proxy.

mod config;
mod connections;
mod listener;
mod metrics;
mod reload;
mod upstream;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use h2ws::bridge::Bridge;

use self::config::Config;
use self::connections::Connections;
use self::listener::{Fixed, Listener};
use self::metrics::{Admin, Metrics};
use self::reload::Reload;
use self::upstream::{Clients, RouteClients};
use super::listen;
use super::request::shutdown;
use super::text::count;
use crate::args::BridgeArgs;
use crate::error::{Failure, Usage};
use crate::{signals, terminal};

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
    if args.check {
        let routes = config.map_or(0, |config| config.routes.iter().count());
        writeln!(terminal::stdout(), "no errors, {}", count(routes, "route"))?;
        return Ok(());
    }
    let fixed = Fixed::of(&args, config.as_ref());
    // Counting has a cost, so it is off unless the metrics can be read.
    let observer = || {
        let metrics: Arc<dyn h2ws::metrics::Metrics> = connections.clone();
        fixed.metrics.map(|_| metrics)
    };
    let files = &fixed.upstream_tls;
    let (bridge, tls) = match config {
        Some(config) => {
            let client =
                clients.of_file(files, &config.routes, fixed.metrics.is_some(), &fixed.tcp)?;
            clients.of_routes = config.clients;
            (Bridge::new(client, config.routes), config.tls)
        }
        None => (upstream::bridge_to(&args, files, observer())?, None),
    };
    let metrics = Metrics::new(bridge.clone(), &connections);
    if fixed.metrics.is_some() {
        bridge.observe(metrics.counters());
    }
    // Must come before the program announces itself: a signal may follow at once.
    let stop = signals::drain();
    let listener = Listener::bind(&args.listen, &fixed, tls, observer()).await?;
    let admin = match fixed.metrics {
        Some(address) => Some(metrics.serve(address).await?),
        None => None,
    };
    let reload = Reload::new(&args, &fixed, &bridge, clients, listener.tls.clone())?;
    announce(&listener.url()?, admin.as_ref())?;
    let reload = tokio::spawn(reload.run());
    let drained = listener
        .server
        .serve(bridge.handler())
        .fallback(bridge.service())
        .drain_timeout(fixed.drain_timeout)
        .with_graceful_shutdown(async move {
            stop.await;
            tracing::info!("draining");
            metrics.drain();
            tokio::time::sleep(fixed.drain_delay).await;
        })
        .await?;
    reload.abort();
    listen::report(drained);
    if tokio::time::timeout(LAST_LINES, bridge.idle())
        .await
        .is_err()
    {
        tracing::warn!("shutdown timed out; lines are missing in the access log");
    }
    join_all(bridge.clients().iter().map(shutdown)).await;
    Ok(())
}

/// Prints the listeners' URLs as the first lines of stdout.
fn announce(url: &str, admin: Option<&Admin>) -> std::io::Result<()> {
    let mut stdout = terminal::stdout();
    writeln!(stdout, "listening on {url}")?;
    if let Some(admin) = admin {
        writeln!(stdout, "metrics at {}/metrics", admin.url())?;
    }
    stdout.flush()
}
